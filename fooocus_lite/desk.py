"""What a person asks of pictures that wait, where more must be known than their rows say: whether a recipe can be
drawn, and which files it needs first. The other half is `fooocus_lite.line`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from fooocus_lite.edits import edited
from fooocus_lite.errors import BadValue, FooocusError, NotFound
from fooocus_lite.library import Library
from fooocus_lite.line import Edit, Spot
from fooocus_lite.line_records import not_waiting
from fooocus_lite.plan import batch_notes
from fooocus_lite.queue_file import read_queue
from fooocus_lite.recipe import MAX_SEED, Recipe
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import TaskQueue, Wanted
from fooocus_lite.tasks import Task


class Desk:
    """Thread-safe. ``owner`` is whose tasks may be touched, ``None`` = everybody's; ``asker`` is whose new ones are.

    What is asked for under a ``key`` is asked for once: again, it is the same tasks.
    """

    def __init__(self, queue: TaskQueue, supply: Supply, library: Callable[[], Library]) -> None:
        self._queue = queue
        self._supply = supply
        self._library = library

    def edit(self, task_id: str, changes: Recipe, *, revision: int, owner: str | None = None) -> Task:
        """Change some fields of a waiting picture; the task as it is now. As `edit_all`, of one.

        Raises:
            NotFound: no such task.
            FooocusError: a conflict, or as `edit_all`.
        """
        stayed = self.edit_all([task_id], changes, revisions=[revision], owner=owner)
        if stayed:
            raise stayed[task_id]
        return self._queue.get(task_id)

    def edit_all(
        self, ids: Sequence[str], changes: Recipe, *, revisions: Sequence[int] | None = None, owner: str | None = None
    ) -> dict[str, FooocusError]:
        """Change some fields of waiting pictures, of all at once; what they lack then is being fetched already.

        Args:
            changes: The fields that were set in it; see `fooocus_lite.edits.edited`. Each keeps its seed, unless
                that is ``None`` in it: then each has a new one.
            revisions: Of each task when it was read; without them, whatever they are now.

        Returns:
            Why which of them stayed as it is, by id: it waits no more, was edited meanwhile, is a cell of a contact
            sheet, or is not there.

        Raises:
            BadValue: one seed for several pictures, which would be one picture several times.
            FooocusError: where `edited`, `make_plan` or `Supply.fetch_for` refuse a recipe. Nothing has changed then.
        """
        if len(ids) > 1 and "seed" in changes.model_fields_set and changes.seed is not None:
            raise BadValue("Several pictures cannot have one seed.", "Leave it out: each keeps its own.", field="seed")
        known = dict(zip(ids, revisions, strict=True)) if revisions is not None else {}
        stayed: dict[str, FooocusError] = {}
        tasks: list[Task] = []
        for task_id in dict.fromkeys(ids):
            try:
                task = self._queue.get(task_id, owner=owner)
            except NotFound as exc:
                stayed[task_id] = exc
                continue
            if (why := _why_not_changed(task)) is not None:
                stayed[task_id] = why
            else:
                tasks.append(task)
        library = self._library()
        recipes = [edited(task.recipe, changes, library, int(task.id, 16)) for task in tasks]
        for name in dict.fromkeys(task.owner for task in tasks):  # before anything is fetched for what is refused
            theirs = [(task.recipe, recipe) for task, recipe in zip(tasks, recipes, strict=True) if task.owner == name]
            old, new = zip(*theirs, strict=True)
            self._queue.refuse_beyond(new, name, instead_of=old)
        waits = self._supply.fetch_for_all(recipes, library)
        edits = [
            Edit(task.id, recipe, known.get(task.id, task.revision), offer)
            for task, recipe, offer in zip(tasks, recipes, waits, strict=True)
        ]
        stayed |= self._queue.edit_all(edits)
        self._supply.wake()
        return stayed

    def duplicate(
        self,
        ids: Sequence[str],
        *,
        new_seed: bool,
        asker: str = "",
        owner: str | None = None,
        key: str | None = None,
    ) -> list[str]:
        """Copies of tasks as a batch of their own, right behind the last of them that waits, else at the end.

        Args:
            new_seed: The copies have other seeds; else they are drawn as the originals are.

        Raises:
            NotFound: no such task.
            FooocusError: where `make_plan` or `Supply.fetch_for` refuse a recipe; nothing was queued.
        """

        def put_in_line() -> list[str]:
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
            copies = self._queue.submit_all([Wanted(recipes, waits_for=waits)], owner=asker, spot=spot, key=key)
            self._supply.wake()
            return copies

        return self._queue.once(key, put_in_line)

    def take_in(
        self, text: str, base: Recipe, *, asker: str = "", key: str | None = None
    ) -> tuple[list[str], list[str]]:
        """Put a file's pictures in line, all or none: (the tasks' ids, what a person should read).

        Raises:
            FooocusError: as `fooocus_lite.queue_file.read_queue`, or `Supply.fetch_for`; nothing was queued.
        """
        library = self._library()
        recipes: list[Recipe] = []

        def put_in_line() -> list[str]:
            batches = read_queue(text, base, library, secrets.randbelow(2**32))
            recipes.extend(recipe for batch in batches for recipe in batch.recipes)
            self._queue.refuse_beyond(recipes, asker)
            waits = iter(self._supply.fetch_for_all(recipes, library))
            ready = [replace(batch, waits_for=[next(waits) for _ in batch.recipes]) for batch in batches]
            ids = self._queue.submit_all(ready, owner=asker, key=key)
            self._supply.wake()
            self._queue.tell_change()
            return ids

        ids = self._queue.once(key, put_in_line)
        return ids, list(batch_notes(recipes or [self._queue.get(task_id).recipe for task_id in ids], library))


def _why_not_changed(task: Task) -> FooocusError | None:
    if task.state != "waiting":
        return not_waiting("changed", [task.state])
    if task.label is not None:
        problem = "This picture belongs to a contact sheet, on which only what it shows may differ."
        return FooocusError(problem, "Duplicate it and change the copy.", code="conflict")
    return None
