"""Pictures on the disk that the queue does not know of, found when it is opened: nothing is drawn twice.

A server may be killed after it has saved a picture and before it has written that down. And after the queue went back
to its last good copy, all that was drawn since is found again: those that were asked for after the copy come back into
the history, with their settings as they stand in the pictures.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from fooocus_lite.database import Database, Transaction
from fooocus_lite.errors import FooocusError
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Finished, ImageSaved
from fooocus_lite.images import find_saved, saved_pictures
from fooocus_lite.picture_text import read_recipe
from fooocus_lite.recipe import Recipe
from fooocus_lite.tasks import to_json

logger = logging.getLogger(__name__)


def adopt_pictures(database: Database, log: EventLog, output_dir: Path) -> int:
    """Finish what was running and is there, and if a copy was put back, take in what is newer; how many that were.

    A kill on the way costs nothing: the next start does it again.

    Raises:
        FooocusError: the queue file cannot be written.
    """
    newer = 0
    if database.restored_at is not None:
        newer = sum(_adopt(database, log, task_id, path) for task_id, path in _newer(output_dir, database.restored_at))
        if newer:
            were = "1 picture that was" if newer == 1 else f"{newer} pictures that were"
            database.warnings.append(f"{were} drawn after that copy: found again in {output_dir}.")
            logger.warning(database.warnings[-1])
        database.forget_restored()
    running = [row["id"] for row in database.read("SELECT id FROM tasks WHERE state = 'running'")]
    saved = {task_id: find_picture(log, output_dir, task_id) for task_id in running}
    return newer + sum(_adopt(database, log, task_id, Path(there.path)) for task_id, there in saved.items() if there)


def find_picture(log: EventLog, output_dir: Path, task_id: str) -> ImageSaved | None:
    """The picture that a task saved already; looked for first on the days on which it is known of, and today."""
    stamps = [event.at for event in log.facts(task_id)] + [time.time()]
    return find_saved(output_dir, task_id, {datetime.fromtimestamp(stamp).strftime("%Y-%m-%d") for stamp in stamps})


def _newer(output_dir: Path, since: float) -> Iterator[tuple[str, Path]]:
    """(task id, picture), oldest first, from the day before ``since`` on: clocks and days need not agree."""
    first = (datetime.fromtimestamp(since) - timedelta(days=1)).strftime("%Y-%m-%d")
    for day, task_id, path in saved_pictures(output_dir):
        if day >= first:
            yield task_id, path


def _adopt(database: Database, log: EventLog, task_id: str, path: Path) -> bool:
    rows = database.read("SELECT * FROM tasks WHERE id = ?", (task_id,))
    if rows and rows[0]["state"] not in ("waiting", "running"):
        return False
    try:
        recipe, stat = read_recipe(path), path.stat()
    except (FooocusError, OSError):  # not whole, or not ours
        return False
    saved = ImageSaved(
        path=str(path.absolute()), width=recipe.width or 0, height=recipe.height or 0, size_bytes=stat.st_size
    )
    with database.write() as transaction:
        if not rows:
            _insert(transaction, task_id, recipe, stat.st_mtime)
        transaction.execute(
            "UPDATE tasks SET state = 'finished', waits_for = NULL, started_at = coalesce(started_at, ?),"
            " finished_at = ?, image_path = ?, width = ?, height = ? WHERE id = ?",
            (stat.st_mtime, stat.st_mtime, saved.path, saved.width, saved.height, task_id),
        )
        log.record(transaction, task_id, saved)
        log.record(transaction, task_id, Finished())
    return True


def _insert(transaction: Transaction, task_id: str, recipe: Recipe, at: float) -> None:
    transaction.execute(
        "INSERT INTO tasks (id, batch_id, position, recipe, state, attempt, created_at)"
        " VALUES (?, ?, ?, ?, 'running', 1, ?)",
        (task_id, task_id, int(task_id, 16), to_json(recipe), at),
    )
