"""The formulas of adapters: factors in, the change of one weight out.

`fooocus_lite.lora_keys.delta_shape` has checked the shapes; here are only the numbers. All in float32, whatever
the model and the file are stored in, so that the sum of several changes is rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_lite.lora_keys import Shape, delta_shape, rank_of


@dataclass(frozen=True)
class Delta:
    """What an adapter does to one weight, at weight 1.

    Attributes:
        factors: By parameter, as `fooocus_lite.lora_keys` names them, without ``alpha``.
        scale: alpha / rank.
        shape: Of the change.
        rows: First and end of those that are for the weight, where the file has one matrix of several layers.
    """

    factors: Mapping[str, Tensor]
    scale: float
    shape: Shape
    rows: tuple[int, int] | None = None

    @property
    def size_bytes(self) -> int:
        return sum(factor.nbytes for factor in self.factors.values())

    @property
    def depends_on_weight(self) -> bool:
        """Whether the change is another for another weight, as that of a DoRA is."""
        return "dora_scale" in self.factors

    def add_to(self, result: Tensor, weight: Tensor, strength: float) -> None:
        """Add the change, ``strength`` times, to ``result`` in place.

        Args:
            result: Float32, shaped as ``weight``.
            weight: Float32, as the model has it; read only where the change depends on it.
        """
        rows = slice(*self.rows) if self.rows else slice(None)
        factors = {name: factor.to(result.device, torch.float32) for name, factor in self.factors.items()}
        if result.dim() == 2 and set(factors) == {"down", "up"}:  # nearly every layer of nearly every file: one kernel
            result.addmm_(factors["up"].flatten(1)[rows], factors["down"].flatten(1), alpha=strength * self.scale)
            return
        change = _formula(factors)(factors)[rows].reshape(result.shape).mul_(self.scale)
        magnitude = factors.get("dora_scale")
        if magnitude is not None and magnitude.shape[0] == self.shape[0]:  # of the outputs
            magnitude = magnitude[rows]
        result.add_(change if magnitude is None else _decomposed(weight, change, magnitude), alpha=strength)


def make_delta(factors: Mapping[str, Tensor], alpha: float | None, *, is_rank_stable: bool = False) -> Delta:
    """The change that a layer's factors make.

    Args:
        factors: By parameter, without ``alpha``.
        alpha: Of this layer; ``None`` is the rank, as trainers that do not save it mean it.
        is_rank_stable: Divide alpha by the root of the rank (arXiv:2312.03732).

    Raises:
        ValueError: the factors make no change; says why.
    """
    shapes = {name: tuple(factor.shape) for name, factor in factors.items()}
    shape, rank = delta_shape(shapes), rank_of(shapes)
    if alpha is None or rank is None:  # a Kronecker product of two whole matrices has no rank; its alpha says nothing
        return Delta(factors, 1.0, shape)
    return Delta(factors, alpha / (math.sqrt(rank) if is_rank_stable else rank), shape)


def _formula(factors: Mapping[str, Tensor]) -> Callable[[Mapping[str, Tensor]], Tensor]:
    if "diff" in factors:
        return lambda factors: factors["diff"].clone()
    if "down" in factors:
        return _low_rank
    return _hadamard if "hada_w1_a" in factors else _kronecker


def _low_rank(factors: Mapping[str, Tensor]) -> Tensor:
    """up · down (arXiv:2106.09685, eq. 3); the kernel of a convolution is in ``down``, or between them."""
    down, up = factors["down"], factors["up"].flatten(1)
    if "mid" in factors:
        return torch.einsum("or,rshw,si->oihw", up, factors["mid"], down.flatten(1))
    return up @ down.flatten(1)


def _hadamard(factors: Mapping[str, Tensor]) -> Tensor:
    """(w1a · w1b) ∘ (w2a · w2b): arXiv:2108.06098, eq. 3; with cores, proposition 3."""

    def half(number: int) -> Tensor:
        first, second = factors[f"hada_w{number}_a"], factors[f"hada_w{number}_b"]
        core = factors.get(f"hada_t{number}")
        return first @ second if core is None else _tucker(core, first, second)

    return half(1) * half(2)


def _kronecker(factors: Mapping[str, Tensor]) -> Tensor:
    """w1 ⊗ w2 (arXiv:2309.14859, section 3.3), each whole or a product; of a convolution, w2 holds the kernel."""

    def half(number: int) -> Tensor:
        whole = factors.get(f"lokr_w{number}")
        if whole is not None:
            return whole
        first, second = factors[f"lokr_w{number}_a"], factors[f"lokr_w{number}_b"]
        core = factors.get("lokr_t2") if number == 2 else None
        return first @ second if core is None else _tucker(core, first, second)

    left, right = half(1), half(2)
    return torch.kron(left.reshape(*left.shape, *[1] * (right.dim() - left.dim())), right.contiguous())


def _tucker(core: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Core (i, j, h, w), first (i, out), second (j, in) -> (out, in, h, w)."""
    return torch.einsum("ijhw,io,jn->onhw", core, first, second)


def _decomposed(weight: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
    """magnitude · V / ‖V‖ - weight, where V = weight + change: arXiv:2402.09353, eq. 5.

    Magnitude and norm belong to the outputs, one for each row of the matrix. Some early files have one for each
    input instead.
    """
    moved = weight + change
    axis = magnitude_axis(tuple(magnitude.shape), tuple(weight.shape))
    norm = torch.linalg.vector_norm(moved, dim=[dim for dim in range(moved.dim()) if dim != axis], keepdim=True)
    # A row of zeros has no direction: it stays zero.
    norm = torch.where(norm == 0, torch.ones_like(norm), norm)
    return moved * (magnitude.reshape(norm.shape) / norm) - weight


def magnitude_axis(magnitude: Shape, weight: Shape) -> int | None:
    """The axis of a weight whose entries a DoRA's magnitudes belong to: 0 outputs, 1 inputs, ``None`` neither.

    A row of magnitudes, (1, n), means inputs; else a square weight's are its outputs'.
    """
    count = math.prod(magnitude)
    if len(weight) < 2 or max(magnitude, default=0) != count:
        return None
    is_row = len(magnitude) > 1 and magnitude[0] == 1 and weight[0] != 1
    axis = 1 if is_row or count != weight[0] else 0
    return axis if count == weight[axis] else None
