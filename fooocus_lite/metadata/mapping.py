"""From another program's settings to a Recipe: names, ranges, and a sentence for whatever does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fooocus_lite.errors import UnknownName
from fooocus_lite.fooocus_names import bare_name
from fooocus_lite.guidances import KNOBS, OFF
from fooocus_lite.library import Library
from fooocus_lite.metadata.found import Found
from fooocus_lite.metadata.styles import EXPANSION, added_words, styles_in
from fooocus_lite.mode_choice import mode_warnings
from fooocus_lite.modes import MODES
from fooocus_lite.prompts import normal_name
from fooocus_lite.recipe import (
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_SEED,
    MAX_SIDE,
    Recipe,
    number_range,
    parse_recipe,
    shown,
)
from fooocus_lite.refiners import known_refiner
from fooocus_lite.registry import SAMPLERS
from fooocus_lite.sampler_names import find_pair
from fooocus_lite.untrusted import printable

MAX_STYLES = 30
_HASH = re.compile(r"[0-9a-fA-F]{8,64}")
_LORA_TAG = re.compile(r"<lora:([^:<>]+):")
#: Fields with a range: name → smallest, largest.
RANGES = {name: number_range(name) for name in ("steps", "clip_skip", "refiner_switch", *OFF)}


@dataclass(frozen=True)
class Mapped:
    """What became of another program's settings."""

    recipe: Recipe
    warnings: tuple[str, ...]


def to_recipe(found: Found, library: Library | None, size: tuple[int, int]) -> Mapped:
    """The recipe, and what a person should know about it.

    A picture without a style has none, so that no preset adds its own to the picture's words.

    Args:
        library: Where names are looked up; ``None`` takes all as they are.
        size: Width and height of the picture itself, used where its settings name none; 0 = unknown.

    Raises:
        BadValue: a text is longer than a recipe can hold.
    """
    warnings = list(found.warnings)
    values: dict[str, Any] = {"prompt": found.prompt, "negative_prompt": found.negative_prompt}
    values |= _numbers(found, warnings) | _size(found, size, warnings)
    if found.sampler:
        values |= _pair(found.sampler, found.schedule or "", warnings)
    styles = found.styles
    if styles is None:
        styles = styles_in(found, library, warnings) if found.words else []
    values["styles"] = styles[:MAX_STYLES]
    values["expansion"] = added_words(found) if EXPANSION in styles else None
    warnings += [f"Only the first {MAX_STYLES} styles are taken."] if len(styles) > MAX_STYLES else []
    values["mode"] = found.mode
    if found.model:
        values["model"] = bare_name(found.model)
    if found.refiner:
        values |= {"refiner": printable(bare_name(found.refiner))[:200]}
    loras = [(name, weight) for name, weight in _loras(found) if name not in _loras_of(found.mode)]
    values["loras"] = _lora_list(loras, warnings)
    recipe = parse_recipe({name: value for name, value in values.items() if value is not None})
    recipe, missing = check_names(recipe, library, found.model_hash)
    if found.left_out:
        listed = ", ".join(f"{name} {shown(value)}" for name, value in found.left_out.items())
        missing.append(f"There is no setting here for: {printable(listed)}.")
    return Mapped(recipe, (*warnings, *missing))


def check_names(recipe: Recipe, library: Library | None, model_hash: str = "") -> tuple[Recipe, list[str]]:
    """The recipe with names as the library writes them, and a sentence for each that is not there.

    A model that is not there stays, as a picture needs one; styles that are not there are left out.

    Args:
        model_hash: What else the settings say of the model, for whoever looks for it.
    """
    if library is None:
        return recipe, []
    warnings: list[str] = []
    changes: dict[str, Any] = {}
    if recipe.model is not None:
        files = {bare_name(entry.path): name for name, entry in library.models.items()}
        name = _known(recipe.model, library.models) or files.get(recipe.model)
        if name is None:
            warnings.append(_missing_model(recipe.model, model_hash, library))
        elif not library.models[name].available:
            entry = library.models[name]
            way = "It can be downloaded under Models." if entry.files else f"Put it at {printable(entry.path)}."
            warnings.append(f"The model {name} is known here, but not on this disk yet. {way}")
        changes["model"] = name or recipe.model
    refiner, notes = known_refiner(recipe, library)
    changes |= refiner
    warnings += notes
    try:
        find_pair(recipe.sampler or next(iter(SAMPLERS)), recipe.scheduler)
    except UnknownName as exc:
        changes |= {"sampler": None, "scheduler": None}
        warnings.append(f"{exc.problem} The sampler is left open.")
    if recipe.styles:
        changes["styles"], left_out = library.known_styles(recipe.styles)
        warnings += left_out
    for lora in recipe.loras or ():
        if library.loras.find(lora.name) is None:
            warnings.append(f"The LoRA {shown(lora.name)} is not here; add it to models/loras.")
    checked = recipe.model_copy(update=changes)
    return checked, [*warnings, *mode_warnings(checked, library)]


