"""A model whose every answer is known: data ~ N(0, DATA_STD²), for which the ideal denoiser has a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine.denoise import denoise
from fooocus_lite.engine.moment import Moment, NoiseSource, Step
from fooocus_lite.engine.samplers import Path, make_path
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from tests.engine.tiny_sdxl import SCHEDULER

CPU = torch.device("cpu")
DATA_STD = 0.5
CONFIGS: dict[str, dict[str, Any]] = {
    "epsilon": SCHEDULER | {"prediction_type": "epsilon"},
    "v_prediction": SCHEDULER | {"prediction_type": "v_prediction"},
    "flow_prediction": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    "edm": {"sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0},
}
Model = Callable[[Tensor, Moment], Tensor]


class OneHot(NoiseSource):
    """Noise whose k-th draw is the k-th unit vector.

    Every solver is linear in its noises where its model is, so the squared length of what it makes of them is the
    exact variance of what it makes of independent ones.
    """

    def __init__(self, places: int) -> None:
        super().__init__(0, (1, 1, places, 1), CPU)
        self.drawn = 0

    def draw(self) -> Tensor:
        noise = torch.zeros(self._shape, dtype=torch.float64)
        noise[0, 0, self.drawn] = 1
        self.drawn += 1
        return noise


def path_of(sampler: str, steps: int, scheduler: str = "", *, kind: str = "epsilon", noise: NoiseSource) -> Path:
    row = SAMPLERS[sampler]
    return make_path(row, SCHEDULERS[scheduler or row.scheduler], CONFIGS[kind], steps, device=CPU, noise=noise)


def walk(path: Path, denoiser: Model, latents: Tensor) -> tuple[Tensor, list[Step]]:
    """The latents at the end, and every step on the way."""
    seen: list[Step] = []
    ends = denoise(lambda x, moment: predicted(x, moment, denoiser(x, moment)), path, latents, observe=seen.append)
    return ends, seen


def predicted(x: Tensor, moment: Moment, denoised: Tensor) -> Tensor:
    """What a model of the moment's kind says when it thinks of ``denoised``."""
    noise = (x - moment.alpha * denoised) / moment.sigma
    return {
        "epsilon": lambda: noise,
        "v_prediction": lambda: moment.alpha * noise - moment.sigma * denoised,
        "flow_prediction": lambda: noise - denoised,
        "edm": lambda: (denoised - 0.25 * moment.alpha * x) / (0.5 * moment.sigma),
    }[moment.prediction_type]()


def spread(moment: Moment) -> float:
    """The deviation of x at a moment."""
    return math.hypot(moment.alpha * DATA_STD, moment.sigma)


def ideal(x: Tensor, moment: Moment) -> Tensor:
    """E[x0 | x]: alpha s² x / (alpha² s² + sigma²)."""
    return x * (moment.alpha * DATA_STD**2 / spread(moment) ** 2)


def consistent(x: Tensor, moment: Moment) -> Tensor:
    """Where the sampling ODE ends from x: the answer of a perfectly distilled model."""
    return x * (DATA_STD / spread(moment))
