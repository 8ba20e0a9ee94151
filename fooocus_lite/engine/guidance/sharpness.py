"""Sharpness: a little less noise is found in flat places, so that grain there survives to the end.

The noise estimate is mixed with a copy of itself that is smoothed inside the shapes of the estimated picture, more
and more so towards the end of the walk. Size, widths and weight are those that Fooocus's users know.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fooocus_lite.engine.guidance.passes import PICTURE, Passes

_SIZE = 13  # latents
_REACH = 3.0  # standard deviation in latents
_LIKENESS = 3.0  # likewise in standard deviations of the picture, channels added up
_WEIGHT = 0.001  # of sharpness 1 at the last step


def sharpened(passes: Passes, sharpness: float) -> Tensor:
    """cond, (B, C, h, w), with a share of its noise estimate smoothed along the estimate of x0."""
    moment = passes.moment
    share = _WEIGHT * sharpness * moment.progress
    if share <= 0:
        return passes.cond
    noise = moment.noise(passes.model_input, passes.cond)
    change = smoothed(noise, moment.denoised(passes.model_input, passes.cond)) - noise
    # x0 falls by sigma / alpha per noise, and by `slope` per prediction.
    return torch.add(passes.cond, change, alpha=-share * moment.ratio / moment.slope)


def smoothed(values: Tensor, guide: Tensor) -> Tensor:
    """``values`` averaged over neighbours that are alike in ``guide``, both (B, C, h, w): a joint bilateral filter.

    The distance in the guide is the sum of its channels' absolute differences, in units of its standard deviation.
    """
    std, mean = torch.std_mean(guide, dim=PICTURE, keepdim=True)
    guide = (guide - mean) / (std + 1e-5)
    half = _SIZE // 2
    # A mirror needs more latents than it shows.
    mode = "reflect" if min(values.shape[-2:]) > half else "replicate"
    wide_values, wide_guide = (F.pad(one, (half, half, half, half), mode=mode) for one in (values, guide))
    offsets = torch.arange(_SIZE, dtype=values.dtype, device=values.device) - half
    nearness = torch.exp(-0.5 * (offsets / _REACH) ** 2)
    height = values.shape[-2]
    total, weights = torch.zeros_like(values), torch.zeros_like(values[:, :1])
    for row in range(_SIZE):  # a row of neighbours at a time: memory for 13 copies, not for 169
        near_values, near_guide = (
            one[:, :, row : row + height].unfold(3, _SIZE, 1) for one in (wide_values, wide_guide)
        )
        distance = (near_guide - guide.unsqueeze(-1)).abs().sum(1, keepdim=True)
        weight = torch.exp(-0.5 * (distance / _LIKENESS) ** 2) * (nearness * nearness[row])
        total += (near_values * weight).sum(-1)
        weights += weight.sum(-1)
    return total / weights
