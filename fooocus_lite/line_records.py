"""The line as people look at it: by batches, page by page, at the same cost however long it is; and what has ended.

Pages go by a *cursor*, which says where the next one begins: nothing here counts through what stands before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fooocus_lite.errors import BadValue, FooocusError, NotFound
from fooocus_lite.events import State
from fooocus_lite.line_ranks import RANKS_UNTIL
from fooocus_lite.task_records import MAX_PAGE, OF_OWNER, TaskRecords
from fooocus_lite.tasks import COLUMNS, Task, task_of

MAX_WORK = 2**62
_SIGN = "~"
_REPEATS = (
    "SELECT repeats.*, rounds - (batch_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tasks"
    " WHERE tasks.batch_id = repeats.batch_id AND started_at IS NOT NULL)) AS begun FROM repeats"
)


@dataclass(frozen=True)
class LineNumbers:
    """How much waits: so many tasks in so many batches, ``held`` of them for files."""

    batches: int = 0
    waiting: int = 0
    held: int = 0


@dataclass(frozen=True)
class Group:
    """What waits of one batch.

    Attributes:
        first: The task of it that is next.
        size: How many tasks the batch has in all, ended ones counted.
        waiting: How many wait; ``held`` of them for files.
        work: Of those that wait, as `fooocus_lite.tasks.work_of` counts.
        work_ahead: Of the batches before this one in line, as far as they wait for nothing but their turn.
        work_until: Until the last of it is drawn. Where batches stand between each other's tasks, all of those that
            are not of this one count as being alike.
        cursor: Where the next page begins if this is the last one of its page.
    """

    batch_id: str
    first: Task
    size: int
    waiting: int
    held: int
    work: int
    work_ahead: int
    work_until: int
    cursor: str


@dataclass(frozen=True)
class Repeat:
    """A recipe that is drawn again and again with new seeds.

    Attributes:
        recipe: As it was asked for, not resolved.
        times: How many rounds were asked for; ``None`` = until somebody ends it.
        rounds: How many have been put in line.
        begun: How many of these have been begun: all, or all but the one that waits.
        batch_id: Of the newest round.
        state: ``on``, with an error while it waits for a new day; ``stopped`` by the error, which nobody has answered
            yet; ``ended``.
    """

    id: str
    owner: str
    recipe: str
    times: int | None
    rounds: int
    begun: int
    batch_id: str | None
    state: str
    error: dict[str, Any] | None
    created_at: float


class LineRecords(TaskRecords):
    """Reads only. ``owner`` is the user whose tasks count, ``None`` = everybody's."""

    def numbers(self, owner: str | None = None) -> LineNumbers:
        """How much waits; kept up to date by the database."""
        tasks = self._totals("tasks", owner)
        return LineNumbers(*(tasks.get(name, 0) for name in ("batches", "waiting", "held")))

    def groups(self, *, after: str | None = None, limit: int = 50, owner: str | None = None) -> list[Group]:
        """The batches of which anything waits, in the order of what is next of each; those that wait for files last.

        Raises:
            BadValue: ``after`` is no `Group.cursor`.
        """
        is_held, position, batch_id, ahead = _read_group_cursor(after)
        where, values = _of(owner)
        rows = self._database.read(
            f"SELECT line.id AS line_id, line.size, line.waiting, line.held, line.is_held, line.work,"
            " (SELECT position FROM tasks WHERE batch_id = line.id AND state = 'waiting' AND waits_for IS NULL"
            f" ORDER BY position DESC LIMIT 1) AS last, line.position AS line_position, {_of_table('tasks')} FROM ("
            f"SELECT * FROM batches WHERE waiting > 0 AND {where} AND (is_held, position, id) > (?, ?, ?)"
            " ORDER BY is_held, position, id LIMIT ?) AS line CROSS JOIN tasks ON tasks.id = ("
            "SELECT id FROM tasks WHERE batch_id = line.id AND state = 'waiting' ORDER BY waits_for, position LIMIT 1)",
            (*values, is_held, position, batch_id, min(limit, MAX_PAGE) + 1),
        )
        groups: list[Group] = []
        reach = float("-inf")  # where the last task stands of those before
        for row, following in zip(rows[: min(limit, MAX_PAGE)], [*rows[1:], None], strict=False):
            later, until = ahead if row["is_held"] else ahead + row["work"], ahead + row["work"]
            if not row["is_held"]:
                end = following["line_position"] if following and not following["is_held"] else float("inf")
                if row["last"] > end or reach > row["line_position"]:
                    until = self._work_until(row, owner)
                reach = max(reach, row["last"])
            groups.append(_group_of(row, (ahead, until), _group_cursor(row, later)))
            ahead = later
        return groups

    def _work_until(self, row: sqlite3.Row, owner: str | None) -> int:
        """Until the last task of a batch is drawn, which stands among those of others, or they among its own."""
        ranks = self._database.read(RANKS_UNTIL, (row["last"], row["last"]))
        rank = sum(one["rank"] for one in ranks if owner in (None, one["owner"]))
        numbers, of_all = self.numbers(owner), self._totals("work", owner)
        own = row["waiting"] - row["held"]
        others = max(1, numbers.waiting - numbers.held - own)
        work = max(0, of_all.get("waiting", 0) - of_all.get("held", 0) - row["work"])
        return row["work"] + (rank - own) * work // others

    def waiting_in(
        self, batch_id: str, *, after: str | None = None, limit: int = 50, owner: str | None = None
    ) -> tuple[list[Task], str | None]:
        """(what waits of a batch, next first; the cursor of the next page, ``None`` at the end).

        Raises:
            BadValue: ``after`` is no such cursor.
        """
        offer, position = _read_task_cursor(after)
        where, values = _of(owner)
        limit = min(limit, MAX_PAGE)
        rows: list[sqlite3.Row] = []
        head = f"SELECT {COLUMNS}, position FROM tasks INDEXED BY tasks_of_batch_in_line WHERE batch_id = ?"
        if offer is None:
            rows += self._database.read(
                f"{head} AND state = 'waiting' AND waits_for IS NULL AND position > ? AND {where}"
                " ORDER BY position LIMIT ?",
                (batch_id, position, *values, limit + 1),
            )
        if len(rows) <= limit:
            since = ("", float("-inf")) if offer is None else (offer, position)
            rows += self._database.read(
                f"{head} AND state = 'waiting' AND (waits_for, position) > (?, ?) AND {where}"
                " ORDER BY waits_for, position LIMIT ?",
                (batch_id, *since, *values, limit + 1 - len(rows)),
            )
        more = len(rows) > limit
        return [task_of(row) for row in rows[:limit]], _task_cursor(rows[limit - 1]) if more else None

    def check_batch(self, batch_id: str, *, owner: str | None = None) -> None:
        """Whether there is, or ever was, such a batch.

        Raises:
            NotFound: there is none.
        """
        rows = self._database.read("SELECT owner FROM batches WHERE id = ?", (batch_id,))
        if not rows or (owner is not None and rows[0]["owner"] != owner):
            raise no_batch(batch_id)

    def task_cursor(self, task_id: str) -> str:
        """Where a page of `waiting_in` goes on behind this task."""
        return _task_cursor(self._database.read("SELECT position, waits_for FROM tasks WHERE id = ?", (task_id,))[0])

    def in_line(self, owner: str | None = None) -> Iterator[Task]:
        """Everything that waits, in the order in which it stands, read as it is asked for."""
        where, values = _of(owner)
        since: tuple[float, str] = (float("-inf"), "")
        while True:
            rows = self._database.read(
                f"SELECT {COLUMNS}, position FROM tasks INDEXED BY tasks_by_position WHERE state = 'waiting'"
                f" AND (position, id) > (?, ?) AND {where} ORDER BY position, id LIMIT ?",
                (*since, *values, MAX_PAGE),
            )
            yield from map(task_of, rows)
            if len(rows) < MAX_PAGE:
                return
            since = rows[-1]["position"], rows[-1]["id"]

    def sizes(self, batch_ids: Iterable[str]) -> dict[str, int]:
        """How many tasks each of these batches has in all."""
        rows = self._database.read(
            "SELECT id, size FROM batches WHERE id IN (SELECT value FROM json_each(?))", (json.dumps([*batch_ids]),)
        )
        return {row["id"]: row["size"] for row in rows}

    def history(
        self, *, state: State | None = None, limit: int = 50, before: str | None = None, owner: str | None = None
    ) -> list[Task]:
        """What has ended, newest end first; the next page is ``before`` the last id of this one."""
        where, values = ["finished_at IS NOT NULL", _of(owner)[0]], list[Any](_of(owner)[1])
        if state is not None:
            where.append("state = ?")
            values.append(state)
        if before is not None:
            where.append(f"(finished_at, id) < (SELECT finished_at, id FROM tasks WHERE id = ? AND {_of(owner)[0]})")
            values += [before, *_of(owner)[1]]
        return self._select(f"WHERE {' AND '.join(where)} ORDER BY finished_at DESC, id DESC", values, limit)

    def repeats(self, owner: str | None = None) -> list[Repeat]:
        """Those that go on, and those that an error stopped and nobody has answered, oldest first."""
        where, values = _of(owner)
        rows = self._database.read(f"{_REPEATS} WHERE state IN ('on', 'stopped') AND {where} ORDER BY id", values)
        return [_repeat_of(row) for row in rows]

    def repeat_with(self, batch_id: str) -> Repeat | None:
        """The one that a batch is a round of, also if it has ended."""
        rows = self._database.read(
            f"{_REPEATS} WHERE id = (SELECT repeat_id FROM rounds WHERE batch_id = ?)", (batch_id,)
        )
        return _repeat_of(rows[0]) if rows else None


