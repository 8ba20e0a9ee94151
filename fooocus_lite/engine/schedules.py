"""Schedules: at which levels of noise a walk makes its steps. Rows of `fooocus_lite.registry.SCHEDULERS` name them.

Each function gives the ``steps`` levels from which a step begins, the noisiest first; the last step then ends at
the picture itself, whatever the schedule. "Time" is the clock of the model, see `NoiseLevels`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from fooocus_lite.engine.levels import Level, NoiseLevels

#: (levels of the model, steps) -> steps levels.
Schedule = Callable[[NoiseLevels, int], list[Level]]

KARRAS_RHO = 7.0
_PLAYGROUND_RANGE = (0.002, 120.0)
_BETA_SHAPE = 0.6
_LCM_POINTS = (50, 100, 200, 500, 1000)
#: arXiv:2404.14507, the optimized levels of SDXL for ten steps (the last one, 0.029, is where a walk may end).
_ALIGNED = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)


def normal(levels: NoiseLevels, steps: int) -> list[Level]:
    """Evenly in time, the first and the last one included."""
    if steps == 1:
        return [levels.at_time(levels.last_time)]
    return _at_times(levels, np.linspace(0, levels.last_time, steps, dtype=np.float32)[::-1])


def sgm_uniform(levels: NoiseLevels, steps: int) -> list[Level]:
    """Evenly in time from the first one on, the last interval ending at the last one ("trailing", arXiv:2305.08891)."""
    return _at_times(levels, np.linspace(levels.last_time, 0, steps + 1)[:-1])


def whole_uniform(levels: NoiseLevels, steps: int) -> list[Level]:
    """As `sgm_uniform`, at whole times, which are the ones a model was trained at."""
    return _at_times(levels, np.linspace(0, levels.last_time, steps + 1).round()[::-1][:-1])


def simple(levels: NoiseLevels, steps: int) -> list[Level]:
    """Every T/n-th of the model's T levels, from the first one on; exactly, where it knows all times."""
    count = levels.last_time + 1
    stride = count / steps
    places = (i * stride if levels.kind == "flow" else i * count // steps for i in range(steps))
    return _at_times(levels, (levels.last_time - place for place in places))


def ddim_uniform(levels: NoiseLevels, steps: int) -> list[Level]:
    """Every ⌊T/n⌋-th time, from the least noise up (arXiv:2010.02502, appendix D.2); does not begin at the most."""
    stride = (levels.last_time + 1) // steps
    return _at_times(levels, (1 + stride * i for i in reversed(range(steps))))


def beta(levels: NoiseLevels, steps: int) -> list[Level]:
    """Times at the quantiles of a Beta(0.6, 0.6) distribution: denser at both ends (arXiv:2407.12173)."""
    return _at_times(levels, (levels.last_time * _beta_quantile(1 - i / steps) for i in range(steps)))


def lcm(levels: NoiseLevels, steps: int) -> list[Level]:
    """Evenly spread over the 50 times of consistency distillation, a finer grid for more steps (arXiv:2310.04378)."""
    points = next(points for points in _LCM_POINTS if points >= steps)
    stride = (levels.last_time + 1) // points
    return _at_times(levels, (stride * (points - i * points // steps) - 1 for i in range(steps)))


def turbo(levels: NoiseLevels, steps: int) -> list[Level]:
    """The first of the ten times that adversarial distillation teaches (arXiv:2311.17042): 999, 899, …"""
    stride = (levels.last_time + 1) // 10
    return _at_times(levels, (levels.last_time - stride * i for i in range(steps)))


def karras(levels: NoiseLevels, steps: int) -> list[Level]:
    """Evenly in ratio^(1/7), over all that the model knows (arXiv:2206.00364, eq. 5)."""
    return _at_ratios(levels, _powers(*levels.ratios, steps))


def edm(levels: NoiseLevels, steps: int) -> list[Level]:
    """As `karras`, over the range of Playground v2.5."""
    return _at_ratios(levels, _powers(*_PLAYGROUND_RANGE, steps))


def exponential(levels: NoiseLevels, steps: int) -> list[Level]:
    """Evenly in the logarithm of the ratio, over all that the model knows."""
    low, high = levels.ratios
    return _at_ratios(levels, np.exp(np.linspace(math.log(high), math.log(low), steps)))


def align_your_steps(levels: NoiseLevels, steps: int) -> list[Level]:
    """The levels optimized for SDXL, log-linear in between for other counts than ten (arXiv:2404.14507, section 4)."""
    known = np.linspace(0, 1, len(_ALIGNED))
    wanted = np.linspace(0, 1, steps + 1)[:-1]
    return _at_ratios(levels, np.exp(np.interp(wanted, known, np.log(_ALIGNED))))


def between(levels: NoiseLevels, high: float, low: float, steps: int) -> list[Level]:
    """``steps`` levels from ratio ``high`` on, the next one after them being ``low``; spaced as `karras`."""
    return _at_ratios(levels, _powers(low, high, steps + 1)[:-1])


def _powers(low: float, high: float, count: int) -> list[float]:
    ramp = np.linspace(0, 1, count)
    first, last = high ** (1 / KARRAS_RHO), low ** (1 / KARRAS_RHO)
    return list((first + ramp * (last - first)) ** KARRAS_RHO)


def _at_times(levels: NoiseLevels, times: Iterable[float]) -> list[Level]:
    return [levels.at_time(float(time)) for time in times]


def _at_ratios(levels: NoiseLevels, ratios: Iterable[float]) -> list[Level]:
    # In single precision, as models are trained.
    return [levels.at_ratio(float(np.float32(ratio))) for ratio in ratios]


def _beta_quantile(share: float) -> float:
    """Below which value a `_BETA_SHAPE` distribution has ``share`` of its mass; it is symmetric about a half."""
    if share > 0.5:
        return 1 - _beta_quantile(1 - share)
    wanted = share * 2 * _beta_mass(0.5)
    x = (_BETA_SHAPE * wanted) ** (1 / _BETA_SHAPE)  # exact for small ones; Newton's method does the rest
    for _ in range(6):
        x -= (_beta_mass(x) - wanted) * (x * (1 - x)) ** (1 - _BETA_SHAPE)
    return x


def _beta_mass(x: float) -> float:
    """∫₀ˣ (t(1-t))^(a-1) dt for x up to about a half: x^a Σ (1-a)_k / (k! (a+k)) x^k, terms falling like x^k."""
    total, term = 0.0, 1.0
    for k in range(50):
        total += term / (_BETA_SHAPE + k)
        term *= (k + 1 - _BETA_SHAPE) / (k + 1) * x
    return x**_BETA_SHAPE * total
