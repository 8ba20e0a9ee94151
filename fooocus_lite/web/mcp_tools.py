"""What assistants can do here: the tools of ``/mcp``, without the protocol, which is in `mcp_server`."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.concurrency import run_in_threadpool
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fooocus_lite.errors import BadValue, NotFound
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import TERMINAL, Event, Progress
from fooocus_lite.library import Library
from fooocus_lite.plan import expand, parse_wish
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task
from fooocus_lite.user import User
from fooocus_lite.web.openai_schemas import MAX_PICTURES, parse_size
from fooocus_lite.web.orders import pictures_of

#: All pictures of one answer, before base64: assistants refuse answers of more than a megabyte.
MAX_ANSWER_BYTES = 700_000
SMALLER_SIDES = (1024, 768, 512, 256)
JPEG_QUALITY = 85
ROWS = 20
WORDS = 120
#: Tells how far it is: pictures drawn, of how many, in words.
Tell = Callable[[float, float, str], Awaitable[None]]


@dataclass(frozen=True)
class Shown:
    """A picture in an answer."""

    data: bytes
    mime_type: str


@dataclass(frozen=True)
class Answer:
    """What a tool says: words, and pictures."""

    text: str
    pictures: tuple[Shown, ...] = ()


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GenerateIn(_Input):
    """Arguments of `generate`."""

    prompt: str = Field(description="What the picture shows, in a few words.")
    negative_prompt: str | None = Field(default=None, description="What it must not show.")
    style: str | None = Field(default=None, description="A style, by a name that the tool `styles` lists.")
    preset: str | None = Field(default=None, description="A preset, by a name that the tool `styles` lists.")
    size: str | None = Field(default=None, description="WIDTHxHEIGHT in pixels; left out, what the model draws best.")
    seed: int | None = Field(default=None, ge=0, description="The same seed and words draw the same picture again.")
    count: int = Field(default=1, ge=1, le=MAX_PICTURES, description="How many pictures.")
    wait: bool = Field(default=True, description="False: answer at once; the tool `picture` then has the picture.")


class TaskIn(_Input):
    """Arguments of `picture` and `cancel`."""

    id: str = Field(description="The task's id, as `generate` and `queue` tell it.")


class NothingIn(_Input):
    """No arguments."""


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        run: Gets checked arguments, who asks, and a way to tell how far it is.
        is_reading: It changes nothing.
    """

    name: str
    about: str
    arguments: type[BaseModel]
    run: Callable[[Any, User, Tell], Awaitable[Answer]]
    is_reading: bool = True


class Tools:
    """The tools, over queue, log and library.

    Args:
        library: What can be chosen now.
        supply: Puts pictures in line.
    """

    def __init__(self, library: Callable[[], Library], queue: TaskQueue, log: EventLog, supply: Supply) -> None:
        self._library = library
        self._queue = queue
        self._log = log
        self._supply = supply
        rows = (
            Tool("generate", "Draw pictures from words; they are kept on this computer.", GenerateIn, self._generate,
                 is_reading=False),
            Tool("styles", "The styles and presets that `generate` knows.", NothingIn, self._styles),
            Tool("queue", "What is being drawn, and what waits.", NothingIn, self._show_queue),
            Tool("picture", "The picture of a task, or how far it is.", TaskIn, self._picture),
            Tool("cancel", "Cancel a task that waits or is being drawn.", TaskIn, self._cancel, is_reading=False),
        )  # fmt: skip
        self.rows = {row.name: row for row in rows}

    async def call(self, name: str, arguments: dict[str, Any], user: User, tell: Tell) -> Answer:
        """What a tool says.

        Raises:
            FooocusError: the arguments are wrong, or it cannot be done.
        """
        tool = self.rows.get(name)
        if tool is None:
            raise NotFound(f"There is no tool '{name[:40]}'.", f"There are {', '.join(self.rows)}.")
        try:
            checked = tool.arguments.model_validate(arguments)
        except ValidationError as exc:
            raise _wrong_argument(exc) from exc
        return await tool.run(checked, user, tell)

    async def _generate(self, asked: GenerateIn, user: User, tell: Tell) -> Answer:
        ids = await run_in_threadpool(self._submit, asked, user)
        if not asked.wait:
            return Answer(f"In line: {_listed(ids)}. Ask the tool `picture` for each.")
        try:
            for done, task_id in enumerate(ids):
                await self._follow(task_id, done, len(ids), tell)
        except asyncio.CancelledError:  # whoever asked wants it no more; nothing can be awaited in here
            asyncio.get_running_loop().run_in_executor(None, self._cancel_all, ids)
            raise
        return await run_in_threadpool(self._drawn, ids)

    def _submit(self, asked: GenerateIn, user: User) -> list[str]:
        library = self._library()
        fields = asked.model_dump(exclude_none=True, exclude={"style", "size", "wait"})
        styles = {"styles": [asked.style]} if asked.style else {}
        wish = parse_wish(fields | styles | parse_size(asked.size), library)
        recipes = expand(wish, library, secrets.randbelow(2**32))
        if len(recipes) > MAX_PICTURES:
            raise BadValue(f"That would be {len(recipes)} pictures.", f"Ask for at most {MAX_PICTURES}.", field="count")
        return self._supply.submit(recipes, library, owner=user.name)

    async def _follow(self, task_id: str, done: int, of: int, tell: Tell) -> None:
        told = float(done)  # only ever rises, as the protocol asks, also when a picture is begun again
        async for events in self._log.afollow(task_id):
            for event in events:
                share = done + _share(event)
                if share > told:
                    told = share
                    await tell(share, of, _how_far(event, done, of))

    def _cancel_all(self, ids: Sequence[str]) -> None:
        for task_id in ids:
            self._queue.cancel(task_id)

    def _drawn(self, ids: Sequence[str]) -> Answer:
        tasks = [self._queue.get(task_id) for task_id in ids]
        drawn = pictures_of(tasks)
        lines = [_about(task) for task in tasks]
        return Answer("\n".join(lines), fitting([Path(task.image_path or "") for task in drawn]))

    async def _styles(self, asked: NothingIn, user: User, tell: Tell) -> Answer:
        library = await run_in_threadpool(self._library)
        presets = {preset.name: preset.label for preset in library.presets.values()}
        return Answer(json.dumps({"styles": list(library.styles), "presets": presets}, ensure_ascii=False))

    async def _show_queue(self, asked: NothingIn, user: User, tell: Tell) -> Answer:
        return Answer(json.dumps(await run_in_threadpool(self._line, user), ensure_ascii=False))

    def _line(self, user: User) -> dict[str, Any]:
        drawing = [self._row(task) for task in self._queue.running(owner=user.sees)]
        waiting = [self._row(task) for task in self._queue.waiting(limit=ROWS, owner=user.sees)]
        in_all = self._queue.counts(owner=user.sees)["waiting"]
        return {"drawing": drawing, "waiting": waiting, "waiting_in_all": in_all}

    def _row(self, task: Task) -> dict[str, Any]:
        steps = [event for event in self._log.latest(task.id) if isinstance(event, Progress)]
        row: dict[str, Any] = {"id": task.id, "prompt": task.recipe.prompt[:WORDS]}
        row |= {"place": task.position} if task.position else {}
        row |= {"waits_for": task.waits_for} if task.waits_for else {}
        return row | ({"step": steps[-1].step, "steps": steps[-1].steps} if steps else {})

    async def _picture(self, asked: TaskIn, user: User, tell: Tell) -> Answer:
        task = await run_in_threadpool(lambda: self._queue.get(asked.id, owner=user.sees))
        if task.state in TERMINAL.values():
            return await run_in_threadpool(self._drawn, [task.id])
        return Answer(json.dumps({"state": task.state} | self._row(task), ensure_ascii=False))

    async def _cancel(self, asked: TaskIn, user: User, tell: Tell) -> Answer:
        is_news = await run_in_threadpool(lambda: self._queue.cancel(asked.id, owner=user.sees))
        return Answer("It is cancelled." if is_news else "It had already ended.")


