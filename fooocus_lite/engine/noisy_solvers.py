"""Samplers that add noise of their own: steps along the reverse SDE, and the ones of distilled models.

Noise comes from the picture's own seed, one independent draw a span of time; where two spans of one step overlap
(`dpmpp_sde`) the draws are put together as those of one Brownian path. All but the flow-capable ones keep
x0 + ratio·noise, as in arXiv:2206.00364.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from fooocus_lite.engine.levels import CLEAN, Level, NoiseLevels
from fooocus_lite.engine.schedules import Schedule, between
from fooocus_lite.engine.solvers import exponential_step, extrapolated, heun, midpoint_step
from fooocus_lite.engine.walk import Span, Walk

_LCM_TIME_SCALE = 10.0  # timestep_scaling of the published models
_LCM_DATA_STD = 0.5
_LCM_FIRST_TIME = 19  # of the 50 that are taught; below it the boundary would only keep noise
_TCD_GAMMA = 0.3
#: From which ratio Restart goes back to which (arXiv:2306.14878, table 5: one interval for latent diffusion).
_RESTART_LOW, _RESTART_HIGH = 0.1, 2.0


def down_and_up(here: float, there: float) -> tuple[float, float]:
    """(sigma to step down to, sigma of the fresh noise), down² + up² = there²: arXiv:2010.02502, eq. 16, eta = 1."""
    down = there**2 / here
    # The variance is right whatever is split off as fresh noise.
    return down, math.sqrt(max(there**2 - down**2, 0.0))


def euler_ancestral(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """Euler down to less than the next level, then fresh noise up to it."""
    here, there = walk.spans[i]
    denoised = walk.denoised(latents, here)
    if there.sigma == 0:
        return denoised
    down, up = down_and_up(here.ratio, there.ratio)
    kept = there.alpha * down / here.sigma
    scale = (there.alpha - here.alpha * kept) / (1 - kept)
    aim = denoised if scale == 1 else denoised * scale
    return torch.lerp(aim, latents, kept).add_(walk.noise(), alpha=there.alpha * up)


def dpm_2_ancestral(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """DPM2 down to less than the next level, then fresh noise up to it."""
    here, there = walk.spans[i]
    down, up = down_and_up(here.sigma, there.sigma)
    following = midpoint_step(latents, walk, here, down)
    return following if there.sigma == 0 else following + walk.noise() * up


def dpmpp_2s_ancestral(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """DPM-Solver++ in two calls (arXiv:2211.01095, algorithm 1, r = 1/2) down, then fresh noise up."""
    here, there = walk.spans[i]
    denoised = walk.denoised(latents, here)
    if there.sigma == 0:
        return denoised
    down, up = down_and_up(here.sigma, there.sigma)
    middle = walk.at_ratio(math.sqrt(here.sigma * down))
    halfway = exponential_step(latents, denoised, here, middle)
    following = exponential_step(latents, walk.denoised(halfway, middle), here, Level(1.0, down))
    return following + walk.noise() * up


def dpmpp_sde(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """The same in its SDE form (arXiv:2211.01095, section 6): noise on both halves, of one Brownian path."""
    here, there = walk.spans[i]
    denoised = walk.denoised(latents, here)
    if there.sigma == 0:
        return denoised
    middle = walk.at_ratio(math.sqrt(here.sigma * there.sigma))
    down, up = down_and_up(here.sigma, middle.sigma)
    first = walk.noise()
    halfway = exponential_step(latents, denoised, here, Level(1.0, down)) + first * up
    answer = walk.denoised(halfway, middle)
    down = there.sigma**2 / here.sigma
    following = exponential_step(latents, answer, here, Level(1.0, down))
    # What the first half's noise has become by the end of the step, and what the second half adds: together
    # there² - down², the variance of the whole step.
    shrunk = up * (there.sigma / middle.sigma) ** 2
    return following + first * shrunk + walk.noise() * down_and_up(middle.sigma, there.sigma)[1]


def sde_step(latents: Tensor, denoised: Tensor, here: Level, there: Level) -> Tensor:
    """What of an SDE's step is no noise, for an x0 that stays the same: SDE-DPM-Solver++1, arXiv:2211.01095, eq. 18."""
    back = here.log_snr - there.log_snr  # -h
    return (there.sigma / here.sigma * math.exp(back)) * latents - (there.alpha * math.expm1(2 * back)) * denoised


def fresh_noise(here: Level, there: Level) -> float:
    """The deviation of that step's noise."""
    return there.sigma * math.sqrt(-math.expm1(2 * (here.log_snr - there.log_snr)))


