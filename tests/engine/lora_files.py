"""LoRA files made on the spot, and what they do to a weight by the definition of each format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from fooocus_lite.engine.adapters import Adapters, Use
from fooocus_lite.plan import LoraRef

RANK = 3
Factors = dict[str, Tensor]
#: (shape of the weight, dice) -> factors by their names in kohya's and LyCORIS' files.
Maker = Callable[[tuple[int, ...], torch.Generator], Factors]


def dice(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, dice: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=dice) * 0.3


def lora(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    kernel = [1, 1] if len(shape) == 4 else []
    return {
        "lora_down.weight": numbers(RANK, *shape[1:], dice=dice),
        "lora_up.weight": numbers(shape[0], RANK, *kernel, dice=dice),
    }


def lora_with_core(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    return {
        "lora_down.weight": numbers(RANK, shape[1], 1, 1, dice=dice),
        "lora_mid.weight": numbers(RANK, RANK, *shape[2:], dice=dice),
        "lora_up.weight": numbers(shape[0], RANK, 1, 1, dice=dice),
    }


def dora(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    return lora(shape, dice) | {"dora_scale": numbers(shape[0], *[1] * (len(shape) - 1), dice=dice).abs() + 0.5}


def dora_of_inputs(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    return lora(shape, dice) | {"dora_scale": numbers(1, shape[1], *[1] * (len(shape) - 2), dice=dice).abs() + 0.5}


def loha(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    flat = torch.Size(shape[1:]).numel()
    return {f"hada_w{n}_{side}": numbers(*((shape[0], RANK) if side == "a" else (RANK, flat)), dice=dice)
            for n in "12" for side in "ab"}  # fmt: skip


def loha_with_cores(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    factors: Factors = {}
    for n in "12":
        factors |= {
            f"hada_t{n}": numbers(RANK, RANK, *shape[2:], dice=dice),
            f"hada_w{n}_a": numbers(RANK, shape[0], dice=dice),
            f"hada_w{n}_b": numbers(RANK, shape[1], dice=dice),
        }
    return factors


def lokr(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    return {
        "lokr_w1": numbers(2, 2, dice=dice),
        "lokr_w2": numbers(shape[0] // 2, shape[1] // 2, *shape[2:], dice=dice),
    }


def lokr_of_products(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    flat = torch.Size(shape[1:]).numel()
    return {
        "lokr_w1_a": numbers(2, RANK, dice=dice), "lokr_w1_b": numbers(RANK, 2, dice=dice),
        "lokr_w2_a": numbers(shape[0] // 2, RANK, dice=dice), "lokr_w2_b": numbers(RANK, flat // 2, dice=dice),
    }  # fmt: skip


def lokr_with_core(shape: tuple[int, ...], dice: torch.Generator) -> Factors:
    return {
        "lokr_w1": numbers(2, 2, dice=dice),
        "lokr_t2": numbers(RANK, RANK, *shape[2:], dice=dice),
        "lokr_w2_a": numbers(RANK, shape[0] // 2, dice=dice),
        "lokr_w2_b": numbers(RANK, shape[1] // 2, dice=dice),
    }


def as_layers(weights: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    """The one weight that layers in a row amount to, the last of which has the kernel's padding: what they answer to
    each unit input."""
    height, width = shape[2:]
    units = torch.eye(shape[1] * height * width).reshape(-1, shape[1], height, width)
    answer = units
    for weight in weights:
        answer = F.conv2d(answer, weight)
    return answer.reshape(shape[1], height, width, shape[0]).permute(3, 0, 1, 2)


def change(factors: Mapping[str, Tensor], weight: Tensor, alpha: float | None) -> Tensor:
    """What a layer's factors do to a weight, from the definition of its format, in other steps."""
    shape = tuple(weight.shape)
    scale = 1.0 if alpha is None or {"lokr_w1", "lokr_w2"} <= set(factors) else alpha / RANK
    if "hada_w1_a" in factors:
        halves = []
        for n in "12":
            first, second, core = (factors.get(f"hada_{name}") for name in (f"w{n}_a", f"w{n}_b", f"t{n}"))
            halves.append(_cored(core, first, second, shape) if core is not None else (first @ second).reshape(shape))
        return scale * halves[0] * halves[1]
    if any(name.startswith("lokr") for name in factors):
        left = factors["lokr_w1"] if "lokr_w1" in factors else factors["lokr_w1_a"] @ factors["lokr_w1_b"]
        small = (shape[0] // 2, shape[1] // 2, *shape[2:])
        if "lokr_t2" in factors:
            right = _cored(factors["lokr_t2"], factors["lokr_w2_a"], factors["lokr_w2_b"], small)
        elif "lokr_w2" in factors:
            right = factors["lokr_w2"]
        else:
            right = (factors["lokr_w2_a"] @ factors["lokr_w2_b"]).reshape(small)
        blocks = [torch.cat([left[row, column] * right for column in range(2)], dim=1) for row in range(2)]
        return scale * torch.cat(blocks)
    down, up = factors["lora_down.weight"], factors["lora_up.weight"]
    if len(shape) == 2:
        added = scale * torch.einsum("or,ri->oi", up, down)
    else:
        added = scale * as_layers([down, *[factors[n] for n in ("lora_mid.weight",) if n in factors], up], shape)
    magnitude = factors.get("dora_scale")
    if magnitude is None:
        return added
    moved, result = weight + added, torch.empty_like(weight)
    if magnitude.shape[0] == shape[0]:
        for row in range(shape[0]):
            result[row] = magnitude.flatten()[row] * moved[row] / moved[row].norm()
    else:
        for column in range(shape[1]):
            result[:, column] = magnitude.flatten()[column] * moved[:, column] / moved[:, column].norm()
    return result - weight


def _cored(core: Tensor, first: Tensor, second: Tensor, shape: tuple[int, ...]) -> Tensor:
    return as_layers([second[:, :, None, None], core, first.T[:, :, None, None]], shape)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
    return path


def use(path: Path, weight: float = 1.0, *, name: str = "ink") -> Use:
    """The LoRA in a file, ready to be applied."""
    (made,) = Adapters().uses([LoraRef(name, str(path), weight)])
    return made
