"""Who draws: a lane for each worker, which comes and goes with it."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence

from fooocus_lite.affinity import Taste
from fooocus_lite.errors import FooocusError
from fooocus_lite.lane import LACKS_S, Lane
from fooocus_lite.runner import Runner
from fooocus_lite.tasks import Task


class Lanes:
    """Safe from every thread; a list that was read stays as it was."""

    def __init__(self, runners: Sequence[Runner]) -> None:
        self._work: Callable[[Lane], None] = lambda _: None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._threads: list[threading.Thread] = []
        self._is_started = False
        self._nobody: FooocusError | None = None
        #: Held by who takes of the line: what waits and what others have taken are counted at one moment.
        self.sharing = threading.Lock()
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

    def start(self, work: Callable[[Lane], None]) -> None:
        """Begin: ``work`` is what the thread of a lane does, until its lane is leaving."""
        with self._lock:
            self._work, self._is_started = work, True
            for lane in self.all:
                self._start(lane)

    def close(self, timeout_s: float) -> None:
        """Close the runners, and wait for the threads, each so long at most."""
        for lane in self.all:
            lane.runner.close()
        for thread in tuple(self._threads):
            thread.join(timeout_s)

    def share(self, lane: Lane, waiting: int) -> int:
        """How many of those waiting, what it claims itself counted, a worker with nothing else to do takes at most."""
        return fair_share(waiting, [other.left for other in self.here if other is not lane])

    def is_begun_beside(self, lane: Lane, tasks: Sequence[Task]) -> bool:
        """Whether another worker draws a picture of the click of these."""
        drawn = {task.batch_id for other in self.all if other is not lane for task in other.tasks}
        return any(task.batch_id in drawn for task in tasks)

    def idle(self) -> Lane | None:
        """One that has nothing to do, else one that has; None where nobody is here."""
        here = self.here
        return next((lane for lane in here if not lane.tasks), here[0] if here else None)

    def taste(self, lane: Lane) -> Taste | None:
        """What this worker would rather draw; None where there is no other."""
        others = [other for other in self.here if other is not lane]
        if not others:
            return None
        has = lane.models
        idle = frozenset[str]().union(*(other.models for other in others if not other.tasks))
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


def fair_share(waiting: int, left: Sequence[float]) -> int:
    """How many of ``waiting`` a worker takes so that all of them end about together; at least one.

    As water fills vessels: those that have more left to draw than the rest will have get nothing.

    Args:
        left: Pictures that each of the others has still to draw.
    """
    level = total = float(waiting)
    for count, has in enumerate(sorted(left), start=2):
        if has >= level:
            break
        total += has
        level = total / count
    # A half goes to who comes last, or one picture is left that somebody must draw alone while the others idle.
    up = math.floor(level + 0.5)
    return up if up >= waiting else max(1, math.ceil(level - 0.5))
