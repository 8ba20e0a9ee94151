"""Samplers without noise of their own: steps along the probability-flow ODE (arXiv:2011.13456, eq. 13).

Written for x = alpha·x0 + sigma·noise at whatever alpha, so that the same function walks where alpha is 1 (x0 +
ratio·noise), where it is the model's own, and along the straight lines of flow models. ``lambda`` is
log(alpha / sigma), h its change over a step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fooocus_lite.engine.levels import Level
from fooocus_lite.engine.walk import Call, Walk

# Gauss's two points integrate the cubics of a fourth-order method exactly.
_GAUSS = (0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12))


def slope(latents: Tensor, denoised: Tensor, level: Level) -> Tensor:
    """dx/dsigma = (x - x0) / sigma, right for alpha = 1 (arXiv:2206.00364, eq. 3) and alpha = 1 - sigma (flow)."""
    return (latents - denoised) / level.sigma


def exponential_step(latents: Tensor, denoised: Tensor, here: Level, there: Level) -> Tensor:
    """The ODE solved exactly for an x0 that stays the same: arXiv:2211.01095, eq. 9 with k = 1; DDIM."""
    grown = math.expm1(here.log_snr - there.log_snr)
    return (there.sigma / here.sigma) * latents - (there.alpha * grown) * denoised


def extrapolated(walk: Walk, there: Level) -> Tensor:
    """x0 in the middle of the step, from this call and the former: D of arXiv:2211.01095, algorithm 2."""
    now = walk.past[-1]
    if there.sigma == 0 or len(walk.past) < 2:
        return now.denoised
    former = walk.past[-2]
    h = there.log_snr - now.level.log_snr
    ratio = (now.level.log_snr - former.level.log_snr) / h
    return torch.lerp(former.denoised, now.denoised, 1 + 0.5 / ratio)


def euler(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """Euler's method on dx/dsigma (arXiv:2206.00364, algorithm 2 without churn)."""
    here, there = walk.spans[i]
    return torch.lerp(walk.denoised(latents, here), latents, there.sigma / here.sigma)


def heun(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """Euler's step, then once more with the mean of both ends' slopes (arXiv:2206.00364, algorithm 1)."""
    here, there = walk.spans[i]
    denoised = walk.denoised(latents, here)
    if there.sigma == 0:
        return denoised
    first = slope(latents, denoised, here)
    reached = latents + first * (there.sigma - here.sigma)
    second = slope(reached, walk.denoised(reached, there), there)
    return latents + (first + second) * (0.5 * (there.sigma - here.sigma))


def dpm_2(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """The midpoint method, with the middle in log sigma as in DPM-Solver-2 (arXiv:2206.00927, algorithm 1)."""
    here, there = walk.spans[i]
    return midpoint_step(latents, walk, here, there.sigma)


def midpoint_step(latents: Tensor, walk: Walk, here: Level, sigma: float) -> Tensor:
    """From ``here`` to ``sigma`` with the slope at their geometric mean."""
    denoised = walk.denoised(latents, here)
    if sigma == 0:
        return denoised
    middle = walk.at_sigma(math.sqrt(here.sigma * sigma))
    halfway = latents + slope(latents, denoised, here) * (middle.sigma - here.sigma)
    return latents + slope(halfway, walk.denoised(halfway, middle), middle) * (sigma - here.sigma)


def lms(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """Adams and Bashforth's method for uneven steps: a polynomial through the last four slopes, integrated."""
    here, there = walk.spans[i]
    walk.denoised(latents, here)
    calls = list(walk.past)[-min(i + 1, 4) :]
    weights = adams_weights([call.level.sigma for call in calls], there.sigma)
    for call, weight in zip(calls, weights, strict=True):
        latents = latents + slope(call.latents, call.denoised, call.level) * weight
    return latents


def adams_weights(sigmas: list[float], there: float) -> list[float]:
    """∫ of each Lagrange polynomial over ``sigmas`` (at most four) from the last of them to ``there``."""
    width = there - sigmas[-1]
    nodes = [sigmas[-1] + width * part for part in _GAUSS]

    def basis(j: int, at: float) -> float:
        return math.prod((at - other) / (sigmas[j] - other) for k, other in enumerate(sigmas) if k != j)

    return [width / 2 * sum(basis(j, node) for node in nodes) for j in range(len(sigmas))]


def dpmpp_2m(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """DPM-Solver++ with two steps' memory (arXiv:2211.01095, algorithm 2)."""
    here, there = walk.spans[i]
    walk.denoised(latents, here)
    return exponential_step(latents, extrapolated(walk, there), here, there)


def ddim(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """arXiv:2010.02502, eq. 12 with sigma_t = 0."""
    here, there = walk.spans[i]
    return exponential_step(latents, walk.denoised(latents, here), here, there)


def uni_pc(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """Predictor and corrector on the data prediction (arXiv:2302.04867, algorithms 1 and 2, B(h) = e^h - 1)."""
    here, there = walk.spans[i]
    denoised = walk.denoised(latents, here)
    now = walk.past[-1]
    if i > 0:
        now.latents = _corrected(walk, here, denoised, order=min(2, i, len(walk.spans) - i + 1))
    phi = math.expm1(here.log_snr - there.log_snr)
    following = (there.sigma / here.sigma) * now.latents - (there.alpha * phi) * denoised
    if min(2, i + 1, len(walk.spans) - i) == 2:
        former = walk.past[-2]
        ratio = (former.level.log_snr - here.log_snr) / (there.log_snr - here.log_snr)
        following = following - (there.alpha * phi * 0.5 / ratio) * (former.denoised - denoised)
    return following


def _corrected(walk: Walk, there: Level, denoised: Tensor, *, order: int) -> Tensor:
    """The latents at ``there`` once more, now that x0 at them is known."""
    last: Call = walk.past[-2]
    here = last.level
    h = there.log_snr - here.log_snr
    phi = math.expm1(-h)
    corrected = (there.sigma / here.sigma) * last.latents - (there.alpha * phi) * last.denoised
    weight = 0.5
    if order == 2:
        former = walk.past[-3]
        ratio = (former.level.log_snr - here.log_snr) / h
        if math.isfinite(ratio):
            former_weight, weight = _unic_weights(h, ratio)
            corrected = corrected - (there.alpha * phi * former_weight / ratio) * (former.denoised - last.denoised)
    return corrected - (there.alpha * phi * weight) * (denoised - last.denoised)


def _unic_weights(h: float, ratio: float) -> tuple[float, float]:
    """Solve R rho = b of arXiv:2302.04867, eq. 8 for two points, (ratio, 1)."""
    phi_1 = math.expm1(-h)
    phi_2 = phi_1 / -h - 1
    phi_3 = phi_2 / -h - 0.5
    b_1, b_2 = phi_2 / phi_1, 2 * phi_3 / phi_1
    former = (b_1 - b_2) / (1 - ratio)
    return former, b_1 - former
