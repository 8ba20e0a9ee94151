"""A contact sheet: the same words and seed once in each of several styles, samplers or modes.

Its pictures are ordinary ones, one recipe each; what makes them a sheet is their batch, and a label for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fooocus_lite.errors import BadValue
from fooocus_lite.library import CatalogEntry, Library
from fooocus_lite.mode_choice import shortcoming
from fooocus_lite.modes import known_mode
from fooocus_lite.plan import expand
from fooocus_lite.prompts import split_prompts
from fooocus_lite.recipe import Recipe, shown
from fooocus_lite.registry import SAMPLERS

MAX_CELLS = 500
#: What a cell is there to show.
Varies = Literal["style", "sampler", "mode"]
EVERY_VARIES: tuple[Varies, ...] = get_args(Varies)
#: Styles by name; or those that the model has learned; or every one that there is.
Wanted = Sequence[str] | Literal["fitting", "all"]


@dataclass(frozen=True)
class SheetCell:
    """One picture of a sheet.

    Attributes:
        label: What it is called: its style, sampler or mode. No two of a sheet are called the same.
        varies: What it is there to show.
        recipe: Resolved.
    """

    label: str
    varies: Varies
    recipe: Recipe


@dataclass(frozen=True)
class Sheet:
    """What is on a sheet, and a sentence for each sampler and mode that cannot be."""

    cells: tuple[SheetCell, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Row:
    """A cell to be: what it shows, its name, and the fields of the recipe that it changes."""

    varies: Varies
    label: str
    changes: dict[str, Any]


def make_sheet(
    recipe: Recipe, wanted: Wanted, library: Library, seed: int, *, varies: Sequence[Varies] = ("style",)
) -> Sheet:
    """One cell per style, sampler or mode, all with the same seed. Pure.

    - The cell of a style has no other: beside a second one nobody could see what it does. A style that stands for any
      other has no cell. `Expand prompt` has none either, and stays on in all of them if it is on: the same seed adds
      the same words to each.
    - Of samplers, those that the model and so few steps allow.
    - A mode that can be had decides its steps and all that it is made of, whatever the recipe says of them.

    Args:
        recipe: What to draw; its ``count`` is not used, and for a cell of a style only `Expand prompt` of its styles.
        wanted: Which styles, in which order.
        seed: Used when the recipe names none.
        varies: What the cells show, one kind after the other.

    Raises:
        BadValue: there is nothing to show, or more than `MAX_CELLS`, or the prompt is several, or the recipe's mode
            keeps its sampler.
        UnknownName: a style, preset, sampler or model that is not there.
    """
    filled = library.filled(recipe)
    prompts = len(split_prompts(filled.prompt))
    if prompts > 1:
        raise BadValue(f"A contact sheet shows one prompt, not {prompts}.", "Keep one of them.", field="prompt")
    entry = library.find_model(filled.model or "")
    rows: list[_Row] = []
    notes: list[str] = []
    for kind in dict.fromkeys(varies):
        if kind == "style":
            found, left_out = _style_rows(filled, wanted, entry, library), []
        elif kind == "sampler":
            found, left_out = _sampler_rows(filled, entry)
        else:
            found, left_out = _mode_rows(filled, entry, library)
        if not found:
            field = "styles" if kind == "style" else kind
            raise BadValue(f"There is no {kind} to show the prompt in.", "Choose at least one.", field=field)
        rows += found
        notes += left_out
    if len(rows) > MAX_CELLS:
        problem = f"{count_words(row.varies for row in rows)} are too many for one contact sheet."
        raise BadValue(problem, f"Choose at most {MAX_CELLS}.", field="styles")
    alike = {"count": 1, "seed": seed if filled.seed is None else filled.seed}
    cells: dict[str, SheetCell] = {}
    for row in rows:
        label = row.label
        while label in cells:  # somebody's own style is called like a sampler
            label = f"{label} ({row.varies})"
        one = recipe.model_copy(update=alike | row.changes)
        cells[label] = SheetCell(label, row.varies, expand(one, library, seed)[0])
    return Sheet(tuple(cells.values()), tuple(notes))


def parse_varies(names: Sequence[str]) -> list[Varies]:
    """What the cells show, by name.

    Raises:
        BadValue: nothing is called so.
    """
    known: dict[str, Varies] = {kind: kind for kind in EVERY_VARIES}
    for name in names:
        if name not in known:
            hint = f"Allowed is {', '.join(EVERY_VARIES)}."
            raise BadValue(f"A contact sheet cannot show every {shown(name)}.", hint, field="every")
    return [known[name] for name in names]


def count_words(varies: Iterable[Varies]) -> str:
    """How many of each kind, in their order: "17 samplers, 3 modes"."""
    return ", ".join(f"{count:,} {kind}{'' if count == 1 else 's'}" for kind, count in Counter(varies).items())


def _style_rows(filled: Recipe, wanted: Wanted, entry: CatalogEntry, library: Library) -> list[_Row]:
    chosen = (*(filled.styles or ()), *(() if isinstance(wanted, str) else wanted))
    known = [style for name in chosen if (style := library.known_style(name)) is not None]
    kept = dict.fromkeys(style.name for style in known if style.kind == "expand")  # every cell has it beside its own
    if wanted == "all":
        styles = list(library.styles.values())
    elif wanted == "fitting":
        learned = entry.style_categories
        styles = [style for style in library.styles.values() if not learned or style.category in learned]
    else:
        styles = [library.find_style(name) for name in wanted]
    names = dict.fromkeys(style.name for style in styles if style.kind == "text")
    return [_Row("style", name, {"styles": (name, *kept)}) for name in names]


def _sampler_rows(filled: Recipe, entry: CatalogEntry) -> tuple[list[_Row], list[str]]:
    own = entry.modes.get(known_mode(filled.mode or "") or "")
    if own is not None and "sampler" in own.kept:
        problem = f"The mode {own.mode.label} keeps its sampler, so there are no others to show."
        raise BadValue(problem, "Choose another mode.", field="mode")
    rows: list[_Row] = []
    notes: list[str] = []
    for key, sampler in SAMPLERS.items():
        if entry.noise not in sampler.noise:
            notes.append(f"{sampler.label} is left out: it is not made for how the model {entry.label} was trained.")
        elif (filled.steps or sampler.min_steps) < sampler.min_steps:
            notes.append(f"{sampler.label} is left out: it needs at least {sampler.min_steps} steps.")
        else:
            rows.append(_Row("sampler", sampler.label, {"sampler": key}))
    return rows, notes


def _mode_rows(filled: Recipe, entry: CatalogEntry, library: Library) -> tuple[list[_Row], list[str]]:
    present = entry.modes.get(known_mode(filled.mode or "") or "")
    # What the recipe's own mode keeps is nobody's wish; what it decided before, LoRA and all, is open again.
    opened = dict.fromkeys(present.kept if present else ()) | {"mode_lora": None}
    rows: list[_Row] = []
    notes: list[str] = []
    for key, own in entry.modes.items():
        problem, _ = shortcoming(own, entry, library)
        if problem:
            notes.append(f"{problem} It is left out.")
        else:
            rows.append(_Row("mode", own.mode.label, {**opened, "mode": key, **own.mode.values}))
    return rows, notes
