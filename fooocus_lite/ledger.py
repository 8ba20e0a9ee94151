"""What of a task must reach the disk, whatever the disk does meanwhile."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from fooocus_lite.database import is_of_disk
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Cancelled, Event, Failed, Finished, ImageSaved
from fooocus_lite.store import Store
from fooocus_lite.tasks import Task

logger = logging.getLogger(__name__)
RETRY_S = 1.0
#: So often a change is tried that SQLite refuses for no reason of the disk's: it may never be taken, and others wait.
MOST_TRIES = 30
MOST_DETAILS = 20_000


class Ledger:
    """Writes to the queue and the log, again and again where that is needed.

    Attributes:
        trouble: What keeps the queue from moving right now, such as a full disk; None when all is well.
        left: What a restart must mend, though the queue moves; None when nothing is.

    Args:
        closing: Set when the server shuts down; then nothing is tried again.
    """

    def __init__(self, store: Store, closing: threading.Event) -> None:
        self._store, self._closing = store, closing
        self.trouble: FooocusError | None = None
        self.left: FooocusError | None = None

    def finish(self, task: Task, saved: ImageSaved, finished: Finished, facts: dict[str, Any]) -> bool:
        """The picture is safe, and with it the task done."""
        return self.persist(task, lambda: self._store.queue.finish(task.id, saved, finished, facts))

    def end(self, task: Task, event: Failed | Cancelled) -> None:
        """There will be no picture."""
        logger.info("task %s %s %s", task.id, event.kind, getattr(event, "problem", ""))
        self.persist(task, lambda: self._store.queue.end(task.id, event))

    def note(self, task: Task, event: Event) -> None:
        """A line of the task's story."""
        try:
            self._store.log.append(task.id, event)
        except FooocusError as exc:  # the drawing goes on; only this line of the story is lost
            self.report(exc)

    def persist(self, task: Task, write: Callable[[], object]) -> bool:
        """Repeat ``write`` until the disk takes it; False if it never did.

        It gives up at shutdown, and when SQLite refuses this one change again and again though nothing is wrong with
        the disk. Then the task stays as it is until the next start recovers it.
        """
        refusals = 0
        while True:
            try:
                write()
                self.all_well()
                return True
            except FooocusError as exc:
                trouble = exc
            except sqlite3.Error as exc:  # a fault of ours, say
                hint = "It is tried again by itself. If this stays, restart Fooocus Lite, and please report it."
                trouble = FooocusError(f"The queue file did not take a change: {exc}.", hint)
            refusals += not is_of_disk(trouble)
            if refusals == MOST_TRIES:
                self._leave(task, trouble)
                return False
            self.report(trouble)
            if self._closing.wait(RETRY_S):
                return False

    def _leave(self, task: Task, why: FooocusError) -> None:
        """Say that a task stays as it is until the next start."""
        problem = f"What became of the picture {task.id} could not be written down. {why.problem}"
        hint = "Restart Fooocus Lite: then it is looked for again. If this comes again, please report it."
        self.left = FooocusError(problem, hint)
        logger.error("%s", self.left)
        self.all_well()
        self._store.log.nudge()

    def report(self, exc: FooocusError) -> None:
        """Something keeps the queue from moving."""
        if self.trouble is None or self.trouble.problem != exc.problem:
            logger.error("%s", exc)
        self._set_trouble(exc)

    def all_well(self) -> None:
        """It moves."""
        self._set_trouble(None)

    def _set_trouble(self, trouble: FooocusError | None) -> None:
        before, self.trouble = self.trouble, trouble
        if (before and before.problem) != (trouble and trouble.problem):
            self._store.log.nudge()  # a disk that is full has no room for a fact that would tell it


def failed(exc: FooocusError) -> Failed:
    """The event for one of our errors."""
    return Failed(code=exc.code, problem=exc.problem, hint=exc.hint, field_name=exc.field)


def internal(details: str) -> Failed:
    """The event for what should not happen."""
    return Failed(
        problem="Something went wrong inside Fooocus Lite.",
        hint="Press Try again; if it happens again, please report it with the details.",
        details=details[-MOST_DETAILS:],
    )
