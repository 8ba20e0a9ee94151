"""A contact sheet: the same words and seed once in each of several styles.

Its pictures are ordinary ones, one recipe each; what makes them a sheet is their batch, and a label for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fooocus_lite.errors import BadValue
from fooocus_lite.library import Library
from fooocus_lite.plan import expand
from fooocus_lite.prompts import split_prompts
from fooocus_lite.recipe import Recipe

MAX_CELLS = 500
#: Styles by name; or those that the model has learned; or every one that there is.
Wanted = Sequence[str] | Literal["fitting", "all"]


@dataclass(frozen=True)
class SheetCell:
    """One picture of a sheet: its ``label`` is the name of its style, its ``recipe`` is resolved."""

    label: str
    recipe: Recipe


def make_sheet(recipe: Recipe, wanted: Wanted, library: Library, seed: int) -> list[SheetCell]:
    """One cell per style, all with the same seed. Pure.

    A cell has its own style and no other: beside a second one nobody could see what it does. A style
    that stands for any other has no cell. `Expand prompt` has none either, and stays on in all of them if it is on:
    the same seed adds the same words to each.

    Args:
        recipe: What to draw; its ``count`` is not used, and of its ``styles`` only `Expand prompt`.
        wanted: Which styles, in which order.
        seed: Used when the recipe names none.

    Raises:
        BadValue: no style is left, or they are more than `MAX_CELLS`, or the prompt is several.
        UnknownName: a style, preset, sampler or model that is not there.
    """
    filled = library.filled(recipe)
    prompts = len(split_prompts(filled.prompt))
    if prompts > 1:
        raise BadValue(f"A contact sheet shows one prompt, not {prompts}.", "Keep one of them.", field="prompt")
    names = _names(wanted, filled.model or "", library)
    if not names:
        raise BadValue("There is no style to show the prompt in.", "Choose at least one.", field="styles")
    if len(names) > MAX_CELLS:
        problem = f"{len(names):,} styles are too many for one contact sheet."
        raise BadValue(problem, f"Choose at most {MAX_CELLS}.", field="styles")
    alike = {"count": 1, "seed": seed if filled.seed is None else filled.seed}
    kept = _kept((*(filled.styles or ()), *(() if isinstance(wanted, str) else wanted)), library)
    ones = [recipe.model_copy(update=alike | {"styles": (name, *kept)}) for name in names]
    return [SheetCell(name, expand(one, library, seed)[0]) for name, one in zip(names, ones, strict=True)]


def _kept(names: Sequence[str], library: Library) -> list[str]:
    """Those of ``names`` that every cell has beside its own."""
    styles = [style for name in names if (style := library.known_style(name)) is not None]
    return list(dict.fromkeys(style.name for style in styles if style.kind == "expand"))


def _names(wanted: Wanted, model: str, library: Library) -> list[str]:
    if wanted == "all":
        styles = list(library.styles.values())
    elif wanted == "fitting":
        learned = library.find_model(model).style_categories
        styles = [style for style in library.styles.values() if not learned or style.category in learned]
    else:
        styles = [library.find_style(name) for name in wanted]
    return list(dict.fromkeys(style.name for style in styles if style.kind == "text"))
