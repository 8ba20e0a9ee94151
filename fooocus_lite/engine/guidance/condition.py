"""What the model is told, and the bare model itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine.moment import Moment

_MAX_REPEATED_TOKENS = 1024
_SIZES = "time_ids"


@dataclass(frozen=True)
class Condition:
    """What the model is told beside the latents.

    Attributes:
        prompt_embeds: (B, tokens, channels).
        added: More tensors with B rows, by the name the model knows: SDXL's ``text_embeds`` (pooled) and ``time_ids``.
    """

    prompt_embeds: Tensor
    added: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    @property
    def has_sizes(self) -> bool:
        """Whether the model is told the size that the picture is drawn at."""
        return _SIZES in self.added

    def as_if_larger(self, factor: float) -> Condition:
        """Told that the picture was drawn at ``factor`` times its size; itself where no sizes are told.

        Only the original size, the first two of (B, 6), changes: crop and target stay (arXiv:2307.01952, section 2.2).
        """
        if factor == 1 or not self.has_sizes:
            return self
        sizes = self.added[_SIZES].clone()
        sizes[:, :2] *= factor
        return dataclasses.replace(self, added=self.added | {_SIZES: sizes})

    def rows(self, kept: Sequence[int]) -> Condition:
        """What the pictures of these rows of the batch are told."""
        rows = list(kept)
        return Condition(self.prompt_embeds[rows], {name: tensor[rows] for name, tensor in self.added.items()})


@dataclass(frozen=True)
class Told:
    """Everything that a picture's model may be told.

    Attributes:
        cond: The wanted texts.
        uncond: The unwanted; ``None`` where no unconditional pass will run.
        empty: No text at all; only where Perp-Neg asks for it.
    """

    cond: Condition
    uncond: Condition | None = None
    empty: Condition | None = None


#: The bare model: (B, C, h, w) model input, a moment and a condition -> (B, C, h, w) float32.
Forward = Callable[[Tensor, Moment, Condition], Tensor]


def joined(*conditions: Condition) -> Condition | None:
    """All conditions as one batch, or ``None`` when they cannot share one.

    Texts of unequal length are repeated whole up to the same length: attention to n equal copies of the keys is
    attention to one of them, so nothing changes. Padding with zeros would draw attention to the padding.
    """
    lengths = [condition.prompt_embeds.shape[1] for condition in conditions]
    together = math.lcm(*lengths)
    if together > max(*lengths, _MAX_REPEATED_TOKENS):
        return None
    embeds = [c.prompt_embeds.repeat(1, together // c.prompt_embeds.shape[1], 1) for c in conditions]
    names = conditions[0].added
    return Condition(torch.cat(embeds), {name: torch.cat([c.added[name] for c in conditions]) for name in names})


def gathered(pictures: Sequence[Told]) -> Told | None:
    """What several pictures are told, a row each, or ``None`` when their texts cannot share a batch."""
    if len(pictures) == 1:
        return pictures[0]
    cond = joined(*(told.cond for told in pictures))
    unwanted = [told.uncond for told in pictures if told.uncond is not None]
    nothing = [told.empty for told in pictures if told.empty is not None]
    counts = {len(pictures), len(unwanted) or len(pictures), len(nothing) or len(pictures)}
    uncond, empty = (joined(*conditions) if conditions else None for conditions in (unwanted, nothing))
    if cond is None or len(counts) > 1 or (uncond is None and unwanted) or (empty is None and nothing):
        return None
    return Told(cond, uncond, empty)


def unet_forward(unet: Any, dtype: torch.dtype) -> Forward:
    """A `Forward` over a diffusers ``UNet2DConditionModel``, SD 1.5 shaped or SDXL shaped.

    Args:
        dtype: Of the UNet's weights; inputs are cast to it, outputs come back as float32.
    """

    def forward(model_input: Tensor, moment: Moment, condition: Condition) -> Tensor:
        output: Tensor = unet(
            model_input.to(dtype),
            moment.timestep,
            encoder_hidden_states=condition.prompt_embeds,
            added_cond_kwargs=condition.added or None,
            return_dict=False,
        )[0]
        return output.float()

    return forward
