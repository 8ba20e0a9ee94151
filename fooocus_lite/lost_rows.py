"""What can still be read of a queue file that was damaged and moved aside.

Most damage is to a few pages. So what came after the last good copy, and is in no other place, can often be looked up:
who asked for a picture, with which others and under which key, and which rounds of a repeat there were. What cannot be
read is not there; nothing here raises for it, and nothing is written to the file.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
#: What the name of a file that was moved aside has behind that of the queue file; the time follows.
ASIDE = ".damaged-"


@dataclass(frozen=True)
class Origin:
    """Who asked for a task, and with which others; as `fooocus_lite.tasks.Task`."""

    batch_id: str
    owner: str
    created_at: float
    label: str | None
    varies: str


class LostRows:
    """Answers of a damaged file, as far as it gives any.

    Args:
        connection: To it; ``None`` where there is no such file any more.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection

    def origin(self, task_id: str) -> Origin | None:
        """Of a task, if its row can be read whole."""
        rows = self._ask("SELECT batch_id, owner, created_at, label, varies FROM tasks WHERE id = ?", task_id)
        (said,) = rows or [()]
        kinds = (str, str, float, (str, type(None)), str)
        is_sound = len(said) == len(kinds) and all(map(isinstance, said, kinds))
        return Origin(*said) if is_sound else None

    def is_of(self, owner: str, task_id: str) -> bool:
        """Whether this user asked for a task: said by an index, whose pages may be sound where the row's are not."""
        query = "SELECT 1 FROM tasks INDEXED BY tasks_of_owner WHERE owner = ? AND id = ?"
        return bool(self._ask(query, owner, task_id))

    def rounds(self, repeat_id: str) -> list[str]:
        """The batches of all rounds of a repeat, oldest first."""
        rows = self._ask("SELECT batch_id FROM rounds WHERE repeat_id = ? ORDER BY batch_id", repeat_id)
        return [batch_id for (batch_id,) in rows if isinstance(batch_id, str)]

    def asked(self, since: str) -> dict[str, list[str]]:
        """By key the ids of all tasks that were asked for under it, as far as they came after the task ``since``."""
        found: dict[str, list[str]] = {}
        for said in self._ask("SELECT key, first_id, last_id FROM asked WHERE first_id > ?", since):
            if all(isinstance(part, str) for part in said):
                key, first, last = said
                rows = self._ask("SELECT id FROM tasks WHERE id BETWEEN ? AND ? ORDER BY id", first, last)
                ids = [task_id for (task_id,) in rows]
                if ids and (ids[0], ids[-1]) == (first, last):
                    found[key] = ids
        return found

    def _ask(self, sql: str, *values: str) -> Sequence[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall() if self._connection else []
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            logger.debug("not to be read: %s", exc)
            return []


@contextmanager
def lost_rows(path: Path) -> Generator[LostRows]:
    """The rows of the file that was moved aside last from ``path``."""
    aside = [file for file in path.parent.glob(f"{path.name}{ASIDE}*") if not file.name.endswith(("-wal", "-shm"))]
    connection = None
    if aside:
        with contextlib.suppress(sqlite3.Error):
            newest = max(aside, key=lambda file: file.name).resolve()
            connection = sqlite3.connect(f"{newest.as_uri()}?mode=ro", uri=True)
    try:
        yield LostRows(connection)
    finally:
        if connection is not None:
            connection.close()
