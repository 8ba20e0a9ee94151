"""`Engine`: a Plan in, a stream of events out. The door that the worker process opens.

Two threads: one draws and never waits; the one that iterates over `Engine.run` reports, and on a GPU it is the
one that waits for copies and encodes previews. So neither a slow reader nor a preview holds up a step.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any

import torch

from fooocus_lite.engine import device as devices
from fooocus_lite.engine.adapters import Adapters
from fooocus_lite.engine.denoise import Stopped, denoise
from fooocus_lite.engine.expansion import Expander
from fooocus_lite.engine.failures import failed
from fooocus_lite.engine.family import Encoded, Family, load_family
from fooocus_lite.engine.guidance import guided, not_there
from fooocus_lite.engine.levels import read_levels
from fooocus_lite.engine.moment import NoiseSource, Predict, Step
from fooocus_lite.engine.preview import OnItsWay, Previews
from fooocus_lite.engine.refiner import check_latents, for_refiner, handed_over
from fooocus_lite.engine.samplers import Path, make_path
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import (
    NOT_EXPANDED,
    Cancelled,
    Event,
    Failed,
    Finished,
    ImageReady,
    Preview,
    Progress,
    PromptReady,
    Started,
)
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Expansion, Plan, first_refined
from fooocus_lite.registry import SAMPLERS, SCHEDULERS

log = logging.getLogger(__name__)


class Engine:
    """Draws one picture at a time on one device and keeps the last picture's models warm.

    Args:
        device: ``auto``, or such as ``cpu``, ``cuda:1``, ``mps``, ``xpu``.
        dtype: ``auto``, ``fp32``, ``fp16`` or ``bf16``.
        preview_fps: Most previews a second; 0 = none.
        progress_fps: Most `Progress` events a second, besides the first, the last and those with a preview. A fast
            model takes more steps than a person can read, and on a CPU telling one takes time from the next.
    """

    def __init__(
        self, *, device: str = "auto", dtype: str = "auto", preview_fps: float = 5.0, progress_fps: float = 5.0
    ) -> None:
        self._wanted = (device, dtype)
        self._preview_fps = preview_fps
        self.progress_pause_s = 1 / progress_fps
        self._machine: devices.Machine | None = None
        self._loaded: dict[ModelRef, Family] = {}
        self._expander = Expander()
        self.adapters = Adapters()
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, plan: Plan, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Draw the picture of ``plan``.

        Args:
            should_stop: Asked at every step boundary, from another thread.

        Yields:
            `Started`, `PromptReady`, `Progress` and `Preview` as they come, `ImageReady`; last exactly one of
            `Finished`, `Cancelled`, `Failed`. Nothing is raised.
        """
        abandoned = threading.Event()
        outbox: SimpleQueue[Event | _PreviewOnItsWay | None] = SimpleQueue()
        drawing = _Drawing(self, plan, lambda: abandoned.is_set() or should_stop(), outbox.put)

        def job() -> None:
            try:
                drawing.run()
            finally:
                drawing.ended.set()
                outbox.put(None)

        self._start(job)
        try:
            while (item := outbox.get()) is not None:
                yield item.encode() if isinstance(item, _PreviewOnItsWay) else item
        finally:
            if not abandoned.is_set():
                abandoned.set()
            while not drawing.ended.wait(0.1):  # a reader that left early: end at the next step boundary
                pass

    def warm_up(self, plan: Plan) -> None:
        """Load the model of ``plan`` and take two steps, so that the first real picture starts at once.

        What goes wrong is only logged: the first task will tell it to a person.
        """
        log.info("warming up with model %s", plan.model.name)
        for _ in self.run(dataclasses.replace(plan, steps=2), lambda: False):
            pass

    def expand(self, wish: Expansion) -> str:
        """Words to add to a prompt, also while a picture is drawn; see `Expander.words`."""
        return self._expander.words(wish)

    def describe(self) -> dict[str, Any]:
        """The device, its name and memory in bytes, and the number format; or the ``problem`` with them."""
        try:
            machine = self.machine()
        except FooocusError as exc:
            return {"device": self._wanted[0], "dtype": self._wanted[1], "problem": str(exc)}
        return {
            "device": str(machine.device),
            "device_name": devices.device_name(machine.device),
            "dtype": machine.dtype_name,
            "total_memory_bytes": devices.total_memory_bytes(machine.device),
            "torch": str(torch.__version__),
        }

    def machine(self) -> devices.Machine:
        """Where this engine computes; decided at the first use."""
        if self._machine is None:
            self._machine = devices.choose_machine(*self._wanted)
        return self._machine

    def family(self, ref: ModelRef) -> Family:
        """The model ``ref`` names, as `families`."""
        return self.families(ref)[0]

    def families(self, *refs: ModelRef) -> list[Family]:
        """The models that ``refs`` name, from memory if the last picture had them.

        What it had and ``refs`` do not name is freed before anything is read.
        """
        for ref in self._loaded.keys() - set(refs):
            del self._loaded[ref]
            devices.free_memory(self.machine().device)
        for ref in refs:
            if ref not in self._loaded:
                started = time.monotonic()
                self._loaded[ref] = load_family(ref, self.machine())
                log.info("model %s loaded in %.1f s", ref.name, time.monotonic() - started)
        return [self._loaded[ref] for ref in refs]

    def forget(self) -> None:
        """Free the loaded models."""
        if self._loaded:
            self._loaded.clear()
            devices.free_memory(self.machine().device)

    def previews(self, family: Family) -> Previews | None:
        """A preview maker for one picture, if there can and should be any."""
        if family.colours is None or self._preview_fps <= 0:
            return None
        return Previews(family.colours, self.machine().device, per_second=self._preview_fps)

    def _start(self, job: Callable[[], None]) -> None:
        # One thread for the engine's whole life: OpenMP keeps a pool of helpers for every thread that computes.
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="draw", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()


