"""The order of the line, and what a person changes about what waits in it.

A task stands at its ``position``, a float; to move it is to give it another one, so that nothing else changes. Where
floats run out between two neighbours, a few of those behind are moved along. All of it happens within one
transaction, and a claim is another: a task is either moved, or it is being drawn.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fooocus_lite.database import Database, Transaction
from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Queued
from fooocus_lite.line_records import LineRecords, no_batch, not_waiting, nothing_waits
from fooocus_lite.quotas import fit_in_a_day, refuse_beyond
from fooocus_lite.recipe import Recipe
from fooocus_lite.task_records import no_such
from fooocus_lite.tasks import Task, to_json, work_of
from fooocus_lite.user import Limits

_ID_EPOCH_S = 1_735_689_600  # 2025-01-01; 40 bits of milliseconds from here last until 2059
#: Between two neighbours that were moved apart. Floats of the size of positions can halve it four times and more.
_ROOM = 1 / 8
#: Between those that are put before everybody.
_STEP = 256.0
_WINDOW = 64

Place = Literal["first", "last", "before", "after"]


@dataclass(frozen=True)
class Spot:
    """A place in line.

    Attributes:
        place: ``first`` and ``last`` stand alone.
        of: Id of the task that it is before or after, whatever became of that.
        of_batch: Id of the batch likewise.
    """

    place: Place
    of: str | None = None
    of_batch: str | None = None


@dataclass(frozen=True)
class Edit:
    """What a waiting task becomes.

    Attributes:
        recipe: Resolved.
        revision: The task's when it was read: another one means that somebody else has edited it since.
        waits_for: The offer whose files the new recipe needs first.
    """

    id: str
    recipe: Recipe
    revision: int
    waits_for: str | None = None


class Line(LineRecords):
    """Thread-safe, as `fooocus_lite.taskqueue.TaskQueue` is, of which this is the part about order and waiting."""

    def __init__(self, database: Database, log: EventLog, limits_of: Callable[[str], Limits]) -> None:
        super().__init__(database)
        self._log = log
        self._limits_of = limits_of  # by a user's name
        self._work = threading.Condition()
        self._work_version = 0
        rows = database.read(
            "SELECT (SELECT max(id) FROM tasks) AS id,"
            " (SELECT position FROM tasks INDEXED BY tasks_by_position WHERE state = 'waiting'"
            " ORDER BY position DESC LIMIT 1) AS position"
        )
        self._last_id = max(int(rows[0]["id"] or "0", 16), int(rows[0]["position"] or 0))
        self._paused = bool(database.read("SELECT is_on FROM switches WHERE name = 'paused'")[0]["is_on"])
        self._version = int(time.time() * 1000)  # rises over restarts too

    # What followers watch.

    @property
    def version(self) -> int:
        """Another one, a larger one, when the line changed in a way that no event of a task tells."""
        return self._version

    def work_version(self) -> int:
        """Changes whenever there may be something to claim: read it, `claim`, and if there was nothing, wait."""
        return self._work_version

    def wait_for_work(self, version: int) -> None:
        """Return once `work_version` is another than ``version``; at once if it is already."""
        with self._work:
            self._work.wait_for(lambda: self._work_version != version)

    def wake(self) -> None:
        """Let `wait_for_work` return: there may be work, or another reason to look up."""
        with self._work:
            self._work_version += 1
            self._work.notify_all()

    def tell_change(self) -> None:
        """The line, its switches or what repeats are not as they were: let every page look."""
        with self._work:
            self._version += 1
        self._log.nudge()

    # Pausing.

    @property
    def is_paused(self) -> bool:
        """Whether nothing is claimed, until `resume`; also after a restart."""
        return self._paused

    def pause(self) -> None:
        """Let nothing be claimed any more; what is being drawn goes on."""
        self._set_paused(True)

    def resume(self) -> None:
        """Go on."""
        self._set_paused(False)
        self.wake()

    def _set_paused(self, is_paused: bool) -> None:
        def remember() -> None:
            self._paused = is_paused

        with self._database.write() as transaction:
            transaction.execute("UPDATE switches SET is_on = ? WHERE name = 'paused'", (is_paused,))
            transaction.after_commit(remember)  # before anybody else may write, so no claim is between the two
        self.tell_change()

    # Order.

    def move(self, ids: Sequence[str], spot: Spot, *, owner: str | None = None) -> int:
        """Move waiting tasks to a place in line, in the order given; how many that were.

        Those that began to be drawn meanwhile, or ended, stay as they are.

        Raises:
            NotFound: one that nobody knows, moved or named as the neighbour.
            BadValue: before or after itself.
            FooocusError: a conflict: none of them waits any more.
        """
        if spot.of in ids:
            raise BadValue("A picture cannot be moved before or after itself.", "Name another one.", field=spot.place)
        ids = list(dict.fromkeys(ids))
        with self._database.write() as transaction:
            states = self._states(transaction, ids, owner)
            moved = [task_id for task_id in ids if states[task_id] == "waiting"]
            if not moved:
                raise not_waiting("moved", [states[task_id] for task_id in ids])
            self._move_in(transaction, moved, spot, owner)
        self.wake()
        self.tell_change()
        return len(moved)

    def move_batch(self, batch_id: str, spot: Spot, *, owner: str | None = None) -> int:
        """Move what waits of a batch, in its order; how many tasks that were.

        Raises:
            NotFound: no such batch.
            BadValue: before or after itself.
            FooocusError: a conflict: nothing of it waits any more.
        """
        if spot.of_batch == batch_id:
            raise BadValue("A batch cannot be moved before or after itself.", "Name another one.", field=spot.place)
        with self._database.write() as transaction:
            ids = self._waiting_ids(transaction, batch_id, owner)
            if not ids:
                raise nothing_waits("moved")
            self._move_in(transaction, ids, spot, owner)
        self.wake()
        self.tell_change()
        return len(ids)

    def _move_in(self, transaction: Transaction, moved: list[str], spot: Spot, owner: str | None) -> None:
        transaction.execute("CREATE TEMP TABLE IF NOT EXISTS moving (id TEXT PRIMARY KEY) WITHOUT ROWID")
        transaction.execute("DELETE FROM moving")
        transaction.execute("INSERT INTO moving SELECT value FROM json_each(?)", (json.dumps(moved),))
        positions = self._positions_at(transaction, spot, len(moved), owner)
        for task_id, position in zip(moved, positions, strict=True):
            transaction.execute("UPDATE tasks SET position = ? WHERE id = ?", (position, task_id))

    def _positions_at(self, transaction: Transaction, spot: Spot, count: int, owner: str | None) -> list[float]:
        """So many positions at a place among those that wait and are not being moved."""
        if spot.place == "last":
            return [float(int(self._new_id(), 16)) for _ in range(count)]
        if spot.place == "first":
            high = _neighbour(transaction, ">", float("-inf"))
            low = None
        else:
            at = self._position_of(transaction, spot, owner)
            low = at if spot.place == "after" else _neighbour(transaction, "<", at)
            high = at if spot.place == "before" else _neighbour(transaction, ">", at)
        if high is None:
            return [float(int(self._new_id(), 16)) for _ in range(count)]
        if low is None:
            return [high - _STEP * (count - n) for n in range(count)]
        step = (high - low) / (count + 1)
        between = [low + step * (n + 1) for n in range(count)]
        if all(a < b for a, b in zip([low, *between], [*between, high], strict=True)):
            return between
        return self._make_room(transaction, low, count)

    def _position_of(self, transaction: Transaction, spot: Spot, owner: str | None) -> float:
        if spot.of is not None:
            rows = transaction.execute("SELECT position, owner FROM tasks WHERE id = ?", (spot.of,))
            if not rows or (owner is not None and rows[0]["owner"] != owner):
                raise no_such(spot.of)
            return rows[0]["position"]
        batch_id = spot.of_batch or ""
        self._check_batch(transaction, batch_id, owner)
        which = "min" if spot.place == "before" else "max"
        index = "INDEXED BY tasks_of_batch_in_line"
        for where in (f"{index} WHERE batch_id = ? AND state = 'waiting'", "WHERE batch_id = ?"):
            rows = transaction.execute(f"SELECT {which}(position) AS position FROM tasks {where}", (batch_id,))
            if rows[0]["position"] is not None:
                return rows[0]["position"]
        raise no_batch(batch_id)

    def _make_room(self, transaction: Transaction, low: float, count: int) -> list[float]:
        """Positions right behind ``low``, once so many of those behind it as it takes have been moved along."""
        window = _WINDOW
        while True:
            rows = transaction.execute(
                "SELECT id, position FROM tasks INDEXED BY tasks_by_position WHERE state = 'waiting'"
                " AND position > ? AND id NOT IN (SELECT id FROM moving) ORDER BY position LIMIT ?",
                (low, window + 1),
            )
            if len(rows) <= window:  # to the end of the line, behind which there is room for everybody
                behind, step = rows, 1.0
                break
            behind = rows[:window]
            step = (rows[window]["position"] - low) / (count + window + 1)
            if step >= _ROOM:
                break
            window *= 4
        for place, row in enumerate(behind, start=count + 1):
            transaction.execute("UPDATE tasks SET position = ? WHERE id = ?", (low + step * place, row["id"]))
        self._last_id = max(self._last_id, int(low + step * (count + len(behind))))
        return [low + step * place for place in range(1, count + 1)]

    def waiting_ids(self, batch_id: str, *, owner: str | None = None) -> list[str]:
        """What waits of a batch, in the order of the line.

        Raises:
            NotFound: no such batch.
            FooocusError: a conflict: nothing of it waits any more.
        """
        with self._database.write() as transaction:
            ids = self._waiting_ids(transaction, batch_id, owner)
        if not ids:
            raise nothing_waits("changed or drawn again")
        return ids

    # Editing.

    def edit(self, task_id: str, recipe: Recipe, *, revision: int, waits_for: str | None = None) -> Task:
        """Give a waiting task another recipe; the task as it is now. As `edit_all`, of one.

        Raises:
            NotFound: no such task.
            FooocusError: a conflict: it waits no more, or it was edited meanwhile; or as `edit_all`.
        """
        stayed = self.edit_all([Edit(task_id, recipe, revision, waits_for)])
        if stayed:
            raise stayed[task_id]
        return self.get(task_id)

    def edit_all(self, edits: Sequence[Edit]) -> dict[str, FooocusError]:
        """Give waiting tasks other recipes, in one transaction: nobody sees some of them changed and others not.

        Returns:
            Why which of them stayed as it is, by id: it waits no more, was edited meanwhile, or is not there.

        Raises:
            FooocusError: it is more than their user may ask for; nothing has changed.
        """
        with self._database.write() as transaction:
            reasons = [(edit.id, self._why_not_edited(transaction, edit)) for edit in edits]
            stayed = {task_id: why for task_id, why in reasons if why is not None}
            changed = [edit for edit in edits if edit.id not in stayed]
            self._refuse_edits(transaction, changed)
            for edit in changed:
                transaction.execute(
                    "UPDATE tasks SET recipe = ?, work = ?, waits_for = ?, attempt = 0, revision = revision + 1"
                    " WHERE id = ?",
                    (to_json(edit.recipe), work_of(edit.recipe), edit.waits_for, edit.id),
                )
                self._log.record(transaction, edit.id, Queued(waits_for=edit.waits_for or ""))
        if changed:
            self.wake()
            self.tell_change()
        return stayed

    def refuse_beyond(
        self,
        recipes: Sequence[Recipe],
        owner: str,
        *,
        instead_of: Sequence[Recipe] = (),
        within: Transaction | None = None,
    ) -> None:
        """Do nothing if a user may have all of these in line; whatever puts them there asks again.

        Raises:
            FooocusError: as `fooocus_lite.quotas.refuse_beyond`.
        """
        ask = within.execute if within else self._database.read
        refuse_beyond(self._limits_of(owner), recipes, ask, owner, instead_of=instead_of)

    def fit_in_a_day(self, recipes: Sequence[Recipe], owner: str) -> bool:
        """Whether a user may ever have all of these at once."""
        return fit_in_a_day(self._limits_of(owner), recipes)

    def _refuse_edits(self, transaction: Transaction, edits: Sequence[Edit]) -> None:
        owners: dict[str, tuple[list[Recipe], list[Recipe]]] = {}
        for edit in edits:
            (row,) = transaction.execute("SELECT owner, recipe FROM tasks WHERE id = ?", (edit.id,))
            new, old = owners.setdefault(row["owner"], ([], []))
            new.append(edit.recipe)
            old.append(Recipe.model_validate_json(row["recipe"]))
        for owner, (new, old) in owners.items():
            self.refuse_beyond(new, owner, instead_of=old, within=transaction)

    def _why_not_edited(self, transaction: Transaction, edit: Edit) -> FooocusError | None:
        rows = transaction.execute("SELECT state, revision FROM tasks WHERE id = ?", (edit.id,))
        if not rows:
            return no_such(edit.id)
        if rows[0]["state"] != "waiting":
            return not_waiting("changed", [rows[0]["state"]])
        if rows[0]["revision"] != edit.revision:
            problem = "This picture was changed by somebody else meanwhile."
            return FooocusError(problem, "Look at it again, then change it.", code="conflict")
        return None

    # What the others build on.

    def _states(self, transaction: Transaction, ids: Sequence[str], owner: str | None) -> dict[str, str]:
        rows = transaction.execute(
            "SELECT id, state, owner FROM tasks WHERE id IN (SELECT value FROM json_each(?))", (json.dumps([*ids]),)
        )
        states = {row["id"]: row["state"] for row in rows if owner is None or row["owner"] == owner}
        for task_id in ids:
            if task_id not in states:
                raise no_such(task_id)
        return states

    def _waiting_ids(self, transaction: Transaction, batch_id: str, owner: str | None) -> list[str]:
        """What waits of a batch, in the order of the line."""
        self._check_batch(transaction, batch_id, owner)
        rows = transaction.execute(
            "SELECT id FROM tasks INDEXED BY tasks_of_batch_in_line WHERE batch_id = ? AND state = 'waiting'"
            " ORDER BY position",
            (batch_id,),
        )
        return [row["id"] for row in rows]

    def _check_batch(self, transaction: Transaction, batch_id: str, owner: str | None) -> None:
        rows = transaction.execute("SELECT owner FROM batches WHERE id = ?", (batch_id,))
        if not rows or (owner is not None and rows[0]["owner"] != owner):
            raise no_batch(batch_id)

    def _new_id(self) -> str:
        """Twelve hex digits that rise with time; called inside a transaction, so no two threads meet."""
        milliseconds = int((time.time() - _ID_EPOCH_S) * 1000)
        if milliseconds >> 40:  # a clock that is wrong by decades: a thirteenth digit would sort before the others
            milliseconds = 0
        self._last_id = max(self._last_id + 1, (milliseconds << 8) | secrets.randbelow(256))
        return f"{self._last_id:012x}"


def _neighbour(transaction: Transaction, side: Literal["<", ">"], position: float) -> float | None:
    """Where the nearest waiting task before or behind a position stands that is not being moved."""
    order = "DESC" if side == "<" else "ASC"
    rows = transaction.execute(
        f"SELECT position FROM tasks INDEXED BY tasks_by_position WHERE state = 'waiting' AND position {side} ?"
        f" AND id NOT IN (SELECT id FROM moving) ORDER BY position {order} LIMIT 1",
        (position,),
    )
    return rows[0]["position"] if rows else None
