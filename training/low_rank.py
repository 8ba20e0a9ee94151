"""Low-rank adapters (LoRA, arXiv:2106.09685) of the starter's U-Net: to train, to write and to fold in.

Files follow kohya's naming over diffusers' block names: ``lora_unet_<module, dots as underscores>`` with
``.lora_down.weight``, ``.lora_up.weight`` and ``.alpha``. A convolution's down part has the kernel of its layer,
the up part is 1 x 1, as LoCon has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PREFIX = "lora_unet_"
#: The ends of the names of the layers that are adapted: attention, feed-forward, resnets, what changes the size.
ADAPTED = (
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv",
)  # fmt: skip


class Pair(nn.Module):
    """What is added to one layer: ``up(down(x))``, nothing at first; scaled by alpha / rank = 1."""

    def __init__(self, layer: nn.Module, *, linear_rank: int, conv_rank: int) -> None:
        super().__init__()
        if isinstance(layer, nn.Linear):
            self.rank = linear_rank
            self.down: nn.Module = nn.Linear(layer.in_features, self.rank, bias=False)
            self.up: nn.Module = nn.Linear(self.rank, layer.out_features, bias=False)
        elif isinstance(layer, nn.Conv2d):
            self.rank = conv_rank
            shape = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
            self.down = nn.Conv2d(layer.in_channels, self.rank, bias=False, **shape)
            self.up = nn.Conv2d(self.rank, layer.out_channels, 1, bias=False)
        else:
            raise TypeError(f"{type(layer).__name__} cannot be adapted")
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The addition to the layer's output for its input."""
        return self.up(self.down(x))


class Adapter(nn.Module):
    """Pairs on all layers of ``unet`` that `ADAPTED` names; ``is_on`` says whether they count.

    The U-Net itself stays as it is, so that several adapters can share one.
    """

    def __init__(self, unet: nn.Module, *, linear_rank: int, conv_rank: int) -> None:
        super().__init__()
        self.is_on = True
        self.pairs = nn.ModuleDict()
        for name, layer in unet.named_modules():
            if name.endswith(ADAPTED):
                pair = Pair(layer, linear_rank=linear_rank, conv_rank=conv_rank)
                self.pairs[name.replace(".", "_")] = pair
                layer.register_forward_hook(self._hook(pair))

    def _hook(self, pair: Pair) -> Callable[..., Tensor | None]:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return output + pair(inputs[0]) if self.is_on else None

        return add

    def tensors(self) -> dict[str, Tensor]:
        """Its weights as they are written: float16."""
        found: dict[str, Tensor] = {}
        for name, pair in self.pairs.items():
            for part in ("down", "up"):
                found[f"{PREFIX}{name}.lora_{part}.weight"] = getattr(pair, part).weight.detach().half().contiguous()
            found[f"{PREFIX}{name}.alpha"] = torch.tensor(float(pair.rank), dtype=torch.float16)
        return found


def write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes an adapter file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.chmod(0o644)
    os.replace(partial, path)


@torch.no_grad()
def merge(unet: nn.Module, path: Path, weight: float = 1.0) -> None:
    """Adds the adapter in ``path``, ``weight`` times, to the weights of ``unet``.

    Raises:
        ValueError: the file names a layer that ``unet`` does not have.
    """
    tensors = load_file(path)
    for name, layer in unet.named_modules():
        key = f"{PREFIX}{name.replace('.', '_')}"
        if f"{key}.lora_down.weight" not in tensors:
            continue
        down, up = (tensors.pop(f"{key}.lora_{part}.weight").float() for part in ("down", "up"))
        scale = weight * tensors.pop(f"{key}.alpha").item() / len(down)
        layer.weight += scale * (up.flatten(1) @ down.flatten(1)).view_as(layer.weight).to(layer.weight)
    if tensors:
        raise ValueError(f"{path.name} is for another model: it adapts {min(tensors)}.")