def _wrong_argument(exc: ValidationError) -> BadValue:
    first = exc.errors(include_url=False)[0]
    field = str(first["loc"][0])[:60] if first["loc"] else "arguments"
    given = "" if first["type"] == "missing" else f" ({str(first['input'])[:40]!r})"
    return BadValue(f"{field} cannot be used{given}: {first['msg']}.", "See the tool's schema.", field=field)


def _share(event: Event) -> float:
    """How much of its picture is done."""
    if isinstance(event, Progress):
        return 0.99 * event.step / max(event.steps, 1)
    return 1.0 if event.kind in TERMINAL else 0.0


def _how_far(event: Event, done: int, of: int) -> str:
    which = f"picture {done + 1} of {of}"
    return f"{which}: step {event.step} of {event.steps}" if isinstance(event, Progress) else f"{which}: {event.kind}"


def _about(task: Task) -> str:
    if task.error:
        return f"Task {task.id} failed: {task.error['problem']} {task.error.get('hint', '')}".strip()
    if not task.image_path:
        return f"Task {task.id} was cancelled."
    file = "/".join(Path(task.image_path).parts[-2:])
    return f"Task {task.id}: seed {task.recipe.seed}, {task.width}×{task.height}, saved as {file}."


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids)


def fitting(paths: Sequence[Path]) -> tuple[Shown, ...]:
    """The pictures as they are, or as JPEG and smaller where together they would be too much for an assistant.

    Raises:
        NotFound: one of them is gone.
    """
    shown: list[Shown] = []
    try:
        files = [path.read_bytes() for path in paths]
        if sum(map(len, files)) <= MAX_ANSWER_BYTES:
            return tuple(Shown(data, f"image/{_kind(data)}") for data in files)
        for data in files:
            shown.append(Shown(_smaller(data, MAX_ANSWER_BYTES // len(files)), "image/jpeg"))
    except OSError as exc:
        hint = "It was moved or deleted outside this program."
        raise NotFound("A picture that was drawn is gone.", hint) from exc
    return tuple(shown)


def _kind(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as picture:
        return (picture.format or "png").lower()


def _smaller(data: bytes, max_bytes: int) -> bytes:
    with Image.open(io.BytesIO(data)) as picture:
        plain = picture.convert("RGB")
    encoded = b""
    for side in (max(plain.size), *SMALLER_SIDES):
        plain.thumbnail((side, side))
        buffer = io.BytesIO()
        plain.save(buffer, "JPEG", quality=JPEG_QUALITY)
        encoded = buffer.getvalue()
        if len(encoded) <= max_bytes:
            break
    return encoded


def to_base64(shown: Shown) -> str:
    """Its bytes as text."""
    return base64.b64encode(shown.data).decode("ascii")
