"""The part of `fooocus_lite.client` that looks at the queue of a server and changes it."""

from __future__ import annotations

import contextlib
import http.client
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

from fooocus_lite.errors import FooocusError
from fooocus_lite.events import State

PAGE = 100
T = TypeVar("T", "RemotePicture", "RemoteRepeat")


@dataclass(frozen=True)
class RemotePicture:
    """A picture in a list of the queue.

    Attributes:
        index: It is this one of the ``of`` pictures of its batch.
        words: How its prompt begins.
        waits_for: Name of the download that it waits for.
        revision: How often it was edited.
        seconds: About how long it takes, while it waits; ``None`` before that was measured.
        took: Seconds that it took, once it has ended.
        error: Why it failed.
    """

    id: str
    batch_id: str
    index: int
    of: int
    state: State
    words: str
    width: int
    height: int
    seed: int | None
    label: str | None = None
    waits_for: str | None = None
    revision: int = 0
    seconds: float | None = None
    took: float | None = None
    error: FooocusError | None = None


@dataclass(frozen=True)
class RemoteGroup:
    """What waits of one batch.

    Attributes:
        first: The picture of it that is next.
        held: How many of those that wait do so for files.
        seconds: About how long they take; ``None`` before that was measured.
        seconds_left: About when the last of them is done, from now on; likewise, and while they wait for files.
    """

    batch_id: str
    first: RemotePicture
    waiting: int
    held: int
    seconds: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class RemoteRepeat:
    """A recipe that is drawn again and again.

    Attributes:
        times: Rounds that were asked for; ``None`` = until it is ended.
        rounds: Rounds put in line so far; ``begun`` of them were begun.
        state: ``on``; ``waiting`` for a new day or ``stopped``, both by the error.
        owner: Name of the user who asked for it; empty where there are no users.
    """

    id: str
    words: str
    times: int | None
    rounds: int
    begun: int
    batch_id: str | None
    state: str
    error: FooocusError | None = None
    owner: str = ""


@dataclass(frozen=True)
class RemoteQueue:
    """The numbers of the line.

    Attributes:
        batches: How many batches wait, with so many pictures ``waiting``, ``held`` of them for files.
        seconds_left: About how long all of it takes; ``None`` before that was measured.
    """

    batches: int
    waiting: int
    held: int
    paused: bool
    seconds_left: float | None