class _PreviewOnItsWay:
    """A preview whose pixels may still be on the device; encoded by the thread that reports."""

    def __init__(self, step: int, pixels: OnItsWay, plan: Plan, previews: Previews) -> None:
        self._step, self._pixels, self._plan, self._previews = step, pixels, plan, previews

    def encode(self) -> Preview:
        jpeg, width, height = self._pixels.jpeg(self._plan.width, self._plan.height)
        self._previews.busy = False
        return Preview(step=self._step, jpeg=jpeg, width=width, height=height)


class _Drawing:
    """One picture being drawn, in the drawing thread."""

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        should_stop: Callable[[], bool],
        emit: Callable[[Event | _PreviewOnItsWay], None],
    ) -> None:
        self._engine, self._plan, self._should_stop, self._emit = engine, plan, should_stop, emit
        self.ended = threading.Event()

    def run(self) -> None:
        """Draw, emit, and end with exactly one terminal event."""
        started = time.monotonic()
        outcome: Event
        try:
            with torch.inference_mode(), ExitStack() as changes:
                self._draw(started, changes)
            outcome = Finished(seconds=time.monotonic() - started)
        except Stopped:
            log.info("picture stopped after %.1f s", time.monotonic() - started)
            outcome = Cancelled()
        except Exception as exc:  # the one place where anything becomes `Failed`
            outcome = failed(exc)
            log.warning("picture failed: %s", outcome.problem, exc_info=outcome.code == "internal")
        # Only now: an exception that is still held keeps the tensors of its frames alive.
        self._clean_up_after(outcome)
        self._emit(outcome)
        if isinstance(outcome, Finished):  # after the event: nobody waits for a line of the log
            plan = self._plan
            log.info(
                "picture done: %d×%d, %s %s %d steps, %.1f s",
                plan.width, plan.height, plan.sampler, plan.scheduler, plan.steps, outcome.seconds,
            )  # fmt: skip

    def _draw(self, started: float, changes: ExitStack) -> None:
        engine, plan = self._engine, self._plan
        machine = engine.machine()
        self._emit(Started(device=devices.device_name(machine.device)))
        devices.reset_peak_memory(machine.device)
        uses = engine.adapters.uses(plan.loras)  # a bad file is told before a model is loaded for it
        family, refiner = self._models(plan)
        self._stop_if_asked()
        changes.enter_context(family.adapted(uses))
        plan, expansion, trouble = self._with_words(plan)
        if refiner is not None and plan.refiner is not None and refiner is not family:
            taken, notes = for_refiner(refiner, uses, plan.refiner.name)
            changes.enter_context(refiner.adapted(taken))
            trouble += notes
        encoded = family.encode(plan)
        warnings = plan.warnings + trouble + encoded.warnings
        warnings += tuple(not_there(plan, encoded, family.layers, plan.model.name))
        log.debug("texts %r, unwanted %r", plan.texts, plan.negative_texts)
        self._emit(PromptReady(
            texts=plan.texts, negative_texts=plan.negative_texts, expansion=expansion, warnings=warnings,
        ))  # fmt: skip
        noise = NoiseSource(plan.seed, family.latent_shape(plan), machine.device)
        path = make_path(
            SAMPLERS[plan.sampler], SCHEDULERS[plan.scheduler], family.scheduler_config, plan.steps,
            device=machine.device, noise=noise,
        )  # fmt: skip
        steps = len(path.spans)
        with _guided(family, encoded, plan, steps) as predict, _refined(predict, refiner, plan, path) as predict:
            latents = noise.draw() * path.init_noise_sigma
            observe = self._observer(steps, engine.previews(family))
            latents = denoise(predict, path, latents, observe=observe)
        changes.close()  # before the decoder needs the memory
        self._stop_if_asked()
        pixels = family.decode(latents).contiguous().cpu()
        facts = self._facts(machine, time.monotonic() - started)
        self._emit(ImageReady(
            width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.numpy().tobytes(), facts=facts,
        ))  # fmt: skip

    def _models(self, plan: Plan) -> tuple[Family, Family | None]:
        """The model of the plan, and its refiner if it has one."""
        if plan.refiner is None:
            return self._engine.family(plan.model), None
        check_latents(plan.model, plan.refiner)
        family, refiner = self._engine.families(plan.model, plan.refiner)
        return family, refiner

    def _with_words(self, plan: Plan) -> tuple[Plan, str | None, tuple[str, ...]]:
        """The plan with the words it wishes for, those words, and what went wrong: then it is drawn without."""
        wish = plan.expansion
        if wish is None:
            return plan, None, ()
        try:
            words = self._engine.expand(wish)
        except FooocusError as exc:
            log.warning("prompt not expanded: %s", exc)
            return plan, "", (f"{NOT_EXPANDED} {exc}",)
        return dataclasses.replace(plan, texts=wish.added_to(plan.texts, words)), words, ()

    def _observer(self, steps: int, previews: Previews | None) -> Callable[[Step], None]:
        times = [time.monotonic()]
        told = -math.inf

        def observe(step: Step) -> None:
            nonlocal told
            times.append(time.monotonic())
            done = step.moment.index + 1
            has_preview = previews is not None and done < steps and previews.is_due()
            if has_preview or done == steps or times[-1] - told >= self._engine.progress_pause_s:
                told = times[-1]
                self._emit(Progress(step=done, steps=steps, seconds_left=_seconds_left(times, steps)))
            if previews is not None and has_preview:
                pixels = previews.start(step.denoised())
                self._emit(_PreviewOnItsWay(done, pixels, self._plan, previews))
            self._stop_if_asked()

        return observe

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            raise Stopped

    def _facts(self, machine: devices.Machine, seconds: float) -> dict[str, Any]:
        return {
            "device": devices.device_name(machine.device),
            "dtype": machine.dtype_name,
            "seconds": round(seconds, 3),
            "peak_memory_bytes": devices.peak_memory_bytes(machine.device),
        }

    def _clean_up_after(self, outcome: Event) -> None:
        code = outcome.code if isinstance(outcome, Failed) else ""
        if code == "device_error":
            self._engine.forget()
        elif code == "out_of_memory":
            devices.free_memory(self._engine.machine().device)


def _guided(family: Family, encoded: Encoded, plan: Plan, steps: int) -> AbstractContextManager[Predict]:
    return guided(family.forward, encoded, plan, steps=steps, layers=family.layers)


@contextmanager
def _refined(predict: Predict, refiner: Family | None, plan: Plan, path: Path) -> Generator[Predict]:
    """``predict`` up to the plan's share of the steps, then the refiner's."""
    if refiner is None:
        yield predict
        return
    step = first_refined(plan.refiner_switch, len(path.spans))
    with _guided(refiner, refiner.encode(plan), plan, len(path.spans)) as second:
        yield handed_over(predict, second, path, read_levels(refiner.scheduler_config), step=step)


def _seconds_left(times: list[float], steps: int) -> float:
    """Estimate from the last few steps; the first is left out once there are others, because it warms up."""
    done = len(times) - 1
    since = max(1 if done > 1 else 0, done - 8)
    return (steps - done) * (times[done] - times[since]) / (done - since)
