"""A complete Stable Diffusion 1 folder with random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers.models.clip.modeling_clip import CLIPTextModel

from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan
from tests.engine import tiny_sdxl


def make_unet(cross: int = 16) -> Any:
    """Four levels, attention in three, its projections 1×1 convolutions."""
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(16, 16, 32, 32), layers_per_block=1,
        norm_num_groups=8, attention_head_dim=2, cross_attention_dim=cross,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )  # fmt: skip


def make_vae() -> Any:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def write_model(folder: Path, *, seed: int = 0, **scheduler: Any) -> Path:
    """A whole model folder; same seed, same weights."""
    torch.manual_seed(seed)
    vocabulary = tiny_sdxl.write_tokenizer(folder / "tokenizer")
    CLIPTextModel(tiny_sdxl.text_config(vocabulary, 16)).save_pretrained(folder / "text_encoder")
    make_unet().save_pretrained(folder / "unet")
    make_vae().save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(tiny_sdxl.SCHEDULER | scheduler))
    index = {
        "_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": [None, None], "feature_extractor": [None, None],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def model_ref(path: Path, name: str = "tiny-sd15", **changes: Any) -> ModelRef:
    return replace(tiny_sdxl.model_ref(path, name), family="sd15", **changes)


def make_plan(ref: ModelRef, **changes: Any) -> Plan:
    """A plan for a small picture; any field can be changed."""
    return tiny_sdxl.make_plan(Path(ref.path), **({"model": ref, "clip_skip": 1} | changes))
