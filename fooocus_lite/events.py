"""`Event`: past-tense facts, the only thing that flows back from a worker.

`Result` is a fold over events: page, API, CLI and tests read progress the same way.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

State = Literal["waiting", "running", "finished", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """What every fact carries.

    Attributes:
        task_id: Which task; empty until the dispatcher stamps it.
        seq: Rises over the whole log, never reused; 0 until stamped. Clients drop what is late.
        at: Unix time in seconds.
    """

    kind: ClassVar[str] = ""
    #: Facts are kept and replayed; the others are latest-wins and may be dropped.
    is_fact: ClassVar[bool] = True
    #: The field that holds a picture, where there is one; it travels beside the JSON.
    picture_field: ClassVar[str] = ""
    task_id: str = ""
    seq: int = 0
    at: float = field(default_factory=time.time)

    def stamped(self, task_id: str, seq: int) -> Event:
        """The same fact with its place in the log."""
        return dataclasses.replace(self, task_id=task_id, seq=seq)

    @property
    def picture_bytes(self) -> bytes:
        """What `to_dict` leaves out."""
        return getattr(self, self.picture_field) if self.picture_field else b""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; picture bytes are left out."""
        names = (f.name for f in dataclasses.fields(self) if f.name != self.picture_field)
        return {"kind": self.kind} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Queued(Event):
    """The task stands in the queue (again, when ``attempt`` > 1).

    Attributes:
        waits_for: Name of the offer whose files must come first; others pass it meanwhile. Empty: nothing.
    """

    kind: ClassVar[str] = "queued"
    attempt: int = 1
    waits_for: str = ""


@dataclass(frozen=True, kw_only=True)
class Downloading(Event):
    """The files that the task waits for are coming: ``words`` says how far, such as "2.1 of 6.9 GB, 4 min left"."""

    kind: ClassVar[str] = "downloading"
    is_fact: ClassVar[bool] = False
    name: str = ""
    label: str = ""
    state: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    seconds_left: float | None = None
    words: str = ""

    @property
    def sentence(self) -> str:
        """What a person reads of a task that waits."""
        return f"waits for {self.label or self.name}: {self.words}" if self.words else f"waits for {self.label}"


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """A worker took the task.

    Attributes:
        is_ahead: It draws others still; that it has begun this one is told by the next fact.
    """

    kind: ClassVar[str] = "started"
    device: str = ""
    attempt: int = 1
    is_ahead: bool = False


#: How the warning begins that tells why a language model added no words.
NOT_EXPANDED = "The prompt was not expanded."


@dataclass(frozen=True, kw_only=True)
class PromptReady(Event):
    """The words as they were really encoded.

    Attributes:
        expansion: What a language model added to them; empty when it could not; ``None`` when nobody asked it.
    """

    kind: ClassVar[str] = "prompt_ready"
    texts: tuple[str, ...] = ()
    negative_texts: tuple[str, ...] = ()
    expansion: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """``step`` of ``steps`` is done; ``seconds_left`` is an estimate, or ``None`` while unknown."""

    kind: ClassVar[str] = "progress"
    is_fact: ClassVar[bool] = False
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class Preview(Event):
    """What the picture looks like so far: a JPEG of at most 512 px."""

    kind: ClassVar[str] = "preview"
    is_fact: ClassVar[bool] = False
    picture_field: ClassVar[str] = "jpeg"
    step: int = 0
    jpeg: bytes = b""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, kw_only=True)
class ImageReady(Event):
    """The pixels: ``width * height * 3`` bytes of RGB, rows from the top. Never stored in the log."""

    kind: ClassVar[str] = "image_ready"
    is_fact: ClassVar[bool] = False
    picture_field: ClassVar[str] = "rgb"
    width: int = 0
    height: int = 0
    rgb: bytes = b""
    facts: dict[str, Any] = field(default_factory=dict)  # device, dtype, seconds, peak_memory_bytes


@dataclass(frozen=True, kw_only=True)
class ImageSaved(Event):
    """The picture is on disk, flushed and complete."""

    kind: ClassVar[str] = "image_saved"
    path: str = ""
    width: int = 0
    height: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """Terminal: it worked."""

    kind: ClassVar[str] = "finished"
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """Terminal: it did not; says what to do next."""

    kind: ClassVar[str] = "failed"
    code: str = "internal"
    problem: str = ""
    hint: str = ""
    field_name: str | None = None
    details: str = ""  # a traceback for the fold-out; never shown first


@dataclass(frozen=True, kw_only=True)
class Cancelled(Event):
    """Terminal: somebody asked for it to end."""

    kind: ClassVar[str] = "cancelled"


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        Queued, Downloading, Started, PromptReady, Progress, Preview,
        ImageReady, ImageSaved, Finished, Failed, Cancelled,
    )
}  # fmt: skip
TERMINAL: dict[str, State] = {"finished": "finished", "failed": "failed", "cancelled": "cancelled"}


def event_from_dict(data: dict[str, Any], picture: bytes = b"") -> Event:
    """The inverse of `Event.to_dict`."""
    cls = KINDS[data["kind"]]
    names = {f.name for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in names}
    if cls.picture_field:
        values[cls.picture_field] = picture
    return cls(**values)


@dataclass(frozen=True)
class Result:
    """Where a task stands; nobody else computes it."""

    state: State = "waiting"
    attempt: int = 0
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    waits_for: str = ""
    download: Downloading | None = None
    texts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    image_path: str | None = None
    width: int = 0
    height: int = 0
    error: dict[str, Any] | None = None
    seconds: float | None = None
    seq: int = 0

    def plus(self, event: Event) -> Result:
        """The result after one more event; late and foreign-to-the-end events change nothing."""
        if (event.seq and event.seq <= self.seq) or self.state in TERMINAL.values():
            return self
        changed = dataclasses.replace(self, seq=event.seq or self.seq)
        match event:
            case Queued():
                return dataclasses.replace(Result(seq=changed.seq), attempt=event.attempt, waits_for=event.waits_for)
            case Started():
                return dataclasses.replace(changed, state="running", attempt=event.attempt, waits_for="", download=None)
            case Downloading():
                return dataclasses.replace(changed, download=event)
            case PromptReady():
                return dataclasses.replace(changed, texts=event.texts, warnings=event.warnings)
            case Progress():
                return dataclasses.replace(
                    changed, step=event.step, steps=event.steps, seconds_left=event.seconds_left, download=None
                )
            case ImageSaved():
                return dataclasses.replace(
                    changed, image_path=event.path, width=event.width, height=event.height, seconds_left=None
                )
            case Finished():
                return dataclasses.replace(changed, state="finished", seconds=event.seconds, seconds_left=None)
            case Cancelled():
                return dataclasses.replace(changed, state="cancelled", seconds_left=None)
            case Failed():
                error = {"code": event.code, "problem": event.problem, "hint": event.hint, "field": event.field_name}
                return dataclasses.replace(changed, state="failed", error=error, seconds_left=None)
            case _:
                return changed


def fold(events: Iterable[Event]) -> Result:
    """Where the task stands after these events."""
    result = Result()
    for event in events:
        result = result.plus(event)
    return result
