"""The architectures that the engine can draw with, as rows of plain data. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fooocus_lite.guidances import OFF
from fooocus_lite.registry import AUTO, Noise


@dataclass(frozen=True)
class Family:
    """An architecture that the engine can drive.

    Attributes:
        label: What a person reads.
        engine: ``"module:class"`` inside ``fooocus_lite.engine``, loaded in the worker.
        size_multiple: Width and height must be multiples of this many pixels.
        noise: How its models were trained, where the catalog says nothing else.
        defaults: Recipe values that fit every model of the family (the lowest rung of the picture ladder).
    """

    label: str
    engine: str
    size_multiple: int
    defaults: Mapping[str, Any]
    noise: Noise = "table"


FAMILIES: dict[str, Family] = {
    "sdxl": Family(
        label="Stable Diffusion XL",
        engine="fooocus_lite.engine.sdxl:Sdxl",
        size_multiple=8,
        defaults={
            "width": 1024,
            "height": 1024,
            "steps": 30,
            "sampler": "dpmpp_2m_sde",
            "scheduler": AUTO,
            **OFF,
            "guidance_scale": 4.0,
            "clip_skip": 2,  # the last layer but one, which the model was trained with
            "negative_prompt": "",
            "count": 1,
            "image_format": "png",
            "refiner": "none",
            "refiner_switch": 0.8,
            "mode": "speed",
        },
    ),
    "sd15": Family(
        label="Stable Diffusion 1.5",
        engine="fooocus_lite.engine.sd15:Sd15",
        size_multiple=8,
        defaults={
            "width": 512,
            "height": 512,
            "steps": 30,
            "sampler": "dpmpp_2m_sde",
            "scheduler": AUTO,
            **OFF,
            "guidance_scale": 7.0,
            "clip_skip": 1,
            "negative_prompt": "",
            "count": 1,
            "image_format": "png",
            "refiner": "none",
            "refiner_switch": 0.8,
            "mode": "speed",
        },
    ),
}
