"""Guidance by a second text: how far, in which direction, and how much of the contrast that it brings stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fooocus_lite.engine.guidance.passes import PICTURE, Passes
from fooocus_lite.engine.moment import Moment
from fooocus_lite.guidances import Weights

#: A tensor to add to the conditional prediction, (B, C, h, w).
Correction = Callable[[Passes], Tensor]
_LEAST_NORM = 1e-12  # squared, of float32: no direction at all


def scale_at(weights: Weights, moment: Moment) -> float:
    """The guidance scale here: with adaptive guidance a high one begins as the lower and grows with the clock."""
    least, most = weights.adaptive_cfg, weights.guidance_scale
    return least + (most - least) * moment.progress if 0 < least < most else most


def classifier_free(weights: Weights) -> Correction:
    """(scale - 1)(cond - base): arXiv:2207.12598, eq. 6, with scale = w + 1."""
    return lambda passes: (passes.cond - passes.base).mul_(scale_at(weights, passes.moment) - 1)


class Projected:
    """The same with its step from base to cond tamed, on estimates of x0 (arXiv:2410.02416).

    Momentum over the calls of the model so far, a longest norm, and less of what is parallel to cond: that part
    mostly adds contrast. Norms are of one picture. Holds the momentum of one picture or batch.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._running: Tensor | None = None

    def __call__(self, passes: Passes) -> Tensor:
        """(B, C, h, w), as a `Correction`."""
        weights, moment = self._weights, passes.moment
        step = (passes.cond - passes.base).mul_(moment.slope)
        if weights.apg_momentum != 0:
            running = self._running
            step = step if running is None else torch.add(step, running, alpha=weights.apg_momentum)
            self._running = step
        if weights.apg_threshold > 0:
            norm = torch.linalg.vector_norm(step, dim=PICTURE, keepdim=True)
            step = step * (weights.apg_threshold / norm.clamp_min(_LEAST_NORM)).clamp_max(1)
        if weights.apg_eta != 1:
            along = along_direction(step, moment.denoised(passes.model_input, passes.cond))
            step = torch.add(step, along, alpha=weights.apg_eta - 1)
        return step * ((scale_at(weights, moment) - 1) / moment.slope)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these pictures of the batch only."""
        self._running = None if self._running is None else self._running[list(rows)]


def along_direction(vector: Tensor, direction: Tensor) -> Tensor:
    """The part of ``vector`` that is parallel to ``direction``, both (B, C, h, w), picture by picture."""
    overlap = (vector * direction).sum(PICTURE, keepdim=True)
    return direction * (overlap / direction.square().sum(PICTURE, keepdim=True).clamp_min(_LEAST_NORM))


def perpendicular(passes: Passes, weight: float) -> Tensor:
    """cond without what of the unwanted texts stands at a right angle to the wanted ones (arXiv:2304.04968).

    (B, C, h, w), to be led to from the empty text: base + scale (cond' - base).
    """
    if passes.negative is None:
        return passes.cond
    wanted, unwanted = passes.cond - passes.base, passes.negative - passes.base
    return torch.sub(passes.cond, unwanted - along_direction(unwanted, wanted), alpha=weight)


def rescaled(prediction: Tensor, passes: Passes, share: float) -> Tensor:
    """``share`` of the way to the standard deviation of cond, picture by picture (arXiv:2305.08891, eq. 15 and 16).

    On velocities, which the paper's models predict. To scale a noise estimate would leave noise in x0.
    """
    moment, velocities, back = passes.moment, (prediction, passes.cond), 1.0
    if moment.prediction_type in ("epsilon", "sample"):  # arXiv:2202.00512, appendix D: v = (alpha x - x0) / sigma
        noisy = moment.alpha * passes.model_input
        velocities = tuple((noisy - moment.denoised(passes.model_input, one)) / moment.sigma for one in velocities)
        back = -moment.sigma / moment.slope
    has, wanted = (velocity.std(PICTURE, keepdim=True) for velocity in velocities)
    return prediction + velocities[0] * ((wanted / has.clamp_min(_LEAST_NORM) - 1) * (share * back))
