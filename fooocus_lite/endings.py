"""How tasks end, and how those that were claimed go back into the line: after a kill, or because nobody can draw them
now. The other parts of the queue are `fooocus_lite.line` and `fooocus_lite.taskqueue`.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable

from fooocus_lite.database import Database, Transaction, is_of_disk
from fooocus_lite.errors import FooocusError
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import TERMINAL, Cancelled, Failed, Finished, Queued, State
from fooocus_lite.line import Line
from fooocus_lite.user import Limits

logger = logging.getLogger(__name__)
MAX_ATTEMPTS = 2


class Endings(Line):
    """Thread-safe, as `fooocus_lite.taskqueue.TaskQueue` is."""

    def __init__(self, database: Database, log: EventLog, limits_of: Callable[[str], Limits]) -> None:
        super().__init__(database, log, limits_of)
        self._stop_asked: set[str] = set()

    def stop_asked(self, task_id: str) -> bool:
        """Whether somebody wants this running task to end; cheap enough for every step."""
        return task_id in self._stop_asked

    def end(self, task_id: str, event: Finished | Failed | Cancelled) -> bool:
        """Record the terminal event; False if the task had one already (then nothing changes)."""
        with self._database.write() as transaction:
            return self._end_in(transaction, task_id, event)

    def put_back(self, task_id: str, reason: Failed | None, *, waits_for: str | None = None) -> None:
        """After its worker died: back to its old place once; the second time it fails with ``reason``.

        Without a ``reason`` nobody is to blame (the server shuts down, or files must come first: those of the offer
        ``waits_for``), and the attempt does not count.
        """
        with self._database.write() as transaction:
            for row in transaction.execute("SELECT * FROM tasks WHERE id = ? AND state = 'running'", (task_id,)):
                self._put_back_in(transaction, row, reason, waits_for)
        self.wake()

    def recover(self) -> list[str]:
        """At start-up: deal with tasks whose server or worker died; the ids of those in line again.

        A task that somebody had asked to stop is cancelled. What was only sent ahead has lost no attempt. One whose row
        takes no change keeps nobody from starting.
        """
        reason = Failed(
            code="worker_died",
            problem="Fooocus Lite ended twice while it drew this picture.",
            hint="Try a smaller size or another model, then press Try again.",
        )
        rows = self._database.read(
            "SELECT *, (SELECT json_extract(body, '$.is_ahead') FROM events WHERE task_id = tasks.id"
            " ORDER BY seq DESC LIMIT 1) AS is_unbegun FROM tasks WHERE state = 'running' ORDER BY id"
        )
        states: dict[str, State] = {}
        for row in rows:
            try:
                with self._database.write() as transaction:
                    states[row["id"]] = self._put_back_in(transaction, row, None if row["is_unbegun"] else reason)
            except (FooocusError, sqlite3.Error) as exc:
                if is_of_disk(exc):
                    raise
                logger.error("task %s stays as it is, its row takes no change: %s", row["id"], exc)
        self.wake()
        return [task_id for task_id, state in states.items() if state == "waiting"]

    def _put_back_in(
        self, transaction: Transaction, row: sqlite3.Row, reason: Failed | None, waits_for: str | None = None
    ) -> State:
        task_id, attempt = row["id"], row["attempt"] - (reason is None)
        if row["cancel_requested"]:
            self._end_in(transaction, task_id, Cancelled())
            return "cancelled"
        if reason is not None and attempt >= MAX_ATTEMPTS:
            self._end_in(transaction, task_id, reason)
            return "failed"
        transaction.execute(
            "UPDATE tasks SET state = 'waiting', attempt = ?, worker = NULL, started_at = NULL, waits_for = ?"
            " WHERE id = ?",
            (attempt, waits_for, task_id),
        )
        self._log.record(transaction, task_id, Queued(attempt=attempt + 1, waits_for=waits_for or ""))
        return "waiting"

    def _end_in(self, transaction: Transaction, task_id: str, event: Finished | Failed | Cancelled) -> bool:
        error = None
        if isinstance(event, Failed):
            error = {"code": event.code, "problem": event.problem, "hint": event.hint, "field": event.field_name}
        changed = transaction.execute(
            "UPDATE tasks SET state = ?, finished_at = ?, error = ?, waits_for = NULL"
            " WHERE id = ? AND state IN ('waiting', 'running') RETURNING id",
            (TERMINAL[event.kind], time.time(), json.dumps(error) if error else None, task_id),
        )
        if changed:
            self._log.record(transaction, task_id, event)
            transaction.after_commit(lambda: self._stop_asked.discard(task_id))
        return bool(changed)
