"""Pictures drawn at once, without a server: `generate` and `replay`.

The same engine process, plan and file writer that the server uses; only the queue is left out.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fooocus_lite.errors import UnknownName
from fooocus_lite.events import Event, Finished, ImageReady, PromptReady
from fooocus_lite.images import save_image
from fooocus_lite.library import Library
from fooocus_lite.picture_text import describe_picture, read_picture
from fooocus_lite.picture_words import has_changed, has_words
from fooocus_lite.plan import Plan, batch_notes, expand, make_plan, with_expansion
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import Runner


@dataclass(frozen=True)
class Job:
    """One picture with everything decided; ``notes`` are sentences for the person."""

    recipe: Recipe
    plan: Plan
    notes: tuple[str, ...] = ()


def make_jobs(recipe: Recipe, library: Library) -> list[Job]:
    """One job per picture; an open seed is drawn here.

    Raises:
        FooocusError: the recipe names something that is not there or out of range.
    """
    pictures = expand(recipe, library, secrets.randbelow(2**32))
    plans = [make_plan(one, library, one.seed or 0) for one in pictures]
    jobs = [Job(one, plan, plan.warnings) for one, plan in zip(pictures, plans, strict=True)]
    notes = dict.fromkeys((*jobs[0].notes, *batch_notes(pictures, library, recipe)))
    return [dataclasses.replace(jobs[0], notes=tuple(notes)), *jobs[1:]]


def refreshed_job(job: Job, library: Library) -> Job:
    """The job with its files as ``library`` knows them now: some came after it was made."""
    now = make_plan(job.recipe, library, job.plan.seed)
    plan = dataclasses.replace(job.plan, model=now.model, refiner=now.refiner, loras=now.loras)
    return dataclasses.replace(job, plan=plan)


def make_replay(path: Path, library: Library) -> Job:
    """The job that makes the picture at ``path`` again, with the words as they were encoded then.

    Raises:
        FooocusError: the picture holds no recipe, or its model is not here.
    """
    info = read_picture(path)
    recipe, notes = info.recipe, list[str]()
    try:
        plan = make_plan(recipe, library, recipe.seed or 0)
    except UnknownName as exc:
        if exc.field != "styles":
            raise
        plan = make_plan(recipe.model_copy(update={"styles": ()}), library, recipe.seed or 0)
        notes.append(f"{exc.problem} The words it gave are in the picture, so they are used as they were.")
    else:
        if has_changed(info, plan):
            notes.append("A style or word list has changed since this picture was made; its words of then are used.")
    if has_words(info):
        plan = dataclasses.replace(plan, texts=info.texts, negative_texts=info.negative_texts, expansion=None)
    return Job(recipe, plan, (*notes, *plan.warnings))


def draw(
    jobs: Sequence[Job], runner: Runner, output_dir: Path, *, by_day: bool = True, a1111_text: bool = True
) -> Iterator[tuple[Job, Event]]:
    """Draw one job after the other; `ImageSaved` comes when the picture is on disk, before its `Finished`.

    Raises:
        WorkerDied: the process that draws ended.
        DiskProblem: the picture cannot be saved.
    """
    for job in jobs:
        image: ImageReady | None = None
        recipe, plan = job.recipe, job.plan
        for event in runner.run(job.plan, lambda: False):
            if isinstance(event, PromptReady):
                recipe, plan = with_expansion(recipe, plan, event)
            if isinstance(event, ImageReady):
                image = event
            if isinstance(event, Finished) and image is not None:
                info = describe_picture(recipe, plan, image.facts)
                name = secrets.token_hex(6)
                saved = save_image(
                    image, info, task_id=name, output_dir=output_dir, by_day=by_day, a1111_text=a1111_text
                )
                yield job, saved
            yield job, event