def no_batch(batch_id: str) -> NotFound:
    """The error that there is no such batch."""
    return NotFound(f"There is no batch '{batch_id[:40]}'.", "It may belong to another data folder.")


def _of(owner: str | None) -> tuple[str, tuple[str, ...]]:
    return ("true", ()) if owner is None else (OF_OWNER, (owner,))


def _of_table(table: str) -> str:
    return ", ".join(f"{table}.{name.strip()}" for name in COLUMNS.split(","))


def _group_of(row: sqlite3.Row, works: tuple[int, int], cursor: str) -> Group:
    return Group(
        batch_id=row["line_id"],
        first=task_of(row),
        size=row["size"],
        waiting=row["waiting"],
        held=row["held"],
        work=row["work"],
        work_ahead=works[0],
        work_until=works[1],
        cursor=cursor,
    )


def _repeat_of(row: sqlite3.Row) -> Repeat:
    values: dict[str, Any] = {name: row[name] for name in Repeat.__dataclass_fields__}
    values["error"] = json.loads(row["error"]) if row["error"] else None
    return Repeat(**values)


def _written(position: float) -> str:
    """Exactly, and as it can stand in an address: there a plus is a space."""
    return float(position).hex().replace("p+", "p")


def _group_cursor(row: sqlite3.Row, ahead: int) -> str:
    return _SIGN.join((str(row["is_held"]), _written(row["line_position"]), str(ahead), row["line_id"]))


