"""InvokeAI: ``invokeai_metadata`` (since version 3) and ``sd-metadata`` (version 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fooocus_lite.metadata.found import Found, optional_float, optional_int
from fooocus_lite.untrusted import Refused, as_object, as_text

SIGNS = frozenset(("positive_prompt", "generation_mode", "app_version", "model_weights"))
#: Settings without a counterpart → the values that change nothing.
WITHOUT_COUNTERPART: dict[str, tuple[object, ...]] = {
    "clip_skip": (0,),
    "strength": (),
    "vae": (),
    "refiner_model": (),
    "controlnets": ([],),
    "ipAdapters": ([],),
    "t2iAdapters": ([],),
    "seamless_x": (False,),
    "seamless_y": (False,),
    "hrf_enabled": (False,),
    "positive_style_prompt": (),
}
#: Its weights: "(red)1.2", "(red)++", "red--".
_WEIGHT = re.compile(r"\)(?:\d|\.\d|[+-])|\w(?:\+\+|--)")
_NEGATIVE = re.compile(r"\[([^\[\]]*)\]")


def claims(data: Mapping[str, Any]) -> bool:
    """Whether the object is InvokeAI's."""
    return not SIGNS.isdisjoint(data)


def read(data: Mapping[str, Any]) -> Found:
    """The settings in InvokeAI's object.

    Raises:
        Refused: a value is of a kind that InvokeAI never writes.
    """
    found = _read_old(data) if isinstance(data.get("image"), dict) else _read_new(data)
    if _WEIGHT.search(found.prompt):
        found.warnings.append("Weights such as (red)1.2 and red++ mean nothing here; write them as (red:1.2).")
    return found


def _read_new(data: Mapping[str, Any]) -> Found:
    found = Found(
        prompt=_text(data, "positive_prompt") or "",
        negative_prompt=_text(data, "negative_prompt"),
        **_numbers(data),
        sampler=_text(data, "scheduler"),
        model=_model_name(data.get("model")),
    )
    rescale = optional_float(data, "cfg_rescale_multiplier")
    if rescale:
        found.guidance["guidance_rescale"] = rescale
    loras = data.get("loras") or []
    if not isinstance(loras, list):
        raise Refused("holds settings that cannot be used: loras is not a list")
    for row in loras:
        row = as_object(row, "loras")
        found.add_lora(_model_name(row.get("model") or row.get("lora")) or "", row.get("weight", 1.0))
    for name, silent in WITHOUT_COUNTERPART.items():
        value = data.get(name)
        if name != "positive_style_prompt" or value != data.get("positive_prompt"):
            found.leave_out(name, _model_name(value) or value, silent=silent)
    return found


def _read_old(data: Mapping[str, Any]) -> Found:
    """Version 2: the words in square brackets are the unwanted ones."""
    image = as_object(data["image"], "image")
    words = _old_prompt(image.get("prompt", ""))
    negative = ", ".join(part.strip() for part in _NEGATIVE.findall(words) if part.strip())
    return Found(
        prompt=" ".join(_NEGATIVE.sub(" ", words).split(" ")).strip(),
        negative_prompt=negative,
        **_numbers(image),
        sampler=_text(image, "sampler"),
        model=_text(data, "model_weights"),
    )


def _numbers(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that all versions write under the same names."""
    whole = {name: optional_int(data, name) for name in ("width", "height", "seed", "steps")}
    return whole | {"guidance_scale": optional_float(data, "cfg_scale")}


def _old_prompt(value: object) -> str:
    """A text, or a list of ``{"prompt", "weight"}``."""
    if not isinstance(value, list):
        return as_text(value, "prompt")
    return ", ".join(as_text(as_object(row, "prompt").get("prompt"), "prompt") for row in value)


def _model_name(value: object) -> str | None:
    """The name in a model's object, of any version."""
    if isinstance(value, dict):
        return next((value[key] for key in ("name", "model_name") if isinstance(value.get(key), str)), None)
    return value if isinstance(value, str) else None


def _text(data: Mapping[str, Any], key: str) -> str | None:
    return None if data.get(key) is None else as_text(data[key], key)
