"""One worker and what it is at: the values that its thread writes and everybody else reads."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass
class Lane:
    """One worker.

    Attributes:
        tasks: What it draws now, those of a batch in the line's order; a picture that is drawn is not among them.
        warm: Models that this worker has drawn with.
        is_started: It had a task, or was told to warm up.
    """

    name: str
    runner: Runner
    tasks: tuple[Task, ...] = ()
    warm: set[str] = field(default_factory=set[str])
    is_started: bool = False

    @property
    def models(self) -> frozenset[str]:
        """Those that it need not load."""
        return frozenset(self.runner.about.get("models", self.warm))

    @property
    def state(self) -> str:
        """``drawing``, ``idle``, or ``starting`` while it has said nothing of itself."""
        if self.tasks:
            return "drawing"
        return "idle" if self.runner.about else "starting"

    def without(self, task: Task) -> None:
        """This one of its tasks is done."""
        self.tasks = tuple(other for other in self.tasks if other.id != task.id)
