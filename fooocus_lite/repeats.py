"""Recipes that are drawn again and again with new seeds: so many times, or until somebody ends it.

A round is a batch like any other. The next one is put in line when the first picture of the newest is begun and none of
it waits any more, so one is always ahead and no worker waits. A round and its number are one write: no kill repeats a
round or loses one, and after any end the next start goes on from the rows.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from fooocus_lite.database import Database, Transaction
from fooocus_lite.errors import FooocusError, NotFound, QueueTrouble
from fooocus_lite.library import Library
from fooocus_lite.line_records import Repeat
from fooocus_lite.plan import expand
from fooocus_lite.quotas import DAY_IS_OVER, TOO_MANY_WAIT
from fooocus_lite.recipe import MAX_INDEX, MAX_SEED, Recipe, shown
from fooocus_lite.store import Store
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import Wanted
from fooocus_lite.tasks import to_json

logger = logging.getLogger(__name__)
RETRY_S = 1.0
JOIN_S = 15.0
MAX_REPEATS = 20
#: Rounds from the newest back in which a failed picture ends the repeat: those that may still be drawn.
_LAST_ROUNDS = 3
_PASSING = ("disk_full", "not_writable")  # errors after which the same round is tried again
#: How often it is looked whether a new day has begun for those that wait for it.
DAY_S = 30.0


class Repeats:
    """Runs from `start` to `close`; every method may be called from any thread.

    Args:
        may_go_on: Whether what the user of a name repeats still may be: limits hold for those alone who are there.
    """

    def __init__(
        self,
        store: Store,
        supply: Supply,
        library: Callable[[], Library],
        may_go_on: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._database: Database = store.database
        self._queue, self._log = store.queue, store.log
        self._supply = supply
        self._library = library
        self._may_go_on = may_go_on
        self._turn = threading.Lock()  # one thread looks at a time
        self._closing = threading.Event()
        self._waits_for_day = False
        self._thread = threading.Thread(target=self._work, name="repeats", daemon=True)

    def start(self) -> None:
        """Go on with what was asked for before."""
        self._thread.start()

    def close(self) -> None:
        """Ask for nothing more; the next start goes on."""
        self._closing.set()
        self._log.nudge()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    # What a person does.

    def add(self, recipe: Recipe, *, times: int | None, owner: str = "", key: str | None = None) -> Repeat:
        """Draw a recipe so many times, or until `end`; its first round is in line when this returns.

        With a seed the rounds count on from it; without one each has a new one.

        Args:
            key: Under it this is asked for once: again, it is the same repeat, which may have ended.

        Raises:
            FooocusError: where `fooocus_lite.plan.expand` or `Supply.fetch_for` refuses it, a conflict when too much
                is repeated already, or the disk is full; nothing was queued.
        """

        def begin() -> list[str]:
            return self._begin(recipe, times, owner, key)

        ids = self._queue.once(key, begin)
        # After a damaged file the pictures of its first round may be all that is known of it.
        repeat = self._queue.repeat_with(ids[0]) or self._queue.repeat_with(begin()[0])
        assert repeat is not None
        return repeat

    def _begin(self, recipe: Recipe, times: int | None, owner: str, key: str | None) -> list[str]:
        """Ids of the first round."""
        if len(self._queue.repeats(owner or None)) >= MAX_REPEATS:
            problem = f"{MAX_REPEATS} recipes are repeated already."
            raise FooocusError(problem, "End one of them first.", code="conflict")
        first = self._round_of(recipe, 0, owner)
        with self._database.write() as transaction:
            there = self._queue.asked(key)  # now nobody else writes
            if there and self._queue.repeat_with(there[0]) is not None:
                return there
            repeat_id = f"{time.time_ns() // 1_000_000:x}{secrets.token_hex(2)}"
            transaction.execute(
                "INSERT INTO repeats (id, owner, recipe, times, created_at) VALUES (?, ?, ?, ?, ?)",
                (repeat_id, owner, to_json(recipe), times, time.time()),
            )
            ids = self._ask_in(transaction, repeat_id, owner, first, key)
        self._queue.wake()
        self._queue.tell_change()
        return ids

    def get(self, repeat_id: str, *, owner: str | None = None) -> Repeat:
        """One that goes on, or that an error stopped.

        Raises:
            NotFound: there is none of that id.
        """
        for repeat in self._queue.repeats(owner):
            if repeat.id == repeat_id:
                return repeat
        raise NotFound(f"There is no repeat '{repeat_id[:40]}'.", "It may have ended; `GET /v1/repeats` lists them.")

    def end(self, repeat_id: str, *, owner: str | None = None) -> int:
        """Repeat it no more: what is begun goes on, the round that nobody has begun is cancelled; how many pictures.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.write() as transaction:
            repeat = self.get(repeat_id, owner=owner)  # only now: until here another round may be put in line
            transaction.execute("UPDATE repeats SET state = 'ended' WHERE id = ?", (repeat_id,))
            cancelled = self._cancel_unbegun(repeat)
        self._queue.tell_change()
        return cancelled

    def end_all(self, *, owner: str | None = None, of_batches: set[str] | None = None) -> None:
        """End all that go on, or those that these batches are rounds of."""
        for repeat in self._queue.repeats(owner):
            if of_batches is None or of_batches & self._last_rounds(repeat):
                with suppress(NotFound):  # it has ended meanwhile
                    self.end(repeat.id)

    def _last_rounds(self, repeat: Repeat) -> set[str]:
        rows = self._database.read(
            "SELECT batch_id FROM rounds WHERE repeat_id = ? ORDER BY batch_id DESC LIMIT ?", (repeat.id, _LAST_ROUNDS)
        )
        return {row["batch_id"] for row in rows}

    # Its own thread.

    def _work(self) -> None:
        while not self._closing.is_set():
            seen = self._log.last_seq()
            self._look_safely()
            try:
                self._follow(seen)
                return  # it is being closed
            except FooocusError as exc:  # the disk did not tell what had happened: look again, then follow again
                logger.warning("%s", exc)
                self._closing.wait(RETRY_S)

    def _follow(self, seen: int) -> None:
        for event in self._log.follow(after=seen, heartbeat_s=DAY_S, should_stop=self._closing.is_set):
            # Of thousands of facts that come together, the last one is enough. Midnight is no fact of the log.
            is_news = event is not None and event.is_fact and event.seq >= self._log.last_seq()
            if is_news or (event is None and self._waits_for_day):
                self._look_safely()

    def _look_safely(self) -> None:
        while not self._closing.is_set():
            try:
                self.look()
                return
            except FooocusError as exc:  # a full disk, say; the queue says so to a person
                logger.warning("%s", exc)
            except Exception:  # the thread's border: without it nothing would be repeated any more
                logger.exception("repeats: something that should not happen")
            self._closing.wait(RETRY_S)

    def look(self) -> None:
        """Put the next rounds in line where they are due, and end what has ended."""
        with self._turn:
            for repeat in self._queue.repeats():
                if repeat.state == "on":
                    self._settle(repeat)
            self._waits_for_day = any(repeat.state == "on" and repeat.error for repeat in self._queue.repeats())

    def _settle(self, repeat: Repeat) -> None:
        failed = self._database.read(
            "SELECT error FROM tasks WHERE state = 'failed' AND batch_id IN"
            " (SELECT batch_id FROM rounds WHERE repeat_id = ? ORDER BY batch_id DESC LIMIT ?) LIMIT 1",
            (repeat.id, _LAST_ROUNDS),
        )
        newest = self._database.read(
            "SELECT total(state = 'waiting') AS waiting, total(state = 'running') AS running, count(*) AS size,"
            " total(state = 'cancelled' AND started_at IS NULL) AS taken_out FROM tasks WHERE batch_id = ?",
            (repeat.batch_id,),
        )[0]
        if failed:
            self._stop(repeat, failed[0]["error"])
        elif not self._may_go_on(repeat.owner):
            problem = f"{shown(repeat.owner)} is no user any more."
            gone = FooocusError(problem, "Repeat it yourself if it should go on.", code="forbidden")
            self._stop(repeat, json.dumps(gone.to_dict()))
        elif newest["taken_out"] == newest["size"]:  # somebody does not want it, nor another one in its place
            self._stop(repeat, None)
        elif newest["waiting"]:
            return
        elif repeat.times is None or repeat.rounds < repeat.times:
            self._ask(repeat)
        elif not newest["running"]:
            self._stop(repeat, None)

    def _ask(self, repeat: Repeat) -> None:
        recipe = Recipe.model_validate_json(repeat.recipe)
        try:
            batch = self._round_of(recipe, repeat.rounds, repeat.owner)
            with self._database.write() as transaction:
                if transaction.execute("SELECT 1 FROM repeats WHERE id = ? AND state = 'on'", (repeat.id,)):
                    self._ask_in(transaction, repeat.id, repeat.owner, batch)
        except FooocusError as exc:
            if exc.code in _PASSING or isinstance(exc, QueueTrouble):
                raise
            if exc.code == DAY_IS_OVER and self._fits_a_day(recipe, repeat.owner):
                self._wait_for_day(repeat, exc)
            elif exc.code != TOO_MANY_WAIT:  # there will be room when some are drawn, and then it is due again
                self._stop(repeat, json.dumps(exc.to_dict()))
            return
        self._queue.tell_change()

    def _fits_a_day(self, recipe: Recipe, owner: str) -> bool:
        return self._queue.fit_in_a_day(expand(recipe, self._library(), 0), owner)

    def _wait_for_day(self, repeat: Repeat, exc: FooocusError) -> None:
        """Say why it waits, until the next round is in line."""
        if repeat.error is not None:
            return
        exc.hint = "It goes on by itself when the day begins anew, at midnight where the server stands."
        with self._database.write() as transaction:
            transaction.execute(
                "UPDATE repeats SET error = ? WHERE id = ? AND state = 'on'", (json.dumps(exc.to_dict()), repeat.id)
            )
        self._queue.tell_change()

    def _round_of(self, recipe: Recipe, number: int, owner: str) -> Wanted:
        """A round's pictures; what they lack is being fetched when this returns."""
        library = self._library()
        seed = secrets.randbelow(2**32)
        recipes = expand(recipe, library, seed)
        if number:
            on = {"index": (recipe.index + number * len(recipes)) % (MAX_INDEX + 1)}
            if recipe.seed is not None:
                on["seed"] = (recipe.seed + number * len(recipes)) % (MAX_SEED + 1)
            recipes = expand(recipe.model_copy(update=on), library, seed)
        self._queue.refuse_beyond(recipes, owner)
        return Wanted(recipes, waits_for=self._supply.fetch_for_all(recipes, library))

    def _ask_in(
        self, transaction: Transaction, repeat_id: str, owner: str, batch: Wanted, key: str | None = None
    ) -> list[str]:
        ids = self._queue.submit_all([batch], owner=owner, key=key)
        batch_id = ids[0]  # a batch is called as its first task is
        transaction.execute(
            "UPDATE repeats SET rounds = rounds + 1, batch_id = ?, error = NULL WHERE id = ?", (batch_id, repeat_id)
        )
        transaction.execute("INSERT INTO rounds VALUES (?, ?)", (batch_id, repeat_id))
        return ids

    def _stop(self, repeat: Repeat, error: str | None) -> None:
        with self._database.write() as transaction:
            state = "ended" if error is None else "stopped"
            transaction.execute(
                "UPDATE repeats SET state = ?, error = ? WHERE id = ? AND state = 'on'", (state, error, repeat.id)
            )
            self._cancel_unbegun(repeat)
        self._queue.tell_change()

    def _cancel_unbegun(self, repeat: Repeat) -> int:
        """Take the round that nobody has begun out of the line."""
        if repeat.batch_id is None or repeat.begun == repeat.rounds:
            return 0
        return self._queue.cancel_waiting_batch(repeat.batch_id)
