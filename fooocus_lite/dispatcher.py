"""Carries tasks from the queue to the workers and their pictures to the disk.

One thread per worker draws (`fooocus_lite.drawer`); a few others save (`fooocus_lite.saver`), so that a worker is at
the next picture while the last one is encoded. A task ends only when its picture is safe.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fooocus_lite.drawer import Drawer, Shop
from fooocus_lite.errors import BadValue, FooocusError, WorkerAway
from fooocus_lite.lanes import Lanes
from fooocus_lite.ledger import Ledger
from fooocus_lite.library import Library
from fooocus_lite.outlook import Outlook, look_ahead
from fooocus_lite.plan import Plan, make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import Runner
from fooocus_lite.saver import Saver
from fooocus_lite.store import Store
from fooocus_lite.style_files import EXPAND_STYLE
from fooocus_lite.supply import Supply
from fooocus_lite.tasks import Task

JOIN_S = 15.0


class Dispatcher:
    """Runs from `start` to `close`.

    Args:
        store: Queue and log.
        runners: One per device.
        library: Gives the newest snapshot, so that a style dropped in needs no restart.
        output_dir: Where pictures go.
        supply: Fetches what a picture lacks; without one, such a picture fails.
    """

    def __init__(
        self,
        store: Store,
        runners: Sequence[Runner],
        *,
        library: Callable[[], Library],
        output_dir: Path,
        supply: Supply | None = None,
    ) -> None:
        self._store = store
        self._queue = store.queue
        self._lanes = Lanes(runners)
        self._library = library
        self._closing, self._may_warm_up = threading.Event(), threading.Event()
        self._ledger = Ledger(store, self._closing)
        workers = len(runners) or os.cpu_count() or 1  # who comes later shares the threads that save
        self._saver = Saver(store, self._ledger, library=library, output_dir=output_dir, workers=workers)
        self._shop = Shop(
            self._lanes, store, self._ledger, self._saver, library, supply, self._may_warm_up, self._closing
        )

    @property
    def trouble(self) -> FooocusError | None:
        """What keeps the queue from moving now, such as a full disk; else what a restart must mend; or None."""
        return self._ledger.trouble or self._lanes.nobody or self._ledger.left

    def staff(self, runners: Sequence[Runner], nobody: FooocusError | None = None) -> None:
        """From now on these draw; ``nobody`` says why none of them is here."""
        self._lanes.staff(runners, nobody)
        self._queue.wake()
        self._store.log.nudge()  # the page shows who is there

    def start(self) -> None:
        """Begin to draw."""
        self._saver.start()
        self._lanes.start(lambda lane: Drawer(lane, self._shop).work())

    def warm_up(self) -> None:
        """Let workers that have nothing to do load the start-up preset's model before anybody asks."""
        self._may_warm_up.set()
        self._queue.wake()

    def close(self) -> None:
        """Stop drawing; what was being drawn is in line again, what was drawn is saved."""
        self._closing.set()
        self._queue.wake()
        self._lanes.close(JOIN_S)
        self._saver.close()

    # What a person asks.

    def skip(self, *, owner: str | None = None) -> list[str]:
        """Cancel what is being drawn, for a user or for all; returns the ids. The rest of their batches goes on."""
        return [task.id for task in self._drawn_now(owner) if self._queue.cancel(task.id)]

    def stop(self, *, owner: str | None = None) -> int:
        """Cancel what is being drawn and what is left of its batch, likewise; how many tasks that were."""
        return sum(self._queue.cancel_batch(batch) for batch in self.batches_now(owner=owner))

    def batches_now(self, *, owner: str | None = None) -> set[str]:
        """The batches of what is being drawn; while nothing is, the one that is next."""
        return {task.batch_id for task in self._drawn_now(owner) or self._queue.waiting(limit=1, owner=owner)}

    def words_for(self, recipe: Recipe) -> str:
        """What the style `Expand prompt` adds to a recipe's first picture, whether it is chosen or not.

        Raises:
            FooocusError: why there are no words.
        """
        wish = recipe.model_copy(update={"styles": (EXPAND_STYLE.name,), "expansion": None})
        plan = make_plan(wish, self._library(), 0)
        if plan.expansion is None:
            raise BadValue("There is nothing to expand.", "Write a prompt first.", field="prompt")
        lane = self._lanes.idle()
        if lane is None:
            raise self._lanes.nobody or WorkerAway("Nobody is there to choose words.", "Try again in a moment.")
        return lane.runner.expand(plan.expansion)

    def workers(self, *, owner: str | None = None) -> list[dict[str, Any]]:
        """Each worker's name, state, tasks (of that user), and what its engine says about its device and memory."""
        return [lane.told(owner) for lane in self._lanes.all]

    def seconds_per_picture(self, recipe: Recipe) -> float | None:
        """About how long a resolved recipe takes on this machine; None before anything was measured."""
        return self._store.speeds.picture_seconds(recipe)

    def outlook(self, plan: Plan, recipe: Recipe) -> Outlook | None:
        """How the worker with most free memory would keep a picture's models; None while none is ready to say."""
        here = self._lanes.here
        if not here:
            return None
        lane = max(here, key=lambda lane: lane.runner.about.get("free_memory_bytes") or 0)
        rung = self._store.speeds.first_rung(recipe, lane.runner.about.get("free_memory_bytes"))
        return look_ahead(replace(plan, memory=rung), lane.runner.about, self._library())

    def bytes_per_picture(self, recipe: Recipe) -> int | None:
        """The most memory a picture like this resolved recipe took on this machine; None before one was measured."""
        return self._store.speeds.picture_bytes(recipe)

    def seconds_left(self, *, owner: str | None = None) -> float | None:
        """About how long it takes until the line, or a user's last in it, is drawn; None before a measurement."""
        return self.seconds_for(self._queue.waiting_work(owner=owner))

    def seconds_for(self, work: int) -> float | None:
        """About how long so much work takes (`fooocus_lite.tasks.work_of`); None likewise."""
        seconds = self._store.speeds.work_seconds(work)
        return None if seconds is None else seconds / max(1, len(self._lanes.here))

    def _drawn_now(self, owner: str | None) -> list[Task]:
        return [task for lane in self._lanes.all for task in lane.tasks if owner in (None, task.owner)]
