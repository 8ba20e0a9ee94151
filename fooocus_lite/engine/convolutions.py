"""Convolutions of a small picture on a CPU, by the kernel that torch itself uses for larger ones.

For one picture whose feature map has at most 20,480 numbers, torch unfolds the map and multiplies matrices; from two
pictures on it asks oneDNN, which is up to 1.6 times as fast there too. Both round differently, so a picture alone
and the same one in a batch of two would also differ more than they must.
"""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def with_direct_convolutions(module: ModuleT) -> ModuleT:
    """``module``, its plain convolutions computed by oneDNN while they are on a CPU in float32."""
    if torch.backends.mkldnn.is_available():
        for child in module.modules():
            if type(child) is not nn.Conv2d or child.padding_mode != "zeros" or isinstance(child.padding, str):
                continue
            if _is_for_onednn(child.weight):
                layer: Any = child
                layer.forward = partial(_forward, child)
    return module


def _is_for_onednn(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _forward(layer: nn.Conv2d, states: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C', h', w')."""
    padding = layer.padding
    if isinstance(padding, str) or not _is_for_onednn(states):  # said in words, or the layer was moved
        return nn.Conv2d.forward(layer, states)
    padding = cast("tuple[int, ...]", layer.padding)  # as `with_direct_convolutions` chose them
    return torch.mkldnn_convolution(
        states, layer.weight, layer.bias, padding, layer.stride, layer.dilation, layer.groups
    )
