"""Layers that come to the device one after another, by diffusers' group offloading, and how to find them at home.

With a stream each layer has its weights in pinned memory besides the module's own, and the next one is fetched before
it is asked. A layer that was fetched and then not asked, because a step ended half way or its answer was known, stays
on the device with a copy: what changes weights must send such layers home first, or it changes the copy alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

_HOOK = "group_offloading"


def bring_in_groups(module: nn.Module, device: torch.device, home: torch.device, *, saves_memory: bool) -> None:
    """Let the layers of a module that is at home come to the device one after another, and go again.

    Args:
        saves_memory: Pin each layer only while it is on its way: pinned memory cannot be taken back by the system.
    """
    from diffusers.hooks.group_offloading import apply_group_offloading

    apply_group_offloading(
        module,
        device,
        home,
        offload_type="leaf_level",
        use_stream=device.type == "cuda",  # while one layer computes, the next is on its way
        low_cpu_mem_usage=saves_memory,
    )


def comes_in_groups(layer: nn.Module) -> bool:
    """Whether the layer itself comes and goes."""
    return next(_groups((layer,)), None) is not None


def send_groups_home(module: nn.Module) -> None:
    """Send every layer home that is still on the device; nothing where none comes and goes."""
    for group in _groups(module.modules()):
        group.offload_()


def _groups(layers: Iterator[nn.Module] | tuple[nn.Module, ...]) -> Iterator[Any]:
    for layer in layers:
        registry: Any = getattr(layer, "_diffusers_hook", None)
        hook = registry.get_hook(_HOOK) if registry is not None else None
        if hook is not None:
            yield hook.group
