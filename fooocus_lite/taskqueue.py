"""The queue: one row per picture, claimed and never deleted, so that no kill loses or repeats one.

A row and the facts about it change in the same transaction: whoever reads the log reads the truth.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from fooocus_lite.affinity import Taste, pick
from fooocus_lite.database import Database, Transaction
from fooocus_lite.errors import NotFound
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import TERMINAL, Cancelled, Failed, Finished, ImageSaved, Queued, Started, State
from fooocus_lite.recipe import Recipe
from fooocus_lite.sheets import Varies
from fooocus_lite.tasks import COLUMNS, PastPicture, SheetHead, Task, task_of, to_json, work_of

MAX_ATTEMPTS = 2
MAX_PAGE = 500
_ID_EPOCH_S = 1_735_689_600  # 2025-01-01; 40 bits of milliseconds from here last until 2059


class TaskQueue:
    """Thread-safe; one process at a time (`fooocus_lite.store.open_store` sees to that)."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database = database
        self._log = log
        self._work = threading.Condition()
        self._work_version = 0
        self._stop_asked: set[str] = set()
        newest = database.read("SELECT max(id) FROM tasks")[0][0]
        self._last_id = int(newest or "0", 16)

    # What a person does.

    def submit(
        self,
        recipes: Sequence[Recipe],
        *,
        batch_id: str | None = None,
        labels: Sequence[str] | None = None,
        varies: Varies | Sequence[Varies] = "style",
    ) -> list[str]:
        """Put one task per recipe at the end of the line; no kill loses them once this returns.

        Args:
            batch_id: Of the batch that they join; the first one's id when left out.
            labels: One per recipe makes the batch a contact sheet, whose cells show what ``varies``.

        Raises:
            DiskProblem: nothing was queued.
        """
        with self._database.write() as transaction:
            ids = [self._new_id() for _ in recipes]
            batch = batch_id or (ids[0] if ids else "")
            kinds = [varies] * len(ids) if isinstance(varies, str) else varies
            for task_id, recipe, label, kind in zip(ids, recipes, labels or [None] * len(ids), kinds, strict=True):
                transaction.execute(
                    "INSERT INTO tasks (id, batch_id, position, recipe, work, created_at, label, varies)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (task_id, batch, int(task_id, 16), to_json(recipe), work_of(recipe), time.time(), label, kind),
                )
                self._log.record(transaction, task_id, Queued())
        self.wake()
        return ids

    def retry(self, task_id: str) -> str:
        """A new task from the same recipe, in its old one's place on a contact sheet; returns its id.

        A cell of a sheet that is being tried again already is not drawn twice.
        """
        old = self.get(task_id)
        if old.label is None:
            return self.submit([old.recipe])[0]
        again = self._database.read(
            "SELECT id FROM tasks WHERE batch_id = ? AND label = ? AND state IN ('waiting', 'running')",
            (old.batch_id, old.label),
        )
        if again:
            return str(again[0]["id"])
        return self.submit([old.recipe], batch_id=old.batch_id, labels=[old.label], varies=old.varies)[0]

    def cancel(self, task_id: str) -> bool:
        """End a waiting task now, or ask a running one to stop; False if it had already ended.

        Raises:
            NotFound: no such task.
        """
        if self.find(task_id) is None:
            raise _no_such(task_id)
        return self._cancel("id = ?", (task_id,)) > 0

    def cancel_batch(self, batch_id: str) -> int:
        """Cancel what is left of a batch; how many tasks that were."""
        return self._cancel("batch_id = ?", (batch_id,))

    def clear_waiting(self) -> int:
        """Cancel everything that waits; running tasks go on."""
        return self._cancel("state = ?", ("waiting",))

    def _cancel(self, where: str, values: tuple[str, ...]) -> int:
        with self._database.write() as transaction:
            rows = transaction.execute(f"SELECT id, state FROM tasks WHERE {where} ORDER BY id", values)
            waiting = [row["id"] for row in rows if row["state"] == "waiting"]
            running = [row["id"] for row in rows if row["state"] == "running"]
            for task_id in waiting:
                self._end_in(transaction, task_id, Cancelled())
            for task_id in running:
                transaction.execute("UPDATE tasks SET cancel_requested = 1 WHERE id = ?", (task_id,))
            transaction.after_commit(lambda: self._stop_asked.update(running))
        return len(waiting) + len(running)

    # What a dispatcher does.

    def claim(self, worker: str, *, device: str = "", taste: Taste | None = None) -> Task | None:
        """The task that `fooocus_lite.affinity.pick` picks, now running and owned by ``worker``; None without one."""
        with self._database.write() as transaction:
            rows = transaction.execute(
                "UPDATE tasks SET state = 'running', worker = ?, attempt = attempt + 1, started_at = ?"
                f" WHERE id = ? RETURNING {COLUMNS}",
                (worker, time.time(), pick(transaction, taste)),
            )
            if not rows:
                return None
            task = task_of(rows[0])
            self._log.record(transaction, task.id, Started(device=device, attempt=task.attempt))
            return task

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

    def stop_asked(self, task_id: str) -> bool:
        """Whether somebody wants this running task to end; cheap enough for every step."""
        return task_id in self._stop_asked

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

    def end(self, task_id: str, event: Finished | Failed | Cancelled) -> bool:
        """Record the terminal event; False if the task had one already (then nothing changes)."""
        with self._database.write() as transaction:
            return self._end_in(transaction, task_id, event)

    def settle(self, task_id: str, recipe: Recipe) -> None:
        """Keep what was still open in a task's recipe and has been decided now."""
        with self._database.write() as transaction:
            transaction.execute("UPDATE tasks SET recipe = ? WHERE id = ?", (to_json(recipe), task_id))

    def put_back(self, task_id: str, reason: Failed | None) -> None:
        """After its worker died: back to its old place once; the second time it fails with ``reason``.

        Without a ``reason`` nobody is to blame (the server shuts down), and the attempt does not count.
        """
        with self._database.write() as transaction:
            if reason is None:
                transaction.execute(
                    "UPDATE tasks SET attempt = attempt - 1 WHERE id = ? AND state = 'running'", (task_id,)
                )
            for row in transaction.execute("SELECT * FROM tasks WHERE id = ? AND state = 'running'", (task_id,)):
                self._put_back_in(transaction, row, reason)
        self.wake()

    def recover(self) -> list[str]:
        """At start-up: deal with tasks whose server or worker died; the ids of those in line again.

        A task that somebody had asked to stop is cancelled.
        """
        reason = Failed(
            code="worker_died",
            problem="Fooocus Lite ended twice while it drew this picture.",
            hint="Try a smaller size or another model, then press Retry.",
        )
        with self._database.write() as transaction:
            rows = transaction.execute("SELECT * FROM tasks WHERE state = 'running' ORDER BY position")
            states = {row["id"]: self._put_back_in(transaction, row, reason) for row in rows}
        self.wake()
        return [task_id for task_id, state in states.items() if state == "waiting"]

    def _put_back_in(self, transaction: Transaction, row: sqlite3.Row, reason: Failed | None) -> State:
        task_id = row["id"]
        if row["cancel_requested"]:
            self._end_in(transaction, task_id, Cancelled())
            return "cancelled"
        if reason is not None and row["attempt"] >= MAX_ATTEMPTS:
            self._end_in(transaction, task_id, reason)
            return "failed"
        transaction.execute(
            "UPDATE tasks SET state = 'waiting', worker = NULL, started_at = NULL WHERE id = ?", (task_id,)
        )
        self._log.record(transaction, task_id, Queued(attempt=row["attempt"] + 1))
        return "waiting"

    def _end_in(self, transaction: Transaction, task_id: str, event: Finished | Failed | Cancelled) -> bool:
        error = None
        if isinstance(event, Failed):
            error = {"code": event.code, "problem": event.problem, "hint": event.hint, "field": event.field_name}
        changed = transaction.execute(
            "UPDATE tasks SET state = ?, finished_at = ?, error = ?"
            " WHERE id = ? AND state IN ('waiting', 'running') RETURNING id",
            (TERMINAL[event.kind], time.time(), json.dumps(error) if error else None, task_id),
        )
        if changed:
            self._log.record(transaction, task_id, event)
            transaction.after_commit(lambda: self._stop_asked.discard(task_id))
        return bool(changed)

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

    # What everybody asks.

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
            raise _no_such(task_id)
        return task

    def position(self, task_id: str) -> int | None:
        """1 = next; None if it does not wait."""
        # An index alone answers this: 10,000 entries in well under a millisecond.
        rows = self._database.read(
            "SELECT count(*) AS place FROM tasks WHERE state = 'waiting' AND position <="
            " (SELECT position FROM tasks WHERE id = ? AND state = 'waiting')",
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
        """The line, next first, with places."""
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM tasks WHERE state = 'waiting' ORDER BY position LIMIT ? OFFSET ?",
            (min(limit, MAX_PAGE), offset),
        )
        return [task_of(row, offset + index) for index, row in enumerate(rows, start=1)]

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
        return {row["state"]: row["tasks"] for row in self._database.read("SELECT state, tasks FROM totals")}

    def waiting_work(self) -> int:
        """Work in line, in the unit of `work_of`."""
        return self._database.read("SELECT work FROM totals WHERE state = 'waiting'")[0]["work"]

    def _select(self, rest: str, values: Iterable[Any], limit: int) -> list[Task]:
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM tasks {rest} LIMIT ?", [*values, max(0, min(limit, MAX_PAGE))]
        )
        return [task_of(row) for row in rows]

    def _new_id(self) -> str:
        """Twelve hex digits that rise with time; called inside a transaction, so no two threads meet."""
        milliseconds = int((time.time() - _ID_EPOCH_S) * 1000)
        self._last_id = max(self._last_id + 1, (milliseconds << 8) | secrets.randbelow(256))
        return f"{self._last_id:012x}"


def _no_such(task_id: str) -> NotFound:
    return NotFound(f"There is no task '{task_id[:40]}'.", "It may belong to another data folder.")
