"""What has been asked for so far: the line, the history, contact sheets. Reads only; nothing here changes a task.

``owner`` is the name of the user who asks: what others asked for is then not there, as if it had never been. ``None``
is everybody's, for admins and for the program itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from fooocus_lite.database import Database
from fooocus_lite.errors import NotFound
from fooocus_lite.events import TERMINAL, State
from fooocus_lite.line_ranks import RANK_OF
from fooocus_lite.tasks import COLUMNS, SheetHead, Task, task_of
from fooocus_lite.turns import Turn, drawn_before, in_turn, next_ones, place

MAX_PAGE = 500
#: Of a row: that user's; their indexes leave out what nobody owns, and are only used where a question says so.
OF_OWNER = "owner = ? AND owner <> ''"


class TaskRecords:
    """The questions that everybody may ask of a queue; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, task_id: str, *, owner: str | None = None) -> Task | None:
        """The task with its place in line, or None."""
        rows = self._database.read(f"SELECT {COLUMNS} FROM tasks WHERE id = ?", (task_id,))
        if not rows or owner not in (None, rows[0]["owner"]):
            return None
        return task_of(rows[0], self.position(task_id) if rows[0]["state"] == "waiting" else None)

    def get(self, task_id: str, *, owner: str | None = None) -> Task:
        """The task with its place in line.

        Raises:
            NotFound: no such task.
        """
        task = self.find(task_id, owner=owner)
        if task is None:
            raise no_such(task_id)
        return task

    def owner_of(self, task_id: str) -> str | None:
        """The user who asked for a task, which never changes; None if there is no such task."""
        rows = self._database.read("SELECT owner FROM tasks WHERE id = ?", (task_id,))
        return rows[0]["owner"] if rows else None

    def position(self, task_id: str) -> int | None:
        """1 = next; None if it does not wait, or waits for files: then others pass it."""
        rows = self._database.read(RANK_OF, (task_id,))
        return place(in_turn(self._database.read), rows[0]["owner"], rows[0]["rank"]) if rows else None

    def asked(self, key: str | None) -> list[str]:
        """Ids of the tasks that were asked for under a key; none if there is none, or nothing was."""
        if key is None:
            return []
        rows = self._database.read(
            "SELECT id FROM asked CROSS JOIN tasks ON id BETWEEN first_id AND last_id WHERE key = ? ORDER BY id", (key,)
        )
        return [row["id"] for row in rows]

    def page(
        self, state: State | None = None, *, limit: int = 50, before: str | None = None, owner: str | None = None
    ) -> list[Task]:
        """Tasks, newest first; the next page is ``before`` the last id of this one.

        Places in line are left out here: see `waiting`.
        """
        where, values = _owned(owner)
        if state is not None:
            where.append("state = ?")
            values.append(state)
        return self._select(f"WHERE {_all(*where, 'id < ?')} ORDER BY id DESC", [*values, before or "~"], limit)

    def waiting(self, *, limit: int = 50, offset: int = 0, owner: str | None = None) -> list[Task]:
        """The line, next first, with places; behind it the tasks that wait for files, by what they wait for."""
        turns, limit = in_turn(self._database.read), min(limit, MAX_PAGE)
        if owner is None and len(turns) > 1:
            return self._waiting_in_turn(turns, limit, offset)
        where, values = _owned(owner)
        rows = self._database.read(  # NULL sorts before every name
            f"SELECT {COLUMNS} FROM tasks WHERE {_all(*where, WAITING)} ORDER BY waits_for, position LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        ranks = enumerate(rows, start=offset + 1)
        return [task_of(row, None if row["waits_for"] else place(turns, row["owner"], rank)) for rank, row in ranks]

    def places(self, *, limit: int = 50, owner: str | None = None) -> dict[str, int]:
        """By id the places of the first in line, where several users wait for their turns; else nothing: 1, 2, 3 …"""
        turns = in_turn(self._database.read)
        if len(turns) < 2:
            return {}
        theirs = [turn for turn in turns if owner in (None, turn.owner)]
        line = next_ones(theirs, 0, min(limit, MAX_PAGE))
        return {row["id"]: at for row, at in self._rows_of(line, turns, "id")}

    def _waiting_in_turn(self, turns: Sequence[Turn], limit: int, offset: int) -> list[Task]:
        """`waiting` where several users wait for their turns."""
        line = next_ones(turns, offset, limit)
        found = [task_of(row, at) for row, at in self._rows_of(line, turns, COLUMNS)]
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM tasks WHERE {WAITING} AND waits_for IS NOT NULL"
            " ORDER BY waits_for, position LIMIT ? OFFSET ?",
            (limit - len(line), max(0, offset - sum(turn.tasks for turn in turns))),
        )
        return found + [task_of(row) for row in rows]

    def _rows_of(
        self, line: Sequence[tuple[str, int]], turns: Sequence[Turn], columns: str
    ) -> list[tuple[sqlite3.Row, int]]:
        """(row, place) of tasks that are given as (owner, rank in their own line), in that order."""
        ranks: dict[str, list[int]] = {}
        for owner, rank in line:
            ranks.setdefault(owner, []).append(rank)
        found: list[tuple[sqlite3.Row, int]] = []
        for owner, theirs in ranks.items():  # which follow each other
            rows = self._database.read(
                f"SELECT {columns} FROM tasks WHERE owner = ? AND {WAITING} AND waits_for IS NULL"
                " ORDER BY position LIMIT ? OFFSET ?",
                (owner, len(theirs), theirs[0] - 1),
            )
            found += [(row, place(turns, owner, rank)) for rank, row in zip(theirs, rows, strict=False)]
        return sorted(found, key=lambda one: one[1])

    def held(self) -> list[str]:
        """The offers whose files tasks wait for."""
        rows = self._database.read(
            "SELECT DISTINCT waits_for FROM tasks WHERE state = 'waiting' AND waits_for IS NOT NULL ORDER BY waits_for"
        )
        return [row["waits_for"] for row in rows]

    def held_by(self, offer: str, *, limit: int = 50) -> list[str]:
        """Ids of the first tasks that wait for an offer's files."""
        rows = self._database.read(
            "SELECT id FROM tasks WHERE state = 'waiting' AND waits_for = ? ORDER BY position LIMIT ?",
            (offer, min(limit, MAX_PAGE)),
        )
        return [row["id"] for row in rows]

    def running(self, *, owner: str | None = None) -> list[Task]:
        """What is being drawn or saved now, oldest first."""
        where, values = _owned(owner)
        return self._select(f"WHERE {_all(*where, RUNNING)} ORDER BY id", values, MAX_PAGE)

    def batch(self, batch_id: str, *, owner: str | None = None) -> list[str]:
        """Ids of all tasks of a batch, in the order of their pictures."""
        rows = self._database.read("SELECT id, owner FROM tasks WHERE batch_id = ? ORDER BY id", (batch_id,))
        return [row["id"] for row in rows if owner in (None, row["owner"])]

    def pictures(
        self,
        *,
        since: float = 0.0,
        until: float | None = None,
        limit: int = 50,
        before: str | None = None,
        owner: str | None = None,
    ) -> list[Task]:
        """Finished tasks with a picture, newest first, between two Unix times; ``before`` is a task id."""
        where, values = _owned(owner)
        where += ["state = 'finished' AND image_path IS NOT NULL AND finished_at >= ? AND finished_at < ?"]
        values += [since, until if until is not None else 1e12]
        if before is not None:
            known, ids = _owned(owner)
            where += [f"(finished_at, id) < (SELECT finished_at, id FROM tasks WHERE {_all('id = ?', *known)})"]
            values += [before, *ids]
        return self._select(f"WHERE {_all(*where)} ORDER BY finished_at DESC, id DESC", values, limit)

    def sheets(self, *, limit: int = 20, before: str | None = None, owner: str | None = None) -> list[SheetHead]:
        """Contact sheets, newest first; ``before`` is the id of one."""
        where, values = _owned(owner)
        rows = self._database.read(
            "SELECT batch_id, count(DISTINCT label) AS cells,"
            " count(DISTINCT CASE WHEN state = 'finished' THEN label END) AS finished"
            f" FROM tasks WHERE {_all(*where, 'label IS NOT NULL', 'batch_id < ?')}"
            " GROUP BY batch_id ORDER BY batch_id DESC LIMIT ?",
            (*values, before or "~", max(0, min(limit, MAX_PAGE))),
        )
        return [SheetHead(self.get(row["batch_id"]), row["cells"], row["finished"]) for row in rows]

    def sheet(self, sheet_id: str, *, owner: str | None = None) -> list[Task]:
        """The newest task of every label on a contact sheet, in the order in which they were asked for.

        Raises:
            NotFound: no such sheet.
        """
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM tasks WHERE batch_id = ? AND label IS NOT NULL ORDER BY id", (sheet_id,)
        )
        # A later one takes the place of the first.
        newest = {row["label"]: task_of(row) for row in rows if owner in (None, row["owner"])}
        if not newest:
            raise NotFound(f"There is no contact sheet '{sheet_id[:40]}'.", "`GET /v1/sheets` lists them.")
        return list(newest.values())

    def in_style(self, style: str, *, limit: int = 5, owner: str | None = None) -> list[tuple[str, str]]:
        """(task id, path) of the newest pictures that this style alone was chosen for."""
        where, values = _owned(owner)
        rows = self._database.read(  # word for word as in the index `tasks_by_style`
            f"SELECT id, image_path FROM tasks WHERE {_all(*where)} AND json_extract(recipe, '$.styles[0]') = ?"
            " AND state = 'finished' AND image_path IS NOT NULL"
            " AND json_array_length(recipe, '$.styles') = 1 AND instr(lower(recipe), '<style:') = 0"
            " ORDER BY finished_at DESC, id DESC LIMIT ?",
            (*values, style, limit),
        )
        return [(row["id"], row["image_path"]) for row in rows]

    def last_failure(self, *, owner: str | None = None) -> Task | None:
        """The newest picture that was drawn or failed, if it failed."""
        where, values = _owned(owner)
        newest: list[Task] = []
        for state in ("failed", "finished"):
            rest = f"WHERE {_all(*where, 'state = ?')} ORDER BY finished_at DESC, id DESC"
            newest += self._select(rest, [*values, state], 1)
        last = max(newest, key=lambda task: task.finished_at or 0.0, default=None)
        return last if last is not None and last.state == "failed" else None

    def counts(self, *, owner: str | None = None) -> dict[State, int]:
        """Tasks by state; kept up to date by the database, so history costs nothing."""
        tasks = self._totals("tasks", owner)
        states: tuple[State, ...] = ("waiting", "running", *dict.fromkeys(TERMINAL.values()))
        return {state: tasks.get(state, 0) for state in states}

    def held_count(self, *, owner: str | None = None) -> int:
        """How many of the waiting tasks wait for files."""
        return self._totals("tasks", owner).get("held", 0)

    def ahead(self, owner: str) -> int:
        """How many tasks of others are drawn before the next one of this user, those that are drawn now among them.

        0 if none of theirs waits its turn.
        """
        turns = in_turn(self._database.read)
        if all(turn.owner != owner for turn in turns):
            return 0
        drawn = "SELECT coalesce(sum(tasks), 0) AS now FROM totals WHERE state = 'running' AND owner <> ?"
        return place(turns, owner, 1) - 1 + self._database.read(drawn, (owner,))[0]["now"]

    def waiting_work(self, *, owner: str | None = None) -> int:
        """Work in line that could be drawn now, in the unit of `work_of`; of a user: until their last is drawn.

        Of others who have more in line than comes before that, the tasks count as being alike.
        """
        turns = in_turn(self._database.read)
        last = next((turn.tasks for turn in turns if turn.owner == owner), 0)
        if owner is None or not last:
            return sum(turn.work for turn in turns) if owner is None else 0
        counted = drawn_before(turns, owner, last) | {owner: last}
        return sum(turn.work * counted[turn.owner] // turn.tasks for turn in turns)

    def _totals(self, column: str, owner: str | None) -> dict[str, int]:
        where, values = ([], []) if owner is None else (["owner = ?"], [owner])
        rows = self._database.read(
            f"SELECT state, sum({column}) AS total FROM totals WHERE {_all(*where)} GROUP BY state", values
        )
        return {row["state"]: row["total"] for row in rows}

    def _select(self, rest: str, values: Iterable[Any], limit: int) -> list[Task]:
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM tasks {rest} LIMIT ?", [*values, max(0, min(limit, MAX_PAGE))]
        )
        return [task_of(row) for row in rows]


WAITING, RUNNING = "state = 'waiting'", "state = 'running'"


def _owned(owner: str | None) -> tuple[list[str], list[Any]]:
    """Conditions on a row, and their values: it is that user's."""
    return ([], []) if owner is None else ([OF_OWNER], [owner])


def _all(*conditions: str) -> str:
    return " AND ".join(conditions) or "true"


def no_such(task_id: str) -> NotFound:
    """The error that there is no such task."""
    return NotFound(f"There is no task '{task_id[:40]}'.", "It may belong to another data folder.")
