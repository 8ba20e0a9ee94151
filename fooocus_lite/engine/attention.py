"""Attention layers watched and perturbed from outside, and left as they were found.

How much attention every place of the picture receives is read from one layer without slowing the others. It keeps its
own kernel for its output; beside it the mass is computed head by head, so that the N×N attention map never exists for
more than one head and nothing larger than (B, N) is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

ProcessorT = TypeVar("ProcessorT")


class AttentionMass:
    """An attention processor that lets the former one do the work and notes the column mass.

    Attributes:
        rows: Batch rows to note, such as the unconditional half; ``None`` notes nothing.
        mass: (rows, N) float32: attention received by each of the N places, mean over heads, summed over
            queries; 1 is the average. From the last forward pass in which ``rows`` was set.
    """

    def __init__(self, former: Any) -> None:
        self._former = former
        self.rows: slice | None = None
        self.mass: Tensor | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(B, N, channels) -> (B, N, channels), exactly as the former processor computes it."""
        if self.rows is not None:
            self.mass = column_mass(attn, hidden_states[self.rows])
        output: Tensor = self._former(
            attn, hidden_states, encoder_hidden_states=encoder_hidden_states, attention_mask=attention_mask, **kwargs
        )
        return output


def column_mass(attn: Any, hidden_states: Tensor) -> Tensor:
    """(B, N) float32 column sums of softmax(Q Kᵀ / sqrt(d)), mean over heads.

    Args:
        attn: A diffusers self-attention layer with ``to_q``, ``to_k``, ``heads`` and ``scale``.
        hidden_states: (B, N, channels), what the layer sees.
    """
    query: Tensor = attn.to_q(hidden_states)
    key: Tensor = attn.to_k(hidden_states)
    heads: int = attn.heads
    mass = torch.zeros(query.shape[:2], dtype=torch.float32, device=query.device)
    for q, k in zip(query.chunk(heads, dim=-1), key.chunk(heads, dim=-1), strict=True):
        scores = torch.matmul(q, k.transpose(1, 2)).mul_(float(attn.scale))
        mass += scores.softmax(dim=-1, dtype=torch.float32).sum(dim=1)
    return mass.div_(heads)


@contextmanager
def recorded_attention(layer: nn.Module) -> Generator[AttentionMass]:
    """Note the attention mass of ``layer`` inside the ``with`` block; the layer is afterwards as it was before."""
    with ExitStack() as stack:
        yield _exchanged(layer, AttentionMass, stack)


class IdentityAttention:
    """Some rows of a batch in which every place attends only to itself (arXiv:2403.17377).

    Attributes:
        rows: Batch rows to perturb; ``None`` perturbs nothing.
    """

    def __init__(self) -> None:
        self.rows: slice | None = None


class _Perturbed:
    """An attention processor that lets the former one do the work of the rows that are not perturbed."""

    def __init__(self, former: Any, perturbation: IdentityAttention) -> None:
        self._former, self._perturbation = former, perturbation

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(B, N, channels) -> (B, N, channels)."""
        output: Tensor = self._former(
            attn, hidden_states, encoder_hidden_states=encoder_hidden_states, attention_mask=attention_mask, **kwargs
        )
        rows = self._perturbation.rows
        if rows is not None:
            # softmax(Q Kᵀ / sqrt(d)) becomes the identity: what comes out are the values.
            output[rows] = attn.to_out[0](attn.to_v(hidden_states[rows]))
        return output


@contextmanager
def identity_attention(layers: Sequence[nn.Module]) -> Generator[IdentityAttention]:
    """Let rows of ``layers`` be perturbed inside the ``with`` block; the layers are afterwards as they were before."""
    perturbation = IdentityAttention()
    with ExitStack() as stack:
        for layer in layers:
            _exchanged(layer, lambda former: _Perturbed(former, perturbation), stack)
        yield perturbation


def _exchanged(layer: nn.Module, make: Callable[[Any], ProcessorT], stack: ExitStack) -> ProcessorT:
    """A processor around the layer's former one, in its place until ``stack`` is left."""
    attn: Any = layer
    processor = make(attn.processor)
    stack.callback(attn.set_processor, attn.processor)
    attn.set_processor(processor)
    return processor
