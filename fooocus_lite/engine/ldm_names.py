"""What the tensors of a diffusers module are called in other programs' files: the layout of one checkpoint file.

Pure renaming, from a module's own name to that in the file, so that nothing is read before it is wanted. The layout
is that of the latent diffusion code (arXiv:2112.10752), whose numbers count the blocks of a UNet in one row; text
encoders of OpenCLIP keep queries, keys and values in one matrix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fooocus_lite.engine.flux_names import SWAPPED, makers_names


@dataclass(frozen=True)
class Place:
    """Where a tensor of a module lies in a file.

    Attributes:
        name: Of the stored tensor.
        first_row: Where it begins in one that holds several, one under another; ``None`` = it is the whole.
        is_transposed: Rows and columns are the other way round.
        has_swapped_halves: Its second half stands before its first.
    """

    name: str
    first_row: int | None = None
    is_transposed: bool = False
    has_swapped_halves: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether more than reading makes it the module's."""
        return self.is_transposed or self.has_swapped_halves


#: A module's name of a tensor -> its place, or ``None`` where this way of naming has none.
Naming = Callable[[str], Place | None]

_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_UNET_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_VAE_BLOCK = re.compile(r"(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)")
_VAE_MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
# Until 2023 diffusers itself named the attention of a VAE so, and many files still do.
_FORMER_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_CLIP_ENDS = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_CLIP_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
_CLIP_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_FUSED = re.compile(r"self_attn\.([qkv])_proj\.(weight|bias)")

# Of ComfyUI's savers, and of an encoder that is a file of its own.
_T5_PREFIXES = ("text_encoders.t5xxl.transformer.", "text_encoder_2.", "")
_UNET_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
_VAE_PREFIXES = ("first_stage_model.", "vae.", "")
# Of checkpoints of SDXL, of SD 1 and 2, of ComfyUI's savers, and of an encoder that is a file of its own.
_CLIP_PREFIXES: Mapping[str, Sequence[str]] = {
    "text_encoder": (
        *("conditioner.embedders.0.transformer.", "cond_stage_model.transformer.", "cond_stage_model."),
        *("text_encoders.clip_l.transformer.", "text_encoder.", ""),
    ),
    "text_encoder_2": ("text_encoders.clip_g.transformer.", "text_encoder_2.", ""),
}
_OPEN_CLIP_PREFIXES: Mapping[str, Sequence[str]] = {
    "text_encoder": ("cond_stage_model.model.",),
    "text_encoder_2": ("conditioner.embedders.1.model.", "conditioner.embedders.0.model.", ""),
}


def namings(component: str, config: Mapping[str, Any]) -> list[Naming]:
    """The ways in which files name the tensors of a component, as diffusers calls it; none for one unknown here.

    Args:
        config: Its ``config.json``, which says how many blocks stand in a row.
    """
    if component == "unet":
        return [
            *(_prefixed(prefix, _unet_naming(config)) for prefix in _UNET_PREFIXES),
            *(_prefixed(prefix, Place) for prefix in ("", "unet.")),
        ]
    if component == "vae":
        return [
            *(_prefixed(prefix, _vae_naming(config)) for prefix in _VAE_PREFIXES),
            *(_prefixed(prefix, naming) for prefix in ("", "vae.") for naming in (Place, former_vae_place)),
        ]
    if component == "transformer":
        return [_prefixed(prefix, naming) for prefix in _UNET_PREFIXES for naming in (_flux_naming(config), Place)]
    if is_t5(config):
        return [_prefixed(prefix, t5_place) for prefix in _T5_PREFIXES]
    if component in _CLIP_PREFIXES:
        return [
            *(_prefixed(prefix, naming) for prefix in _CLIP_PREFIXES[component] for naming in _CLIP_NAMINGS),
            *(_prefixed(prefix, _open_clip_naming(config)) for prefix in _OPEN_CLIP_PREFIXES[component]),
        ]
    return []


def folder_namings() -> list[Naming]:
    """The ways in which diffusers and transformers have named a module's tensors in its own folder."""
    return [Place, *_CLIP_NAMINGS, former_vae_place, t5_place]


def is_t5(config: Mapping[str, Any]) -> bool:
    """Whether a text encoder is T5 (arXiv:1910.10683), whose heads have a width of their own."""
    return "d_kv" in config


def t5_place(name: str) -> Place:
    """The place of a T5 encoder's tensor; its table of words has two names and is stored under one."""
    return Place("shared.weight" if name == "encoder.embed_tokens.weight" else name)


def _flux_naming(config: Mapping[str, Any]) -> Naming:
    """The names of FLUX's makers, in whose files several layers are one matrix, one under another."""
    width = int(config.get("num_attention_heads", 24)) * int(config.get("attention_head_dim", 128))
    counts = (int(config.get("num_layers", 19)), int(config.get("num_single_layers", 38)))
    homes: dict[str, tuple[str, int, int]] = {}
    for theirs, ours in makers_names(*counts):
        for number, path in enumerate(ours):
            homes[path] = (theirs, number, len(ours))

    def place(name: str) -> Place | None:
        path, _, parameter = name.rpartition(".")
        theirs, number, together = homes.get(path, ("", 0, 0))
        if not theirs:
            return None
        if theirs.endswith("_norm"):
            parameter = "scale"
        first_row = number * width if together > 1 else None
        return Place(f"{theirs}.{parameter}", first_row, has_swapped_halves=theirs == SWAPPED)

    return place


