"""The last good copy of the queue file: what a damaged one is replaced with.

It is written beside the file from a snapshot that neither readers nor writers wait for, checked whole, and only then
takes the older one's place. So however the program ends, one good copy is always there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path

from fooocus_lite.disk import free_bytes, write_atomic

logger = logging.getLogger(__name__)

#: After the start, and after a change: a program that only looks in is not slowed down.
FIRST_S = 10.0
EVERY_S = 60.0
#: A copy of a long history takes seconds: it may take this part of the time at most.
SHARE = 0.02
#: Room that a copy leaves on the disk: the queue itself needs it more.
SPARE_BYTES = 64_000_000


def copy_path(path: Path) -> Path:
    """Where the last good copy of a queue file lies."""
    return path.with_name(f"{path.name}.last-good")


def make_copy(path: Path, connection: sqlite3.Connection) -> bool:
    """Write a copy of what is in ``path`` now, check it, and put it in the older one's place; False without room.

    Args:
        connection: To ``path``, for this alone.

    Raises:
        sqlite3.Error: the file cannot be read, or its copy is not sound; the older copy is untouched.
        OSError: the disk said no; likewise.
    """
    free = free_bytes(path.parent)
    if free is not None and free < path.stat().st_size + SPARE_BYTES:
        return False
    part = path.with_name(f"{path.name}.copy.part")
    part.unlink(missing_ok=True)  # of a program that was killed
    try:
        connection.execute("VACUUM INTO ?", (str(part),))
        _check(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, copy_path(path))
    finally:
        part.unlink(missing_ok=True)
    return True


def _check(path: Path) -> None:
    """Raise `sqlite3.DatabaseError` unless every page and index of the file is sound."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(f"malformed: {problem}")
        connection.execute("SELECT 1 FROM tasks, events LIMIT 0").fetchall()
    finally:
        connection.close()


def begin_restore(path: Path) -> float | None:
    """Make ready to put the last good copy in the place of ``path``; Unix time of the copy, None if there is none.

    From now on `finish_restore` is due, also after a kill, and then, until `forget_restored`, what follows from it.
    """
    copy = copy_path(path)
    try:
        if not copy.exists():
            return None
        _check(copy)
    except sqlite3.DatabaseError as exc:
        logger.warning("%s is damaged, too: %s", copy, exc)
        return None
    at = copy.stat().st_mtime
    write_atomic(_mark(path), str(at).encode(), replace=True)
    return at


def finish_restore(path: Path) -> None:
    """Put the copy there if that was begun and nothing is there; else do nothing."""
    if path.exists() or restored_at(path) is None:
        return
    part = path.with_name(f"{path.name}.copy.part")
    shutil.copyfile(copy_path(path), part)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def restored_at(path: Path) -> float | None:
    """Unix time of the copy that ``path`` was made from, until `forget_restored`; None for any other file."""
    try:
        return float(_mark(path).read_text("ascii"))
    except (OSError, ValueError):
        return None


def forget_restored(path: Path) -> None:
    """All that follows from putting the copy back is done."""
    _mark(path).unlink(missing_ok=True)


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.restored")


class Copier:
    """Copies the queue file in a thread of its own while things change; runs from `start` to `close`.

    Args:
        path: The queue file.
        first_s: How long after the start the first copy is due.
        every_s: The shortest time between two.
    """

    def __init__(self, path: Path, *, first_s: float = FIRST_S, every_s: float = EVERY_S) -> None:
        self._path = path
        self._first_s, self._every_s = first_s, every_s
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._problem = ""
        self._thread = threading.Thread(target=self._work, name="queue copier", daemon=True)

    def start(self) -> None:
        """Begin; what has changed since the last copy of an earlier run is copied first."""
        self._changed.set()
        self._thread.start()

    def note(self) -> None:
        """Something was written."""
        self._changed.set()

    def close(self) -> None:
        """Stop, also in the middle of a copy: the older one is as good as it was."""
        self._closing.set()
        self._changed.set()
        while self._thread.is_alive():
            connection = self._connection
            if connection is not None:
                with contextlib.suppress(sqlite3.ProgrammingError):  # it has just been closed
                    connection.interrupt()
            self._thread.join(0.05)

    def _work(self) -> None:
        self._closing.wait(self._first_s)
        while not self._closing.is_set():
            self._changed.wait()
            self._changed.clear()
            if self._closing.is_set():
                return
            started = time.monotonic()
            self._copy()
            self._closing.wait(max(self._every_s, (time.monotonic() - started) / SHARE))

    def _copy(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connection = connection
        try:
            problem = "" if make_copy(self._path, connection) else "there is no room for it"
        except (sqlite3.Error, OSError) as exc:
            problem = "" if self._closing.is_set() else str(exc)
        finally:
            self._connection = None
            connection.close()
        if problem and problem != self._problem:  # once, not every minute
            logger.warning("%s was not copied, the last good copy is kept: %s", self._path.name, problem)
        self._problem = problem