def _read_group_cursor(text: str | None) -> tuple[int, float, str, int]:
    if text is None:
        return 0, float("-inf"), "", 0
    try:
        is_held, position, ahead, batch_id = text.split(_SIGN, 3)
        return ("0", "1").index(is_held), float.fromhex(position), batch_id, max(0, min(int(ahead), MAX_WORK))
    except (ValueError, OverflowError) as exc:
        raise _no_cursor() from exc


def _task_cursor(row: sqlite3.Row) -> str:
    return f"{_written(row['position'])}{_SIGN}{row['waits_for'] or ''}"


def _read_task_cursor(text: str | None) -> tuple[str | None, float]:
    if text is None:
        return None, float("-inf")
    try:
        position, offer = text.split(_SIGN, 1)
        return offer or None, float.fromhex(position)
    except (ValueError, OverflowError) as exc:
        raise _no_cursor() from exc


def _no_cursor() -> BadValue:
    return BadValue("after is no place in this list.", "Send the `next` of the page before, as it was.", field="after")


def not_waiting(done: str, states: Sequence[str]) -> FooocusError:
    """The conflict that tasks of these states cannot be ``done`` to any more."""
    words = {"running": "is being drawn already", "finished": "is finished", "cancelled": "was cancelled"}
    if len(states) > 1:
        problem = f"None of these pictures waits any more, so they cannot be {done}."
    else:
        problem = f"This picture {words.get(states[0], 'has failed')}, so it cannot be {done}."
    return FooocusError(problem, "Only what waits can be; ask for it again.", code="conflict")


def nothing_waits(done: str) -> FooocusError:
    """The conflict that what waits of a batch cannot be ``done`` to: there is none."""
    problem = f"Nothing of this batch waits any more, so it cannot be {done}."
    return FooocusError(problem, "Its pictures are being drawn, or have ended.", code="conflict")
