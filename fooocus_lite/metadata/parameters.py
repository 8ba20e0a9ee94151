"""Our recipe as the text that A1111 writes, so that Civitai and other programs can read our pictures."""

from __future__ import annotations

import json
from typing import Any

from fooocus_lite.metadata import a1111
from fooocus_lite.picture_text import PictureInfo
from fooocus_lite.recipe import Recipe
from fooocus_lite.registry import SAMPLERS, SCHEDULERS


def to_parameters(info: PictureInfo) -> str:
    """The words as they were encoded, and a line of settings.

    What a reader could not tell from the words (line ends, styles) stands in that line once more, as Fooocus
    writes it, so that `fooocus_lite.metadata.a1111.read` gives the recipe back.
    """
    recipe, words = info.recipe, _words(info)
    text = f"{words}\n{a1111.write_pairs(_pairs(info))}"
    found = a1111.read(text)
    if not recipe.styles and (found.prompt, found.negative_prompt) == (recipe.prompt, recipe.negative_prompt or ""):
        return text
    return f"{words}\n{a1111.write_pairs(_pairs(info) | _raw(recipe))}"


def _words(info: PictureInfo) -> str:
    words = ", ".join(text for text in info.texts if text) or info.recipe.prompt
    negative = ", ".join(text for text in info.negative_texts if text)
    return f"{words}\n{a1111.NEGATIVE} {negative}" if negative else words


def _pairs(info: PictureInfo) -> dict[str, Any]:
    recipe = info.recipe
    pairs: dict[str, Any] = {
        "Steps": recipe.steps or 0,
        "Sampler": SAMPLERS[recipe.sampler].label if recipe.sampler in SAMPLERS else recipe.sampler,
        "Schedule type": SCHEDULERS[recipe.scheduler].label if recipe.scheduler in SCHEDULERS else recipe.scheduler,
        "CFG scale": recipe.guidance_scale,
        "SAG scale": recipe.sag_scale or None,
        "Clip skip": recipe.clip_skip,
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}" if recipe.width and recipe.height else None,
        "Model": recipe.model or info.model or None,
        "Lora weights": _loras(recipe) or None,
        "Version": info.app,
    }
    return {name: value for name, value in pairs.items() if value is not None}


def _loras(recipe: Recipe) -> str:
    """``ink: 0.8, lines: -0.25``, as Fooocus writes it; without names that would not come back."""
    used = (lora for lora in recipe.loras or () if lora.enabled and not {",", ":"} & set(lora.name))
    return ", ".join(f"{lora.name}: {lora.weight:g}" for lora in used)


def _raw(recipe: Recipe) -> dict[str, str]:
    raw = {"Raw prompt": recipe.prompt, "Raw negative prompt": recipe.negative_prompt or ""}
    return raw | {"Styles": json.dumps(recipe.styles or [])}
