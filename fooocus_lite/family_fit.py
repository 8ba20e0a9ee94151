"""What of a recipe does nothing with a model, because its kind has no place for it: sentences, before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fooocus_lite.families import FAMILIES
from fooocus_lite.guidances import GUIDANCES
from fooocus_lite.recipe import Recipe
from fooocus_lite.sampler_names import find_pair

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
        usual = row.defaults.get(name)
        if name == "scheduler":  # resolved before it is looked at
            usual = find_pair(str(row.defaults["sampler"]), usual, noise=row.noise).scheduler
        if name in row.without and getattr(full, name) not in (None, usual):
            yield f"{called} does nothing: {row.without[name]}."
    if "loras" in row.without and full.loras:
        yield f"LoRAs do nothing: {row.without['loras']}."


def idle_reasons(family: str) -> Mapping[str, str]:
    """Fields that do nothing with a family's models → why, as a sentence."""
    return {name: f"{reason[:1].upper()}{reason[1:]}." for name, reason in FAMILIES[family].without.items()}
