"""What the page follows: a snapshot first, then what changed, each message small and whole by itself.

A reloaded page or a second tab begins with the snapshot and so is where the first one is. Nothing
here grows with history: the snapshot holds the head of the line, a message holds one task.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import (
    NOT_EXPANDED,
    Cancelled,
    Event,
    Failed,
    Finished,
    Preview,
    Progress,
    PromptReady,
    Queued,
    Started,
)
from fooocus_lite.memory import STEPPED_DOWN
from fooocus_lite.recipe import MAX_SEED
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task
from fooocus_lite.web.model_schemas import download_out
from fooocus_lite.web.schemas import Problem, QueueHead, QueueRow, picture_out

HEARTBEAT_S = 15.0
ROWS = 100
MANY = 20  # tasks that come or go at once, from which on a page is sent the line instead of each of them
WORDS = 120
SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Live:
    """Reads queue, log and dispatcher for the page."""

    def __init__(self, queue: TaskQueue, log: EventLog, dispatcher: Dispatcher, supply: Supply | None = None) -> None:
        self._queue = queue
        self._log = log
        self._dispatcher = dispatcher
        self._supply = supply

    async def page_messages(self) -> AsyncIterator[str]:
        """Server-Sent Events for the page; never ends by itself."""
        shown = self._log.last_seq()  # before the state is read: what happens meanwhile is told again, never missed
        standing, downloads = self._standing(), self._downloads()
        yield "retry: 1000\n" + sse(await asyncio.to_thread(self.snapshot))
        async for events in self._log.afollow(after=shown, heartbeat_s=HEARTBEAT_S):
            moves = {event.seq for event in events if isinstance(event, Queued | Cancelled)}
            if self._standing() != standing or sum(seq > shown for seq in moves) >= MANY:
                shown, standing = self._log.last_seq(), self._standing()  # before the state is read, as above
                yield sse(await asyncio.to_thread(self._line))
            elif not events:
                yield ": still here\n\n"
            if (newest := self._downloads()) != downloads:
                downloads = newest
                yield sse({"type": "downloads", "downloads": downloads})
            for event in events:
                is_told = event.seq in moves and event.seq <= shown
                if not is_told and (message := await self._message(event)) is not None:
                    yield sse(message)

    async def task_events(self, task_id: str, after: int) -> AsyncIterator[str]:
        """Server-Sent Events of one task; ends after its last event."""
        async for events in self._log.afollow(task_id, after=after, heartbeat_s=HEARTBEAT_S):
            yield "".join(map(_as_told, events)) or ": still here\n\n"

    def snapshot(self) -> dict[str, Any]:
        """All that a page needs to show the present."""
        running, head = self._queue.running(), self.head()
        latest = [event for task in running for event in self._log.latest(task.id)]
        previews = [event for event in latest if isinstance(event, Preview)]
        return {
            "type": "snapshot",
            "rows": [row.model_dump() for row in (*self._rows(running), *head.tasks)],
            "progress": [_progress(event) for event in latest if isinstance(event, Progress)],
            "preview": _preview(previews[-1]) if previews else None,
            "last_failure": self._last_failure(),
            "downloads": self._downloads(),
        } | self._now()

    def _downloads(self) -> list[dict[str, Any]]:
        return [download_out(one).model_dump() for one in self._supply.newest] if self._supply else []

    def _last_failure(self) -> dict[str, Any] | None:
        """What a page says of the last picture if that failed, so that a reload does not hide it."""
        task = self._queue.last_failure()
        if task is None:
            return None
        details = [event.details for event in self._log.facts(task.id) if isinstance(event, Failed)]
        return {"task": self._rows([task])[0].model_dump(), "details": details[-1] if details else ""}

    def _line(self) -> dict[str, Any]:
        """What runs and waits, for a page that knows the rest: one message for thousands of tasks that came or went."""
        rows = (*self._rows(self._queue.running()), *self.head().tasks)
        return {"type": "line", "rows": [row.model_dump() for row in rows]} | self._now()

    def head(self) -> QueueHead:
        """The head of the line, next first."""
        rows = self._rows(self._queue.waiting(limit=ROWS))
        return QueueHead(tasks=rows, waiting=self._queue.counts()["waiting"], held=self._queue.held_count())

    async def _message(self, event: Event) -> dict[str, Any] | None:
        if isinstance(event, Progress):
            return _progress(event) | {"type": "progress"}
        if isinstance(event, Preview):
            return _preview(event) | {"type": "preview"}
        if isinstance(event, Queued | Started | PromptReady | Finished | Failed | Cancelled):
            return await asyncio.to_thread(self._task_message, event)
        return None

    def _task_message(self, event: Event) -> dict[str, Any] | None:
        task = self._queue.find(event.task_id)
        if task is None:
            return None
        message: dict[str, Any] = {"type": "task", "task": self._rows([task])[0].model_dump()} | self._now()
        if isinstance(event, Finished) and task.image_path:
            message["picture"] = picture_out(task).model_dump(mode="json")
        if isinstance(event, PromptReady):
            notes = [words for words in event.warnings if words.startswith((NOT_EXPANDED, STEPPED_DOWN))]
            message |= {"notes": notes} if notes else {}
        if isinstance(event, Failed):
            message["details"] = event.details
        return message

    def _now(self) -> dict[str, Any]:
        """Numbers that every queue change may change."""
        trouble = self._dispatcher.trouble
        keys = ("name", "state", "machine", "problem", "device", "device_name", "models")
        keys += ("total_memory_bytes", "free_memory_bytes")
        return {
            "waiting": self._queue.counts()["waiting"],
            "held": self._queue.held_count(),
            "seconds_left": self._dispatcher.seconds_left(),
            "workers": [{key: worker.get(key) for key in keys} for worker in self._dispatcher.workers()],
            "trouble": trouble.to_dict() if trouble else None,
        }

    def _standing(self) -> tuple[object, ...]:
        """What changes without a fact: trouble, and what a worker says of its device once it is loaded."""
        trouble = self._dispatcher.trouble
        workers = self._dispatcher.workers()
        devices = [(one["name"], one.get("device"), one.get("device_name"), one["state"] == "away") for one in workers]
        return (trouble and trouble.problem, *devices)

    def _rows(self, tasks: Iterable[Task]) -> list[QueueRow]:
        batches: dict[str, list[str]] = {}
        rows: list[QueueRow] = []
        for task in tasks:
            if task.batch_id not in batches:
                batches[task.batch_id] = self._queue.batch(task.batch_id)
            batch = batches[task.batch_id]
            rows.append(_row(task, batch.index(task.id) + 1 if task.id in batch else 1, len(batch)))
        return rows


def _as_told(event: Event) -> str:
    body = event.to_dict()
    if isinstance(event, Preview):
        body["jpeg"] = base64.b64encode(event.jpeg).decode("ascii")
    # Only facts can be replayed, so only they get an id that a client may come back with.
    return sse(body, name=event.kind, number=event.seq if event.is_fact else None)


def _row(task: Task, index: int, of: int) -> QueueRow:
    recipe = task.recipe
    return QueueRow(
        id=task.id,
        batch_id=task.batch_id,
        index=index,
        of=of,
        state=task.state,
        words=recipe.prompt[:WORDS],
        styles=list(recipe.styles or ())[:3],
        width=recipe.width or 1,
        height=recipe.height or 1,
        seed=recipe.seed if recipe.seed is not None and recipe.seed <= MAX_SEED else None,
        label=task.label,
        cancelling=task.cancel_requested,
        waits_for=task.waits_for,
        error=Problem(**task.error) if task.error else None,
    )


def _progress(event: Progress) -> dict[str, Any]:
    return {"id": event.task_id, "step": event.step, "steps": event.steps, "seconds_left": event.seconds_left}


def _preview(event: Preview) -> dict[str, Any]:
    jpeg = base64.b64encode(event.jpeg).decode("ascii")
    return {"id": event.task_id, "step": event.step, "jpeg": jpeg, "width": event.width, "height": event.height}


def sse(data: dict[str, Any], *, name: str | None = None, number: int | None = None) -> str:
    """One Server-Sent Event."""
    lines = [f"id: {number}"] if number is not None else []
    lines += [f"event: {name}"] if name else []
    lines.append(f"data: {json.dumps(data, separators=(',', ':'))}")
    return "\n".join(lines) + "\n\n"
