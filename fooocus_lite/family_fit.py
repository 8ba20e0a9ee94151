"""What of a recipe does nothing with a model, because its kind has no place for it: sentences, before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fooocus_lite.families import FAMILIES
from fooocus_lite.guidances import GUIDANCES
from fooocus_lite.recipe import Recipe

#: Fields that are no guidance → what a person calls them.
_NAMES = {
    "negative_prompt": "The negative prompt",
    "sampler": "The sampler",
    "scheduler": "The schedule",
    "refiner": "The refiner",
    "clip_skip": "CLIP skip",
    "guidance_scale": "The guidance scale",
}


def idle_fields(full: Recipe, family: str) -> Iterator[str]:
    """A sentence for each thing that is set in a resolved recipe and cannot do anything with a family's models."""
    row = FAMILIES[family]
    for key, guidance in GUIDANCES.items():
        reason = next((row.without[name] for name in guidance.switching if name in row.without), "")
        if reason and key != "classifier_free" and guidance.is_on(full.weights()):
            yield f"{guidance.label} does nothing: {reason}."
    for name, called in _NAMES.items():
        usual = FAMILIES[family].defaults.get(name)
        if name in row.without and getattr(full, name) not in (None, usual, *_equals(name, usual)):
            yield f"{called} does nothing: {row.without[name]}."
    if "loras" in row.without and full.loras:
        yield f"LoRAs do nothing: {row.without['loras']}."


def _equals(name: str, usual: Any) -> tuple[Any, ...]:
    """Values that mean the same as the usual one; a schedule is resolved before it is looked at."""
    return ("simple",) if name == "scheduler" and usual == "auto" else ()


def idle_reasons(family: str) -> Mapping[str, str]:
    """Fields that do nothing with a family's models → why, as a sentence."""
    return {name: f"{reason[:1].upper()}{reason[1:]}." for name, reason in FAMILIES[family].without.items()}
