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
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine import device as devices
from fooocus_lite.engine.adapters import Adapters, Use
from fooocus_lite.engine.denoise import Stopped, denoise
from fooocus_lite.engine.expansion import Expander
from fooocus_lite.engine.failures import failed
from fooocus_lite.engine.family import DrawsItself, Encoded, Family, OnStep
from fooocus_lite.engine.guidance import guided, not_there
from fooocus_lite.engine.levels import read_levels
from fooocus_lite.engine.model_cache import ModelCache
from fooocus_lite.engine.moment import NoiseSource, Predict
from fooocus_lite.engine.preview import OnItsWay, Previews
from fooocus_lite.engine.refiner import handed_over
from fooocus_lite.engine.room import Room, step_down, stepped_down_words
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
from fooocus_lite.families import FAMILIES
from fooocus_lite.memory import AUTO, Fit
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Expansion, Plan, first_refined
from fooocus_lite.registry import SAMPLERS, SCHEDULERS

log = logging.getLogger(__name__)


class Engine:
    """Draws one picture at a time on one device and keeps the last pictures' models warm.

    Args:
        device: ``auto``, or such as ``cpu``, ``cuda:1``, ``mps``, ``xpu``.
        dtype: ``auto``, ``fp32``, ``fp16`` or ``bf16``.
        preview_fps: Most previews a second; 0 = none.
        progress_fps: Most `Progress` events a second, besides the first, the last and those with a preview. A fast
            model takes more steps than a person can read, and on a CPU telling one takes time from the next.
        memory: How models are kept: ``auto``, or a key of `fooocus_lite.memory.RUNGS`.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        dtype: str = "auto",
        preview_fps: float = 5.0,
        progress_fps: float = 5.0,
        memory: str = AUTO,
    ) -> None:
        self._wanted = (device, dtype)
        self._preview_fps = preview_fps
        self.progress_pause_s = 1 / progress_fps
        self._machine: devices.Machine | None = None
        self.memory = memory
        self.models = ModelCache(self.machine)
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
        """The device, its name and memory in bytes, the number format, and the models that are loaded.

        Free is what a picture could have, were nothing loaded. If the settings fit no device, the ``problem`` instead.
        """
        try:
            machine = self.machine()
        except FooocusError as exc:
            return {"device": self._wanted[0], "dtype": self._wanted[1], "problem": str(exc)}
        return {
            "device": str(machine.device),
            "device_name": devices.device_name(machine.device),
            "dtype": machine.dtype_name,
            "dtype_with_range": machine.with_range().dtype_name,
            "total_memory_bytes": devices.total_memory_bytes(machine.device),
            "free_memory_bytes": self.models.free_bytes(),
            "home_free_bytes": self.models.home_free_bytes(),
            "memory": self.memory,
            "models": self.models.names,
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
        """The models that ``refs`` name, ready to draw; without those that do it by themselves."""
        loaded = [one.family for one in self.models.get(refs, "resident")]
        return [family for family in loaded if not isinstance(family, DrawsItself)]

    def forget(self) -> None:
        """Free the loaded models."""
        self.models.forget()

    def previews(self, family: Family | DrawsItself, device: torch.device) -> Previews | None:
        """A preview maker for one picture, if there can and should be any."""
        if family.colours is None or self._preview_fps <= 0:
            return None
        return Previews(family.colours, device, per_second=self._preview_fps)

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
        self._uses: Sequence[Use] = ()
        self.ended = threading.Event()

    def run(self) -> None:
        """Draw, emit, and end with exactly one terminal event."""
        started = time.monotonic()
        outcome: Event
        try:
            with torch.inference_mode():
                self._draw_with_room(started)
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

    def _draw_with_room(self, started: float) -> None:
        """Draw; if memory runs out, once more from the same noise on the next rung down."""
        engine, plan = self._engine, self._plan
        devices.make_current(engine.machine().device)
        self._emit(Started(device=devices.device_name(engine.machine().device)))
        self._uses = engine.adapters.uses(plan.loras)  # a bad file is told before a model is loaded for it
        devices.reset_peak_memory(engine.machine().device)
        fit = engine.models.fit(plan, forced=engine.memory, start=plan.memory)
        try:
            self._draw(fit, started)
            return
        except Exception as exc:
            below = step_down(exc, fit, engine.machine().device.type, engine.models.needs(plan))
            if below is None:
                raise
            log.warning("memory ran out on the rung %s: once more on %s", fit.rung, below)
        # Only now: an exception that is still held keeps the tensors of its frames alive.
        devices.free_memory(engine.machine().device)
        again = engine.models.fit(plan, forced=below)
        self._draw(again, started, tried=fit)

    def _draw(self, fit: Fit, started: float, *, tried: Fit | None = None) -> None:
        """One attempt.

        Args:
            tried: The attempt before, which ran out of memory.
        """
        with ExitStack() as changes:
            room = Room(self._engine.models, self._plan, fit)
            family, refiner = room.model, room.refiner
            self._stop_if_asked()
            notes = changes.enter_context(room.adapted(self._uses))
            if isinstance(family, DrawsItself):
                pixels = self._draw_by_itself(family, room, tried)
                self._hand_over(pixels, room, started, tried)
                return
            plan, expansion, trouble = self._with_words(self._plan)
            encoded = family.encode(plan)
            warnings = plan.warnings + notes + trouble + encoded.warnings
            idle = FAMILIES[plan.model.family].without  # the plan says so
            warnings += tuple(not_there(plan, encoded, family.layers, plan.model.name, said=idle))
            warnings += (stepped_down_words(fit.rung),) if tried else ()
            log.debug("texts %r, unwanted %r", plan.texts, plan.negative_texts)
            self._emit(PromptReady(
                texts=plan.texts, negative_texts=plan.negative_texts, expansion=expansion, warnings=warnings,
            ))  # fmt: skip
            device = room.machine.device
            noise = NoiseSource(plan.seed, family.latent_shape(plan), device)
            path = make_path(
                SAMPLERS[plan.sampler], SCHEDULERS[plan.scheduler], family.scheduler_config, plan.steps,
                device=device, noise=noise,
            )  # fmt: skip
            steps = len(path.spans)
            with _guided(family, encoded, plan, steps) as predict, _refined(predict, refiner, plan, path) as predict:
                room.after_reading()
                latents = noise.draw() * path.init_noise_sigma
                watch = self._watcher(steps, self._engine.previews(family, device))
                latents = denoise(predict, path, latents, observe=lambda step: watch(step.moment.index, step.denoised))
            changes.close()  # before the decoder needs the memory
        self._stop_if_asked()
        self._hand_over(room.decode(latents), room, started, tried)

    def _draw_by_itself(self, family: DrawsItself, room: Room, tried: Fit | None) -> Tensor:
        """(height, width, 3) uint8: the picture of a model that walks all the way by itself."""
        plan, expansion, trouble = self._with_words(self._plan)
        warnings = plan.warnings + trouble + family.warnings(plan)
        warnings += (stepped_down_words(room.rung),) if tried else ()
        self._emit(PromptReady(
            texts=plan.texts, negative_texts=plan.negative_texts, expansion=expansion, warnings=warnings,
        ))  # fmt: skip
        watch = self._watcher(plan.steps, self._engine.previews(family, room.machine.device))
        pixels = family.draw(plan, watch)
        self._stop_if_asked()
        return pixels

    def _hand_over(self, pixels: Tensor, room: Room, started: float, tried: Fit | None) -> None:
        facts = self._facts(room, time.monotonic() - started) | room.facts(tried)
        self._emit(ImageReady(
            width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.numpy().tobytes(), facts=facts,
        ))  # fmt: skip

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

    def _watcher(self, steps: int, previews: Previews | None) -> OnStep:
        times = [time.monotonic()]
        told = -math.inf

        def watch(index: int, denoised: Callable[[], Tensor] | None) -> None:
            nonlocal told
            times.append(time.monotonic())
            done = index + 1
            has_preview = previews is not None and denoised is not None and done < steps and previews.is_due()
            if has_preview or done == steps or times[-1] - told >= self._engine.progress_pause_s:
                told = times[-1]
                self._emit(Progress(step=done, steps=steps, seconds_left=_seconds_left(times, steps)))
            if previews is not None and denoised is not None and has_preview:
                pixels = previews.start(denoised())
                self._emit(_PreviewOnItsWay(done, pixels, self._plan, previews))
            self._stop_if_asked()

        return watch

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            raise Stopped

    def _facts(self, room: Room, seconds: float) -> dict[str, Any]:
        machine = room.machine
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
