"""What happened, in order: facts in SQLite, the newest progress and preview in memory.

A follower holds no buffer. It is woken, reads the facts it has not seen from SQLite and looks at the
slots, so a slow one costs the writer nothing, and memory does not grow with followers or history. The more there are,
the less often each is woken for what can wait (`REST_S`): a crowd that watches must not slow down what it watches.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum

from fooocus_lite.database import Database, Transaction
from fooocus_lite.errors import NotFound
from fooocus_lite.events import TERMINAL, Event, event_from_dict

READ_AT_ONCE = 256
#: The newest facts stay in memory, about 1 KB each, for those who follow live: enough for what a batch of a thousand
#: tells between two looks of a crowd, which else would read the same rows from the disk two hundred times.
REMEMBERED = 2000
#: A follower that was told something is told more after this long, times the others who follow the same thing. One
#: alone hears everything at once; a crowd that follows everything (or one task) is told some 100 times a second
#: together: 200 of them each 2 s.
#: To tell one of them costs about 0.09 ms of a slow core, and 0.04 ms more where it reads on the same machine: 1.3 % of
#: that core, however many they are, which is taken from what they watch.
#: What cannot wait does not: facts of the one task that somebody follows, the first signs of its drawing, the log's
#: end.
REST_S = 0.01
#: That a picture is begun may wait so long, for who follows everything: its first step shows it too, and to tell it
#: takes the cores from that step.
BEGINNING_S = 0.1
_BEGINNINGS = frozenset({"started", "prompt_ready"})
_TERMINAL_KINDS = ", ".join(f"'{kind}'" for kind in TERMINAL)


class _Call(IntEnum):
    """How soon a follower is to look."""

    NO = 0
    LATER = 1  # when its rest is over, `BEGINNING_S` at least
    SOON = 2  # when its rest is over
    NOW = 3


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
    """Calls one follower, and lets it rest.

    Attributes:
        task_id: What it follows; ``None`` is everything.
        same: All who follow that.
        called: It is going to look so soon, and nobody calls it again but for sooner.
    """

    loop: asyncio.AbstractEventLoop
    task_id: str | None
    same: set[_Waker]
    called: _Call = _Call.NO

    def __post_init__(self) -> None:
        self._news = asyncio.Event()
        self._looked_at = 0.0
        self._rest: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """From now on there may be something new."""
        self.called = _Call.NO  # before it reads, so that what comes meanwhile calls it again
        self._looked_at = self.loop.time()
        self._news.clear()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def needs_call(self, call: _Call) -> bool:
        """Mark it as called; whether it still has to be roused for that."""
        if call <= self.called:
            return False
        self.called = call  # nowhere else: `look` may have come between, and then it must be roused
        return True

    def rouse(self) -> None:
        """In its own loop: wake it up, when its rest is over or at once if it is called so."""
        if self._rest is not None:  # of a call that was not as urgent
            self._rest.cancel()
            self._rest = None
        rest = REST_S * (len(self.same) - 1)
        rested_at = self._looked_at + (max(rest, BEGINNING_S) if self.called == _Call.LATER else rest)
        if self.called == _Call.NOW or rested_at <= self.loop.time():
            self._news.set()
        else:
            self._rest = self.loop.call_at(rested_at, self._news.set)

    async def hears(self, within_s: float | None) -> bool:
        """Wait until it is roused; False if it was not within so many seconds (``None``: for ever)."""
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            self._news.set()

        timer = None if within_s is None else self.loop.call_later(within_s, give_up)
        try:
            await self._news.wait()
        finally:
            if timer is not None:
                timer.cancel()
        return not is_late


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
        self._wakers: dict[str | None, set[_Waker]] = {}  # by the task that is followed; None: everything
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
            slots = self._slots.setdefault(task_id, {})
            is_first = event.kind not in slots
            slots[event.kind] = stamped
            self._wake({task_id}, one=_Call.NOW if is_first else _Call.SOON)
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
        self,
        task_id: str | None = None,
        *,
        after: int = 0,
        nudges: int | None = None,
        heartbeat_s: float | None = None,
    ) -> AsyncGenerator[list[Event]]:
        """`follow` for asyncio, by what is new at one look: at most `READ_AT_ONCE` facts.

        Silence is ``[]``, and so is a `nudge`. Looks are as far apart as `REST_S` says.

        Args:
            nudges: What `EventLog.nudges` was when the follower read the state that it begins with: a nudge since then
                is told at once. When left out, those up to now are known.
        """
        with self._news:
            same = self._wakers.setdefault(task_id, set())
            waker = _Waker(asyncio.get_running_loop(), task_id, same)
            same.add(waker)
        try:
            nudges = self._nudges if nudges is None else nudges
            cursor = await asyncio.to_thread(self._begin, task_id, after)
            while not cursor.ended:
                waker.look()
                seen_nudges, nudges = nudges, self._nudges
                reads_disk = self._forgotten_seq > cursor.seen_seq
                events = await asyncio.to_thread(self._take, cursor) if reads_disk else self._take(cursor)
                if events or nudges != seen_nudges:
                    yield events
                if self._closed:
                    return
                if cursor.ended or len(events) >= READ_AT_ONCE:  # there is more to read
                    continue
                if not await waker.hears(heartbeat_s):
                    yield []
        finally:
            with self._news:
                self._leave(waker)

    @property
    def nudges(self) -> int:
        """Another number after each `nudge`."""
        return self._nudges

    def nudge(self) -> None:
        """Let those who `afollow` look up: something has changed that is no event of a task."""
        with self._news:
            self._nudges += 1
            self._wake()

    def close(self) -> None:
        """End every follower."""
        with self._news:
            self._closed = True
            self._wake(everything=_Call.NOW, one=_Call.NOW)

    def _next_seq(self) -> int:
        with self._news:
            self._seq += 1
            return self._seq

    def _publish(self, facts: list[Event]) -> None:
        with self._news:
            self._fact_seq = facts[-1].seq
            self._recent.extend(facts)
            while len(self._recent) > REMEMBERED:
                self._forgotten_seq = self._recent.popleft().seq
            for fact in facts:
                self._slots.pop(fact.task_id, None)  # what was on its way is now history
            can_wait = all(fact.kind in _BEGINNINGS for fact in facts)
            self._wake(
                {fact.task_id for fact in facts}, everything=_Call.LATER if can_wait else _Call.SOON, one=_Call.NOW
            )

    def _wake(
        self, task_ids: Collection[str] | None = None, *, everything: _Call = _Call.SOON, one: _Call = _Call.SOON
    ) -> None:
        """Call who follows everything, and who follows ``one`` of these tasks; ``task_ids`` None is of any."""
        self._version += 1
        self._news.notify_all()
        called: dict[asyncio.AbstractEventLoop, list[_Waker]] = {}
        for followed in list(self._wakers) if task_ids is None else (*task_ids, None):  # the crowd last
            call = everything if followed is None else one
            for waker in self._wakers.get(followed, ()):
                if waker.needs_call(call):
                    called.setdefault(waker.loop, []).append(waker)
        for loop, wakers in called.items():
            try:
                loop.call_soon_threadsafe(_rouse, wakers)  # each call writes to the loop's own socket, so all in one
            except RuntimeError:  # the loop was closed without ending the generators
                for waker in wakers:
                    self._leave(waker)

    def _leave(self, waker: _Waker) -> None:
        waker.same.discard(waker)
        if not waker.same and self._wakers.get(waker.task_id) is waker.same:  # else they are others' by now
            del self._wakers[waker.task_id]

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
                # From the end: who follows live lacks the last few, and each of hundreds looks.
                lacks = itertools.takewhile(lambda fact: fact.seq > cursor.seen_seq, reversed(self._recent))
                recent = [fact for fact in lacks if fact.seq <= until and cursor.task_id in (None, fact.task_id)]
                return recent[::-1][:READ_AT_ONCE]
        return self._facts(cursor.task_id, cursor.fact_seq, until)

    def _new_slots(self, cursor: _Cursor) -> list[Event]:
        with self._news:
            tasks = self._slots.values() if cursor.task_id is None else [self._slots.get(cursor.task_id, {})]
            return [event for slots in tasks for event in slots.values() if event.seq > cursor.slot_seq]


def _rouse(wakers: list[_Waker]) -> None:
    for waker in wakers:
        waker.rouse()