def former_vae_place(name: str) -> Place | None:
    """The place of a VAE's tensor in a file of diffusers before 0.17."""
    if match := _VAE_MIDDLE.fullmatch(name):
        side, kind, number, rest = match.groups()
        if kind == "attentions":
            rest = _swapped(rest, _FORMER_ATTENTION)
        return Place(f"{side}.mid_block.{kind}.{number}.{rest}")
    return Place(name)


def _prefixed(prefix: str, naming: Naming) -> Naming:
    def place(name: str) -> Place | None:
        found = naming(name)
        return found and replace(found, name=prefix + found.name)

    return place


def _swapped(rest: str, names: Mapping[str, str]) -> str:
    """``rest`` with the layer's name before ``.weight`` or ``.bias`` as ``names`` has it."""
    layer, _, parameter = rest.rpartition(".")
    return f"{names.get(layer, layer)}.{parameter}"


def _unet_naming(config: Mapping[str, Any]) -> Naming:
    layers = int(config.get("layers_per_block", 2))
    up_types = [str(kind) for kind in config.get("up_block_types", ())]

    def place(name: str) -> Place | None:
        if match := _UNET_BLOCK.fullmatch(name):
            side, block, kind, number, rest = match.groups()
            return _unet_block(side, int(block), kind, int(number), rest)
        if match := _UNET_MIDDLE.fullmatch(name):
            kind, number, rest = match.groups()
            if kind == "resnets":  # resnet, attention, resnet
                return Place(f"middle_block.{2 * int(number)}.{_swapped(rest, _RESNET)}")
            return Place(f"middle_block.{2 * int(number) + 1}.{rest}")
        layer, _, parameter = name.rpartition(".")
        return Place(f"{_UNET_ENDS[layer]}.{parameter}") if layer in _UNET_ENDS else None

    def _unet_block(side: str, block: int, kind: str, number: int, rest: str) -> Place:
        first = block * (layers + 1)
        if kind == "downsamplers":
            return Place(f"input_blocks.{first + layers + 1}.0.{rest.replace('conv', 'op', 1)}")
        if kind == "upsamplers":
            has_attention = block < len(up_types) and "Attn" in up_types[block]
            return Place(f"output_blocks.{first + layers}.{2 if has_attention else 1}.{rest}")
        row = f"input_blocks.{1 + first + number}" if side == "down" else f"output_blocks.{first + number}"
        return Place(f"{row}.0.{_swapped(rest, _RESNET)}" if kind == "resnets" else f"{row}.1.{rest}")

    return place


def _vae_naming(config: Mapping[str, Any]) -> Naming:
    last = len(config.get("block_out_channels", (0,) * 4)) - 1

    def place(name: str) -> Place | None:
        if match := _VAE_BLOCK.fullmatch(name):
            side, block, kind, number, rest = match.groups()
            # The decoder's blocks are numbered from the picture inwards.
            row = f"{side}.down.{block}" if side == "encoder" else f"{side}.up.{last - int(block)}"
            if kind == "resnets":
                return Place(f"{row}.block.{number}.{_swapped(rest, {'conv_shortcut': 'nin_shortcut'})}")
            return Place(f"{row}.{'downsample' if kind == 'downsamplers' else 'upsample'}.{rest}")
        if match := _VAE_MIDDLE.fullmatch(name):
            side, kind, number, rest = match.groups()
            if kind == "resnets":
                return Place(f"{side}.mid.block_{int(number) + 1}.{_swapped(rest, {'conv_shortcut': 'nin_shortcut'})}")
            return Place(f"{side}.mid.attn_{int(number) + 1}.{_swapped(rest, _VAE_ATTENTION)}")
        return Place(name.replace("conv_norm_out", "norm_out"))

    return place


def _open_clip_naming(config: Mapping[str, Any]) -> Naming:
    width = int(config.get("hidden_size", 0))

    def place(name: str) -> Place | None:
        name = name.removeprefix("text_model.")
        if name == "text_projection.weight":
            return Place("text_projection", is_transposed=True)
        if name in _CLIP_ENDS:
            return Place(_CLIP_ENDS[name])
        match = _CLIP_LAYER.fullmatch(name)
        if match is None:
            return None
        block, rest = f"transformer.resblocks.{match.group(1)}", match.group(2)
        if fused := _FUSED.fullmatch(rest):
            first_row = "qkv".index(fused.group(1)) * width
            return Place(f"{block}.attn.in_proj_{fused.group(2)}", first_row=first_row)
        return Place(f"{block}.{_swapped(rest, _CLIP_PARTS)}")

    return place


def _with_text_model(name: str) -> Place:
    """Older folders, and every checkpoint file: ``text_model.`` before all but the projection."""
    bare = name.removeprefix("text_model.")
    return Place(bare if bare.startswith("text_projection") else f"text_model.{bare}")


def _without_text_model(name: str) -> Place:
    return Place(name.removeprefix("text_model."))


_CLIP_NAMINGS: tuple[Naming, ...] = (_with_text_model, _without_text_model)
