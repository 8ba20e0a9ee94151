"""A complete SDXL folder with random weights, small enough to draw a picture in a fraction of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan

TOKENS = 16  # per chunk: a short one, so that chunking is cheap to test
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def _byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes that byte-level BPE uses."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [value for value in range(256) if value not in plain]
    return [chr(value) for value in plain] + [chr(256 + i) for i in range(len(rest))]


def write_tokenizer(folder: Path) -> int:
    """A byte-level tokenizer without merges; returns the size of its vocabulary."""
    folder.mkdir(parents=True)
    letters = _byte_alphabet()
    words = [*letters, *(letter + "</w>" for letter in letters), BOS, EOS]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    config = {"model_max_length": TOKENS, "bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return len(words)


def text_config(vocabulary: int, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=TOKENS, projection_dim=24,
        bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
    )  # fmt: skip


def make_unet(channels: int = 4, *, cross: int = 40, sizes: int = 6) -> Any:
    """An SDXL-shaped UNet: three levels, attention in two, pooled text and so many sizes added."""
    return UNet2DConditionModel(
        sample_size=16, in_channels=channels, out_channels=channels, block_out_channels=(16, 32, 32),
        layers_per_block=1, norm_num_groups=8, attention_head_dim=(2, 2, 4), cross_attention_dim=cross,
        transformer_layers_per_block=(1, 1, 2), use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + sizes * 8,
    )  # fmt: skip


def make_vae(kind: str, channels: int) -> Any:
    if kind == "kl":
        return AutoencoderKL(
            block_out_channels=(8, 8, 8, 8), latent_channels=channels, norm_num_groups=4, scaling_factor=0.13025,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
    return AutoencoderTiny(
        latent_channels=channels, encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4,
    )  # fmt: skip


SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000, "prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1,
}  # fmt: skip


def write_model(folder: Path, *, seed: int = 0, vae: str = "tiny", channels: int = 4, **scheduler: Any) -> Path:
    """A whole model folder; same seed, same weights."""
    torch.manual_seed(seed)
    vocabulary = write_tokenizer(folder / "tokenizer")
    write_tokenizer(folder / "tokenizer_2")
    CLIPTextModel(text_config(vocabulary, 16)).save_pretrained(folder / "text_encoder")
    CLIPTextModelWithProjection(text_config(vocabulary, 24)).save_pretrained(folder / "text_encoder_2")
    make_unet(channels).save_pretrained(folder / "unet")
    make_vae(vae, channels).save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER | scheduler))
    return folder


def model_ref(folder: Path, name: str = "tiny") -> ModelRef:
    return ModelRef(name=name, family="sdxl", path=str(folder), native_size=128, max_size=512, size_multiple=8)


def make_plan(folder: Path, **changes: Any) -> Plan:
    """A plan for a small picture; any field can be changed."""
    values: dict[str, Any] = {
        "texts": ("a red circle",), "negative_texts": ("",), "seed": 7, "width": 128, "height": 128, "steps": 4,
        "sampler": "euler", "scheduler": "normal", "guidance_scale": 3.0, "sag_scale": 0.0, "image_format": "png",
        "clip_skip": 2,
    }  # fmt: skip
    return Plan(**(values | {"model": model_ref(folder)} | changes))
