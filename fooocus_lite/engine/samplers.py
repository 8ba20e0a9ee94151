"""From a sampler's row in the registry to a `Schedule`: where the steps are and how one is taken.

The methods are diffusers' scheduler classes. What they get wrong, or do in a way that makes the host wait for
the device, is put right here and nowhere else; each place says what and why.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from fooocus_lite.engine.moment import Moment, NoiseSource
from fooocus_lite.engine.steppers import SIGMA_SPACE, STEPPERS, scheduler_class
from fooocus_lite.registry import Sampler

# What the model was trained with. Everything else in a model's scheduler_config.json is some sampler's taste:
# SDXL's own file says timestep_spacing "leading", from which Euler's Karras range would start at 8.4, not 14.6.
_NOISE_PROCESS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
)


class DiffusersScheduler(Protocol):
    """The part of a diffusers scheduler that we use."""

    timesteps: Tensor
    sigmas: Tensor
    alphas_cumprod: Tensor
    config: Any
    init_noise_sigma: Any
    host_clock: list[float]

    def set_timesteps(self, num_inference_steps: int) -> None: ...
    def set_begin_index(self, begin_index: int) -> None: ...
    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, **extra: Any) -> Any: ...
    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor: ...


class Schedule:
    """The points of one walk and the method that goes from one to the next. Used once."""

    def __init__(self, kind: str, scheduler: DiffusersScheduler, noise: NoiseSource, device: torch.device) -> None:
        self._scheduler = scheduler
        self._noise = noise
        self._stepper = STEPPERS.get(kind)
        self._host_timesteps = scheduler.timesteps
        self._extra = _noise_arguments(scheduler)
        on_device = scheduler.timesteps.to(device)
        prediction = str(scheduler.config.prediction_type)
        self.moments = tuple(
            Moment(i, on_device[i], alpha, sigma, prediction) for i, (alpha, sigma) in enumerate(_levels(scheduler))
        )
        #: Standard deviation of the first latents.
        self.init_noise_sigma = float(scheduler.init_noise_sigma)

    def scale_model_input(self, latents: Tensor, moment: Moment) -> Tensor:
        """What the model wants to see: (B, C, h, w) with variance preserved, whatever the sampler keeps."""
        if self._stepper in SIGMA_SPACE:
            return latents * moment.alpha
        if self._stepper is not None:
            return latents
        return self._scheduler.scale_model_input(latents, self._host_timesteps[moment.index])

    def step(self, prediction: Tensor, moment: Moment, latents: Tensor) -> Tensor:
        """The latents at the next point, (B, C, h, w)."""
        if self._stepper is not None:
            there = self.moments[moment.index + 1] if moment.index + 1 < len(self.moments) else None
            return self._stepper(self._scheduler, moment, there, prediction, latents, self._noise)
        extra: dict[str, Any] = {}
        if self._extra == "variance_noise":
            extra["variance_noise"] = self._noise.draw()
        elif self._extra == "generator":
            extra["generator"] = self._noise.generator
        return self._scheduler.step(prediction, self._host_timesteps[moment.index], latents, **extra).prev_sample


def make_schedule(
    sampler: Sampler,
    model_config: Mapping[str, Any],
    steps: int,
    *,
    device: torch.device,
    noise: NoiseSource,
) -> Schedule:
    """The walk that ``sampler`` takes in ``steps`` steps for a model trained as ``model_config`` says.

    Args:
        model_config: The model's ``scheduler_config.json``.
        noise: Where stochastic samplers draw from.
    """
    scheduler = _make_scheduler(sampler, model_config, steps)
    scheduler.set_timesteps(steps)
    if sampler.config.get("use_karras_sigmas"):
        # diffusers rounds to whole timesteps, so the model would be told another noise level than the one it sees.
        scheduler.timesteps = _exact_timesteps(scheduler)
    if hasattr(scheduler, "set_begin_index"):
        # Otherwise the first step searches the timesteps with nonzero() and .item().
        scheduler.set_begin_index(0)
    # LCM's boundary condition is a function of the clock; read here, because reading a tensor later would wait.
    scheduler.host_clock = scheduler.timesteps.tolist()
    return Schedule(sampler.scheduler, scheduler, noise, device)


def _make_scheduler(sampler: Sampler, model_config: Mapping[str, Any], steps: int) -> DiffusersScheduler:
    kind = scheduler_class(sampler.scheduler)
    config = {key: model_config[key] for key in _NOISE_PROCESS if key in model_config} | dict(sampler.config)
    if sampler.scheduler == "LCMScheduler":
        config.setdefault("original_inference_steps", _lcm_grid(steps))
    known = inspect.signature(kind.__init__).parameters
    return cast(DiffusersScheduler, kind(**{key: value for key, value in config.items() if key in known}))


def _lcm_grid(steps: int) -> int:
    """How many points LCM's training grid must have: 50 as published, a finer divisor of 1000 for more steps."""
    return next(grid for grid in (50, 100, 200, 500, 1000) if grid >= steps)


def _noise_arguments(scheduler: DiffusersScheduler) -> str | None:
    """How a diffusers step takes its noise: the SDE solvers as a tensor, older ones as a generator."""
    known = inspect.signature(scheduler.step).parameters
    if "variance_noise" in known and str(getattr(scheduler.config, "algorithm_type", "")).startswith("sde-"):
        return "variance_noise"
    return "generator" if "generator" in known and "variance_noise" not in known else None


def _levels(scheduler: DiffusersScheduler) -> list[tuple[float, float]]:
    """(alpha, sigma) at every timestep."""
    steps = len(scheduler.timesteps)
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None:  # LCM: the sampler walks on the training grid itself
        kept = scheduler.alphas_cumprod[scheduler.timesteps.long()].double()
        ratios = ((1 - kept) / kept).sqrt()
    else:
        ratios = sigmas[:steps].double()
    return [((1 + r * r) ** -0.5, r * (1 + r * r) ** -0.5) for r in ratios.tolist()]


def _exact_timesteps(scheduler: DiffusersScheduler) -> Tensor:
    """(steps,) float32: where the training noise levels, interpolated in log sigma, meet the schedule's."""
    kept = scheduler.alphas_cumprod.double().numpy()
    log_table = 0.5 * (np.log1p(-kept) - np.log(kept))
    log_sigmas = np.log(scheduler.sigmas[:-1].double().numpy())
    positions = np.interp(log_sigmas, log_table, np.arange(len(log_table)))
    return torch.from_numpy(positions.astype(np.float32))
