"""Presets beside the library that they are for: Fooocus's names found in it, and what none of them can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fooocus_lite.errors import UnknownName
from fooocus_lite.fooocus_presets import Need
from fooocus_lite.mode_choice import shortcoming
from fooocus_lite.modes import MODES, find_mode, known_mode
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


def needs_of(preset: Preset, library: Library) -> tuple[Need, ...]:
    """The files it names, and its model when it names none; no LoRA of a mode that its model draws without."""
    recipe, needs = preset.recipe, preset.needs
    if recipe.model is not None and not any(need.kind == "model" for need in needs):
        needs = (Need("model", recipe.model), *needs)
    entry, key = library.models.get(recipe.model or ""), known_mode(recipe.mode or "")
    if entry is None or key is None:
        return needs
    listed = {normal_name(Path(lora.name).name) for lora in recipe.loras or () if lora.enabled}
    spared = {lora.file for lora in MODES[key].loras.values() if lora != entry.modes[key].lora}
    return tuple(
        need
        for need in needs
        if need.kind != "lora" or need.file not in spared or normal_name(Path(need.file).stem) in listed
    )


def mode_problem(preset: Preset, library: Library) -> str:
    """Why the preset's model cannot be drawn in its mode, and what to do; nothing where a file is all that it lacks."""
    entry, key = library.models.get(preset.recipe.model or ""), known_mode(preset.recipe.mode or "")
    if entry is None or key is None or entry.modes[key].is_made:
        return ""
    return " ".join(shortcoming(entry.modes[key], entry, library))


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
