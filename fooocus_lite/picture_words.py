"""What the words of a finished picture became, and whether its recipe would still give the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fooocus_lite.errors import FooocusError
from fooocus_lite.library import Library
from fooocus_lite.picture_text import PictureInfo, read_picture
from fooocus_lite.plan import Plan, make_plan
from fooocus_lite.recipe import Recipe


@dataclass(frozen=True)
class PictureWords:
    """The words of one picture.

    Attributes:
        texts: As they were encoded; none where the picture does not say.
        negative_texts: Likewise for the unwanted.
        loras: (name, weight) of each, those of tags and of the mode included, as the recipe gives them now.
        is_changed: The recipe gives other words now.
    """

    texts: tuple[str, ...] = ()
    negative_texts: tuple[str, ...] = ()
    loras: tuple[tuple[str, float], ...] = ()
    is_changed: bool = False


def words_of(path: Path, recipe: Recipe, library: Library) -> PictureWords:
    """What the file says, beside what ``recipe`` gives now; what cannot be read or planned any more says nothing."""
    try:
        info = read_picture(path)
    except FooocusError:  # of another program, or moved away
        info = PictureInfo(recipe=recipe)
    try:
        plan = make_plan(recipe, library, recipe.seed or 0)
    except FooocusError:  # a style or model that is gone, which the page says by itself
        loras = tuple((lora.name, lora.weight) for lora in recipe.loras or () if lora.enabled)
        return PictureWords(info.texts, info.negative_texts, loras)
    loras = tuple((lora.name, lora.weight) for lora in plan.loras)
    return PictureWords(info.texts, info.negative_texts, loras, has_changed(info, plan))


def has_changed(info: PictureInfo, plan: Plan) -> bool:
    """Whether the picture has words, and the plan of its recipe other ones: a style or a list was edited since."""
    return has_words(info) and (plan.texts, plan.negative_texts) != (info.texts, info.negative_texts)


def has_words(info: PictureInfo) -> bool:
    """Whether the picture says what was encoded."""
    return bool(info.texts or info.negative_texts)
