"""The architectures that the engine can draw with, as rows of plain data. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fooocus_lite.guidances import OFF
from fooocus_lite.registry import AUTO, Noise


@dataclass(frozen=True)
class Pipeline:
    """How a pipeline of diffusers is driven.

    Attributes:
        name: Its class.
        scale: The argument that takes the guidance scale.
        scale_offset: Added to ours, of which 1 is off.
        unwanted: The argument that takes the negative prompt; empty = none does.
        colours: The row of `fooocus_lite.engine.latent_colours.COLOURS` that its latents have; empty = no previews.
        arguments: What else it is told.
        at_other_steps: Likewise, when the steps are not the family's usual ones.
    """

    name: str
    scale: str = "guidance_scale"
    scale_offset: float = 0.0
    unwanted: str = ""
    colours: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    at_other_steps: Mapping[str, Any] = field(default_factory=dict[str, Any])


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
        wants_range: Its models were trained in bf16, and their numbers leave the range of fp16: all black, or noise.
        pipeline: Where diffusers draws by itself.
    """

    label: str
    engine: str
    size_multiple: int
    defaults: Mapping[str, Any]
    noise: Noise = "table"
    loras: str = ""
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    modes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    wants_range: bool = False
    pipeline: Pipeline | None = None


_ONE_TEXT = "this kind of model reads only the prompt"
_NO_UNET = "this kind of model has no UNet, which it works on"
_NO_SIZES = "this kind of model is told no sizes"
_EVERY_STEP = "this kind of model reads the guidance scale at every step"
_ALONE = "this kind of model draws all steps itself"
_OWN_LAYERS = "this kind of model has layers of its text encoders of its own choice"
#: What every family begins with; a row says what it has otherwise.
_USUAL: Mapping[str, Any] = {
    "scheduler": AUTO,
    **OFF,
    "negative_prompt": "",
    "count": 1,
    "image_format": "png",
    "refiner": "none",
    "refiner_switch": 0.8,
    "mode": "speed",
}
_UNET: Mapping[str, Any] = {**_USUAL, "steps": 30, "sampler": "dpmpp_2m_sde"}
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
_FEW_CHOICES: Mapping[str, Any] = {**_USUAL, "sampler": "euler", "clip_skip": 1}

_OWN_WALK = "this kind of model walks in a way of its own"
#: What nothing reaches in a pipeline that draws by itself.
_WHOLE: Mapping[str, str] = {
    name: reason for name, reason in _DISTILLED.items() if name != "negative_prompt"
} | dict.fromkeys(("sampler", "scheduler", "sharpness"), _OWN_WALK)
_ONE_PROMPT: Mapping[str, str] = {"negative_prompt": _ONE_TEXT}


def _pipeline(
    label: str,
    pipeline: Pipeline,
    *,
    steps: int,
    scale: float,
    size: int = 1024,
    multiple: int = 16,
    most_steps: int = 0,
) -> Family:
    """A family that diffusers draws by itself.

    Args:
        scale: The usual guidance scale.
        size: Side in pixels that it was trained at.
        most_steps: Of the mode Quality; 0 = it was distilled to ``steps``, and more are none better.
    """
    words = {} if pipeline.unwanted else _ONE_PROMPT
    return Family(
        label=label,
        engine="fooocus_lite.engine.pipeline_family:PipelineFamily",
        size_multiple=multiple,
        noise="flow",
        loras="a transformer model",
        defaults={**_FEW_CHOICES, "width": size, "height": size, "steps": steps, "guidance_scale": scale},
        without={**_WHOLE, **words},
        modes={"quality": {"steps": most_steps or steps}, "speed": {"steps": steps}},
        wants_range=True,
        pipeline=pipeline,
    )


FAMILIES: dict[str, Family] = {
    "sdxl": Family(
        label="Stable Diffusion XL",
        engine="fooocus_lite.engine.sdxl:Sdxl",
        size_multiple=8,
        defaults={
            **_UNET,
            "width": 1024,
            "height": 1024,
            "guidance_scale": 4.0,
            "clip_skip": 2,  # the last layer but one, which the model was trained with
        },
    ),
    "sd15": Family(
        label="Stable Diffusion 1.5",
        engine="fooocus_lite.engine.sd15:Sd15",
        size_multiple=8,
        defaults={
            **_UNET,
            "width": 512,
            "height": 512,
            "guidance_scale": 7.0,
            "clip_skip": 1,
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
        wants_range=True,
    ),
    "flux2-klein": _pipeline(
        "FLUX.2 klein",
        # The distilled one has no second pass, whatever the scale; of the other the pipeline takes no negative prompt.
        Pipeline("Flux2KleinPipeline", colours="flux2"),
        steps=4,
        scale=1.0,
    ),
    "z-image": _pipeline(
        "Z-Image",
        Pipeline("ZImagePipeline", scale_offset=-1.0, unwanted="negative_prompt", colours="flux"),
        steps=9,  # of which the last one takes nothing away: eight calls that count, as its makers have it
        scale=1.0,
    ),
    "qwen-image": _pipeline(
        "Qwen-Image",
        Pipeline("QwenImagePipeline", scale="true_cfg_scale", unwanted="negative_prompt", colours="wan"),
        steps=30,
        scale=4.0,
        size=1328,
        most_steps=50,
    ),
    "sd35": _pipeline(
        "Stable Diffusion 3.5",
        Pipeline("StableDiffusion3Pipeline", unwanted="negative_prompt", colours="sd3"),
        steps=28,
        scale=4.5,
        most_steps=40,
    ),
    "sana-sprint": _pipeline(
        "SANA-Sprint",
        Pipeline(
            "SanaSprintPipeline",
            arguments={"use_resolution_binning": False},
            at_other_steps={"intermediate_timesteps": None},
        ),
        steps=2,
        scale=4.5,
        multiple=32,
    ),
    "chroma": _pipeline(
        "Chroma",
        Pipeline("ChromaPipeline", unwanted="negative_prompt", colours="flux"),
        steps=30,
        scale=3.0,
        most_steps=40,
    ),
}
