"""What a person asks of pictures that wait, where more must be known than their rows say: whether a recipe can be
drawn, and which files it needs first. The other half is `fooocus_lite.line`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from fooocus_lite.edits import edited
from fooocus_lite.errors import FooocusError
from fooocus_lite.library import Library
from fooocus_lite.line import Spot, not_waiting
from fooocus_lite.plan import batch_notes
from fooocus_lite.queue_file import read_queue
from fooocus_lite.recipe import MAX_SEED, Recipe
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import TaskQueue, Wanted
from fooocus_lite.tasks import Task


class Desk:
    """Thread-safe. ``owner`` is whose tasks may be touched, ``None`` = everybody's; ``asker`` is whose new ones are."""

    def __init__(self, queue: TaskQueue, supply: Supply, library: Callable[[], Library]) -> None:
        self._queue = queue
        self._supply = supply
        self._library = library

    def edit(self, task_id: str, changes: Recipe, *, revision: int, owner: str | None = None) -> Task:
        """Change some fields of a waiting picture; what the new recipe lacks is being fetched when this returns.

        Args:
            changes: The fields that were set in it; see `fooocus_lite.edits.edited`.
            revision: The task's when it was read.

        Raises:
            NotFound: no such task.
            FooocusError: a conflict: it waits no more, was edited meanwhile, or is a cell of a contact sheet; or
                where `edited`, `make_plan` or `Supply.fetch_for` refuse the recipe. Nothing has changed then.
        """
        task = self._queue.get(task_id, owner=owner)
        if task.state != "waiting":
            raise not_waiting("changed", [task.state])
        if task.label is not None:
            problem = "This picture belongs to a contact sheet, on which only what it shows may differ."
            raise FooocusError(problem, "Duplicate it and change the copy.", code="conflict")
        library = self._library()
        recipe = edited(task.recipe, changes, library, int(task.id, 16))
        self._queue.refuse_beyond([recipe], task.owner, instead_of=[task.recipe])
        (offer,) = self._supply.fetch_for_all([recipe], library)
        changed = self._queue.edit(task_id, recipe, revision=revision, waits_for=offer)
        self._supply.wake()
        return changed

    def duplicate(self, ids: Sequence[str], *, new_seed: bool, asker: str = "", owner: str | None = None) -> list[str]:
        """Copies of tasks as a batch of their own, right behind the last of them that waits, else at the end.

        Args:
            new_seed: The copies have other seeds; else they are drawn as the originals are.

        Raises:
            NotFound: no such task.
            FooocusError: where `make_plan` or `Supply.fetch_for` refuse a recipe; nothing was queued.
        """
        tasks = [self._queue.get(task_id, owner=owner) for task_id in ids]
        seed = secrets.randbelow(2**32)
        recipes = [task.recipe for task in tasks]
        if new_seed:
            recipes = [
                recipe.model_copy(update={"seed": (seed + n) % (MAX_SEED + 1), "expansion": None})
                for n, recipe in enumerate(recipes)
            ]
        self._queue.refuse_beyond(recipes, asker)  # before anything is fetched for what is refused
        waits = self._supply.fetch_for_all(recipes, self._library())
        waiting = [task.id for task in tasks if task.state == "waiting"]
        spot = Spot("after", of=waiting[-1]) if waiting else None
        copies = self._queue.submit_all([Wanted(recipes, waits_for=waits)], owner=asker, spot=spot)
        self._supply.wake()
        return copies

    def take_in(self, text: str, base: Recipe, *, asker: str = "") -> tuple[list[str], list[str]]:
        """Put a file's pictures in line, all or none: (the tasks' ids, what a person should read).

        Raises:
            FooocusError: as `fooocus_lite.queue_file.read_queue`, or `Supply.fetch_for`; nothing was queued.
        """
        library = self._library()
        batches = read_queue(text, base, library, secrets.randbelow(2**32))
        recipes = [recipe for batch in batches for recipe in batch.recipes]
        self._queue.refuse_beyond(recipes, asker)
        waits = iter(self._supply.fetch_for_all(recipes, library))
        ready = [replace(batch, waits_for=[next(waits) for _ in batch.recipes]) for batch in batches]
        ids = self._queue.submit_all(ready, owner=asker)
        self._supply.wake()
        self._queue.tell_change()
        return ids, list(batch_notes(recipes, library))