def dpmpp_2m_sde(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """SDE-DPM-Solver++ with two steps' memory, the midpoint's x0 as in `dpmpp_2m` (arXiv:2211.01095, eq. 19)."""
    here, there = walk.spans[i]
    walk.denoised(latents, here)
    following = sde_step(latents, extrapolated(walk, there), here, there)
    return following if there.sigma == 0 else following + walk.noise() * fresh_noise(here, there)


def dpmpp_3m_sde(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """Likewise with three steps' memory (arXiv:2211.01095, SDE form, with the weights of k-diffusion)."""
    here, there = walk.spans[i]
    denoised = walk.denoised(latents, here)
    following = sde_step(latents, denoised, here, there)
    if there.sigma == 0:
        return following
    h = there.log_snr - here.log_snr
    calls = list(walk.past)[-3:]
    if len(calls) > 1:
        # x0 as a parabola in lambda. Its bend counts as in the published solvers, half of the exact integral: which
        # leaves the order at two.
        phi_2 = math.expm1(-2 * h) / (2 * h) + 1
        phi_3 = phi_2 / (2 * h) - 0.5
        r_0 = (calls[-1].level.log_snr - calls[-2].level.log_snr) / h
        rise = (denoised - calls[-2].denoised) / r_0
        if len(calls) == 3:
            r_1 = (calls[-2].level.log_snr - calls[-3].level.log_snr) / h
            bend = (rise - (calls[-2].denoised - calls[-3].denoised) / r_1) / (r_0 + r_1)
            rise = rise + bend * r_0
            following = following - bend * (there.alpha * phi_3)
        following = following + rise * (there.alpha * phi_2)
    return following + walk.noise() * fresh_noise(here, there)


def ddpm(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """A draw from q(x_there | x_here, x0) (arXiv:2006.11239, eq. 6 and 7, over as many levels as a step has)."""
    here, there = walk.spans[i]
    denoised = walk.denoised(latents, here)
    if there.sigma == 0:
        return denoised
    shrink = here.alpha / there.alpha
    lost = here.sigma**2 - (shrink * there.sigma) ** 2  # beta of the paper: the noise between the two levels
    kept = shrink * (there.sigma / here.sigma) ** 2
    return (
        kept * latents
        + (there.alpha * lost / here.sigma**2) * denoised
        + walk.noise() * (math.sqrt(lost) * there.sigma / here.sigma)
    )


def lcm(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """To x0, and back to the next level with fresh noise (arXiv:2310.04378, algorithm 3)."""
    here, there = walk.spans[i]
    time = max(here.timestep, _LCM_FIRST_TIME) * _LCM_TIME_SCALE
    spread = time**2 + _LCM_DATA_STD**2
    c_skip, c_out = _LCM_DATA_STD**2 / spread, time / spread**0.5
    denoised = c_out * walk.denoised(latents, here) + c_skip * latents
    if there.sigma == 0:
        return denoised
    return (there.alpha * denoised).add_(walk.noise(), alpha=there.sigma)


def tcd(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """Down past the next level by gamma of its time, and back up to it (arXiv:2402.19159, algorithm 4)."""
    here, there = walk.spans[i]
    denoised = walk.denoised(latents, here)
    if there.sigma == 0:
        return denoised
    past = walk.at_time((1 - _TCD_GAMMA) * there.timestep)
    noise = (latents - here.alpha * denoised) / here.sigma
    shrink = there.alpha / past.alpha
    up = math.sqrt(max(there.sigma**2 - (shrink * past.sigma) ** 2, 0.0))
    return (there.alpha * denoised + (shrink * past.sigma) * noise).add_(walk.noise(), alpha=up)


def restart(latents: Tensor, i: int, walk: Walk) -> Tensor:
    """Heun's steps; where the way begins anew from more noise, that much is added (arXiv:2306.14878, algorithm 1)."""
    here = walk.spans[i][0]
    if i > 0 and here.sigma > (reached := walk.spans[i - 1][1].sigma):
        latents = latents + walk.noise() * math.sqrt(here.sigma**2 - reached**2)
    return heun(latents, i, walk)


def restart_spans(schedule: Schedule, levels: NoiseLevels, steps: int) -> list[Span]:
    """The spans of ``steps`` steps, of which some go from `_RESTART_HIGH` down to about `_RESTART_LOW` again.

    Nine of them from 20 steps on, twice a quarter of all from 36 on; with fewer there are none to spare.
    """
    again, times = (0, 0) if steps < 20 else (9, 1) if steps < 36 else (steps // 4, 2)
    main = [*schedule(levels, steps - again * times), CLEAN]
    spans = list(itertools.pairwise(main))
    low = min(range(1, len(main) - 1), key=lambda j: abs(main[j].ratio - _RESTART_LOW), default=0)
    if not times or not main[low].ratio < _RESTART_HIGH < levels.ratios[1]:
        return list(itertools.pairwise([*schedule(levels, steps), CLEAN]))
    anew = list(itertools.pairwise([*between(levels, _RESTART_HIGH, main[low].ratio, again), main[low]]))
    return spans[:low] + anew * times + spans[low:]
