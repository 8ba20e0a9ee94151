"""Diffusers folders as one checkpoint file in the layout of the latent diffusion code: true key names, tiny tensors.

Written from the modules' own structure, block by block, and not with the program's renaming, which it tests;
that the names are the true ones is shown by diffusers itself, which reads such files too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Tensors = dict[str, Tensor]
RESNET = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
]
VAE_ATTENTION = [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")]


def _layer(module: nn.Module | None, name: str) -> Tensors:
    return {f"{name}.{key}": value for key, value in module.state_dict().items()} if module is not None else {}


def _resnet(resnet: Any, name: str) -> Iterator[Tensors]:
    for ours, theirs in RESNET:
        yield _layer(getattr(resnet, ours), f"{name}.{theirs}")


def unet_tensors(unet: Any) -> Tensors:
    """Without a prefix."""
    parts = [
        _layer(unet.time_embedding.linear_1, "time_embed.0"),
        _layer(unet.time_embedding.linear_2, "time_embed.2"),
        _layer(unet.conv_in, "input_blocks.0.0"),
        _layer(unet.conv_norm_out, "out.0"),
        _layer(unet.conv_out, "out.2"),
    ]
    if getattr(unet, "add_embedding", None) is not None:
        parts += [
            _layer(unet.add_embedding.linear_1, "label_emb.0.0"),
            _layer(unet.add_embedding.linear_2, "label_emb.0.2"),
        ]
    row = 0
    for block in unet.down_blocks:
        attentions = list(getattr(block, "attentions", []))
        for index, resnet in enumerate(block.resnets):
            row += 1
            parts += _resnet(resnet, f"input_blocks.{row}.0")
            if attentions:
                parts.append(_layer(attentions[index], f"input_blocks.{row}.1"))
        if block.downsamplers:
            row += 1
            parts.append(_layer(block.downsamplers[0].conv, f"input_blocks.{row}.0.op"))
    parts += _resnet(unet.mid_block.resnets[0], "middle_block.0")
    parts.append(_layer(unet.mid_block.attentions[0], "middle_block.1"))
    parts += _resnet(unet.mid_block.resnets[1], "middle_block.2")
    row = -1
    for block in unet.up_blocks:
        attentions = list(getattr(block, "attentions", []))
        for index, resnet in enumerate(block.resnets):
            row += 1
            parts += _resnet(resnet, f"output_blocks.{row}.0")
            if attentions:
                parts.append(_layer(attentions[index], f"output_blocks.{row}.1"))
        if block.upsamplers:
            parts.append(_layer(block.upsamplers[0].conv, f"output_blocks.{row}.{2 if attentions else 1}.conv"))
    return {name: value for part in parts for name, value in part.items()}


def vae_tensors(vae: Any) -> Tensors:
    """Without a prefix; the attention's projections are 1×1 convolutions there."""
    tensors: Tensors = _layer(vae.quant_conv, "quant_conv") | _layer(vae.post_quant_conv, "post_quant_conv")
    for side, half in (("encoder", vae.encoder), ("decoder", vae.decoder)):
        tensors |= _layer(half.conv_in, f"{side}.conv_in") | _layer(half.conv_out, f"{side}.conv_out")
        tensors |= _layer(half.conv_norm_out, f"{side}.norm_out")
        for index in range(2):
            tensors |= _vae_resnet(half.mid_block.resnets[index], f"{side}.mid.block_{index + 1}")
        for ours, theirs in VAE_ATTENTION:
            layer = _layer(half.mid_block.attentions[0].get_submodule(ours), f"{side}.mid.attn_1.{theirs}")
            tensors |= {name: value[..., None, None] if value.dim() == 2 else value for name, value in layer.items()}
        blocks = half.down_blocks if side == "encoder" else list(reversed(half.up_blocks))
        for number, block in enumerate(blocks):
            name = f"{side}.{'down' if side == 'encoder' else 'up'}.{number}"
            for index, resnet in enumerate(block.resnets):
                tensors |= _vae_resnet(resnet, f"{name}.block.{index}")
            for sampler in getattr(block, "downsamplers", None) or []:
                tensors |= _layer(sampler.conv, f"{name}.downsample.conv")
            for sampler in getattr(block, "upsamplers", None) or []:
                tensors |= _layer(sampler.conv, f"{name}.upsample.conv")
    return tensors


def _vae_resnet(resnet: Any, name: str) -> Tensors:
    tensors = _layer(resnet.norm1, f"{name}.norm1") | _layer(resnet.conv1, f"{name}.conv1")
    tensors |= _layer(resnet.norm2, f"{name}.norm2") | _layer(resnet.conv2, f"{name}.conv2")
    return tensors | _layer(resnet.conv_shortcut, f"{name}.nin_shortcut")


def clip_tensors(stored: Tensors) -> Tensors:
    """Of a text encoder as transformers keeps it in memory; its checkpoints say ``text_model.`` and list positions."""
    named = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in stored.items()}
    places = named["text_model.embeddings.position_embedding.weight"].shape[0]
    return named | {"text_model.embeddings.position_ids": torch.arange(places)[None]}


def open_clip_tensors(stored: Tensors) -> Tensors:
    """Of a text encoder with a projection, in OpenCLIP's names."""
    plain = {name.removeprefix("text_model."): value for name, value in stored.items()}
    layers = 1 + max(int(name.split(".")[2]) for name in plain if name.startswith("encoder.layers."))
    tensors = {
        "positional_embedding": plain["embeddings.position_embedding.weight"],
        "token_embedding.weight": plain["embeddings.token_embedding.weight"],
        "ln_final.weight": plain["final_layer_norm.weight"],
        "ln_final.bias": plain["final_layer_norm.bias"],
        "text_projection": plain["text_projection.weight"].T.contiguous(),
        "logit_scale": torch.tensor(4.6),
    }
    for number in range(layers):
        old, new = f"encoder.layers.{number}", f"transformer.resblocks.{number}"
        for kind in ("weight", "bias"):
            parts = [plain[f"{old}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            tensors[f"{new}.attn.in_proj_{kind}"] = torch.cat(parts)
            for ours, theirs in (
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                tensors[f"{new}.{theirs}.{kind}"] = plain[f"{old}.{ours}.{kind}"]
    return tensors


def checkpoint_tensors(folder: Path) -> Tensors:
    """All of a diffusers folder of SDXL, of its refiner or of SD 1, with the prefixes of its published files."""
    tensors = _with("model.diffusion_model.", unet_tensors(UNet2DConditionModel.from_pretrained(folder / "unet")))
    tensors |= _with("first_stage_model.", vae_tensors(AutoencoderKL.from_pretrained(folder / "vae")))
    has_first, has_second = ((folder / name).is_dir() for name in ("text_encoder", "text_encoder_2"))
    if has_first:
        prefix = "conditioner.embedders.0.transformer." if has_second else "cond_stage_model.transformer."
        tensors |= _with(prefix, clip_tensors(load_file(folder / "text_encoder" / "model.safetensors")))
    if has_second:
        prefix = f"conditioner.embedders.{int(has_first)}.model."
        tensors |= _with(prefix, open_clip_tensors(load_file(folder / "text_encoder_2" / "model.safetensors")))
    return tensors


def _with(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def write_checkpoint(folder: Path, path: Path, change: Callable[[Tensors], Tensors] = lambda tensors: tensors) -> Path:
    """The folder as one file at ``path``."""
    tensors = change(checkpoint_tensors(folder))
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path)
    return path


def in_half(tensors: Tensors) -> Tensors:
    """As most files are published."""
    return {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
