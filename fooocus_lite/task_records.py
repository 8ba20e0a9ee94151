"""What has been asked for so far: the line, the history, contact sheets. Reads only; nothing here changes a task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fooocus_lite.database import Database
from fooocus_lite.errors import NotFound
from fooocus_lite.events import State
from fooocus_lite.tasks import COLUMNS, SheetHead, Task, task_of

MAX_PAGE = 500


class TaskRecords:
    """The questions that everybody may ask of a queue; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, task_id: str) -> Task | None:
        """The task with its place in line, or None."""
        rows = self._database.read(f"SELECT {COLUMNS} FROM tasks WHERE id = ?", (task_id,))
        if not rows:
            return None
        return task_of(rows[0], self.position(task_id) if rows[0]["state"] == "waiting" else None)

    def get(self, task_id: str) -> Task:
        """The task with its place in line.

        Raises:
            NotFound: no such task.
        """
        task = self.find(task_id)
        if task is None:
            raise no_such(task_id)
        return task

    def position(self, task_id: str) -> int | None:
        """1 = next; None if it does not wait, or waits for files: then others pass it."""
        # An index alone answers this: 10,000 entries in well under a millisecond.
        rows = self._database.read(
            "SELECT count(*) AS place FROM tasks WHERE state = 'waiting' AND waits_for IS NULL AND position <="
            " (SELECT position FROM tasks WHERE id = ? AND state = 'waiting' AND waits_for IS NULL)",
            (task_id,),
        )
        return rows[0]["place"] or None

    def page(self, state: State | None = None, *, limit: int = 50, before: str | None = None) -> list[Task]:
        """Tasks, newest first; the next page is ``before`` the last id of this one.

        Places in line are left out here: see `waiting`.
        """
        where, values = ["id < ?"], [before or "~"]
        if state is not None:
            where.insert(0, "state = ?")
            values.insert(0, state)
        return self._select(f"WHERE {' AND '.join(where)} ORDER BY id DESC", values, limit)

    def waiting(self, *, limit: int = 50, offset: int = 0) -> list[Task]:
        """The line, next first, with places; behind it the tasks that wait for files, by what they wait for."""
        rows = self._database.read(  # NULL sorts before every name
            f"SELECT {COLUMNS} FROM tasks WHERE state = 'waiting' ORDER BY waits_for, position LIMIT ? OFFSET ?",
            (min(limit, MAX_PAGE), offset),
        )
        places = enumerate(rows, start=offset + 1)
        return [task_of(row, None if row["waits_for"] else place) for place, row in places]

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

    def running(self) -> list[Task]:
        """What is being drawn or saved now, oldest first."""
        return self._select("WHERE state = 'running' ORDER BY id", [], MAX_PAGE)

    def batch(self, batch_id: str) -> list[str]:
        """Ids of all tasks of a batch, in the order of their pictures."""
        return [
            row["id"] for row in self._database.read("SELECT id FROM tasks WHERE batch_id = ? ORDER BY id", (batch_id,))
        ]

    def pictures(
        self, *, since: float = 0.0, until: float | None = None, limit: int = 50, before: str | None = None
    ) -> list[Task]:
        """Finished tasks with a picture, newest first, between two Unix times; ``before`` is a task id."""
        values: list[Any] = [since, until if until is not None else 1e12]
        where = "state = 'finished' AND image_path IS NOT NULL AND finished_at >= ? AND finished_at < ?"
        if before is not None:
            where += " AND (finished_at, id) < (SELECT finished_at, id FROM tasks WHERE id = ?)"
            values.append(before)
        return self._select(f"WHERE {where} ORDER BY finished_at DESC, id DESC", values, limit)

    def sheets(self, *, limit: int = 20, before: str | None = None) -> list[SheetHead]:
        """Contact sheets, newest first; ``before`` is the id of one."""
        rows = self._database.read(
            "SELECT batch_id, count(DISTINCT label) AS cells,"
            " count(DISTINCT CASE WHEN state = 'finished' THEN label END) AS finished"
            " FROM tasks WHERE label IS NOT NULL AND batch_id < ? GROUP BY batch_id ORDER BY batch_id DESC LIMIT ?",
            (before or "~", max(0, min(limit, MAX_PAGE))),
        )
        return [SheetHead(self.get(row["batch_id"]), row["cells"], row["finished"]) for row in rows]

    def sheet(self, sheet_id: str) -> list[Task]:
        """The newest task of every label on a contact sheet, in the order in which they were asked for.

        Raises:
            NotFound: no such sheet.
        """
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM tasks WHERE batch_id = ? AND label IS NOT NULL ORDER BY id", (sheet_id,)
        )
        newest = {row["label"]: task_of(row) for row in rows}  # a later one takes the place of the first
        if not newest:
            raise NotFound(f"There is no contact sheet '{sheet_id[:40]}'.", "`GET /v1/sheets` lists them.")
        return list(newest.values())

    def in_style(self, style: str, *, limit: int = 5) -> list[tuple[str, str]]:
        """(task id, path) of the newest pictures that this style alone was chosen for."""
        rows = self._database.read(  # word for word as in the index `tasks_by_style`
            "SELECT id, image_path FROM tasks WHERE json_extract(recipe, '$.styles[0]') = ?"
            " AND state = 'finished' AND image_path IS NOT NULL"
            " AND json_array_length(recipe, '$.styles') = 1 AND instr(lower(recipe), '<style:') = 0"
            " ORDER BY finished_at DESC, id DESC LIMIT ?",
            (style, limit),
        )
        return [(row["id"], row["image_path"]) for row in rows]

    def last_failure(self) -> Task | None:
        """The newest picture that was drawn or failed, if it failed."""
        newest: list[Task] = []
        for state in ("failed", "finished"):
            newest += self._select("WHERE state = ? ORDER BY finished_at DESC, id DESC", [state], 1)
        last = max(newest, key=lambda task: task.finished_at or 0.0, default=None)
        return last if last is not None and last.state == "failed" else None

    def counts(self) -> dict[State, int]:
        """Tasks by state; kept up to date by the database, so history costs nothing."""
        rows = self._database.read("SELECT state, tasks FROM totals WHERE state <> 'held'")
        return {row["state"]: row["tasks"] for row in rows}

    def held_count(self) -> int:
        """How many of the waiting tasks wait for files."""
        return self._database.read("SELECT tasks FROM totals WHERE state = 'held'")[0]["tasks"]

    def waiting_work(self) -> int:
        """Work in line that could be drawn now, in the unit of `work_of`."""
        work = {row["state"]: row["work"] for row in self._database.read("SELECT state, work FROM totals")}
        return work["waiting"] - work["held"]

    def _select(self, rest: str, values: Iterable[Any], limit: int) -> list[Task]:
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM tasks {rest} LIMIT ?", [*values, max(0, min(limit, MAX_PAGE))]
        )
        return [task_of(row) for row in rows]


def no_such(task_id: str) -> NotFound:
    """The error that there is no such task."""
    return NotFound(f"There is no task '{task_id[:40]}'.", "It may belong to another data folder.")