def _missing_model(name: str, model_hash: str, library: Library) -> str:
    """What to do about a model that is not here: with its hash, and where a preset says that it can be got."""
    known_by = f" (hash {model_hash})" if _HASH.fullmatch(model_hash) else ""
    needs = (need for preset in library.presets.values() for need in preset.needs if need.kind == "model")
    url = next((need.url for need in needs if need.url and normal_name(need.name) == normal_name(name)), "")
    hint = f"get it at {printable(url)}" if url else "choose another one, or add it as models/README.md says"
    return f"The model {shown(name)} is not here{known_by}; {hint}."


def _known(name: str, rows: Iterable[str]) -> str | None:
    """The name as it is written here. `Library.find_style` would also look for similar ones, which takes far longer."""
    wanted = normal_name(name)
    return next((row for row in rows if row == name or normal_name(row) == wanted), None)


def _pair(name: str, schedule: str, warnings: list[str]) -> dict[str, str]:
    """Sampler and schedule as fields of a recipe; nothing where nobody can tell."""
    written = f"{shown(name)} with the schedule {shown(schedule)}" if schedule else shown(name)
    try:
        pair = find_pair(name, schedule, guesses=True)
    except UnknownName:
        warnings.append(f"The sampler {written} is not known here; the sampler is left open.")
        return {}
    if pair.replaced:
        warnings.append(f"The sampler {written} has no exact counterpart here; {pair.label} is the nearest.")
    return {"sampler": pair.sampler, "scheduler": pair.scheduler}


def _loras_of(mode: str | None) -> set[str]:
    """The LoRAs that the mode brings by itself."""
    return {lora.name for lora in MODES[mode].loras.values()} if mode else set[str]()


def _loras(found: Found) -> Iterator[tuple[str, float]]:
    """Name and weight of each LoRA once, without those that the prompt names itself."""
    named = {match.casefold() for match in _LORA_TAG.findall(found.prompt)}
    for file, weight in found.loras:
        name = printable(re.sub(r"[:<>,\s]+", " ", bare_name(file)).strip()[:200])
        if name and name.casefold() not in named:
            named.add(name.casefold())
            yield name, weight


def _lora_list(loras: Sequence[tuple[str, float]], warnings: list[str]) -> list[dict[str, Any]]:
    """Those of a recipe's list, with weights inside its range."""
    if len(loras) > MAX_LORAS:
        warnings.append(f"Only the first {MAX_LORAS} LoRAs are taken.")
    rows: list[dict[str, Any]] = []
    for name, said in loras[:MAX_LORAS]:
        weight = min(max(said, -MAX_LORA_WEIGHT), MAX_LORA_WEIGHT)
        if weight != said:
            warnings.append(f"The LoRA {shown(name)} has the weight {said:g}; {weight:g} is taken.")
        rows.append({"name": name, "weight": weight})
    return rows


def _numbers(found: Found, warnings: list[str]) -> dict[str, Any]:
    """Steps, guidance and seed inside their ranges."""
    values: dict[str, Any] = {}
    for name, (low, high) in RANGES.items():
        value = found.guidance.get(name) if name in KNOBS else getattr(found, name)
        if value is None:
            continue
        values[name] = type(value)(min(max(value, low), high))
        if values[name] != value:
            warnings.append(f"{name} {shown(value)} is outside {low:g} to {high:g}; {values[name]:g} is taken.")
    if found.seed is not None and 0 <= found.seed <= MAX_SEED:
        values["seed"] = found.seed
    elif found.seed is not None:
        warnings.append(f"The seed {shown(found.seed)} is outside 0 to 2^63 − 1; it is left open.")
    return values


def _size(found: Found, own: tuple[int, int], warnings: list[str]) -> dict[str, Any]:
    width, height = (found.width, found.height) if found.width and found.height else own
    if not width or not height:
        return {}
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        warnings.append(f"The size {shown(width)} × {shown(height)} is more than {MAX_SIDE} pixels; it is left open.")
        return {}
    if (width, height) == own and not found.width:
        warnings.append("The settings name no size, so the picture's own is taken.")
    return {"width": width, "height": height}
