"""Presets beside the library that they are for: Fooocus's names found in it, and what none of them can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fooocus_lite.errors import UnknownName
from fooocus_lite.modes import find_mode
from fooocus_lite.preset_files import Preset
from fooocus_lite.prompts import normal_name
from fooocus_lite.recipe import Recipe
from fooocus_lite.refiners import NO_REFINER, find_refiner, known_refiner
from fooocus_lite.registry import SAMPLERS
from fooocus_lite.sampler_names import find_pair

if TYPE_CHECKING:
    from fooocus_lite.library import Library


def fitted(preset: Preset, library: Library) -> Preset:
    """A Fooocus preset with its styles and models as this library names them; others as they are."""
    if not preset.kept:
        return preset
    styles, warnings = (None, ()) if preset.recipe.styles is None else library.known_styles(preset.recipe.styles)
    update: dict[str, Any] = {} if styles is None else {"styles": styles}
    for need in (need for need in preset.needs if need.kind == "model"):
        entry = library.model_for(need)
        if entry is not None:
            update["model"] = entry.name
            if normal_name(need.name) not in map(normal_name, (entry.name, Path(entry.path).stem)):
                warnings = (*warnings, f"{need.file} is not here; {entry.name}, which the preset allows, is used.")
    refiner, note = known_refiner(preset.recipe, library)
    update |= refiner
    warnings = (*warnings, *note)
    return replace(
        preset,
        recipe=preset.recipe.model_copy(update=update),
        warnings=tuple(dict.fromkeys((*preset.warnings, *warnings))),
    )


def unknown_names(library: Library, preset: Preset) -> list[str]:
    """A sentence for each thing the preset names that is not there; of Fooocus's, its needs and warnings tell."""
    recipe = Recipe() if preset.kept else preset.recipe
    found: list[str] = []
    checks: list[tuple[Callable[[str], object], str]] = [(library.find_style, name) for name in recipe.styles or ()]
    checks += [(library.find_model, recipe.model)] if recipe.model is not None else []
    checks += [(find_mode, recipe.mode)] if recipe.mode is not None else []
    refiner = recipe.refiner or NO_REFINER
    checks += [(lambda name: find_refiner(name, library), refiner)] if refiner.casefold() != NO_REFINER else []
    sampler = recipe.sampler or next(iter(SAMPLERS))
    checks += [(lambda name: find_pair(name, recipe.scheduler), sampler)]
    for find, name in checks:
        try:
            find(name)
        except UnknownName as exc:
            found.append(f"Preset {preset.name}: {exc.problem}")
    return found
