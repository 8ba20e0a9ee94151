"""Heads with every true name and shape of the published files, built from the real networks without memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fooocus_lite.model_headers import FileFacts, identify
from tests.engine import checkpoints
from tests.house.code import ROOT
from tests.stand_ins import Shapes, write_safetensors

FAMILIES = ROOT / "models" / "families"


def config(family: str, part: str) -> dict[str, Any]:
    data = json.loads((FAMILIES / family / part / "config.json").read_text())
    return {name: value for name, value in data.items() if not name.startswith("_")}


def shapes(prefix: str, tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(tensor.shape) for name, tensor in tensors.items()}


def checkpoint(family: str) -> Shapes:
    """All tensors of a checkpoint file of Stable Diffusion, as its makers call them."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config(family, "unet"))
        vae = AutoencoderKL.from_config(config(family, "vae"))
    found = shapes("model.diffusion_model.", checkpoints.unet_tensors(unet))
    found |= shapes("first_stage_model.", checkpoints.vae_tensors(vae))
    parts = [part for part in ("text_encoder", "text_encoder_2") if (FAMILIES / family / part).is_dir()]
    for place, part in enumerate(parts):
        text = CLIPTextConfig(**config(family, part))
        with torch.device("meta"):
            encoder = (CLIPTextModelWithProjection if part[-1] == "2" else CLIPTextModel)(text)
        prefix = f"conditioner.embedders.{place}." if family != "sd15" else "cond_stage_model."
        if part[-1] == "2":
            found |= shapes(prefix + "model.", checkpoints.open_clip_tensors(encoder.state_dict()))
        else:
            found |= shapes(prefix + "transformer.", checkpoints.clip_tensors(encoder.state_dict()))
    return found


def alone(make: Callable[[], torch.nn.Module]) -> Shapes:
    """All tensors of a network as diffusers saves it."""
    with torch.device("meta"):
        return shapes("", make().state_dict())


@pytest.mark.parametrize(
    "family, tensors, size_gb",
    [("sdxl", 2515, 6.94), ("sd15", 1131, 2.13)],  # as published: sd_xl_base_1.0, v1-5-pruned-emaonly in half precision
)
def test_checkpoints(tmp_path: Path, family: str, tensors: int, size_gb: float) -> None:
    names = checkpoint(family)
    path = write_safetensors(tmp_path / "x.safetensors", names)
    assert len(names) == tensors and round(path.stat().st_size / 1e9, 2) == size_gb
    assert identify(str(path)) == FileFacts("checkpoint", family, "", "fp16")
    short = write_safetensors(tmp_path / "y.safetensors", names, missing=1)
    assert identify(str(short)).problem.startswith("it is cut short")


def test_the_refiner(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", checkpoint("sdxl-refiner"))
    assert identify(str(path)) == FileFacts("checkpoint", "sdxl-refiner", "", "fp16")


@pytest.mark.parametrize(
    "make, wanted",
    [
        (lambda: UNet2DConditionModel.from_config(config("sdxl", "unet")), FileFacts("network", "sdxl", "", "bf16")),
        (lambda: UNet2DConditionModel.from_config(config("sd15", "unet")), FileFacts("network", "sd15", "", "bf16")),
        (lambda: FluxTransformer2DModel(guidance_embeds=True), FileFacts("network", "flux", "dev", "bf16")),
        (lambda: FluxTransformer2DModel(guidance_embeds=False), FileFacts("network", "flux", "schnell", "bf16")),
        (ZImageTransformer2DModel, FileFacts("network", "z-image", "", "bf16")),
        (lambda: AutoencoderKL.from_config(config("sdxl", "vae")), FileFacts("vae", "", "", "bf16")),
        (lambda: ControlNetModel(cross_attention_dim=768), FileFacts("controlnet", "sd15", "", "bf16")),
    ],
)
def test_networks_alone(tmp_path: Path, make: Callable[[], torch.nn.Module], wanted: FileFacts) -> None:
    assert identify(str(write_safetensors(tmp_path / "x.safetensors", alone(make), "BF16"))) == wanted
