"""Everything a person can choose, JSON-ready: the body of ``GET /v1/menu``."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import asdict
from math import gcd
from typing import TYPE_CHECKING, Any

from fooocus_lite.errors import FooocusError
from fooocus_lite.family_fit import idle_reasons
from fooocus_lite.guidances import GUIDANCES, KNOBS, OFF, Guidance
from fooocus_lite.library_files import CatalogEntry
from fooocus_lite.missing_files import need_can_come, offers_of
from fooocus_lite.mode_choice import mode_rows
from fooocus_lite.modes import MODES, Mode
from fooocus_lite.preset_fit import mode_problem
from fooocus_lite.recipe import Recipe, describe_range
from fooocus_lite.registry import AUTO, FORMER_SAMPLERS, SAMPLERS, SCHEDULERS, Sampler, Scheduler

if TYPE_CHECKING:
    from fooocus_lite.library import Library
    from fooocus_lite.preset_files import Preset
    from fooocus_lite.style_files import Style


_OF_SAMPLERS = ("scheduler", "calls", "min_steps")
_USUAL = Scheduler("Auto", "the one that the sampler is usually taken with", schedule="", paper="")


def make_menu(library: Library) -> dict[str, Any]:
    """The whole menu."""
    to_come = {offer.name for offer in offers_of(library)}
    return {
        "styles": [style_row(style, library) for style in library.styles.values()],
        "favourites": list(library.favourites),
        "presets": [preset_row(preset, library) for preset in library.presets.values()],
        "models": [_model_row(entry, library, to_come) for entry in library.models.values()],
        "modes": [_mode_row(key, mode) for key, mode in MODES.items()],
        "wildcards": list(library.word_lists),
        "samplers": [
            _row(key, row) | {name: getattr(row, name) for name in _OF_SAMPLERS} for key, row in SAMPLERS.items()
        ],
        "schedulers": [
            _row(key, row) | {"max_steps": row.max_steps} for key, row in ((AUTO, _USUAL), *SCHEDULERS.items())
        ],
        "guidances": [_guidance_row(key, row) for key, row in GUIDANCES.items()],
        "former_samplers": {
            name: {"sampler": sampler, "scheduler": scheduler} for name, (sampler, scheduler) in FORMER_SAMPLERS.items()
        },
        "image_formats": ["png", "jpeg", "webp"],
        "limits": _limits(),
        "defaults": _defaults(library),
        "default_preset": library.default_preset,
        "a1111_text": library.a1111_text,
        "problems": list(library.problems),
    }


def _defaults(library: Library) -> dict[str, Any]:
    """What the fields begin with. A default preset whose model is gone must not take the whole page along."""
    if not library.models:
        return {}
    try:
        return library.filled(Recipe()).set_fields()
    except FooocusError:  # the preset's row says why
        models = list(library.models.values())
        first = next((entry for entry in models if entry.available), models[0])
        return first.values.model_copy(update={"model": first.name}).set_fields()


def _row(key: str, row: Sampler | Scheduler) -> dict[str, Any]:
    return {"id": key, "label": row.label, "good_for": row.good_for}


def _guidance_row(key: str, row: Guidance) -> dict[str, Any]:
    knobs = [(name, KNOBS[name], name in row.switching) for name in row.fields if name in KNOBS]
    return {"id": key, "label": row.label, "good_for": row.good_for, "cost": row.cost} | {
        "fields": [{"name": name, "off": OFF[name], "switches": is_one} | asdict(knob) for name, knob, is_one in knobs]
    }


def _mode_row(key: str, mode: Mode) -> dict[str, Any]:
    return {"id": key, "label": mode.label, "good_for": mode.good_for, "why": mode.why}


def style_row(style: Style, library: Library) -> dict[str, Any]:
    """What a list of styles shows of one; its words are asked for one by one."""
    return {
        "name": style.name,
        "category": style.category,
        "source": style.source,
        "kind": style.kind,
        "has_negative": bool(style.negative_prompt),
        "favourite": style.name in library.favourites,
    }


def preset_row(preset: Preset, library: Library) -> dict[str, Any]:
    """What a list of presets shows of one."""
    return {
        "name": preset.name,
        "label": preset.label,
        "description": preset.description,
        "source": preset.source,
        "recipe": _own_fields(preset.recipe),
        "needs": [
            {"kind": need.kind, "name": need.name, "file": need.file, "url": need.url}
            | {"older": list(need.older), "available": library.has(need) if need.kind in ("model", "lora") else None}
            | {"can_be_fetched": need_can_come(need, library)}
            for need in library.needs_of(preset)
        ],
        "warnings": [*filter(None, [mode_problem(preset, library)]), *preset.warnings],
    }


def _model_row(entry: CatalogEntry, library: Library, to_come: Container[str]) -> dict[str, Any]:
    keys = ("name", "label", "description", "family", "available", "native_size", "min_size", "max_size")
    sizes = [{"width": w, "height": h, "label": size_label(w, h)} for w, h in entry.aspect_sizes]
    return {key: getattr(entry, key) for key in keys} | {
        "size_multiple": entry.size_multiple,
        "sizes": sizes,
        "style_categories": list(entry.style_categories),
        "defaults": _own_fields(entry.defaults),
        "values": entry.values.set_fields(),
        "modes": mode_rows(entry, library),
        "without": dict(idle_reasons(entry.family)),
        "as_refiner": _words_as_refiner(entry, to_come),
    }


def _words_as_refiner(entry: CatalogEntry, to_come: Container[str]) -> str:
    """What a model is called in the list of refiners; empty if it cannot be one."""
    if "refiner" in idle_reasons(entry.family):
        return ""
    return entry.label if entry.available else f"{entry.label} (is downloaded)" if entry.name in to_come else ""


def _own_fields(recipe: Recipe) -> dict[str, Any]:
    """What a preset or entry says itself: an untouched prompt is not an empty one."""
    return recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def size_label(width: int, height: int) -> str:
    """As a person reads it: "128×128 · 1:1"."""
    common = gcd(width, height)
    return f"{width}×{height} · {width // common}:{height // common}"


def _limits() -> dict[str, dict[str, Any]]:
    """Range and meaning of every Recipe field, read from the schema."""
    limits: dict[str, dict[str, Any]] = {}
    for name, info in Recipe.model_fields.items():
        row: dict[str, Any] = {"description": info.description, "allowed": describe_range(name)}
        for rule in info.metadata:
            for key, word in (("ge", "min"), ("le", "max"), ("max_length", "max_length")):
                if getattr(rule, key, None) is not None:
                    row[word] = getattr(rule, key)
        limits[name] = row
    return limits
