"""Encodes and saves pictures in threads of its own, so that a worker is at the next one meanwhile."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Finished, ImageReady
from fooocus_lite.found_pictures import find_picture
from fooocus_lite.images import PART_AGE_S, clear_parts, save_image
from fooocus_lite.lane import Job
from fooocus_lite.ledger import Ledger, failed, internal
from fooocus_lite.library import Library
from fooocus_lite.picture_text import describe_picture
from fooocus_lite.store import Store
from fooocus_lite.tasks import Task

logger = logging.getLogger(__name__)
SAVES_PER_WORKER = 2


class Saver:
    """A task ends only when its picture is safe.

    Args:
        library: Gives the newest snapshot.
        workers: How many draw.
    """

    def __init__(
        self, store: Store, ledger: Ledger, *, library: Callable[[], Library], output_dir: Path, workers: int
    ) -> None:
        self._store, self._ledger = store, ledger
        self._library, self._output_dir = library, output_dir
        self._threads = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="saver")
        self._later = threading.Timer(PART_AGE_S + 1, clear_parts, [output_dir])
        self._later.daemon = True
        self._room = threading.BoundedSemaphore(max(1, SAVES_PER_WORKER * workers))

    def start(self) -> None:
        """Clear what a kill left half written, and later what is too young yet to be told from another program's."""
        self._threads.submit(clear_parts, self._output_dir)
        self._later.start()

    def close(self) -> None:
        """What was drawn is saved when this returns."""
        self._later.cancel()
        self._threads.shutdown(wait=True)

    def save(self, job: Job, image: ImageReady, finished: Finished) -> None:
        """Save it soon; waits only while so many pictures wait that they would fill the memory."""
        self._room.acquire()
        self._threads.submit(self._save, job, image, finished)

    def _save(self, job: Job, image: ImageReady, finished: Finished) -> None:
        try:
            info = describe_picture(job.recipe, job.plan, image.facts)
            both = self._library().a1111_text
            saved = save_image(image, info, task_id=job.task.id, output_dir=self._output_dir, a1111_text=both)
            if self._ledger.finish(job.task, saved, finished, image.facts):
                drawn = f"{saved.width}×{saved.height}, {job.plan.sampler} {job.plan.scheduler} {job.plan.steps} steps"
                logger.info("task %s done: %s, %.1f s", job.task.id, drawn, finished.seconds)
        except FooocusError as exc:
            self._ledger.end(job.task, failed(exc))
        except Exception:  # the same border as in `Drawer.work`: this thread must not swallow a task
            logger.exception("task %s could not be saved", job.task.id)
            self._ledger.end(job.task, internal(traceback.format_exc()))
        finally:
            self._room.release()

    def adopt(self, task: Task) -> bool:
        """Finish a task whose picture is there already."""
        saved = find_picture(self._store.log, self._output_dir, task.id)
        if saved is not None:
            self._ledger.finish(task, saved, Finished(), {})
        return saved is not None
