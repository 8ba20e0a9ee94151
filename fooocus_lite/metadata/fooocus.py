"""Fooocus's own scheme: a JSON object, in pictures, in the log's Copy button, or pasted.

Keys are snake_case in pictures and the log; the same words as labels ("Guidance Scale") are taken too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fooocus_lite.fooocus_names import PERFORMANCES
from fooocus_lite.metadata.found import Found, optional_float, optional_int
from fooocus_lite.metadata.guidance import read_guidance
from fooocus_lite.modes import MODES
from fooocus_lite.recipe import Recipe
from fooocus_lite.untrusted import Refused, as_names, as_pair, as_text

#: A picture or log row has several of these; one is enough to know it.
SIGNS = frozenset((
    "metadata_scheme", "base_model", "refiner_model", "performance", "resolution", "guidance_scale", "adm_guidance",
    "adaptive_cfg", "full_prompt", "prompt_expansion", "lora_combined_1", "sharpness",
))  # fmt: skip
LABELS = {
    "fooocus_v2_expansion": "prompt_expansion",
    "cfg_mimicking_from_tsnr": "adaptive_cfg",
}
#: Settings without a counterpart → the values that change nothing.
WITHOUT_COUNTERPART: dict[str, tuple[object, ...]] = {
    "vae": ("Default (model)", "None"),
    "inpaint_method": ("None",),
}
_LORA_KEY = re.compile(r"lora_(?:combined_)?\d{1,3}")
_MAX_LORA_ROWS = 50


def normal_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """Labels as the keys they stand for."""
    keys = {key: key.strip().casefold().replace(" ", "_") for key in data}
    return {LABELS.get(normal, normal): data[key] for key, normal in keys.items()}


def claims(data: Mapping[str, Any]) -> bool:
    """Whether the object is Fooocus's, or a part of one that somebody pasted: a prompt is enough."""
    if len(data) > 500:
        return False
    values = normal_keys(data)
    return isinstance(values.get("prompt"), str) or not SIGNS.isdisjoint(values)


def is_sure(data: Mapping[str, Any]) -> bool:
    """Whether something in an object with a prompt is Fooocus's and cannot be a recipe of ours."""
    values, rows = normal_keys(data), data.get("loras")
    names = (SIGNS | WITHOUT_COUNTERPART.keys()) - Recipe.model_fields.keys()
    is_list = isinstance(rows, list) and any(isinstance(row, list) for row in rows)
    return is_list or any(key in names or _LORA_KEY.fullmatch(key) for key in values)


def read(data: Mapping[str, Any]) -> Found:
    """The settings in Fooocus's object.

    Raises:
        Refused: a value is of a kind that Fooocus never writes.
    """
    values = {key: value for key, value in normal_keys(data).items() if value is not None}
    found = Found(prompt=as_text(values.get("prompt", ""), "prompt"))
    if "negative_prompt" in values:
        found.negative_prompt = as_text(values["negative_prompt"], "negative_prompt")
    if "styles" in values:
        found.styles = as_names(values["styles"], "styles")
    found.expansion = as_text(values.get("prompt_expansion", ""), "prompt_expansion")
    if "resolution" in values:
        found.width, found.height = as_pair(values["resolution"], "resolution")
    found.seed = optional_int(values, "seed")
    found.clip_skip = optional_int(values, "clip_skip")
    found.guidance_scale = optional_float(values, "guidance_scale")
    read_guidance(found, {name.replace("_", " "): value for name, value in values.items()})
    _read_steps(found, values)
    found.sampler = _optional_text(values, "sampler")
    found.schedule = _optional_text(values, "scheduler")
    found.model = _optional_text(values, "base_model")
    found.model_hash = _optional_text(values, "base_model_hash") or ""
    _read_loras(found, values)
    for name, silent in WITHOUT_COUNTERPART.items():
        found.leave_out(name, values.get(name), silent=silent)
    refiner = _optional_text(values, "refiner_model")
    if refiner not in (None, "None"):
        found.refiner, found.refiner_switch = refiner, optional_float(values, "refiner_switch")
    return found


def _read_steps(found: Found, values: Mapping[str, Any]) -> None:
    """The mode, and the steps, or those of the mode where they are open (-1)."""
    found.steps = optional_int(values, "steps")
    found.mode = PERFORMANCES.get(_optional_text(values, "performance") or "")
    if found.steps is None or found.steps == -1:
        found.steps = MODES[found.mode].values["steps"] if found.mode else None


def _read_loras(found: Found, values: Mapping[str, Any]) -> None:
    rows = values.get("loras")
    if isinstance(rows, list) and rows:
        for row in rows[:_MAX_LORA_ROWS]:
            if not isinstance(row, list) or len(row) < 2:
                raise Refused("holds settings that cannot be used: loras is not a list of names and weights")
            found.add_lora(as_text(row[0], "loras"), row[1])
        return
    for key in sorted((key for key in values if _LORA_KEY.fullmatch(key)), key=lambda key: (len(key), key)):
        parts = [part.strip() for part in as_text(values[key], key).split(" : ")]
        if len(parts) == 3 and parts[0] == "False":  # switched off
            continue
        if len(parts) == 3 and parts[0] == "True":
            del parts[0]
        if len(parts) != 2:
            raise Refused(f"holds settings that cannot be used: {key} is not a file and a weight")
        found.add_lora(*parts)


def _optional_text(values: Mapping[str, Any], key: str) -> str | None:
    return as_text(values[key], key) or None if key in values else None
