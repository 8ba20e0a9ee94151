"""What the queue keeps of one picture: the `Task`, its row in the database, and how much work it is."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from fooocus_lite.events import State
from fooocus_lite.guidances import passes_per_step
from fooocus_lite.recipe import Recipe
from fooocus_lite.registry import SAMPLERS
from fooocus_lite.sheets import Varies

_PLAIN = (
    "id", "batch_id", "state", "attempt", "created_at", "started_at", "finished_at", "image_path", "width", "height",
    "label", "varies", "waits_for", "owner", "place", "revision",
)  # fmt: skip
#: What pictures of a batch have each for itself.
_OWN = {"prompt", "negative_prompt", "styles", "expansion", "seed", "index", "count", "preset", "image_format"}
COLUMNS = ", ".join((*_PLAIN, "recipe", "error", "facts", "cancel_requested"))


@dataclass(frozen=True)
class Task:
    """One picture somebody asked for, with its settings frozen at the click.

    Attributes:
        label: What it is called on its contact sheet; ``None`` when it is on none. The sheet is the batch.
        varies: What its cell there is there to show.
        waits_for: The offer whose files must come before it can be drawn; others pass it.
        owner: Name of the user who asked for it; empty where there are no users.
        place: Which picture of its batch it is, 1 = the first that was asked for.
        revision: How often it was edited while it waited.
    """

    id: str
    batch_id: str
    recipe: Recipe
    state: State
    attempt: int
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    image_path: str | None = None
    width: int | None = None
    height: int | None = None
    error: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    cancel_requested: bool = False
    position: int | None = None
    label: str | None = None
    varies: Varies = "style"
    waits_for: str | None = None
    owner: str = ""
    place: int = 1
    revision: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; fields of the recipe that say nothing are left out."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"recipe": self.recipe.set_fields()}


@dataclass(frozen=True)
class SheetHead:
    """A contact sheet in a list: its first task, and how many of its ``cells`` are ``finished``."""

    first: Task
    cells: int
    finished: int


@dataclass(frozen=True)
class PastPicture:
    """A picture of another program, for the history; ``finished_at`` is Unix time, ``path`` absolute."""

    path: str
    recipe: Recipe
    finished_at: float
    width: int
    height: int


def work_of(recipe: Recipe) -> int:
    """How much drawing a recipe asks for: pixels × calls of the sampler × passes; 0 while that is open."""
    if recipe.width is None or recipe.height is None or recipe.steps is None:
        return 0
    passes = passes_per_step(recipe.weights(), recipe.steps)
    return round(recipe.width * recipe.height * model_calls(recipe.sampler or "", recipe.steps) * passes)


def kind_of(recipe: Recipe) -> dict[str, Any]:
    """What the recipes of pictures have in common that may be drawn as one batch: all but words and seed.

    Words can name LoRAs, so only the plans know for sure (`fooocus_lite.plan.Plan.walk`).
    """
    return recipe.model_dump(exclude=_OWN, exclude_none=True)


def model_calls(sampler: str, steps: int) -> int:
    """How often a sampler asks the model in so many steps; a sampler that is not known once a step."""
    row = SAMPLERS.get(sampler)
    return steps if row is None else row.calls * (steps - 1) + 1


def to_json(recipe: Recipe) -> str:
    """A recipe as its row keeps it."""
    return recipe.model_dump_json(exclude_none=True)


def task_of(row: sqlite3.Row, position: int | None = None) -> Task:
    """The task that a row of `COLUMNS` holds."""
    return Task(
        **{key: row[key] for key in _PLAIN},
        recipe=_stored_recipe(row["recipe"]),
        error=json.loads(row["error"]) if row["error"] else None,
        facts=json.loads(row["facts"]) if row["facts"] else {},
        cancel_requested=bool(row["cancel_requested"]),
        position=position,
    )


def _stored_recipe(text: str) -> Recipe:
    try:
        return Recipe.model_validate_json(text)
    except ValidationError:  # written by another version: keep what still means something
        values = json.loads(text)
        return Recipe(**{key: values[key] for key in ("prompt", "seed", "width", "height") if key in values})
