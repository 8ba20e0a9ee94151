"""The SQLite file behind queue and log: opening, schema, transactions, and errors in words.

One connection writes (under a lock, so that facts are published in the order of their numbers),
one reads; in WAL mode readers never wait for the writer.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fooocus_lite.database_copy import Copier, begin_restore, finish_restore, forget_restored, restored_at
from fooocus_lite.disk import disk_problem
from fooocus_lite.errors import DiskProblem, FooocusError, QueueTrouble
from fooocus_lite.line_ranks import RANK_SCHEMA
from fooocus_lite.line_schema import LINE_SCHEMA
from fooocus_lite.lost_rows import ASIDE

logger = logging.getLogger(__name__)

FLUSH_S = 1.0
#: Of each connection, where the file is that large: SQLite's own 2 MB hold little of a hundred thousand tasks' indexes.
CACHE_KB = 16_000
SCHEMA = """
CREATE TABLE tasks (
    id TEXT PRIMARY KEY, batch_id TEXT NOT NULL, position REAL NOT NULL, recipe TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', attempt INTEGER NOT NULL DEFAULT 0, worker TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0, work INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL, started_at REAL, finished_at REAL,
    image_path TEXT, width INTEGER, height INTEGER, error TEXT, facts TEXT
);
CREATE INDEX tasks_by_state ON tasks (state, id);
CREATE INDEX tasks_by_batch ON tasks (batch_id, id);
CREATE INDEX tasks_in_line ON tasks (state, position);
CREATE INDEX tasks_by_end ON tasks (state, finished_at, id);
CREATE TABLE events (seq INTEGER PRIMARY KEY, task_id TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX events_by_task ON events (task_id, seq);
CREATE TABLE speeds (key TEXT PRIMARY KEY, seconds REAL NOT NULL);
CREATE TABLE totals (state TEXT PRIMARY KEY, tasks INTEGER NOT NULL, work INTEGER NOT NULL);
INSERT INTO totals VALUES
    ('waiting', 0, 0), ('running', 0, 0), ('finished', 0, 0), ('failed', 0, 0), ('cancelled', 0, 0);
CREATE TRIGGER count_new AFTER INSERT ON tasks BEGIN
    UPDATE totals SET tasks = tasks + 1, work = work + NEW.work WHERE state = NEW.state;
END;
CREATE TRIGGER count_moved AFTER UPDATE OF state ON tasks WHEN OLD.state <> NEW.state BEGIN
    UPDATE totals SET tasks = tasks - 1, work = work - OLD.work WHERE state = OLD.state;
    UPDATE totals SET tasks = tasks + 1, work = work + NEW.work WHERE state = NEW.state;
END;
"""
#: What later versions added, oldest first: a file of version n is given those after the first n - 1.
ADDED = (
    """
ALTER TABLE tasks ADD COLUMN label TEXT; -- what the picture is called on its contact sheet
CREATE INDEX tasks_of_sheets ON tasks (batch_id, id) WHERE label IS NOT NULL;
CREATE INDEX tasks_by_style ON tasks (json_extract(recipe, '$.styles[0]'), finished_at, id)
    WHERE state = 'finished' AND image_path IS NOT NULL
    AND json_array_length(recipe, '$.styles') = 1 AND instr(lower(recipe), '<style:') = 0;
""",
    """
CREATE TABLE peaks (key TEXT PRIMARY KEY, bytes INTEGER NOT NULL);
""",
    """
ALTER TABLE tasks ADD COLUMN varies TEXT NOT NULL DEFAULT 'style'; -- what the picture shows on its contact sheet
""",
    """
CREATE TABLE rungs (key TEXT PRIMARY KEY, rung TEXT NOT NULL, free_bytes INTEGER NOT NULL);
""",
    """
ALTER TABLE tasks ADD COLUMN waits_for TEXT; -- the offer whose files it waits for; NULL = it can be drawn
DROP INDEX tasks_in_line;
CREATE INDEX tasks_in_line ON tasks (state, waits_for, position);
INSERT INTO totals VALUES ('held', 0, 0); -- of those that are waiting, the ones that wait for files
CREATE TRIGGER count_new_held AFTER INSERT ON tasks WHEN NEW.waits_for IS NOT NULL BEGIN
    UPDATE totals SET tasks = tasks + 1, work = work + NEW.work WHERE state = 'held';
END;
CREATE TRIGGER count_held AFTER UPDATE OF waits_for ON tasks
WHEN (OLD.waits_for IS NULL) <> (NEW.waits_for IS NULL) BEGIN
    UPDATE totals SET
        tasks = tasks + CASE WHEN NEW.waits_for IS NULL THEN -1 ELSE 1 END,
        work = work + CASE WHEN NEW.waits_for IS NULL THEN -NEW.work ELSE NEW.work END
    WHERE state = 'held';
END;
""",
    """
ALTER TABLE tasks ADD COLUMN owner TEXT NOT NULL DEFAULT ''; -- the user who asked for it; '' where there are no users
""",
    """
DROP TRIGGER count_new;
DROP TRIGGER count_moved;
DROP TRIGGER count_new_held;
DROP TRIGGER count_held;
DROP TABLE totals;
CREATE TABLE totals ( -- 'held': of those that are waiting, the ones that wait for files
    state TEXT NOT NULL, owner TEXT NOT NULL, tasks INTEGER NOT NULL, work INTEGER NOT NULL, PRIMARY KEY (state, owner)
) WITHOUT ROWID;
INSERT INTO totals SELECT state, owner, count(*), sum(work) FROM tasks GROUP BY state, owner;
INSERT INTO totals SELECT 'held', owner, count(*), sum(work) FROM tasks WHERE waits_for IS NOT NULL GROUP BY owner;
CREATE TRIGGER count_new AFTER INSERT ON tasks BEGIN
    INSERT INTO totals VALUES (NEW.state, NEW.owner, 1, NEW.work)
        ON CONFLICT (state, owner) DO UPDATE SET tasks = tasks + 1, work = work + excluded.work;
END;
CREATE TRIGGER count_moved AFTER UPDATE OF state ON tasks WHEN OLD.state <> NEW.state BEGIN
    UPDATE totals SET tasks = tasks - 1, work = work - OLD.work WHERE state = OLD.state AND owner = OLD.owner;
    INSERT INTO totals VALUES (NEW.state, NEW.owner, 1, NEW.work)
        ON CONFLICT (state, owner) DO UPDATE SET tasks = tasks + 1, work = work + excluded.work;
END;
CREATE TRIGGER count_new_held AFTER INSERT ON tasks WHEN NEW.waits_for IS NOT NULL BEGIN
    INSERT INTO totals VALUES ('held', NEW.owner, 1, NEW.work)
        ON CONFLICT (state, owner) DO UPDATE SET tasks = tasks + 1, work = work + excluded.work;
END;
CREATE TRIGGER count_held AFTER UPDATE OF waits_for ON tasks
WHEN OLD.waits_for IS NULL AND NEW.waits_for IS NOT NULL BEGIN
    INSERT INTO totals VALUES ('held', NEW.owner, 1, NEW.work)
        ON CONFLICT (state, owner) DO UPDATE SET tasks = tasks + 1, work = work + excluded.work;
END;
CREATE TRIGGER count_released AFTER UPDATE OF waits_for ON tasks
WHEN OLD.waits_for IS NOT NULL AND NEW.waits_for IS NULL BEGIN
    UPDATE totals SET tasks = tasks - 1, work = work - OLD.work WHERE state = 'held' AND owner = OLD.owner;
END;
CREATE TABLE turns (owner TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID; -- who was served last has the most
CREATE INDEX tasks_of_owner ON tasks (owner, id);
CREATE INDEX tasks_in_line_of_owner ON tasks (owner, waits_for, position) WHERE state = 'waiting';
-- Where there are no users, these are empty and cost nothing.
CREATE INDEX tasks_of_owner_by_state ON tasks (owner, state, id) WHERE owner <> '';
CREATE INDEX tasks_of_owner_by_end ON tasks (owner, state, finished_at, id) WHERE owner <> '';
CREATE INDEX tasks_of_owner_by_day ON tasks (owner, created_at) WHERE owner <> '';
CREATE INDEX sheets_of_owner ON tasks (owner, batch_id, id) WHERE owner <> '' AND label IS NOT NULL;
CREATE INDEX tasks_of_owner_by_style ON tasks (owner, json_extract(recipe, '$.styles[0]'), finished_at, id)
    WHERE owner <> '' AND state = 'finished' AND image_path IS NOT NULL
    AND json_array_length(recipe, '$.styles') = 1 AND instr(lower(recipe), '<style:') = 0;
""",
    LINE_SCHEMA,
    """
CREATE TABLE webhooks ( -- messages to other programs; due from the moment in which the task ends
    id TEXT PRIMARY KEY, task_id TEXT NOT NULL, url TEXT NOT NULL, target TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0, due_at REAL, UNIQUE (task_id, url)
);
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL;
CREATE TRIGGER webhooks_fall_due AFTER UPDATE OF state ON tasks
WHEN NEW.state IN ('finished', 'failed', 'cancelled') BEGIN
    UPDATE webhooks SET due_at = NEW.finished_at WHERE task_id = NEW.id AND due_at IS NULL;
END;
""",
    RANK_SCHEMA,
    """
CREATE INDEX tasks_in_order ON tasks (owner, position); -- ended ones, too: see `fooocus_lite.affinity`
""",
    """
CREATE TABLE asked ( -- what was asked for under a key: the tasks from the first to the last, made in one write
    key TEXT PRIMARY KEY, first_id TEXT NOT NULL, last_id TEXT NOT NULL
) WITHOUT ROWID;
""",
)
SCHEMA_VERSION = 1 + len(ADDED)


class Transaction:
    """An open write: all of it becomes visible, or nothing does."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.callbacks: list[Callable[[], None]] = []

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """The rows that the statement returns; empty for most writes."""
        return self._connection.execute(sql, values).fetchall()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once the write is on disk; never if it is not."""
        self.callbacks.append(callback)


class Database:
    """One SQLite file, shared by the threads of one process.

    A file that is damaged is moved aside; its last good copy, or else an empty one, takes its place, and `warnings`
    says so.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0, copier: Copier | None = None) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._busy_timeout_s = busy_timeout_s
        self._write_lock = threading.RLock()
        self._open_write: Transaction | None = None
        self._read_lock = threading.Lock()
        self._unflushed = threading.Event()
        self._closing = threading.Event()
        with _in_words(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self._reader = self._open()
        #: Unix time of the copy that this file was made from, until `forget_restored`; what came later is not in it.
        self.restored_at = restored_at(path)
        self._flusher = threading.Thread(target=self._flush_soon, name="queue flusher", daemon=True)
        self._flusher.start()
        self._copier = copier or Copier(path)
        self._copier.start()

    def _open(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        finish_restore(self.path)  # if it was interrupted
        try:
            return self._connect()
        except sqlite3.DatabaseError as exc:
            if not _is_damage(exc):
                raise
            logger.warning("%s is damaged: %s", self.path, exc)
        copied_at = begin_restore(self.path)
        aside = _move_aside(self.path)
        finish_restore(self.path)
        instead = "a new one was begun" if copied_at is None else f"its last good copy, {_age(copied_at)}, was put back"
        self.warnings.append(
            f"The queue file {self.path.name} was damaged. It was moved to {aside.name} and {instead};"
            " saved pictures are untouched."
        )
        logger.warning(self.warnings[-1])
        return self._connect()

    def _connect(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        writer = self._new_connection()
        try:
            writer.execute("PRAGMA journal_mode=WAL").fetchall()
            writer.execute("PRAGMA synchronous=NORMAL")
            problem = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(f"malformed: {problem}")
            _ensure_schema(writer, self.path)
            return writer, self._new_connection()
        except BaseException:
            writer.close()
            raise

    def _new_connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        return connection

    @contextmanager
    def write(self) -> Generator[Transaction]:
        """A transaction. Committed work survives ``kill -9`` at once, and a power cut about a second later.

        Within another one of the same thread it is a part of that: all of both becomes visible, or nothing does.

        Raises:
            DiskProblem: the disk is full or read-only; nothing was written.
            FooocusError: another program keeps the file locked.
        """
        with self._write_lock, _in_words(self.path):
            if self._open_write is not None:
                yield self._open_write
                return
            self._writer.execute("BEGIN IMMEDIATE")
            self._open_write = transaction = Transaction(self._writer)
            try:
                yield transaction
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._open_write = None
            for callback in transaction.callbacks:
                callback()
        self._unflushed.set()
        self._copier.note()

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a SELECT."""
        with self._read_lock, _in_words(self.path):
            return self._reader.execute(sql, values).fetchall()

    def forget_restored(self) -> None:
        """What a copy that was put back lacks has been looked for: the next start need not do it again."""
        forget_restored(self.path)
        self.restored_at = None

    def _flush_soon(self) -> None:
        # Waiting for a slow disk inside `write` would put its 10 to 50 ms between a click and the first step.
        connection = self._new_connection()
        while not self._closing.is_set():
            self._unflushed.wait()
            self._unflushed.clear()
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as exc:  # a full disk, say: the next write says so to a person
                logger.debug("not flushed: %s", exc)
            self._closing.wait(FLUSH_S)
        connection.close()

    def close(self) -> None:
        """Fold the WAL into the file and let go of it; closing again does nothing."""
        self._closing.set()
        self._unflushed.set()
        self._copier.close()
        self._flusher.join()
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()


def _ensure_schema(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise FooocusError(
            f"The queue file {path} was made by a newer version of Fooocus Lite.",
            "Update this program, or choose another data folder with FOOOCUS_DATA_DIR.",
            code="conflict",
        )
    if version < SCHEMA_VERSION:
        missing = (SCHEMA, *ADDED)[version:]
        connection.executescript(f"BEGIN IMMEDIATE; {''.join(missing)} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
    connection.execute("SELECT 1 FROM tasks, events, speeds, peaks, totals LIMIT 0")


def _is_damage(exc: sqlite3.DatabaseError) -> bool:
    text = str(exc)
    return any(sign in text for sign in ("malformed", "not a database", "no such table", "already exists", "encrypted"))


def is_of_disk(exc: Exception) -> bool:
    """Whether the disk, or another program that keeps the file locked, refuses every change; else perhaps only one."""
    return isinstance(exc, DiskProblem) or (isinstance(exc, QueueTrouble) and exc.code == "conflict")


def _age(at: float) -> str:
    """How old something of Unix time ``at`` is, in words."""
    minutes = max(0.0, time.time() - at) / 60
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = round(minutes / size)
            return f"{count} {unit}{'' if count == 1 else 's'} old"
    return "less than a minute old"


def _move_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}{ASIDE}{stamp}")
    for suffix in ("-wal", "-shm", ""):  # the file itself last: another must never meet this one's WAL
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def _not_now(path: Path, exc: sqlite3.Error) -> FooocusError:
    hint = "Try it again; if this stays, look at the disk, then restart Fooocus Lite."
    return QueueTrouble(f"The queue file {path} cannot be used just now: {exc}.", hint)


@contextmanager
def _in_words(path: Path) -> Generator[None]:
    """SQLite's and the system's complaints as ours."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        text = str(exc)
        if "full" in text or "disk I/O" in text:
            raise disk_problem(OSError(errno.ENOSPC, text), path.parent, "FOOOCUS_DATA_DIR") from exc
        if "readonly" in text or "unable to open" in text:
            raise disk_problem(OSError(errno.EACCES, text), path.parent, "FOOOCUS_DATA_DIR") from exc
        if "locked" in text or "busy" in text:
            raise QueueTrouble(
                f"Another program keeps the queue file {path} locked.",
                "Close that program and try again.",
                code="conflict",
            ) from exc
        raise _not_now(path, exc) from exc
    except sqlite3.DatabaseError as exc:
        if type(exc) is not sqlite3.DatabaseError:  # such as a broken constraint: a fault of ours
            raise
        if not _is_damage(exc):
            raise _not_now(path, exc) from exc
        raise FooocusError(
            f"The queue file {path} is damaged.",
            "Restart Fooocus Lite: it puts the file aside and goes back to the last good copy.",
        ) from exc
    except OSError as exc:
        raise disk_problem(exc, path.parent, "FOOOCUS_DATA_DIR") from exc
