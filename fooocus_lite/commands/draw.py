"""Drawing at once, for `generate`, `replay` and `sheet`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fooocus_lite.commands.fetch import with_files
from fooocus_lite.disk import disk_problem, write_atomic
from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.events import Cancelled, Failed, ImageSaved
from fooocus_lite.foreground import Job, draw, make_jobs
from fooocus_lite.library import Library
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import LocalRunner
from fooocus_lite.settings import Settings
from fooocus_lite.sheet_picture import Tile, compose_sheet, encode_sheet
from fooocus_lite.sheets import Varies, Wanted, make_sheet
from fooocus_lite.teller import Teller


def draw_jobs(
    jobs: Sequence[Job], library: Library, settings: Settings, teller: Teller, folder: Path | None
) -> list[Path]:
    """Draw until the first that does not work; where the pictures are, in the jobs' order.

    Args:
        folder: Takes the pictures; ``None`` puts them into ``output_dir``, by day.

    Raises:
        FooocusError: a model is missing and could not be fetched; nothing was drawn.
    """
    jobs = with_files(jobs, library, settings)
    runner = LocalRunner(options={"device": settings.device, "dtype": settings.dtype, "preview_fps": 0.0})
    saved: list[Path] = []
    try:
        into, by_day = folder or settings.output_dir, folder is None
        for job, event in draw(jobs, runner, into, by_day=by_day, a1111_text=library.a1111_text):
            teller.note(*job.notes)
            teller.tell(job, event)
            if isinstance(event, ImageSaved):
                saved.append(Path(event.path))
            if isinstance(event, Failed | Cancelled):
                break
    except FooocusError as exc:
        teller.complain(exc)
    finally:
        runner.close()
    return saved


@dataclass(frozen=True)
class DrawnSheet:
    """A contact sheet on disk, and the ``pictures`` on it by label; one that was not drawn is missing there."""

    path: Path
    pictures: dict[str, Path]
    is_whole: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"path": str(self.path), "pictures": {label: str(path) for label, path in self.pictures.items()}}


def draw_sheet(
    recipe: Recipe,
    wanted: Wanted,
    library: Library,
    settings: Settings,
    teller: Teller,
    *,
    out: Path | None = None,
    varies: Sequence[Varies] = ("style",),
) -> DrawnSheet:
    """Draw a contact sheet; its pictures go into ``output_dir`` like any others, the sheet to ``out`` or beside them.

    ``wanted`` and ``varies`` are those of `make_sheet`.

    Raises:
        FooocusError: a style or field is wrong, or the sheet cannot be saved.
    """
    if out is not None and out.suffix.lower() not in (".jpg", ".jpeg"):
        raise BadValue(f"A sheet cannot be saved as {out.name[:60]!r}.", "Give it the ending .jpg.", field="out")
    sheet = make_sheet(recipe, wanted, library, secrets.randbelow(2**32), varies=varies)
    cells = sheet.cells
    teller.note(*sheet.notes)
    jobs = [job for cell in cells for job in make_jobs(cell.recipe, library)]
    teller.pictures = len(jobs)
    saved = draw_jobs(jobs, library, settings, teller, None)
    first = cells[0].recipe
    pictures = dict(zip((cell.label for cell in cells), saved, strict=False))
    tiles = [Tile(cell.label, pictures.get(cell.label), "not drawn", cell.varies) for cell in cells]
    model = library.find_model(first.model or "").label
    now = datetime.now()
    path = out or settings.output_dir / now.strftime("%Y-%m-%d") / f"{now.strftime('%H-%M-%S')}_{first.seed}_sheet.jpg"
    _save(path.absolute(), encode_sheet(compose_sheet(first, tiles, model=model)))
    return DrawnSheet(path.absolute(), pictures, len(saved) == len(cells))


def _save(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data, replace=True)
    except OSError as exc:
        raise disk_problem(exc, path.parent, "FOOOCUS_OUTPUT_DIR") from exc