class QueueCalls(ABC):
    """What a client can ask of the queue. Tasks are named by ``ids``, or by ``batch_id`` all that wait of a batch."""

    @abstractmethod
    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any: ...

    @abstractmethod
    def _post_once(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any: ...

    @abstractmethod
    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> contextlib.AbstractContextManager[http.client.HTTPResponse]: ...

    def queue(self) -> RemoteQueue:
        """How much waits, and whether the queue is paused."""
        said = self._json("GET", "/v1/queue?limit=1")
        return RemoteQueue(**{field.name: said[field.name] for field in fields(RemoteQueue)})

    def line(self) -> Iterator[RemoteGroup]:
        """The batches that wait, next first; asks for more as they are looked at."""
        for group in self._pages("/v1/queue", "groups", "after"):
            said: dict[str, Any] = {field.name: group[field.name] for field in fields(RemoteGroup)}
            said["first"] = _read(RemotePicture, group["first"])
            yield RemoteGroup(**said)

    def waiting(self, batch_id: str) -> Iterator[RemotePicture]:
        """The pictures that wait of a batch, next first; likewise."""
        path = f"/v1/queue/batches/{quote(batch_id, safe='')}"
        yield from (_read(RemotePicture, row) for row in self._pages(path, "tasks", "after"))

    def history(self, state: State | None = None) -> Iterator[RemotePicture]:
        """What has ended, newest first, or what ended so; likewise."""
        path = "/v1/history" + (f"?state={state}" if state else "")
        yield from (_read(RemotePicture, row) for row in self._pages(path, "tasks", "before"))

    def move(
        self,
        ids: Sequence[str] | None = None,
        *,
        batch_id: str | None = None,
        to: Literal["first", "last"] | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> int:
        """Move pictures in the order named, or a batch; how many. What is being drawn already stays.

        Args:
            before: The picture, or for a batch the batch, that they come before; ``after`` likewise.
        """
        where = {"to": to, "before": before, "after": after}
        return self._json("POST", "/v1/queue/move", {"ids": ids, "batch_id": batch_id} | where)["moved"]

    def edit(self, task_id: str, revision: int | None = None, **changes: Any) -> int:
        """Change fields of a waiting picture's recipe; its new revision. ``None`` lets the app decide.

        Args:
            revision: As it was read; when left out, whatever it is now.
        """
        path = f"/v1/tasks/{quote(task_id, safe='')}"
        known = self._json("GET", path)["revision"] if revision is None else revision
        return self._json("PATCH", path, {"recipe": changes, "revision": known})["revision"]

    def edit_all(
        self, ids: Sequence[str] | None = None, *, batch_id: str | None = None, **changes: Any
    ) -> dict[str, FooocusError]:
        """Change the same fields of waiting pictures, of all at once; why which of them stayed as it is, by id.

        Each keeps its seed, unless ``seed=None`` gives each a new one.
        """
        wish = {"ids": ids, "batch_id": batch_id, "recipe": changes}
        return {one["id"]: error_of(one["error"]) for one in self._json("POST", "/v1/queue/edit", wish)["stayed"]}

    def duplicate(
        self, ids: Sequence[str] | None = None, *, batch_id: str | None = None, new_seed: bool = False
    ) -> list[str]:
        """Draw pictures once more, the same or with other seeds; the copies' ids."""
        wish = {"ids": ids, "batch_id": batch_id, "new_seed": new_seed}
        return self._post_once("/v1/queue/duplicate", wish)["ids"]

    def cancel_waiting(self, ids: Sequence[str] | None = None, *, batch_id: str | None = None) -> int:
        """Take pictures out of the line; how many that were. What is drawn goes on."""
        return self._json("POST", "/v1/queue/cancel", {"ids": ids, "batch_id": batch_id})["cancelled"]

    def pause(self) -> None:
        """Begin nothing new, until `resume`; also over a restart of the server."""
        self._json("POST", "/v1/queue/pause")

    def resume(self) -> None:
        """Go on."""
        self._json("POST", "/v1/queue/resume")

    def repeat(self, prompt: str = "", *, times: int | None = None, **recipe: Any) -> RemoteRepeat:
        """Draw a recipe with new seeds so many times, or until `end_repeat`."""
        wish = {"recipe": {"prompt": prompt} | recipe, "times": times}
        return _read(RemoteRepeat, self._post_once("/v1/repeats", wish))

    def repeats(self) -> list[RemoteRepeat]:
        """What is repeated, and what an error stopped."""
        return [_read(RemoteRepeat, said) for said in self._json("GET", "/v1/repeats")["repeats"]]

    def end_repeat(self, repeat_id: str) -> int:
        """Repeat it no more; how many pictures of the round that nobody has begun were cancelled."""
        return self._json("DELETE", f"/v1/repeats/{quote(repeat_id, safe='')}")["cancelled"]

    def export_queue(self, form: Literal["json", "text"] = "json") -> str:
        """What waits, as the text of a file: whole recipes, or one prompt a line."""
        with self._ask("GET", f"/v1/queue/export?form={form}") as answer:
            return answer.read().decode()

    def import_queue(self, text: str, **recipe: Any) -> list[str]:
        """Put a file in line, all of it or nothing; the tasks' ids.

        Args:
            text: What `export_queue` gave, or one prompt a line; ``#`` begins a comment.
            recipe: What the prompts of a text are drawn with.
        """
        return self._post_once("/v1/queue/import", {"text": text, "recipe": recipe})["ids"]

    def _pages(self, path: str, rows: str, cursor: str) -> Iterator[dict[str, Any]]:
        after: str | None = None
        while True:
            asked = urlencode({"limit": PAGE} | ({} if after is None else {cursor: after}))
            page = self._json("GET", f"{path}{'&' if '?' in path else '?'}{asked}")
            yield from page[rows]
            after = page["next"]
            if after is None:
                return


def _read(kind: type[T], said: Mapping[str, Any]) -> T:
    """The value from an answer; a newer server may say more."""
    values: dict[str, Any] = {field.name: said[field.name] for field in fields(kind) if field.name in said}
    values["error"] = error_of(said["error"]) if said.get("error") else None
    return kind(**values)


def error_of(said: Mapping[str, Any]) -> FooocusError:
    """The server's error as ours."""
    return FooocusError(said["problem"], said.get("hint") or "", code=said["code"], field=said.get("field"))
