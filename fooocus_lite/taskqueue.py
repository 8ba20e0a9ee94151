"""The queue: one row per picture, claimed and never deleted, so that no kill loses or repeats one.

A row and the facts about it change in the same transaction: whoever reads the log reads the truth.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fooocus_lite.affinity import Taste, pick
from fooocus_lite.database import Database, Transaction
from fooocus_lite.endings import Endings
from fooocus_lite.errors import FooocusError
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Cancelled, Failed, Finished, ImageSaved, Queued, Started
from fooocus_lite.line import Spot
from fooocus_lite.recipe import Recipe
from fooocus_lite.sheets import Varies
from fooocus_lite.task_records import OF_OWNER, no_such
from fooocus_lite.tasks import COLUMNS, PastPicture, Task, kind_of, task_of, to_json, work_of
from fooocus_lite.turns import take_turn
from fooocus_lite.user import NO_LIMITS, Limits

#: So often a picture is sent ahead of others. One that was, and came back each time, may be what ends the program
#: before it tells anything: from then on it is drawn by itself, in its turn, where every kill counts.
MOST_AHEAD = 3


@dataclass(frozen=True)
class Wanted:
    """A batch that is asked for, with the arguments of `TaskQueue.submit`.

    Attributes:
        joins: Place among those that are asked for together of the one whose batch it belongs to.
    """

    recipes: Sequence[Recipe]
    batch_id: str | None = None
    labels: Sequence[str | None] | None = None
    varies: Varies | Sequence[Varies] = "style"
    waits_for: Sequence[str | None] | None = None
    joins: int | None = None


class TaskQueue(Endings):
    """Thread-safe; one process at a time (`fooocus_lite.store.open_store` sees to that).

    Args:
        limits_of: How much the user of a name may ask for.
    """

    def __init__(
        self, database: Database, log: EventLog, limits_of: Callable[[str], Limits] = lambda _: NO_LIMITS
    ) -> None:
        super().__init__(database, log, limits_of)

    # What a person does.

    def submit(
        self,
        recipes: Sequence[Recipe],
        *,
        batch_id: str | None = None,
        labels: Sequence[str | None] | None = None,
        varies: Varies | Sequence[Varies] = "style",
        waits_for: Sequence[str | None] | None = None,
        owner: str = "",
    ) -> list[str]:
        """Put one task per recipe at the end of the line; no kill loses them once this returns.

        Args:
            batch_id: Of the batch that they join; the first one's id when left out.
            labels: One per recipe makes the batch a contact sheet, whose cells show what ``varies``.
            waits_for: Per recipe the offer whose files must come first, or ``None``; see `release`.
            owner: Name of the user who asks; empty where there are no users.

        Raises:
            DiskProblem: nothing was queued.
            FooocusError: it is more than the user may ask for, see `refuse_beyond`; nothing was queued.
        """
        with self._database.write() as transaction:
            self.refuse_beyond(recipes, owner, within=transaction)
            ids = [self._new_id() for _ in recipes]
            batch = batch_id or (ids[0] if ids else "")
            kinds = [varies] * len(ids) if isinstance(varies, str) else varies
            nobodys = [None] * len(ids)
            rows = zip(ids, recipes, labels or nobodys, kinds, waits_for or nobodys, strict=True)
            for task_id, recipe, label, kind, offer in rows:
                row = (task_id, batch, int(task_id, 16), to_json(recipe), work_of(recipe), time.time())
                transaction.execute(
                    "INSERT INTO tasks (id, batch_id, position, recipe, work, created_at, label, varies, waits_for,"
                    " owner) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, label, kind, offer, owner),
                )
                self._log.record(transaction, task_id, Queued(waits_for=offer or ""))
        self.wake()
        return ids

    def submit_all(
        self, batches: Sequence[Wanted], *, owner: str = "", spot: Spot | None = None, key: str | None = None
    ) -> list[str]:
        """Put several batches in line, all of them or none; the tasks' ids.

        Args:
            spot: Where; at the end when left out.
            key: Under it this is asked for once: again, it is the same tasks, whatever became of them.

        Raises:
            DiskProblem: nothing was queued.
        """
        parts: list[list[str]] = []
        with self._database.write() as transaction:
            if there := self.asked(key):  # now nobody else writes
                return there
            for batch in batches:
                parts.append(
                    self.submit(
                        batch.recipes,
                        batch_id=batch.batch_id if batch.joins is None else parts[batch.joins][0],
                        labels=batch.labels,
                        varies=batch.varies,
                        waits_for=batch.waits_for,
                        owner=owner,
                    )
                )
            ids = [task_id for part in parts for task_id in part]
            if spot is not None:
                self._move_in(transaction, ids, spot, None)
            if key is not None and ids:
                transaction.execute("INSERT INTO asked VALUES (?, ?, ?)", (key, ids[0], ids[-1]))
        self.wake()
        if spot is not None:
            self.tell_change()
        return ids

    def once(self, key: str | None, put_in_line: Callable[[], list[str]]) -> list[str]:
        """Ids of the tasks that were asked for under a key; if there are none, of those that are put in line now.

        Raises:
            FooocusError: as ``put_in_line``, to which the key belongs too: see `submit_all`.
        """
        if there := self.asked(key):
            return there
        try:
            return put_in_line()
        except FooocusError:
            if there := self.asked(key):  # what there was room for has gone to this very wish, sent twice
                return there
            raise

    def retry(self, task_id: str, *, waits_for: str | None = None) -> str:
        """A new task from the same recipe, in its old one's place on a contact sheet; returns its id.

        A cell of a sheet that is being tried again already is not drawn twice.
        """
        old = self.get(task_id)
        if old.label is None:
            return self.submit([old.recipe], waits_for=[waits_for], owner=old.owner)[0]
        again = self._database.read(
            "SELECT id FROM tasks WHERE batch_id = ? AND label = ? AND state IN ('waiting', 'running')",
            (old.batch_id, old.label),
        )
        if again:
            return str(again[0]["id"])
        return self.submit(
            [old.recipe],
            batch_id=old.batch_id,
            labels=[old.label],
            varies=old.varies,
            waits_for=[waits_for],
            owner=old.owner,
        )[0]

    def cancel(self, task_id: str, *, owner: str | None = None) -> bool:
        """End a waiting task now, or ask a running one to stop; False if it had already ended.

        Raises:
            NotFound: no such task.
        """
        if self.find(task_id, owner=owner) is None:
            raise no_such(task_id)
        return self._cancel("id = ?", (task_id,)) > 0

    def cancel_waiting(self, ids: Sequence[str], *, owner: str | None = None) -> int:
        """End those of these tasks that wait, what is being drawn goes on; how many that were.

        Raises:
            NotFound: one that nobody knows.
        """
        with self._database.write() as transaction:
            states = self._states(transaction, ids, owner)
            waiting = [task_id for task_id in states if states[task_id] == "waiting"]
            for task_id in waiting:
                self._end_in(transaction, task_id, Cancelled())
        return len(waiting)

    def cancel_waiting_batch(self, batch_id: str, *, owner: str | None = None) -> int:
        """End what waits of a batch; how many tasks that were.

        Raises:
            NotFound: no such batch.
        """
        with self._database.write() as transaction:
            ids = self._waiting_ids(transaction, batch_id, owner)
            for task_id in ids:
                self._end_in(transaction, task_id, Cancelled())
        return len(ids)

    def cancel_batch(self, batch_id: str, *, owner: str | None = None) -> int:
        """Cancel what is left of a batch; how many tasks that were."""
        return self._cancel("batch_id = ?", (batch_id,), owner)

    def clear_waiting(self, *, owner: str | None = None) -> int:
        """Cancel everything that waits; running tasks go on."""
        return self._cancel("state = ?", ("waiting",), owner)

    def _cancel(self, where: str, values: tuple[str, ...], owner: str | None = None) -> int:
        if owner is not None:
            where, values = f"{where} AND {OF_OWNER}", (*values, owner)
        with self._database.write() as transaction:
            rows = transaction.execute(
                f"SELECT id, state, cancel_requested FROM tasks WHERE {where} ORDER BY id", values
            )
            waiting = [row["id"] for row in rows if row["state"] == "waiting"]
            running = [row["id"] for row in rows if row["state"] == "running"]
            is_news = any(row["state"] == "running" and not row["cancel_requested"] for row in rows)
            for task_id in waiting:
                self._end_in(transaction, task_id, Cancelled())
            for task_id in running:
                transaction.execute("UPDATE tasks SET cancel_requested = 1 WHERE id = ?", (task_id,))
            transaction.after_commit(lambda: self._stop_asked.update(running))
        if is_news:  # that it is to end is no event of it; the next one may be a while
            self.tell_change()
        return len(waiting) + len(running)

    # What a dispatcher does.

    def claim(
        self, worker: str, *, device: str = "", taste: Taste | None = None, is_ahead: bool = False
    ) -> Task | None:
        """What `fooocus_lite.affinity.pick` picks, now running and owned by ``worker``.

        None if there is nothing, the queue is paused, or it may not be sent ahead any more.

        Args:
            is_ahead: The worker draws others still: until the next fact of the task, no kill counts as an attempt.
        """
        told = Started(device=device, is_ahead=is_ahead)
        with self._database.write() as transaction:
            task_id = None if self.is_paused else pick(transaction, taste)
            if is_ahead and self._stays_alone(transaction, task_id):
                return None
            return self._claim_in(transaction, task_id, worker, told)

    def claim_more(
        self,
        first: Task,
        worker: str,
        limit: int,
        *,
        device: str = "",
        taste: Taste | None = None,
        is_ahead: bool = False,
    ) -> list[Task]:
        """What `claim` would give next, as long as it is of the kind of ``first``: never past one that is not.

        One whose worker died before is not among them: it is drawn alone, so that it takes no other down again. Nor is
        one that was sent ahead too often.

        Args:
            first: Claimed a moment ago, as these are.
            limit: How many at most, besides ``first``.
        """
        more: list[Task] = []
        kind, told = kind_of(first.recipe), Started(device=device, is_ahead=is_ahead)
        with self._database.write() as transaction:
            if not is_ahead and self._stays_alone(transaction, first.id):  # else ``first`` were not ahead itself
                return []
            while len(more) < limit and not self.is_paused and (task_id := pick(transaction, taste)) is not None:
                (row,) = transaction.execute(f"SELECT {COLUMNS} FROM tasks WHERE id = ?", (task_id,))
                following = task_of(row)
                if following.attempt > 0 or self._stays_alone(transaction, task_id):
                    break
                if kind_of(following.recipe) != kind:
                    break
                task = self._claim_in(transaction, task_id, worker, told)
                more += [task] if task is not None else []
        return more

    def _stays_alone(self, transaction: Transaction, task_id: str | None) -> bool:
        """Whether a task was sent ahead so often that from now on it is drawn by itself."""
        ((times,),) = transaction.execute(
            "SELECT count(*) FROM events WHERE task_id = ? AND kind = 'started' AND json_extract(body, '$.is_ahead')",
            (task_id,),
        )
        return times >= MOST_AHEAD

    def _claim_in(self, transaction: Transaction, task_id: str | None, worker: str, told: Started) -> Task | None:
        rows = transaction.execute(
            "UPDATE tasks SET state = 'running', worker = ?, attempt = attempt + 1, started_at = ?"
            f" WHERE id = ? RETURNING {COLUMNS}",
            (worker, time.time(), task_id),
        )
        if not rows:
            return None
        task = task_of(rows[0])
        take_turn(transaction, task.owner)
        self._log.record(transaction, task.id, replace(told, attempt=task.attempt, at=time.time()))
        return task

    def finish(self, task_id: str, saved: ImageSaved, event: Finished, facts: dict[str, Any]) -> bool:
        """Record where the picture is, and with it the end; False if the task had ended already."""
        with self._database.write() as transaction:
            rows = transaction.execute(
                "UPDATE tasks SET image_path = ?, width = ?, height = ?, facts = ?"
                " WHERE id = ? AND state = 'running' RETURNING id",
                (saved.path, saved.width, saved.height, json.dumps(facts), task_id),
            )
            if not rows:
                return False
            self._log.record(transaction, task_id, saved)
            return self._end_in(transaction, task_id, event)

    def settle(self, task_id: str, recipe: Recipe) -> None:
        """Keep what was still open in a task's recipe and has been decided now."""
        with self._database.write() as transaction:
            transaction.execute("UPDATE tasks SET recipe = ? WHERE id = ?", (to_json(recipe), task_id))

    def release(self, offer: str) -> list[str]:
        """The files of an offer are there: let the tasks that waited for them be claimed; their ids.

        Each stands where it stood before, so those that passed it are behind it again.
        """
        with self._database.write() as transaction:
            rows = transaction.execute(
                "UPDATE tasks SET waits_for = NULL WHERE state = 'waiting' AND waits_for = ? RETURNING id, attempt",
                (offer,),
            )
            for row in rows:
                self._log.record(transaction, row["id"], Queued(attempt=row["attempt"] + 1))
        if rows:
            self.wake()
        return [row["id"] for row in rows]

    def fail_held(self, offer: str, reason: Failed) -> list[str]:
        """The files of an offer will not come: end the tasks that waited for them; their ids."""
        with self._database.write() as transaction:
            rows = transaction.execute(
                "SELECT id FROM tasks WHERE state = 'waiting' AND waits_for = ? ORDER BY position", (offer,)
            )
            for row in rows:
                self._end_in(transaction, row["id"], reason)
        return [row["id"] for row in rows]

    # Pictures that were there before.

    def not_in_history(self, paths: Sequence[str]) -> list[str]:
        """Those of ``paths`` that no finished task saved."""
        rows = self._database.read("SELECT image_path FROM tasks WHERE state = 'finished'")
        known = {row["image_path"] for row in rows}
        return [path for path in paths if path not in known]

    def add_history(self, pictures: Sequence[PastPicture]) -> int:
        """Put pictures into the history as finished tasks, at the times at which they were made; how many.

        Their ids are seconds, not milliseconds since our epoch: they rise with time too, and all lie below our own.
        """
        with self._database.write() as transaction:
            for picture in pictures:
                number = max(0, int(picture.finished_at)) << 8
                while transaction.execute("SELECT 1 FROM tasks WHERE id = ?", (f"{number:012x}",)):
                    number += 1
                task_id, at = f"{number:012x}", picture.finished_at
                row = (task_id, task_id, float(number), to_json(picture.recipe), at, at, at)
                transaction.execute(
                    "INSERT INTO tasks (id, batch_id, position, recipe, state, created_at, started_at, finished_at,"
                    " image_path, width, height) VALUES (?, ?, ?, ?, 'finished', ?, ?, ?, ?, ?, ?)",
                    (*row, picture.path, picture.width, picture.height),
                )
                self._log.record(transaction, task_id, Finished())
        return len(pictures)
