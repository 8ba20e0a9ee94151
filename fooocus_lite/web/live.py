"""What the page follows: a snapshot first, then what changed, each message small and whole by itself.

A reloaded page or a second tab begins with the snapshot and so is where the first one is. Nothing
here grows with history: the snapshot holds the head of the line, a message holds one task. What many are told is made
once (`fooocus_lite.web.shared_texts`), and what one look finds leaves as one piece.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.download_state import Download
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
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task
from fooocus_lite.user import User
from fooocus_lite.web.line_pages import LinePages
from fooocus_lite.web.model_schemas import download_out
from fooocus_lite.web.queue_schemas import repeat_out
from fooocus_lite.web.schemas import picture_out
from fooocus_lite.web.shared_texts import SharedTexts
from fooocus_lite.web.who import IsStill

HEARTBEAT_S = 15.0
ROWS = 100
MANY = 20  # tasks that come or go at once, from which on a page is sent the line instead of each of them
WORDS = 120
OWNERS = 10_000  # of so many tasks it is kept in mind who sees them
STILL_HERE = ": still here\n\n"
SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

#: What `Live` watches besides the facts.
Standing = tuple[object, ...]


@dataclass
class _Page:
    """What one follower knows.

    Attributes:
        seq: What it was told of the line holds all facts up to this one.
        standing: The `Standing` that it was told of; ``None``: it has to be told again.
        moment: When the newest that it was told had been read: nothing from before is told to it any more.
    """

    user: User
    seq: int
    standing: Standing | None
    downloads: tuple[Download, ...]
    moment: int = 0


class Live:
    """Reads queue, log and dispatcher for the page."""

    def __init__(
        self,
        queue: TaskQueue,
        log: EventLog,
        dispatcher: Dispatcher,
        supply: Supply | None = None,
    ) -> None:
        self._queue = queue
        self._log = log
        self._dispatcher = dispatcher
        self._supply = supply
        self.pages = LinePages(queue, log, dispatcher)
        self._owners: dict[str, str | None] = {}  # of tasks that were told of lately
        self._texts = SharedTexts[tuple[str, Standing]]()

    async def page_messages(self, user: User, is_still: IsStill = lambda: True) -> AsyncGenerator[str]:
        """Server-Sent Events for a user's page; ends only when the user is no longer let in, or has other rights."""
        # Before the state is read: what happens meanwhile is told again, never missed.
        nudges = self._log.nudges
        page = _Page(user, self._log.last_seq(), self._standing(), self._newest_downloads())
        snapshot = await asyncio.to_thread(self.snapshot, user)
        page.moment = self._texts.moment()
        yield "retry: 1000\n" + sse(snapshot)
        spoke_at = time.monotonic()
        async for told in self._log.afollow(after=page.seq, nudges=nudges, heartbeat_s=HEARTBEAT_S):
            if not is_still():
                return
            news = await self._news(page, told)
            if news or not told or time.monotonic() - spoke_at > HEARTBEAT_S:
                yield news or STILL_HERE
                spoke_at = time.monotonic()

    async def task_events(self, task_id: str, after: int, is_still: IsStill = lambda: True) -> AsyncGenerator[str]:
        """Server-Sent Events of one task; ends after its last event, or when who asked is no longer let in."""
        async for events in self._log.afollow(task_id, after=after, heartbeat_s=HEARTBEAT_S):
            if not is_still():
                return
            texts = [self._texts.fixed(("event", event.seq), partial(_as_told, event)) for event in events]
            yield "".join(texts) or STILL_HERE

    async def _news(self, page: _Page, told: list[Event]) -> str:
        """What a page has to hear, as one text; empty if that is nothing."""
        events = await self._seen_by(page.user, told)
        seen, parts, moment = {event.seq for event in events}, list[str](), page.moment
        moves = {event.seq for event in events if isinstance(event, Queued | Cancelled)}
        if self._standing() != page.standing or sum(seq > page.seq for seq in moves) >= MANY:
            page.seq, page.standing = self._log.last_seq(), self._standing()  # before the state is read, as above
            parts.append(await self._state(page, ("line", page.seq), self._line))
        if (downloads := self._newest_downloads()) != page.downloads:
            page.downloads = downloads
            parts.append(self._texts.fixed(downloads, lambda: sse(_downloads(downloads) | {"type": "downloads"})))
        ends = {event.seq for event in events if isinstance(event, Cancelled)}
        untold = ends if len(ends) < MANY else set[int]()  # a line does not say what left it
        for event in events:
            if event.seq not in moves or event.seq > page.seq or event.seq in untold:
                parts.append(await self._about(event, page))
        # Others' tasks come and go, and nothing that was told holds the numbers.
        if page.moment == moment and any(event.is_fact and event.seq not in seen for event in told):
            parts.append(await self._state(page, ("numbers", self._log.last_seq()), self._changed_numbers))
        return "".join(parts)

    async def _state(self, page: _Page, key: Hashable, make: Callable[[User], dict[str, Any] | None]) -> str:
        """A message that holds something of the present, made once for all who see the same and know no more."""

        def read() -> tuple[str, Standing]:
            message = make(page.user)
            return sse(message) if message else "", self._standing()

        page.moment, (text, standing) = await self._texts.reading(
            (key, page.user.sees, page.standing), read, since=page.moment
        )
        if standing != page.standing:  # it changed meanwhile: who knows which one was read
            page.standing = None
        return text

    async def _seen_by(self, user: User, events: list[Event]) -> list[Event]:
        """Those about tasks that the user sees."""
        if user.is_admin:
            return events
        owners = self._owners
        unknown = {event.task_id for event in events if event.task_id not in owners}
        if unknown:
            owners = await asyncio.to_thread(self._owners_with, unknown)
        return [event for event in events if owners.get(event.task_id) == user.name]

    def _owners_with(self, ids: Iterable[str]) -> dict[str, str | None]:
        owners = self._owners if len(self._owners) < OWNERS else {}  # another thread may still read the old one
        owners.update({task_id: self._queue.owner_of(task_id) for task_id in ids})
        self._owners = owners
        return owners

    def snapshot(self, user: User) -> dict[str, Any]:
        """All that a user's page needs to show the present."""
        running = self._queue.running(owner=user.sees)
        latest = [event for task in running for event in self._log.latest(task.id)]
        previews = [event for event in latest if isinstance(event, Preview)]
        return (
            {
                "type": "snapshot",
                "user": {"name": user.name, "is_admin": user.is_admin},
                "rows": self._rows(running, user),
                "progress": [_progress(event) for event in latest if isinstance(event, Progress)],
                "preview": _preview(previews[-1]) if previews else None,
                "last_failure": self._last_failure(user),
            }
            | _downloads(self._newest_downloads())
            | self._now(user)
        )

    def _newest_downloads(self) -> tuple[Download, ...]:
        return self._supply.newest if self._supply else ()

    def _last_failure(self, user: User) -> dict[str, Any] | None:
        """What a page says of the last picture if that failed, so that a reload does not hide it."""
        task = self._queue.last_failure(owner=user.sees)
        if task is None:
            return None
        details = [event.details for event in self._log.facts(task.id) if isinstance(event, Failed)]
        return {"task": self.pages.rows([task])[0].model_dump(), "details": details[-1] if details else ""}

    def _line(self, user: User) -> dict[str, Any]:
        """What runs and waits, for a page that knows the rest: one message for thousands of tasks that came or went."""
        return {"type": "line", "rows": self._rows(self._queue.running(owner=user.sees), user)} | self._now(user)

    def _changed_numbers(self, user: User) -> dict[str, Any]:
        return {"type": "numbers"} | self._now(user)

    def _rows(self, running: Sequence[Task], user: User) -> list[dict[str, Any]]:
        rows = self.pages.rows([*running, *self._queue.waiting(limit=ROWS, owner=user.sees)])
        return [row.model_dump() for row in rows]

    def _numbers(self, user: User) -> dict[str, int]:
        return {
            "waiting": self._queue.counts(owner=user.sees)["waiting"],
            "held": self._queue.held_count(owner=user.sees),
            "ahead": 0 if user.is_admin else self._queue.ahead(user.name),
        }

    async def _about(self, event: Event, page: _Page) -> str:
        if isinstance(event, Progress):
            return self._texts.fixed(event.seq, lambda: sse(_progress(event) | {"type": "progress"}))
        if isinstance(event, Preview):
            return self._texts.fixed(event.seq, lambda: sse(_preview(event) | {"type": "preview"}))
        if isinstance(event, Queued | Started | PromptReady | Finished | Failed | Cancelled):
            return await self._state(page, event.seq, partial(self._task_message, event))
        return ""

    def _task_message(self, event: Event, user: User) -> dict[str, Any] | None:
        task = self._queue.find(event.task_id)
        if task is None:
            return None
        message: dict[str, Any] = {"type": "task", "task": self.pages.rows([task])[0].model_dump()} | self._now(user)
        if isinstance(event, Finished | Failed | Cancelled):
            # The row may say so in an earlier event's message too, where several are told in one look.
            message["has_ended"] = True
        if isinstance(event, Finished) and task.image_path:
            message["picture"] = picture_out(task).model_dump(mode="json")
        if isinstance(event, PromptReady):
            notes = [words for words in event.warnings if words.startswith((NOT_EXPANDED, STEPPED_DOWN))]
            message |= {"notes": notes} if notes else {}
        if isinstance(event, Failed):
            message["details"] = event.details
        return message

    def _now(self, user: User) -> dict[str, Any]:
        """Numbers that every queue change may change."""
        trouble = self._dispatcher.trouble
        keys = ("name", "state", "machine", "problem", "device", "device_name", "models")
        keys += ("total_memory_bytes", "free_memory_bytes")
        return self._numbers(user) | {
            "places": self._queue.places(owner=user.sees, limit=ROWS),
            "seconds_left": self._dispatcher.seconds_left(owner=user.sees),
            "workers": [{key: worker.get(key) for key in keys} for worker in self._dispatcher.workers()],
            "trouble": trouble.to_dict() if trouble else None,
            "paused": self._queue.is_paused,
            "version": self._queue.version,
            "repeats": [repeat_out(repeat).model_dump() for repeat in self._queue.repeats(user.sees)],
        }

    def _standing(self) -> Standing:
        """What changes without a fact: order and switches, trouble, what a worker says of its device once loaded."""
        trouble = self._dispatcher.trouble
        workers = self._dispatcher.workers()
        devices = [(one["name"], one.get("device"), one.get("device_name"), one["state"] == "away") for one in workers]
        return (self._queue.version, trouble and trouble.problem, *devices)


def _as_told(event: Event) -> str:
    body = event.to_dict()
    if isinstance(event, Preview):
        body["jpeg"] = base64.b64encode(event.jpeg).decode("ascii")
    # Only facts can be replayed, so only they get an id that a client may come back with.
    return sse(body, name=event.kind, number=event.seq if event.is_fact else None)


def _downloads(newest: Sequence[Download]) -> dict[str, Any]:
    return {"downloads": [download_out(one).model_dump() for one in newest]}


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
