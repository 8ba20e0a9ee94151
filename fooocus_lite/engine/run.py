"""`Engine`: a Plan in, a stream of events out. The door that the worker process opens.

Two threads: one draws and never waits; the one that iterates over `Engine.run` reports, and on a GPU it is the
one that waits for copies and encodes previews. So neither a slow reader nor a preview holds up a step.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from queue import SimpleQueue
from typing import Any

import torch

from fooocus_lite.engine import device as devices
from fooocus_lite.engine.adapters import Adapters
from fooocus_lite.engine.drawing import Drawing
from fooocus_lite.engine.expansion import Expander
from fooocus_lite.engine.family import DrawsItself, Family
from fooocus_lite.engine.model_cache import ModelCache
from fooocus_lite.engine.picture import Picture, PreviewOnItsWay
from fooocus_lite.engine.preview import Previews
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Event
from fooocus_lite.memory import AUTO
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Expansion, Plan

log = logging.getLogger(__name__)


class Engine:
    """Draws on one device, several pictures at once where they are alike, and keeps the last pictures' models warm.

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
        #: How many pictures of a kind (`Plan.walk`) are drawn at once at most: more ran out of memory.
        self.most_together: dict[Plan, int] = {}
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, plan: Plan, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Draw the picture of ``plan``: `run_together` with one.

        Args:
            should_stop: Asked at every step boundary, from another thread.

        Yields:
            `Started`, `PromptReady`, `Progress` and `Preview` as they come, `ImageReady`; last exactly one of
            `Finished`, `Cancelled`, `Failed`. Nothing is raised.
        """
        with closing(self.run_together([plan], lambda _: should_stop())) as told:
            for _, event in told:
                yield event

    def run_together(self, plans: Sequence[Plan], should_stop: Callable[[int], bool]) -> Generator[tuple[int, Event]]:
        """Draw the pictures of ``plans``; those that follow one another and walk the same way as one batch.

        It is smaller where memory is short. Of models that diffusers draws by itself there are no batches.

        Args:
            should_stop: Whether the picture with this number is unwanted; asked as in `run`, also while it waits.

        Yields:
            (number of the plan, event); for each plan the events of `run`. Nothing is raised.
        """
        abandoned = threading.Event()
        outbox: SimpleQueue[tuple[int, Event | PreviewOnItsWay] | None] = SimpleQueue()

        def picture(number: int, plan: Plan) -> Picture:
            return Picture(
                plan,
                tell=lambda event: outbox.put((number, event)),
                is_unwanted=lambda: abandoned.is_set() or should_stop(number),
                progress_pause_s=self.progress_pause_s,
            )

        drawing = Drawing(self, [picture(number, plan) for number, plan in enumerate(plans)])

        def job() -> None:
            try:
                drawing.run()
            finally:
                drawing.ended.set()
                outbox.put(None)

        self._start(job)
        try:
            while (item := outbox.get()) is not None:
                number, event = item
                yield number, event.encode() if isinstance(event, PreviewOnItsWay) else event
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

    def previews(self, family: Family | DrawsItself, device: torch.device, *, among: int = 1) -> Previews | None:
        """A preview maker for one picture, if there can and should be any.

        Args:
            among: How many pictures share what previews may take of the time.
        """
        if family.colours is None or self._preview_fps <= 0:
            return None
        return Previews(family.colours, device, per_second=self._preview_fps / among)

    def _start(self, job: Callable[[], None]) -> None:
        # One thread for the engine's whole life: OpenMP keeps a pool of helpers for every thread that computes.
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="draw", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
