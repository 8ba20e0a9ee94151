"""A model's layers by every name that adapter files have for them.

Files join the path of a layer with underscores or dots, and name a UNet's blocks as diffusers does or as the first
published code (sgm) did. Paths are flattened to underscores; the other naming is laid out from the UNet's own blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from fooocus_lite.engine.flux_names import SWAPPED, makers_names, xlabs_names
from fooocus_lite.lora_keys import TEXT_ENCODER, TEXT_ENCODER_2

# Inside a residual block: sgm's name -> diffusers'.
_IN_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
# What diffusers' first files called the layers of attention, in a UNet and in a text encoder.
_OLD_UNET = (("_to_out", "_to_out_0"),)
_OLD_TEXT = (("_to_q", "_q_proj"), ("_to_k", "_k_proj"), ("_to_v", "_v_proj"), ("_to_out", "_out_proj"))


class Layers:
    """The layers of a model's parts that have a weight.

    Args:
        parts: By `fooocus_lite.lora_keys`' names of parts.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self.parts = parts

    def weights(self, part: str, layer: str) -> tuple[Tensor, ...]:
        """The weight of a layer by its flat name; none where the model has no such layer.

        Several where the file knows one matrix of what are several layers here, in its order one under another.
        """
        names = self._names.get(part, {})
        text = part in (TEXT_ENCODER, TEXT_ENCODER_2)
        plain = layer.removeprefix("text_model_") if text else layer
        if plain == SWAPPED.replace(".", "_"):
            return tuple(half for weight in names.get(plain, ()) for half in reversed(weight.chunk(2)))
        if plain in names:
            return names[plain]
        for old, new in _OLD_TEXT if text else _OLD_UNET:
            if plain.endswith(old):
                return names.get(plain.removesuffix(old) + new, ())
        return ()

    @cached_property
    def _names(self) -> dict[str, dict[str, tuple[Tensor, ...]]]:
        names: dict[str, dict[str, tuple[Tensor, ...]]] = {}
        for part, module in self.parts.items():
            found = ((path, getattr(child, "weight", None)) for path, child in module.named_modules())
            weights = {path: weight for path, weight in found if isinstance(weight, Tensor)}
            named: dict[str, tuple[Tensor, ...]] = {
                path.removeprefix("text_model.").replace(".", "_"): (weight,) for path, weight in weights.items()
            }
            for theirs, paths in _other_names(module):
                if all(path in weights for path in paths):
                    named[theirs.replace(".", "_")] = tuple(weights[path] for path in paths)
            names[part] = named
        return names


def _other_names(module: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(path in the first published code, paths here) of a network's layers."""
    if hasattr(module, "down_blocks"):
        yield from ((theirs, (ours,)) for theirs, ours in sgm_names(module))
    elif hasattr(module, "single_transformer_blocks"):
        single = len(module.single_transformer_blocks)
        yield from makers_names(len(module.transformer_blocks), single)
        yield from xlabs_names(single)


def sgm_names(unet: Any) -> Iterator[tuple[str, str]]:
    """(path in the first published code, path here) of every layer of a diffusers ``UNet2DConditionModel``.

    There the blocks of all resolutions are counted through: ``conv_in`` is the first input block, a downsampler is
    one of its own, and an upsampler belongs to the last output block of its resolution.
    """
    yield from _OUTSIDE.items()
    number = 1
    for level, block in enumerate(unet.down_blocks):
        for index in range(len(block.resnets)):
            yield from _block(block, f"input_blocks.{number}", f"down_blocks.{level}", index)
            number += 1
        for index in range(len(block.downsamplers or ())):
            yield f"input_blocks.{number}.0.op", f"down_blocks.{level}.downsamplers.{index}.conv"
            number += 1
    middle = unet.mid_block
    yield from _resnet("middle_block.0", "mid_block.resnets.0")
    for index in range(len(getattr(middle, "attentions", None) or ())):
        yield from _inside(middle.attentions[index], f"middle_block.{2 * index + 1}", f"mid_block.attentions.{index}")
        yield from _resnet(f"middle_block.{2 * index + 2}", f"mid_block.resnets.{index + 1}")
    number = 0
    for level, block in enumerate(unet.up_blocks):
        for index in range(len(block.resnets)):
            yield from _block(block, f"output_blocks.{number}", f"up_blocks.{level}", index)
            number += 1
        for index in range(len(block.upsamplers or ())):
            place = 2 if getattr(block, "attentions", None) else 1
            yield f"output_blocks.{number - 1}.{place}.conv", f"up_blocks.{level}.upsamplers.{index}.conv"


def _block(block: Any, theirs: str, ours: str, index: int) -> Iterator[tuple[str, str]]:
    yield from _resnet(f"{theirs}.0", f"{ours}.resnets.{index}")
    attentions = getattr(block, "attentions", None)
    if attentions:
        yield from _inside(attentions[index], f"{theirs}.1", f"{ours}.attentions.{index}")


def _resnet(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for their_layer, our_layer in _IN_RESNET.items():
        yield f"{theirs}.{their_layer}", f"{ours}.{our_layer}"


def _inside(module: nn.Module, theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """Transformers have the same layers in both."""
    for path, _ in module.named_modules():
        if path:
            yield f"{theirs}.{path}", f"{ours}.{path}"
