"""Carries tasks from the queue to the workers and their pictures to the disk.

One thread per worker draws; a few others save, so that a worker is at the next picture while the last one is
encoded. A task ends only when its picture is safe.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from fooocus_lite.affinity import Taste
from fooocus_lite.errors import BadValue, FooocusError, WorkerDied
from fooocus_lite.events import Cancelled, Event, Failed, Finished, ImageReady, ImageSaved, PromptReady, Started
from fooocus_lite.images import clear_parts, find_saved, save_image
from fooocus_lite.library import Library
from fooocus_lite.outlook import Outlook, look_ahead
from fooocus_lite.picture_text import describe_picture
from fooocus_lite.plan import Plan, make_plan, resolve, with_expansion
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import Runner
from fooocus_lite.store import Store
from fooocus_lite.style_files import EXPAND_STYLE
from fooocus_lite.supply import Supply
from fooocus_lite.tasks import Task

logger = logging.getLogger(__name__)
RETRY_S = 1.0
JOIN_S = 15.0
SAVES_PER_WORKER = 2


@dataclass
class _Lane:
    """One worker and what it is at."""

    name: str
    runner: Runner
    task: Task | None = None
    warm: set[str] = field(default_factory=set[str])  # models that this worker has drawn with
    is_started: bool = False  # with a task, or to warm up

    @property
    def models(self) -> frozenset[str]:
        """Those that it need not load."""
        return frozenset(self.runner.about.get("models", self.warm))


@dataclass(frozen=True)
class _Job:
    """A task with everything decided."""

    task: Task
    recipe: Recipe
    plan: Plan


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
        self._lanes = [_Lane(f"worker {number}", runner) for number, runner in enumerate(runners, start=1)]
        self._library = library
        self._output_dir = output_dir
        self._supply = supply
        self._closing = threading.Event()
        self._may_warm_up = threading.Event()
        self._saver = ThreadPoolExecutor(max_workers=max(1, len(runners)), thread_name_prefix="saver")
        self._room_to_save = threading.BoundedSemaphore(max(1, SAVES_PER_WORKER * len(runners)))
        self._threads: list[threading.Thread] = []
        #: What keeps the queue from moving right now, such as a full disk; None when all is well.
        self.trouble: FooocusError | None = None

    def start(self) -> None:
        """Begin to draw."""
        self._saver.submit(clear_parts, self._output_dir)
        for lane in self._lanes:
            thread = threading.Thread(target=self._work, args=(lane,), name=lane.name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def warm_up(self) -> None:
        """Let workers that have nothing to do load the start-up preset's model before anybody asks."""
        self._may_warm_up.set()
        self._queue.wake()

    def close(self) -> None:
        """Stop drawing; what was being drawn is in line again, what was drawn is saved."""
        self._closing.set()
        self._queue.wake()
        for lane in self._lanes:
            lane.runner.close()
        for thread in self._threads:
            thread.join(JOIN_S)
        self._saver.shutdown(wait=True)

    # What a person asks.

    def skip(self, *, owner: str | None = None) -> list[str]:
        """Cancel what is being drawn, for a user or for all; returns the ids. The rest of the batch goes on."""
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
        lane = next((lane for lane in self._lanes if lane.task is None), self._lanes[0])
        return lane.runner.expand(plan.expansion)

    def workers(self, *, owner: str | None = None) -> list[dict[str, Any]]:
        """Each worker's name, state, task (of that user), and what its engine says about its device and memory."""
        tasks = ((lane, lane.task) for lane in self._lanes)
        return [
            {**lane.runner.about, "name": lane.name, "state": _state(lane)}
            | {"task_id": task.id if task and owner in (None, task.owner) else None}
            for lane, task in tasks
        ]

    def seconds_per_picture(self, recipe: Recipe) -> float | None:
        """About how long a resolved recipe takes on this machine; None before anything was measured."""
        return self._store.speeds.picture_seconds(recipe)

    def outlook(self, plan: Plan, recipe: Recipe) -> Outlook | None:
        """How the worker with most free memory would keep a picture's models; None while none is ready to say."""
        lane = max(self._lanes, key=lambda lane: lane.runner.about.get("free_memory_bytes") or 0)
        return look_ahead(self._begun(plan, recipe, lane), lane.runner.about, self._library())

    def bytes_per_picture(self, recipe: Recipe) -> int | None:
        """The most memory a picture like this resolved recipe took on this machine; None before one was measured."""
        return self._store.speeds.picture_bytes(recipe)

    def seconds_left(self, *, owner: str | None = None) -> float | None:
        """About how long it takes until the line, or a user's last in it, is drawn; None before a measurement."""
        return self.seconds_for(self._queue.waiting_work(owner=owner))

    def seconds_for(self, work: int) -> float | None:
        """About how long so much work takes (`fooocus_lite.tasks.work_of`); None likewise."""
        seconds = self._store.speeds.work_seconds(work)
        return None if seconds is None else seconds / max(1, len(self._lanes))

    def _drawn_now(self, owner: str | None) -> list[Task]:
        tasks = [task for lane in self._lanes if (task := lane.task) is not None]
        return [task for task in tasks if owner in (None, task.owner)]

    # One worker's thread.

    def _work(self, lane: _Lane) -> None:
        while not self._closing.is_set():
            try:
                version = self._queue.work_version()
                device = str(lane.runner.about.get("device", ""))
                task = self._queue.claim(lane.name, device=device, taste=self._taste(lane))
                self._set_trouble(None)
                if task is not None:
                    lane.is_started, lane.task = True, task
                    if len(self._lanes) > 1:
                        self._queue.wake()  # who left a task to this worker must not wait for it
                    self._draw(lane, task)
                elif self._may_warm_up.is_set() and not lane.is_started:
                    lane.is_started = True
                    self._warm_up(lane)
                else:
                    self._queue.wait_for_work(version)
            except FooocusError as exc:
                self._report(exc)
                self._closing.wait(RETRY_S)
            except Exception:  # one of the two places where anything may come: the queue must go on
                logger.exception("%s: something that should not happen", lane.name)
                if lane.task is not None:
                    self._end(lane.task, _internal(traceback.format_exc()))
                self._closing.wait(RETRY_S)
            finally:
                lane.task = None

    def _taste(self, lane: _Lane) -> Taste | None:
        """What this worker would rather draw; None where there is no other."""
        if len(self._lanes) == 1:
            return None
        has = lane.models
        idle = (other.models for other in self._lanes if other is not lane and other.task is None)
        return Taste(has, frozenset[str]().union(*idle) - has)

    def _warm_up(self, lane: _Lane) -> None:
        plan = None
        try:
            library = self._library()
            plan = make_plan(Recipe(), library, 0)
            library.check_available(plan.model.name)
        except FooocusError as exc:
            plan = None
            logger.warning("nothing to warm up: %s", exc)
        try:
            lane.runner.warm_up(plan)
        except (FooocusError, OSError) as exc:
            logger.warning("%s does not start: %s", lane.name, exc)

    def _draw(self, lane: _Lane, task: Task) -> None:
        if task.attempt > 1 and self._adopt(task):
            return
        try:
            job, offer = self._decide(task)
        except FooocusError as exc:
            self._end(task, _failed(exc))
            return
        if offer is not None:
            self._wait_for(task, offer)
            return
        try:
            self._run(lane, job)
        except WorkerDied as exc:
            lane.warm.clear()
            reason = None if self._closing.is_set() else _failed(exc)
            self._persist(lambda: self._queue.put_back(task.id, reason))

    def _decide(self, task: Task) -> tuple[_Job, str | None]:
        """The job, and the name of the offer whose files must come first."""
        library = self._library()
        seed = int(task.id, 16)  # only if nobody froze one at the click; the same at every attempt
        recipe = resolve(task.recipe, library, seed)
        plan = make_plan(recipe, library, seed)
        if self._supply is not None:
            return _Job(task, recipe, plan), self._supply.fetch_for(plan, library)
        library.check_available(plan.model.name)
        return _Job(task, recipe, plan), None

    def _wait_for(self, task: Task, offer: str) -> None:
        """Back into the line, where others pass it until the offer's files are there."""
        self._persist(lambda: self._queue.put_back(task.id, None, waits_for=offer))
        if self._supply is not None:
            self._supply.wake()

    def _run(self, lane: _Lane, job: _Job) -> None:
        task, begun = job.task, time.monotonic()
        image: ImageReady | None = None
        was_loaded = job.plan.model.name in lane.models
        plan = self._begun(job.plan, job.recipe, lane)
        for event in lane.runner.run(plan, lambda: self._queue.stop_asked(task.id)):
            match event:
                case ImageReady():
                    image = event
                    seconds = time.monotonic() - begun
                    self._measure(lane, job, seconds if was_loaded else None, event.facts)
                case Finished() if image is not None:
                    self._room_to_save.acquire()
                    self._saver.submit(self._save, job, image, event)
                case Finished():
                    self._end(task, _internal("the engine finished without a picture"))
                case Failed() | Cancelled():
                    self._end(task, event)
                case PromptReady():
                    job = self._decide_words(job, event)
                    self._note(task, event)
                case Started():
                    pass  # the claim said so already, in the same breath as the row
                case _:
                    self._note(task, event)

    def _decide_words(self, job: _Job, event: PromptReady) -> _Job:
        """The job with the words that the engine chose, in its row too: drawn again, it is the same picture."""
        recipe, plan = with_expansion(job.recipe, job.plan, event)
        if recipe is not job.recipe:
            self._persist(lambda: self._queue.settle(job.task.id, recipe))
        return replace(job, recipe=recipe, plan=plan)

    def _begun(self, plan: Plan, recipe: Recipe, lane: _Lane) -> Plan:
        """The plan, begun where a picture like it ended that ran out of memory."""
        rung = self._store.speeds.first_rung(recipe, lane.runner.about.get("free_memory_bytes"))
        return replace(plan, memory=rung)

    def _measure(self, lane: _Lane, job: _Job, seconds: float | None, facts: dict[str, Any]) -> None:
        """Remember what a picture took; ``seconds`` is None for one that had to load its model first."""
        lane.warm.add(job.plan.model.name)
        speeds = self._store.speeds
        try:
            if "too_much" in facts:
                speeds.record_too_much(job.recipe, facts["memory"], facts["free_memory_bytes"])
            elif seconds is not None:
                speeds.record(job.recipe, seconds, facts.get("peak_memory_bytes"))
        except FooocusError as exc:
            self._report(exc)

    # Saving, in its own threads.

    def _save(self, job: _Job, image: ImageReady, finished: Finished) -> None:
        try:
            info = describe_picture(job.recipe, job.plan, image.facts)
            both = self._library().a1111_text
            saved = save_image(image, info, task_id=job.task.id, output_dir=self._output_dir, a1111_text=both)
            if self._finish(job.task, saved, finished, image.facts):
                drawn = f"{saved.width}×{saved.height}, {job.plan.sampler} {job.plan.scheduler} {job.plan.steps} steps"
                logger.info("task %s done: %s, %.1f s", job.task.id, drawn, finished.seconds)
        except FooocusError as exc:
            self._end(job.task, _failed(exc))
        except Exception:  # the same border as in `_work`: this thread must not swallow a task
            logger.exception("task %s could not be saved", job.task.id)
            self._end(job.task, _internal(traceback.format_exc()))
        finally:
            self._room_to_save.release()

    def _adopt(self, task: Task) -> bool:
        """Finish a task whose picture is there already."""
        stamps = [event.at for event in self._store.log.facts(task.id)] + [time.time()]
        days = {datetime.fromtimestamp(stamp).strftime("%Y-%m-%d") for stamp in stamps}
        saved = find_saved(self._output_dir, task.id, days)
        if saved is not None:
            self._finish(task, saved, Finished(), {})
        return saved is not None

    # What must reach the disk.

    def _finish(self, task: Task, saved: ImageSaved, finished: Finished, facts: dict[str, Any]) -> bool:
        return self._persist(lambda: self._queue.finish(task.id, saved, finished, facts))

    def _end(self, task: Task, event: Failed | Cancelled) -> None:
        logger.info("task %s %s %s", task.id, event.kind, getattr(event, "problem", ""))
        self._persist(lambda: self._queue.end(task.id, event))

    def _note(self, task: Task, event: Event) -> None:
        try:
            self._store.log.append(task.id, event)
        except FooocusError as exc:  # the drawing goes on; only this line of the story is lost
            self._report(exc)

    def _persist(self, write: Callable[[], object]) -> bool:
        """Repeat ``write`` until the disk takes it; gives up only at shutdown (the next start recovers the task)."""
        while True:
            try:
                write()
                self._set_trouble(None)
                return True
            except FooocusError as exc:
                self._report(exc)
                if self._closing.wait(RETRY_S):
                    return False

    def _report(self, exc: FooocusError) -> None:
        if self.trouble is None or self.trouble.problem != exc.problem:
            logger.error("%s", exc)
        self._set_trouble(exc)

    def _set_trouble(self, trouble: FooocusError | None) -> None:
        before, self.trouble = self.trouble, trouble
        if (before and before.problem) != (trouble and trouble.problem):
            self._store.log.nudge()  # a disk that is full has no room for a fact that would tell it


def _state(lane: _Lane) -> str:
    if lane.task is not None:
        return "drawing"
    return "idle" if lane.runner.about else "starting"


def _failed(exc: FooocusError) -> Failed:
    return Failed(code=exc.code, problem=exc.problem, hint=exc.hint, field_name=exc.field)


def _internal(details: str) -> Failed:
    return Failed(
        problem="Something went wrong inside Fooocus Lite.",
        hint="Press Retry; if it happens again, please report it with the details.",
        details=details[-20_000:],
    )
