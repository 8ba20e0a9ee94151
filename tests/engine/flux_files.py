"""FLUX's tensors under the names of its makers, written by hand of what their code calls each, not by ours."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ATTENTION = {
    "img_attn": ("to_q", "to_k", "to_v", "to_out.0", "norm_q", "norm_k"),
    "txt_attn": ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "norm_added_q", "norm_added_k"),
}
SAME = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
}


def makers_tensors(folder: Path) -> dict[str, Tensor]:
    """The transformer of a diffusers folder as its makers' file has it."""
    ours = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    theirs: dict[str, Tensor] = {}

    def put(name: str, *layers: str, ends: tuple[str, ...] = ("weight", "bias")) -> None:
        for end in ends:
            theirs[f"{name}.{end}"] = torch.cat([ours[f"{layer}.{end}"] for layer in layers])

    for name, layer in SAME.items():
        if f"{layer}.weight" in ours:
            put(name, layer)
    for end in ("weight", "bias"):
        scale, shift = ours[f"norm_out.linear.{end}"].chunk(2)
        theirs[f"final_layer.adaLN_modulation.1.{end}"] = torch.cat([shift, scale])
    for i in range(2):
        here, there = f"transformer_blocks.{i}", f"double_blocks.{i}"
        put(f"{there}.img_mod.lin", f"{here}.norm1.linear")
        put(f"{there}.txt_mod.lin", f"{here}.norm1_context.linear")
        for side, (q, k, v, out, norm_q, norm_k) in ATTENTION.items():
            put(f"{there}.{side}.qkv", *(f"{here}.attn.{one}" for one in (q, k, v)))
            put(f"{there}.{side}.proj", f"{here}.attn.{out}")
            theirs[f"{there}.{side}.norm.query_norm.scale"] = ours[f"{here}.attn.{norm_q}.weight"]
            theirs[f"{there}.{side}.norm.key_norm.scale"] = ours[f"{here}.attn.{norm_k}.weight"]
        for side, ff in (("img_mlp", "ff"), ("txt_mlp", "ff_context")):
            put(f"{there}.{side}.0", f"{here}.{ff}.net.0.proj")
            put(f"{there}.{side}.2", f"{here}.{ff}.net.2")
        here, there = f"single_transformer_blocks.{i}", f"single_blocks.{i}"
        put(f"{there}.modulation.lin", f"{here}.norm.linear")
        put(f"{there}.linear1", f"{here}.attn.to_q", f"{here}.attn.to_k", f"{here}.attn.to_v", f"{here}.proj_mlp")
        put(f"{there}.linear2", f"{here}.proj_out")
        theirs[f"{there}.norm.query_norm.scale"] = ours[f"{here}.attn.norm_q.weight"]
        theirs[f"{there}.norm.key_norm.scale"] = ours[f"{here}.attn.norm_k.weight"]
    return theirs


def save_with_prefix(tensors: dict[str, Tensor], path: Path, prefix: str = "") -> Path:
    save_file({prefix + name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def whole_file(folder: Path, path: Path) -> Path:
    """Everything in one file, as ComfyUI saves it."""
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in makers_tensors(folder).items()}
    for component, prefix in (
        ("text_encoder", "text_encoders.clip_l.transformer."),
        ("text_encoder_2", "text_encoders.t5xxl.transformer."),
    ):
        stored = load_file(folder / component / "model.safetensors")
        for name, tensor in stored.items():
            is_clip = component == "text_encoder" and not name.startswith("text_model.")
            tensors[prefix + ("text_model." if is_clip else "") + name] = tensor
    for name, tensor in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        tensors[f"vae.{name}"] = tensor
    return save_with_prefix(tensors, path)
