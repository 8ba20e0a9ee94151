"""What happened, in order: facts in SQLite, the newest progress and preview in memory.

A follower holds no buffer. It is woken, reads the facts it has not seen from SQLite and looks at the
slots, so a slow one costs the writer nothing, and memory does not grow with followers or history.
"""

from __future__ import annotations

import asyncio
import collections
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from fooocus_lite.database import Database, Transaction
from fooocus_lite.errors import NotFound
from fooocus_lite.events import TERMINAL, Event, event_from_dict

READ_AT_ONCE = 256
_TERMINAL_KINDS = ", ".join(f"'{kind}'" for kind in TERMINAL)


@dataclass
class _Cursor:
    """How far one follower has read."""

    task_id: str | None
    fact_seq: int
    checked_seq: int = -1
    slot_seq: int = 0
    ended: bool = False

    @property
    def seen_seq(self) -> int:
        """It needs no fact up to this one."""
        return max(self.fact_seq, self.checked_seq)


@dataclass(eq=False)
class _Waker:
    loop: asyncio.AbstractEventLoop
    news: asyncio.Event
    is_called: bool = False


class _Publication:
    """The facts of one write: thousands that come together are news once."""

    def __init__(self, publish: Callable[[list[Event]], None]) -> None:
        self._publish = publish
        self.facts: list[Event] = []

    def __call__(self) -> None:
        self._publish(self.facts)


