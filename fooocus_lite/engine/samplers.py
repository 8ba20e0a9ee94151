"""From a sampler's row in the registry to a `Schedule`: where the steps are and how one is taken.

The methods are diffusers' scheduler classes. What they get wrong, or do in a way that makes the host wait for
the device, is put right here and nowhere else; each place says what and why.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from fooocus_lite.engine import steppers
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

    def set_timesteps(self, num_inference_steps: int) -> None: ...
    def set_begin_index(self, begin_index: int) -> None: ...
    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Moment:
    """One point of the walk, in the variance-preserving view x = alpha·x0 + sigma·noise, alpha² + sigma² = 1.

    Attributes:
        index: 0 for the first step.
        timestep: The model's clock, on its device; may be fractional.
        alpha: Host number, so that using it never waits for the device.
        sigma: Likewise.
        prediction_type: What the model predicts: ``epsilon``, ``v_prediction`` or ``sample``.
    """

    index: int
    timestep: Tensor
    alpha: float
    sigma: float
    prediction_type: str

    def denoised(self, model_input: Tensor, prediction: Tensor) -> Tensor:
        """The estimate of x0, (B, C, h, w), from what the model saw and said."""
        if self.prediction_type == "v_prediction":  # arXiv:2202.00512, appendix D: x0 = alpha x - sigma v
            return self.alpha * model_input - self.sigma * prediction
        if self.prediction_type == "sample":
            return prediction
        return (model_input - self.sigma * prediction) / self.alpha  # arXiv:2006.11239, eq. 15

    def noise(self, model_input: Tensor, prediction: Tensor) -> Tensor:
        """The estimate of the noise in ``model_input``, (B, C, h, w)."""
        if self.prediction_type == "v_prediction":  # eps = sigma x + alpha v
            return self.sigma * model_input + self.alpha * prediction
        if self.prediction_type == "sample":
            return (model_input - self.alpha * prediction) / self.sigma
        return prediction


class Schedule:
    """The points of one walk and the method that goes from one to the next. Used once."""

    def __init__(self, scheduler: DiffusersScheduler, *, device: torch.device, noise: steppers.NoiseSource) -> None:
        self._scheduler = scheduler
        self._noise = noise
        self._host_timesteps = scheduler.timesteps
        on_device = scheduler.timesteps.to(device)
        pairs = _alpha_sigma(scheduler)
        kind = str(scheduler.config.prediction_type)
        self.moments = tuple(Moment(i, on_device[i], *pairs[i], kind) for i in range(len(pairs)))
        #: Standard deviation of the first latents.
        self.init_noise_sigma = float(scheduler.init_noise_sigma)

    def scale_model_input(self, latents: Tensor, moment: Moment) -> Tensor:
        """What the model wants to see: (B, C, h, w) with variance preserved, whatever the sampler keeps."""
        return self._scheduler.scale_model_input(latents, self._host_timesteps[moment.index])

    def step(self, prediction: Tensor, moment: Moment, latents: Tensor) -> Tensor:
        """The latents at the next point, (B, C, h, w)."""
        timestep = self._host_timesteps[moment.index]
        return steppers.step(self._scheduler, prediction, timestep, latents, noise=self._noise)


def make_schedule(
    sampler: Sampler,
    model_config: Mapping[str, Any],
    steps: int,
    *,
    device: torch.device,
    noise: steppers.NoiseSource,
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
    return Schedule(scheduler, device=device, noise=noise)


def _make_scheduler(sampler: Sampler, model_config: Mapping[str, Any], steps: int) -> DiffusersScheduler:
    kind = steppers.scheduler_class(sampler.scheduler)
    config = {key: model_config[key] for key in _NOISE_PROCESS if key in model_config} | dict(sampler.config)
    if sampler.scheduler == "LCMScheduler":
        config.setdefault("original_inference_steps", _lcm_grid(steps))
    known = inspect.signature(kind.__init__).parameters
    return cast(DiffusersScheduler, kind(**{key: value for key, value in config.items() if key in known}))


def _lcm_grid(steps: int) -> int:
    """How many points LCM's training grid must have: 50 as published, a finer divisor of 1000 for more steps."""
    return next(grid for grid in (50, 100, 200, 500, 1000) if grid >= steps)


def _alpha_sigma(scheduler: DiffusersScheduler) -> list[tuple[float, float]]:
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
