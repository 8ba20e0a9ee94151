"""One worker and what it is at: the values that its thread writes and everybody else reads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fooocus_lite.plan import Plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import Runner
from fooocus_lite.tasks import Task


@dataclass(frozen=True)
class Job:
    """A task with everything decided."""

    task: Task
    recipe: Recipe
    plan: Plan


#: So long a worker is not asked again for a model that it said it does not have: somebody may put it there.
LACKS_S = 60.0


@dataclass(eq=False)
class Lane:
    """One worker.

    Attributes:
        tasks: What it draws now, those of a batch in the line's order; a picture that is drawn is not among them.
        walked: How much of their walk is done, 0 to 1.
        ahead: What it has claimed to draw after ``tasks``.
        warm: Models that this worker has drawn with.
        lacks: Models that its machine does not have, and until when that is believed.
        is_started: It had a task, or was told to warm up.
        is_leaving: It is given nothing more, and its thread ends.
    """

    name: str
    runner: Runner
    tasks: tuple[Task, ...] = ()
    walked: float = 0.0
    ahead: tuple[Task, ...] = ()
    warm: set[str] = field(default_factory=set[str])
    lacks: dict[str, float] = field(default_factory=dict[str, float])
    is_started: bool = False
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
    def left(self) -> float:
        """Pictures that it has still to draw; of those that it is at, what is left of their walk."""
        return len(self.tasks) * (1 - self.walked) + len(self.ahead)

    @property
    def state(self) -> str:
        """``away``, ``drawing``, ``idle``, or ``starting`` while it has said nothing of itself."""
        if not self.runner.is_here:
            return "away"
        if self.tasks:
            return "drawing"
        return "idle" if "device" in self.runner.about else "starting"

    def told(self, owner: str | None = None) -> dict[str, Any]:
        """Name, state, tasks (of one user, or all), and what its engine says about its device and memory."""
        ids = [task.id for task in self.tasks if owner in (None, task.owner)]
        return {**self.runner.about, "name": self.name, "state": self.state, "task_ids": ids}

    def hold(self, tasks: Sequence[Task], *, is_ahead: bool = False) -> None:
        """These are what it draws from the first step on; or what it draws next, if they are sent ``ahead``."""
        if is_ahead:
            self.ahead = tuple(tasks)
        else:
            self.tasks, self.ahead, self.walked = tuple(tasks), (), 0.0

    def without(self, task: Task) -> None:
        """This one of its tasks is done."""
        self.tasks = tuple(other for other in self.tasks if other.id != task.id)
