"""Pictures on the disk that the queue does not know of, found when it is opened: nothing is drawn twice.

A server may be killed after it has saved a picture and before it has written that down. And after the queue went back
to its last good copy, all that was drawn since is found again: those that were asked for after the copy come back into
the history, with their settings as they stand in the pictures. A picture does not say whose it is: that is looked up
in what the damaged file still tells, and where it tells nothing, only admins see the picture.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from fooocus_lite.database import Database, Transaction, is_of_disk
from fooocus_lite.errors import FooocusError
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Finished, ImageSaved
from fooocus_lite.images import find_saved, saved_pictures
from fooocus_lite.lost_rows import LostRows, Origin, lost_rows
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
        newer = _adopt_newer(database, log, output_dir, database.restored_at)
        database.forget_restored()
    running = [row["id"] for row in database.read("SELECT id FROM tasks WHERE state = 'running'")]
    saved = {task_id: find_picture(log, output_dir, task_id) for task_id in running}
    for task_id, there in saved.items():
        try:
            newer += there is not None and _adopt(database, log, task_id, Path(there.path))
        except (FooocusError, sqlite3.Error) as exc:
            if is_of_disk(exc):
                raise
            logger.error("task %s stays as it is, its row takes no change: %s", task_id, exc)
    return newer


def _adopt_newer(database: Database, log: EventLog, output_dir: Path, since: float) -> int:
    """Take in what is newer than the copy that was put back; how many pictures that were."""
    owners = [row["owner"] for row in database.read("SELECT DISTINCT owner FROM totals WHERE owner <> ''")]
    newer = nobodys = 0
    with lost_rows(database.path) as lost:
        for task_id, path in _newer(output_dir, since):
            origin = _origin(database, lost, owners, task_id)
            is_known = bool(origin.owner or database.read("SELECT 1 FROM tasks WHERE id = ?", (task_id,)))
            if _adopt(database, log, task_id, path, origin):
                newer += 1
                nobodys += not is_known
        _count_rounds(database, lost)
        _keep_keys(database, lost)
    if newer:
        were = "1 picture that was" if newer == 1 else f"{newer} pictures that were"
        _warn(database, f"{were} drawn after that copy: found again in {output_dir}.")
    if nobodys and owners:
        them = "1 of them it is" if nobodys == 1 else f"{nobodys} of them it is"
        _warn(database, f"Of {them} not known any more who asked for it: only admins see that.")
    return newer


def _warn(database: Database, sentence: str) -> None:
    database.warnings.append(sentence)
    logger.warning(sentence)


def _origin(database: Database, lost: LostRows, owners: Sequence[str], task_id: str) -> Origin:
    """Who asked for a task and with which others, as far as that is known; else nobody, and it alone."""
    origin = lost.origin(task_id)
    if origin is None:
        owner = next((name for name in owners if lost.is_of(name, task_id)), "")
        return Origin(task_id, owner, time.time(), None, "style")
    batch = database.read("SELECT owner FROM batches WHERE id = ?", (origin.batch_id,))
    return replace(origin, owner=batch[0]["owner"] or origin.owner) if batch else origin


def _count_rounds(database: Database, lost: LostRows) -> None:
    """Of what is repeated, count the rounds of which a picture was found: they are not drawn again."""
    for repeat in database.read("SELECT id, batch_id FROM repeats WHERE state = 'on'"):
        later = [batch_id for batch_id in lost.rounds(repeat["id"]) if batch_id > (repeat["batch_id"] or "")]
        there = [bool(database.read("SELECT 1 FROM batches WHERE id = ?", (batch_id,))) for batch_id in later]
        begun = later[: max((place for place, is_there in enumerate(there, start=1) if is_there), default=0)]
        if not begun:
            continue
        with database.write() as transaction:
            transaction.execute(
                "UPDATE repeats SET rounds = rounds + ?, batch_id = ? WHERE id = ?",
                (len(begun), begun[-1], repeat["id"]),
            )
            for batch_id in begun:
                transaction.execute("INSERT OR IGNORE INTO rounds VALUES (?, ?)", (batch_id, repeat["id"]))


def _keep_keys(database: Database, lost: LostRows) -> None:
    """What was asked for under a key and found whole stays asked for; of the rest some is forgotten, so it is not.

    Whole is whose it is and with which others, too: else who asked could not see what they are told of.
    """
    (newest,) = database.read("SELECT coalesce(max(last_id), '') AS id FROM asked")
    with database.write() as transaction:
        for key, ids in lost.asked(newest["id"]).items():
            there = (transaction.execute("SELECT 1 FROM tasks WHERE id = ?", (task_id,)) for task_id in ids)
            if all(there) and all(lost.origin(task_id) for task_id in ids):
                transaction.execute("INSERT OR IGNORE INTO asked VALUES (?, ?, ?)", (key, ids[0], ids[-1]))


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


def _adopt(database: Database, log: EventLog, task_id: str, path: Path, origin: Origin | None = None) -> bool:
    """Finish a task whose picture is there, one of that origin if there is no such task."""
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
        if not rows and origin is not None:
            _insert(transaction, task_id, recipe, origin, min(origin.created_at, stat.st_mtime))
        transaction.execute(
            "UPDATE tasks SET state = 'finished', waits_for = NULL, started_at = coalesce(started_at, ?),"
            " finished_at = ?, image_path = ?, width = ?, height = ? WHERE id = ?",
            (stat.st_mtime, stat.st_mtime, saved.path, saved.width, saved.height, task_id),
        )
        log.record(transaction, task_id, saved)
        log.record(transaction, task_id, Finished())
    return True


def _insert(transaction: Transaction, task_id: str, recipe: Recipe, origin: Origin, at: float) -> None:
    whose = (origin.batch_id, origin.owner, origin.label, origin.varies)
    transaction.execute(
        "INSERT INTO tasks (id, position, recipe, state, attempt, created_at, batch_id, owner, label, varies)"
        " VALUES (?, ?, ?, 'running', 1, ?, ?, ?, ?, ?)",
        (task_id, int(task_id, 16), to_json(recipe), at, *whose),
    )
