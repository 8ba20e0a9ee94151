"""Queue, log and their lock, opened together and closed together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fooocus_lite.database import Database
from fooocus_lite.eventlog import EventLog
from fooocus_lite.found_pictures import adopt_pictures
from fooocus_lite.serverlock import ServerLock
from fooocus_lite.speeds import Speeds
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.user import NO_LIMITS, Limits


@dataclass(frozen=True)
class Store:
    """What a server keeps on disk besides pictures."""

    lock: ServerLock
    database: Database
    log: EventLog
    queue: TaskQueue
    speeds: Speeds

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the page, such as that a damaged file was replaced."""
        return tuple(self.database.warnings)

    def close(self) -> None:
        """End every follower, fold the files, let the next server in."""
        self.log.close()
        self.database.close()
        self.lock.close()


def open_store(
    data_dir: Path,
    limits_of: Callable[[str], Limits] = lambda _: NO_LIMITS,
    *,
    output_dir: Path | None = None,
) -> Store:
    """The queue and log of a data folder, for this process alone; tasks that a dead server left are put back.

    Args:
        limits_of: How much the user of a name may ask for.
        output_dir: Where pictures are: one that was saved just before a kill is not drawn again.

    Raises:
        FooocusError: another server uses the folder.
        DiskProblem: the folder cannot be written to, or its disk is full.
    """
    lock = ServerLock(data_dir / "queue.lock")
    try:
        database = Database(data_dir / "queue.db")
        log = EventLog(database)
        if output_dir is not None:
            adopt_pictures(database, log, output_dir)
        queue = TaskQueue(database, log, limits_of)
        queue.recover()
    except BaseException:
        lock.close()
        raise
    return Store(lock, database, log, queue, Speeds(database))
