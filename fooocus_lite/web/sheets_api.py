"""Routes for contact sheets: the same words and seed in several styles, samplers or modes, also as one picture."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field

from fooocus_lite.events import State
from fooocus_lite.library import Library
from fooocus_lite.recipe import Recipe
from fooocus_lite.sheet_picture import Tile, compose_sheet, encode_sheet
from fooocus_lite.sheets import EVERY_VARIES, Varies, make_sheet
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import SheetHead, Task
from fooocus_lite.web.once import Once
from fooocus_lite.web.schemas import Count, Problem, problems
from fooocus_lite.web.who import Who

WORDS = 120
EXAMPLES: dict[str, Example] = {
    "every style that the model has learned": {"value": {"recipe": {"prompt": "a house by the sea", "seed": 7}}},
    "two styles": {"value": {"recipe": {"prompt": "a house by the sea"}, "styles": ["Watercolor", "Neon"]}},
    "every sampler and mode": {"value": {"recipe": {"prompt": "a house by the sea"}, "varies": ["sampler", "mode"]}},
}
STATE_WORDS: dict[State, str] = {
    "waiting": "waiting",
    "running": "being drawn",
    "failed": "failed",
    "cancelled": "cancelled",
    "finished": "is gone",
}


class SheetIn(BaseModel):
    """A contact sheet to draw."""

    model_config = ConfigDict(extra="forbid")

    recipe: Recipe = Field(
        description="What to draw; `count` is not used. A cell of a style has of `styles` only `Expand prompt`, one of"
        " a mode decides steps and sampler as the mode does."
    )
    varies: list[Varies] = Field(
        default=["style"],
        min_length=1,
        max_length=len(EVERY_VARIES),
        description="What the cells show, one kind after the other. What the model cannot do has no cell.",
    )
    styles: list[str] | None = Field(
        default=None, description="Names, at most 500; null = those that the model has learned."
    )
    every: bool = Field(default=False, description="Without `styles`: every one, learned or not.")


class SheetCellOut(BaseModel):
    """One picture of a sheet; its files are those of its task."""

    label: str = Field(description="Its style, sampler or mode.", examples=["Watercolor"])
    varies: Varies = Field(description="Which of them it is there to show.")
    id: str = Field(description="The task's id.")
    state: State
    error: Problem | None = Field(default=None, description="Null unless failed.")


class SheetOut(BaseModel):
    """A contact sheet. Its pictures are ordinary tasks of one batch, whose id is the sheet's."""

    id: str
    prompt: str
    seed: int
    model: str
    width: int
    height: int
    created_at: float = Field(description="Unix time.")
    cells: list[SheetCellOut]
    notes: list[str] = Field(default=[], description="What was left out, and why; said when it is asked for.")


class SheetRow(BaseModel):
    """A contact sheet in a list."""

    id: str
    words: str = Field(description="How the prompt begins.")
    cells: int
    finished: int = Field(description="Cells whose picture is there.")
    created_at: float


class SheetList(BaseModel):
    """Newest first; the next page is `before` = the last id of this one."""

    sheets: list[SheetRow]


def add_sheet_routes(router: APIRouter, queue: TaskQueue, supply: Supply, library: Callable[[], Library]) -> None:
    """Add them to the router of ``/v1``."""
    _add_asking(router, queue, supply, library)
    _add_showing(router, queue, library)


def _add_asking(router: APIRouter, queue: TaskQueue, supply: Supply, library: Callable[[], Library]) -> None:
    @router.post(
        "/sheets",
        tags=["sheets"],
        status_code=201,
        summary="Draw a contact sheet",
        responses=problems(400, 403, 409, 413, 422, 429, 507),
    )
    def add(sheet: Annotated[SheetIn, Body(openapi_examples=EXAMPLES)], who: Who, key: Once) -> SheetOut:
        """The same prompt and seed once per style, sampler or mode, one task each.

        Beside a style only `Expand prompt` stays on; a random style has no cell.
        """
        now = library()
        wanted = sheet.styles if sheet.styles is not None else "all" if sheet.every else "fitting"
        made = make_sheet(sheet.recipe, wanted, now, secrets.randbelow(2**32), varies=sheet.varies)
        cells = made.cells
        recipes, labels = [cell.recipe for cell in cells], [cell.label for cell in cells]
        varies: list[Varies] = [cell.varies for cell in cells]
        ids = supply.submit(recipes, now, labels=labels, varies=varies, owner=who.name, key=key)
        return sheet_out(queue.sheet(ids[0]), made.notes)

    @router.delete(
        "/sheets/{sheet_id}", tags=["sheets"], summary="Draw no more of it", responses=problems(403, 404, 422, 507)
    )
    def cancel(sheet_id: str, who: Who) -> Count:
        """Cancels what of it waits or is being drawn; finished pictures stay, and so does the sheet."""
        queue.sheet(sheet_id, owner=who.sees)
        return Count(cancelled=queue.cancel_batch(sheet_id))


