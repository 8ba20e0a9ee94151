"""Self-attention guidance (arXiv:2210.00939): away from a picture that is blurred where the model looks.

The paper compares estimates of the noise in two inputs that differ themselves, x and its degraded d. In terms of the
picture, w(eps(x) - eps(d)) leads by w(blurred - x0(d)): to what was blurred, from what the model makes of it. A model
that knows crisp edges restores them there, and so loses them: on the starter every picture became softer. For models
that predict noise the paper's formula is what their users know, and stays. For all others, for which it was not
written, x0(x) - x0(d) leads: of the same picture, away from the estimate that did not see its edges.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fooocus_lite.engine.attention import AttentionMass
from fooocus_lite.engine.guidance.classifier_free import Correction
from fooocus_lite.engine.guidance.condition import Forward
from fooocus_lite.engine.guidance.passes import Passes
from fooocus_lite.engine.moment import Moment

_BLUR_SIZE = 9  # latents; arXiv:2210.00939, section 5.1
_BLUR_SIGMA = 1.0
_MASS_THRESHOLD = 1.0  # times the mean mass; arXiv:2210.00939, eq. 14


def self_attention(scale: float, forward: Forward, recorder: AttentionMass) -> Correction:
    """scale (base - degraded): arXiv:2210.00939, eq. 16; one more pass, told the same as the base.

    The difference is one of noise estimates for a model that predicts them, and of x0 for any other.
    """

    def correction(passes: Passes) -> Tensor:
        if recorder.mass is None:
            raise RuntimeError("the attention layer of self-attention guidance was not run")
        moment = passes.moment
        degraded = degrade(passes.model_input, passes.base, moment, recorder.mass)
        answer = forward(degraded, moment, passes.told)
        if moment.prediction_type == "epsilon":
            return (passes.base - answer).mul_(scale)
        change = moment.denoised(passes.model_input, passes.base) - moment.denoised(degraded, answer)
        return change.mul_(scale / moment.slope)

    return correction


def degrade(model_input: Tensor, prediction: Tensor, moment: Moment, mass: Tensor) -> Tensor:
    """The model input with what is attended to blurred away, at the same noise level (arXiv:2210.00939, alg. 1).

    Works on what the model sees, which is variance-preserving for every sampler, so it needs no scheduler.

    Args:
        model_input: (B, C, h, w).
        prediction: (B, C, h, w), the model's output for it.
        mass: (B, N), see `AttentionMass`.
    """
    denoised = moment.denoised(model_input, prediction)
    noise = moment.noise(model_input, prediction)
    height, width = model_input.shape[-2:]
    mask = (mass > _MASS_THRESHOLD).to(denoised.dtype)
    mask = mask.reshape(-1, 1, *map_size(height, width, mass.shape[1]))
    mask = F.interpolate(mask, (height, width))
    blurred = torch.lerp(denoised, _blur(denoised), mask)
    return moment.alpha * blurred + moment.sigma * noise


def map_size(height: int, width: int, places: int) -> tuple[int, int]:
    """Rows and columns of the attention map: the latents' size halved (rounding up) until it has ``places``."""
    while height * width > places:
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != places:
        raise RuntimeError(f"an attention map of {places} places does not fit these latents")
    return height, width


def _blur(latents: Tensor) -> Tensor:
    """Gaussian blur, (B, C, h, w) -> (B, C, h, w), mirrored at the edges."""
    offsets = torch.arange(_BLUR_SIZE, dtype=torch.float32, device=latents.device) - _BLUR_SIZE // 2
    kernel = torch.exp(-0.5 * (offsets / _BLUR_SIGMA) ** 2)
    kernel = (kernel / kernel.sum()).to(latents.dtype)
    channels = latents.shape[1]
    half = _BLUR_SIZE // 2
    # A mirror needs more pixels than it shows; pictures under 40 px are repeated at the edge instead.
    mode = "reflect" if min(latents.shape[-2:]) > half else "replicate"
    padded = F.pad(latents, (half, half, half, half), mode=mode)
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