class EventLog:
    """Facts are appended for good; the other events only replace the one before."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news = threading.Condition()
        self._wakers: set[_Waker] = set()
        self._slots: dict[str, dict[str, Event]] = {}
        self._closed = False
        self._version = 0
        self._nudges = 0
        self._fact_seq = database.read("SELECT coalesce(max(seq), 0) FROM events")[0][0]
        # Who follows live asks for what came a moment ago: that is told from memory.
        self._recent: collections.deque[Event] = collections.deque()
        self._forgotten_seq = self._fact_seq  # of the newest fact that is on disk only
        # Dropped events take numbers too, and they are nowhere on disk. Microseconds outrun any rate of events,
        # so starting from the clock keeps numbers rising over restarts (and exact in JavaScript until 2255).
        self._seq = max(self._fact_seq, int(time.time() * 1_000_000))

    def append(self, task_id: str, event: Event) -> Event:
        """The event with its number; a fact is on disk when this returns."""
        if event.is_fact:
            with self._database.write() as transaction:
                return self.record(transaction, task_id, event)
        stamped = event.stamped(task_id, self._next_seq())
        with self._news:
            self._slots.setdefault(task_id, {})[event.kind] = stamped
            self._wake()
        return stamped

    def record(self, transaction: Transaction, task_id: str, fact: Event) -> Event:
        """A fact as part of a larger write: it is published, with the write's others, when that is committed."""
        stamped = fact.stamped(task_id, self._next_seq())
        transaction.execute(
            "INSERT INTO events (seq, task_id, kind, body) VALUES (?, ?, ?, ?)",
            (stamped.seq, task_id, stamped.kind, json.dumps(stamped.to_dict())),
        )
        publication = next((call for call in transaction.callbacks if isinstance(call, _Publication)), None)
        if publication is None:
            publication = _Publication(self._publish)
            transaction.after_commit(publication)
        publication.facts.append(stamped)
        return stamped

    def facts(self, task_id: str | None = None, *, after: int = 0, limit: int = READ_AT_ONCE) -> list[Event]:
        """Facts numbered above ``after``, oldest first."""
        return self._facts(task_id, after, self._fact_seq, limit)

    def _facts(self, task_id: str | None, after: int, until: int, limit: int = READ_AT_ONCE) -> list[Event]:
        where, values = ("task_id = ? AND ", [task_id]) if task_id is not None else ("", [])
        rows = self._database.read(
            f"SELECT body FROM events WHERE {where}seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            [*values, after, until, limit],
        )
        return [event_from_dict(json.loads(row["body"])) for row in rows]

    def latest(self, task_id: str) -> tuple[Event, ...]:
        """The newest `Progress`, `Preview` and `Downloading` of a running task, oldest first."""
        with self._news:
            return tuple(sorted(self._slots.get(task_id, {}).values(), key=lambda event: event.seq))

    def last_seq(self) -> int:
        """Number of the newest fact: read the state, then follow ``after`` this."""
        return self._fact_seq

    def follow(
        self,
        task_id: str | None = None,
        *,
        after: int = 0,
        heartbeat_s: float | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event | None]:
        """Facts above ``after``, then what happens live; ends after the task's last event or when the log closes.

        Or when ``should_stop`` says so; it is asked when anything happens, and at a `nudge`.

        Progress and previews come at most once each and only the newest. ``None`` comes after
        ``heartbeat_s`` seconds of silence (never, if that is ``None``).

        Raises:
            NotFound: no such task.
        """
        cursor = self._begin(task_id, after)
        while not cursor.ended:
            seen = self._version
            events = self._take(cursor)
            yield from events
            if self._closed or should_stop():
                return
            if not events and not cursor.ended:
                with self._news:
                    woken = self._news.wait_for(lambda seen=seen: self._version != seen, heartbeat_s)
                if not woken:
                    yield None

    async def afollow(
        self, task_id: str | None = None, *, after: int = 0, heartbeat_s: float | None = None
    ) -> AsyncIterator[list[Event]]:
        """`follow` for asyncio, by what is new at one look: at most `READ_AT_ONCE` facts.

        Silence is ``[]``, and so is a `nudge`.
        """
        waker = _Waker(asyncio.get_running_loop(), asyncio.Event())
        with self._news:
            self._wakers.add(waker)
        try:
            nudges = self._nudges
            cursor = await asyncio.to_thread(self._begin, task_id, after)
            while not cursor.ended:
                waker.is_called = False
                waker.news.clear()
                reads_disk = self._forgotten_seq > cursor.seen_seq
                events = await asyncio.to_thread(self._take, cursor) if reads_disk else self._take(cursor)
                if events:
                    yield events
                if self._closed:
                    return
                if not events and nudges != self._nudges:
                    nudges = self._nudges
                    yield []
                elif not events and not cursor.ended:
                    try:
                        await asyncio.wait_for(waker.news.wait(), heartbeat_s)
                    except asyncio.TimeoutError:  # another class than TimeoutError in Python 3.10
                        yield []
        finally:
            with self._news:
                self._wakers.discard(waker)

    def nudge(self) -> None:
        """Let those who `afollow` look up: something has changed that is no event of a task."""
        with self._news:
            self._nudges += 1
            self._wake()

    def close(self) -> None:
        """End every follower."""
        with self._news:
            self._closed = True
            self._wake()

    def _next_seq(self) -> int:
        with self._news:
            self._seq += 1
            return self._seq

    def _publish(self, facts: list[Event]) -> None:
        with self._news:
            self._fact_seq = facts[-1].seq
            self._recent.extend(facts)
            while len(self._recent) > READ_AT_ONCE:
                self._forgotten_seq = self._recent.popleft().seq
            for fact in facts:
                self._slots.pop(fact.task_id, None)  # what was on its way is now history
            self._wake()

    def _wake(self) -> None:
        self._version += 1
        self._news.notify_all()
        for waker in [waker for waker in self._wakers if not waker.is_called]:
            waker.is_called = True  # once is enough until it looks again
            try:
                waker.loop.call_soon_threadsafe(waker.news.set)
            except RuntimeError:  # its loop was closed without ending the generator
                self._wakers.discard(waker)

    def _begin(self, task_id: str | None, after: int) -> _Cursor:
        cursor = _Cursor(task_id, after)
        if task_id is not None:
            if not self.facts(task_id, limit=1):
                raise NotFound(f"There is no task '{task_id[:40]}'.", "It may belong to another data folder.")
            cursor.ended = bool(
                self._database.read(
                    f"SELECT 1 FROM events WHERE task_id = ? AND seq <= ? AND kind IN ({_TERMINAL_KINDS})",
                    (task_id, after),
                )
            )
        return cursor

    def _take(self, cursor: _Cursor) -> list[Event]:
        """What the follower has not seen yet, oldest first."""
        # Slots before facts: a slot's task has already published every fact with a smaller number. And no fact
        # beyond the last published one: that one still has to take its task's older slots away.
        slots = self._new_slots(cursor)
        facts: list[Event] = []
        newest = self._fact_seq
        if newest > cursor.checked_seq:
            facts = self._facts_since(cursor, newest)
            if facts:
                cursor.fact_seq = facts[-1].seq
                cursor.ended = cursor.task_id is not None and facts[-1].kind in TERMINAL
            if len(facts) == READ_AT_ONCE:
                return facts
            cursor.checked_seq = newest
        if slots:
            cursor.slot_seq = max(event.seq for event in slots)
        return sorted([*facts, *slots], key=lambda event: event.seq)

    def _facts_since(self, cursor: _Cursor, until: int) -> list[Event]:
        with self._news:
            if cursor.seen_seq >= self._forgotten_seq:
                recent = (fact for fact in self._recent if cursor.seen_seq < fact.seq <= until)
                return [fact for fact in recent if cursor.task_id in (None, fact.task_id)]
        return self._facts(cursor.task_id, cursor.fact_seq, until)

    def _new_slots(self, cursor: _Cursor) -> list[Event]:
        with self._news:
            tasks = self._slots.values() if cursor.task_id is None else [self._slots.get(cursor.task_id, {})]
            return [event for slots in tasks for event in slots.values() if event.seq > cursor.slot_seq]
