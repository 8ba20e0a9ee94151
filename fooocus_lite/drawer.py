"""One worker's thread: takes tasks from the line, has them drawn, and passes the pictures on to be saved.

Tasks that follow one another in line and walk the same way are drawn as one batch, as many as `Speeds.best_together`
says pay; never past one of another kind, so the order is the line's. Who asks while a worker is idle gets the first
picture alone, as soon as ever. What a worker draws next is sent to it while it still decodes, so the device waits for
neither the queue nor the disk.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fooocus_lite.affinity import Taste
from fooocus_lite.errors import FooocusError, WorkerAway, WorkerDied
from fooocus_lite.events import Cancelled, Event, Failed, Finished, ImageReady, Progress, PromptReady, Started
from fooocus_lite.families import FAMILIES
from fooocus_lite.lane import Job, Lane
from fooocus_lite.lanes import Lanes
from fooocus_lite.ledger import RETRY_S, Ledger, failed, internal
from fooocus_lite.library import Library
from fooocus_lite.plan import make_plan, resolve, with_expansion
from fooocus_lite.recipe import Recipe
from fooocus_lite.saver import Saver
from fooocus_lite.store import Store
from fooocus_lite.supply import Supply
from fooocus_lite.tasks import Task

logger = logging.getLogger(__name__)
#: Pictures that take longer are not sent ahead: what a person asks meanwhile should still change what comes next, and
#: the pause is nothing beside them.
AHEAD_S = 5.0


@dataclass
class _Batch:
    """Jobs that were sent to the worker.

    Attributes:
        events: What it tells of them.
        is_ahead: They were sent while it drew others.
        was_begun: It told something of them.
        was_followed: What comes next was looked for.
        drawn: How many pictures came.
        images: Place of the job → its pixels, until they go to be saved.
    """

    jobs: list[Job]
    events: Iterator[tuple[int, Event]]
    is_ahead: bool
    was_begun: bool = False
    was_followed: bool = False
    drawn: int = 0
    images: dict[int, ImageReady] = field(default_factory=dict[int, ImageReady])

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(job.task for job in self.jobs)


@dataclass(frozen=True)
class Shop:
    """What the threads of all workers share.

    Attributes:
        lanes: All workers.
        library: Gives the newest snapshot.
        supply: Fetches what a picture lacks; without one, such a picture fails.
        may_warm_up: Set when workers with nothing to do may load a model.
        closing: Set at shutdown.
    """

    lanes: Lanes
    store: Store
    ledger: Ledger
    saver: Saver
    library: Callable[[], Library]
    supply: Supply | None
    may_warm_up: threading.Event
    closing: threading.Event


class Drawer:
    """What `Dispatcher` runs in a thread for each worker."""

    def __init__(self, lane: Lane, shop: Shop) -> None:
        self._lane, self._shop = lane, shop
        self._store, self._queue = shop.store, shop.store.queue
        self._ledger, self._saver, self._closing = shop.ledger, shop.saver, shop.closing
        self._was_idle = True
        self._ahead: _Batch | None = None

    def work(self) -> None:
        """Until the server shuts down."""
        lane = self._lane
        while not (self._closing.is_set() or lane.is_leaving):
            batch = self._ahead
            self._ahead = None
            try:
                version = self._queue.work_version()
                batch = batch or self._next()
                if batch is not None:
                    self._draw(batch)
                elif lane.tasks:
                    pass  # what was claimed has ended or waits again; there may be more
                elif self._shop.may_warm_up.is_set() and lane.runner.is_here and not lane.is_started:
                    lane.is_started = True
                    self._warm_up()
                else:
                    self._queue.wait_for_work(version)
                    self._was_idle = True
            except FooocusError as exc:
                self._ledger.report(exc)
                self._closing.wait(RETRY_S)
            except Exception:  # one of the two places where anything may come: the queue must go on
                logger.exception("%s: something that should not happen", lane.name)
                self._give_up(lane.tasks, internal(traceback.format_exc()))
                self._closing.wait(RETRY_S)
            finally:
                lane.tasks = ()
        self._give_back(self._ahead.tasks if self._ahead is not None else (), None)

    def _give_up(self, tasks: Sequence[Task], reason: Failed) -> None:
        """These cannot be drawn; of several perhaps only one is to blame, so each is tried once more, alone."""
        if len(tasks) > 1:
            self._give_back(tasks, reason)
            return
        for task in tasks:
            self._ledger.end(task, reason)

    # What comes next.

    def _next(self, *, is_ahead: bool = False) -> _Batch | None:
        """The next of the line, sent to the worker; ``None`` if there is nothing to draw.

        Then `Lane.tasks` says whether anything was claimed, unless it ``is_ahead`` of what they draw.

        Raises:
            FooocusError: the disk, say; what was claimed waits again.
        """
        lane = self._lane
        if not lane.runner.is_here:
            lane.is_started = False  # it warms up once more when it is back
            return None
        device, taste = str(lane.runner.about.get("device", "")), self._shop.lanes.taste(lane)
        with self._shop.lanes.sharing:
            task = self._queue.claim(lane.name, device=device, taste=taste, is_ahead=is_ahead)
            tasks = [task] if task is not None else []
            is_awaited = self._was_idle and not self._shop.lanes.is_begun_beside(lane, tasks)
            lane.hold(tasks, is_ahead=is_ahead)
        self._ledger.all_well()
        if task is None:
            return None
        lane.is_started = True
        try:
            job = self._ready(task)
            if job is None:
                return None
            with self._shop.lanes.sharing:
                tasks += [] if is_awaited else self._more(job, device, taste, is_ahead=is_ahead)
                lane.hold(tasks, is_ahead=is_ahead)
            if len(self._shop.lanes.all) > 1:
                self._queue.wake()  # who left a task to this worker must not wait for it
            jobs = self._like(job, tasks)
            lane.hold(tasks, is_ahead=is_ahead)
            places = [job.task.id for job in jobs]
            events = lane.runner.run_together(
                [job.plan for job in jobs], lambda place: self._queue.stop_asked(places[place])
            )
        except WorkerDied as exc:
            self._give_back(tasks, None if self._is_blameless(exc) else failed(exc))
            return None
        except FooocusError:  # the disk, say: they wait for its end
            self._give_back(tasks, None)
            raise
        except Exception:
            lane.hold(tasks, is_ahead=is_ahead)
            if not is_ahead:
                raise
            # Those that are drawn now have nothing to do with it; when it is the turn of these, it is told.
            logger.exception("%s: something that should not happen", lane.name)
            self._give_back(tasks, None)
            return None
        self._was_idle = False
        return _Batch(jobs, events, is_ahead)

    def _more(self, first: Job, device: str, taste: Taste | None, *, is_ahead: bool) -> list[Task]:
        """What may be drawn with a job; nothing if the disk cannot tell just now."""
        try:
            most = self._most(first)
            return self._queue.claim_more(
                first.task, self._lane.name, most - 1, device=device, taste=taste, is_ahead=is_ahead
            )
        except FooocusError as exc:
            self._ledger.report(exc)
            return []

    def _most(self, first: Job) -> int:
        """How many may be drawn with this one, itself counted."""
        if first.task.attempt > 1 or FAMILIES[first.plan.model.family].pipeline is not None:
            return 1
        drawable = self._queue.counts()["waiting"] - self._queue.held_count() + 1
        share = self._shop.lanes.share(self._lane, drawable)
        return min(share, self._store.speeds.best_together(first.recipe))

    def _like(self, first: Job, claimed: list[Task]) -> list[Job]:
        """The jobs of those claimed with the first that walk as it does, itself among them.

        The others leave ``claimed``: they have ended, or wait again from the first that walks another way; then any
        worker may have them.
        """
        jobs, is_like = [first], True
        for task in claimed[1:]:
            job = self._ready(task) if is_like else None
            if job is not None and job.plan.walk == first.plan.walk:
                jobs.append(job)
                continue
            claimed.remove(task)
            if job is not None or not is_like:
                is_like = False
                self._put_back(task, None)
        return jobs

    def _ready(self, task: Task) -> Job | None:
        """The task with everything decided; ``None`` if it has ended, or waits for files."""
        if task.attempt > 1 and self._saver.adopt(task):
            return None
        try:
            job, offer = self._decide(task)
        except FooocusError as exc:
            self._ledger.end(task, failed(exc))
            return None
        if offer is not None:
            self._wait_for(task, offer)
            return None
        return job

    def _decide(self, task: Task) -> tuple[Job, str | None]:
        """The job, and the name of the offer whose files must come first."""
        library = self._shop.library()
        seed = int(task.id, 16)  # only if nobody froze one at the click; the same at every attempt
        recipe = resolve(task.recipe, library, seed)
        plan = make_plan(recipe, library, seed)
        rung = self._store.speeds.first_rung(recipe, self._lane.runner.about.get("free_memory_bytes"))
        job = Job(task, recipe, replace(plan, memory=rung))
        if self._shop.supply is not None:
            return job, self._shop.supply.fetch_for(plan, library)
        library.check_available(plan.model.name)
        return job, None

    def _wait_for(self, task: Task, offer: str) -> None:
        """Back into the line, where others pass it until the offer's files are there."""
        self._ledger.persist(task, lambda: self._queue.put_back(task.id, None, waits_for=offer))
        if self._shop.supply is not None:
            self._shop.supply.wake()

    def _give_back(self, tasks: Sequence[Task], reason: Failed | None) -> None:
        for task in tasks:
            self._put_back(task, reason)

    def _put_back(self, task: Task, reason: Failed | None) -> None:
        self._ledger.persist(task, lambda: self._queue.put_back(task.id, reason))

    def _is_blameless(self, exc: WorkerDied) -> bool:
        """Whether the pictures had nothing to do with it."""
        return self._closing.is_set() or isinstance(exc, WorkerAway)

    def _warm_up(self) -> None:
        plan = None
        try:
            library = self._shop.library()
            plan = make_plan(Recipe(), library, 0)
            library.check_available(plan.model.name)
        except FooocusError as exc:
            plan = None
            logger.warning("nothing to warm up: %s", exc)
        try:
            self._lane.runner.warm_up(plan)
        except (FooocusError, OSError) as exc:
            logger.warning("%s does not start: %s", self._lane.name, exc)

    # What is drawn now.

    def _draw(self, batch: _Batch) -> None:
        lane = self._lane
        lane.hold(batch.tasks)
        begun = time.monotonic()
        was_loaded = batch.jobs[0].plan.model.name in lane.models
        try:
            for place, event in batch.events:
                batch.was_begun = True
                self._take(batch, place, event, begun if was_loaded else None)
                if isinstance(event, Progress):
                    lane.walked = event.step / event.steps
                    if event.step == event.steps and not batch.was_followed:
                        batch.was_followed = True
                        self._look_ahead(time.monotonic() - begun)
        except WorkerDied as exc:
            lane.warm.clear()
            # One that was sent ahead and never begun is not to blame.
            is_innocent = self._is_blameless(exc) or (batch.is_ahead and not batch.was_begun)
            self._give_back(lane.tasks, None if is_innocent else failed(exc))

    def _look_ahead(self, seconds: float) -> None:
        """The last step is done and the decoder at work: let the worker have what comes next."""
        if seconds < AHEAD_S and not self._closing.is_set():
            try:
                self._ahead = self._next(is_ahead=True)
            except FooocusError as exc:
                self._ledger.report(exc)
            finally:
                if self._ahead is None:
                    self._lane.ahead = ()

    def _take(self, batch: _Batch, place: int, event: Event, begun: float | None) -> None:
        """Pass on what the worker tells of one picture."""
        job = batch.jobs[place]
        match event:
            case ImageReady():
                batch.images[place] = event
                batch.drawn += 1
                self._measure(batch, job, begun, event.facts)
            case Finished() if place in batch.images:
                self._lane.without(job.task)
                self._saver.save(job, batch.images.pop(place), event)
            case Finished():
                self._lane.without(job.task)
                self._ledger.end(job.task, internal("the engine finished without a picture"))
            case Failed(code="missing_model") if self._shop.lanes.leaves_to_others(self._lane, job.plan.model.name):
                self._lane.without(job.task)
                self._put_back(job.task, None)
            case Failed() | Cancelled():
                self._lane.without(job.task)
                self._ledger.end(job.task, event)
            case PromptReady():
                batch.jobs[place] = self._decide_words(job, event)
                self._ledger.note(job.task, event)
            case Started() if batch.is_ahead and begun is None:  # it is loaded: that may be what kills the server
                self._ledger.note(job.task, replace(event, attempt=job.task.attempt))
            case Started():
                pass  # the claim said so already; that what was sent ahead has begun is told by `PromptReady`
            case _:
                self._ledger.note(job.task, event)

    def _decide_words(self, job: Job, event: PromptReady) -> Job:
        """The job with the words that the engine chose, in its row too: drawn again, it is the same picture."""
        recipe, plan = with_expansion(job.recipe, job.plan, event)
        if recipe is not job.recipe:
            self._ledger.persist(job.task, lambda: self._queue.settle(job.task.id, recipe))
        return replace(job, recipe=recipe, plan=plan)

    def _measure(self, batch: _Batch, job: Job, begun: float | None, facts: dict[str, Any]) -> None:
        """Remember what a picture took; ``begun`` is None for one that had to load its model first."""
        self._lane.warm.add(job.plan.model.name)
        speeds, many = self._store.speeds, len(batch.jobs)
        seconds = 0.0 if begun is None else time.monotonic() - begun
        try:
            if "too_much" in facts:
                speeds.record_too_much(job.recipe, facts["memory"], facts["free_memory_bytes"])
            elif begun is None:
                pass
            elif many == 1:
                speeds.record(job.recipe, seconds, facts.get("peak_memory_bytes"))
            elif batch.drawn == many:  # the last of them; none of a batch has a time of its own
                speeds.record_together(job.recipe, many, seconds / many)
        except FooocusError as exc:
            self._ledger.report(exc)
