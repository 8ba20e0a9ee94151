"""The architectures that the engine can draw with, as rows of plain data. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        loras: The kind of LoRAs that go with it, as `fooocus_lite.lora_keys.made_for` calls it; empty: those that
            were made for a UNet, which their widths tell apart.
        without: Fields of a recipe that do nothing here → why, as the end of "… does nothing: ".
        modes: Speed modes → the fields that they have otherwise here.
    """

    label: str
    engine: str
    size_multiple: int
    defaults: Mapping[str, Any]
    noise: Noise = "table"
    loras: str = ""
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    modes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


_ONE_TEXT = "this kind of model reads one text, and no second one leads it"
_NO_UNET = "this kind of model has no UNet, which it works on"
_NO_SIZES = "this kind of model is told no sizes"
_EVERY_STEP = "this kind of model reads the guidance scale at every step"
_ALONE = "this kind of model draws all steps itself"
_OWN_LAYERS = "this kind of model has layers of its text encoders of its own choice"
#: Why a distilled transformer, which reads the guidance scale as a number, cannot do what leads a UNet.
_DISTILLED: Mapping[str, str] = {
    **dict.fromkeys(("negative_prompt", "perp_neg", "adaptive_cfg", "guidance_rescale"), _ONE_TEXT),
    **dict.fromkeys(("apg_eta", "apg_threshold", "apg_momentum"), _ONE_TEXT),
    **dict.fromkeys(("guidance_start", "guidance_end"), _EVERY_STEP),
    **dict.fromkeys(("sag_scale", "pag_scale", "freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"), _NO_UNET),
    **dict.fromkeys(("adm_positive", "adm_negative", "adm_end"), _NO_SIZES),
    "refiner": _ALONE,
    "clip_skip": _OWN_LAYERS,
}
_FEW_CHOICES: Mapping[str, Any] = {
    "sampler": "euler",
    "scheduler": AUTO,
    **OFF,
    "clip_skip": 1,
    "negative_prompt": "",
    "count": 1,
    "image_format": "png",
    "refiner": "none",
    "refiner_switch": 0.8,
    "mode": "speed",
}

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
    "flux": Family(
        label="FLUX.1",
        engine="fooocus_lite.engine.flux:Flux",
        size_multiple=16,
        noise="flow",
        loras="FLUX",
        defaults=_FEW_CHOICES
        | {
            "width": 1024,
            "height": 1024,
            "steps": 28,
            "guidance_scale": 3.5,
        },
        without=_DISTILLED,
        modes={"quality": {"steps": 50}, "speed": {"steps": 28}},
    ),
}