def _add_showing(router: APIRouter, queue: TaskQueue, library: Callable[[], Library]) -> None:
    @router.get("/sheets", tags=["sheets"], summary="Contact sheets", responses=problems(422))
    def sheets(
        who: Who,
        limit: Annotated[int, Query(ge=1, le=50, description="At most this many.")] = 20,
        before: Annotated[str | None, Query(max_length=40, description="Only what is older than this id.")] = None,
    ) -> SheetList:
        """Newest first. Where there are users each sees their own, an admin all."""
        found = queue.sheets(limit=limit, before=before, owner=who.sees)
        return SheetList(sheets=[_row(head) for head in found])

    @router.get("/sheets/{sheet_id}", tags=["sheets"], summary="Where a sheet stands", responses=problems(404, 422))
    def sheet(sheet_id: str, who: Who) -> SheetOut:
        """Every cell with its state; one that was tried again is where it was."""
        return sheet_out(queue.sheet(sheet_id, owner=who.sees))

    @router.get(
        "/sheets/{sheet_id}/image",
        tags=["sheets"],
        summary="The sheet as one picture",
        response_class=Response,
        responses=problems(404, 422) | {200: {"content": {"image/jpeg": {}}}},
    )
    def image(sheet_id: str, who: Who, download: bool = False) -> Response:
        """A JPEG with its name under every picture, as far as they are drawn."""
        tasks = queue.sheet(sheet_id, owner=who.sees)
        data = _composed(tasks, library())
        name = f'attachment; filename="{_file_name(tasks[0].recipe)}"' if download else "inline"
        headers = {"Content-Disposition": name, "Cache-Control": "no-store"}  # it is another one when more is drawn
        return Response(data, media_type="image/jpeg", headers=headers)


def _composed(tasks: Sequence[Task], library: Library) -> bytes:
    recipe = tasks[0].recipe
    model = library.models.get(recipe.model or "")
    tiles = [Tile(task.label or "", _picture(task), STATE_WORDS[task.state], task.varies) for task in tasks]
    return encode_sheet(compose_sheet(recipe, tiles, model=model.label if model else recipe.model or ""))


def _picture(task: Task) -> Path | None:
    path = Path(task.image_path) if task.image_path else None
    return path if path is not None and path.is_file() else None


def _file_name(recipe: Recipe) -> str:
    """ASCII only, as a header needs it: ``sheet-a-red-star-7.jpg``."""
    words = re.sub(r"[^a-z0-9]+", "-", recipe.prompt[:60].casefold()).strip("-")
    return f"{'-'.join(part for part in ('sheet', words, str(recipe.seed)) if part)}.jpg"


def sheet_out(tasks: Sequence[Task], notes: Sequence[str] = ()) -> SheetOut:
    """A sheet as programs see it, from the newest task of every cell."""
    recipe = tasks[0].recipe
    return SheetOut(
        id=tasks[0].batch_id,
        prompt=recipe.prompt,
        seed=recipe.seed or 0,
        model=recipe.model or "",
        width=recipe.width or 1,
        height=recipe.height or 1,
        created_at=min(task.created_at for task in tasks),
        cells=[_cell_out(task) for task in tasks],
        notes=list(notes),
    )


def _cell_out(task: Task) -> SheetCellOut:
    error = Problem(**task.error) if task.error else None
    return SheetCellOut(label=task.label or "", varies=task.varies, id=task.id, state=task.state, error=error)


def _row(head: SheetHead) -> SheetRow:
    first = head.first
    return SheetRow(
        id=first.batch_id,
        words=first.recipe.prompt[:WORDS],
        cells=head.cells,
        finished=head.finished,
        created_at=first.created_at,
    )
