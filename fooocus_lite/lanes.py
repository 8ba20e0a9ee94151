"""Who draws: a lane for each worker, which comes and goes with it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fooocus_lite.affinity import Taste
from fooocus_lite.errors import FooocusError
from fooocus_lite.runner import Runner
from fooocus_lite.tasks import Task

#: So long a worker is not asked again for a model that it said it does not have: somebody may put it there.
LACKS_S = 60.0


@dataclass(eq=False)
class Lane:
    """One worker and what it is at."""

    name: str
    runner: Runner
    task: Task | None = None
    warm: set[str] = field(default_factory=set[str])  # models that this worker has drawn with
    lacks: dict[str, float] = field(default_factory=dict[str, float])  # models that it has not; until when
    is_started: bool = False  # with a task, or to warm up
    is_leaving: bool = False

    @property
    def models(self) -> frozenset[str]:
        """Those that it need not load."""
        return frozenset(self.runner.about.get("models", self.warm))

    @property
    def lacking(self) -> frozenset[str]:
        """Models that its machine does not have, as far as it said so just now."""
        now = time.monotonic()
        return frozenset(name for name, until in tuple(self.lacks.items()) if until > now)

    @property
    def state(self) -> str:
        """``away``, ``drawing``, ``idle`` or ``starting``."""
        if not self.runner.is_here:
            return "away"
        if self.task is not None:
            return "drawing"
        return "idle" if "device" in self.runner.about else "starting"

    def told(self) -> dict[str, Any]:
        """Name, state, task, and what its engine says about its device and memory."""
        return {**self.runner.about, "name": self.name, "state": self.state, "task_id": self.task and self.task.id}


class Lanes:
    """Safe from every thread; a list that was read stays as it was.

    Args:
        work: What the thread of a lane does, until its lane is leaving.
    """

    def __init__(self, runners: Sequence[Runner], work: Callable[[Lane], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._threads: list[threading.Thread] = []
        self._is_started = False
        self._nobody: FooocusError | None = None
        self.all: tuple[Lane, ...] = ()
        self.staff(runners)

    @property
    def here(self) -> tuple[Lane, ...]:
        """Those that can be given work."""
        return tuple(lane for lane in self.all if lane.runner.is_here)

    @property
    def nobody(self) -> FooocusError | None:
        """Why nobody draws; None where somebody is here."""
        return None if self.here else self._nobody

    def staff(self, runners: Sequence[Runner], nobody: FooocusError | None = None) -> None:
        """From now on these draw: a lane for who is new, none for who is not among them.

        Args:
            nobody: What to say while none of them is here.
        """
        with self._lock:
            known = {id(lane.runner): lane for lane in self.all}
            wanted = {id(runner) for runner in runners}
            for lane in self.all:
                lane.is_leaving = id(lane.runner) not in wanted
            self._nobody = nobody
            before = self.all
            self.all = tuple(known.get(id(runner)) or self._new(runner) for runner in runners)
            if self._is_started:
                for lane in self.all:
                    if lane not in before:
                        self._start(lane)

    def start(self) -> None:
        """Begin to work."""
        with self._lock:
            self._is_started = True
            for lane in self.all:
                self._start(lane)

    def close(self, timeout_s: float) -> None:
        """Close the runners, and wait for the threads, each so long at most."""
        for lane in self.all:
            lane.runner.close()
        for thread in tuple(self._threads):
            thread.join(timeout_s)

    def idle(self) -> Lane | None:
        """One that has nothing to do, else one that has; None where nobody is here."""
        here = self.here
        return next((lane for lane in here if lane.task is None), here[0] if here else None)

    def taste(self, lane: Lane) -> Taste | None:
        """What this worker would rather draw; None where there is no other."""
        others = [other for other in self.here if other is not lane]
        if not others:
            return None
        has = lane.models
        idle = frozenset[str]().union(*(other.models for other in others if other.task is None))
        return Taste(has, (idle - has) | lane.lacking)

    def leaves_to_others(self, lane: Lane, model: str) -> bool:
        """Note that a worker's machine does not have a model; whether another one may have it."""
        lane.lacks[model] = time.monotonic() + LACKS_S
        return any(model not in other.lacking for other in self.here)

    def _new(self, runner: Runner) -> Lane:
        return Lane(f"worker {next(self._numbers)}", runner)

    def _start(self, lane: Lane) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._work, args=(lane,), name=lane.name, daemon=True)
        self._threads.append(thread)
        thread.start()
