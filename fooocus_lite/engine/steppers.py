"""Single steps of the samplers that diffusers takes while the host waits for the device.

Euler compares a tensor with a number at every step, Euler a and LCM draw their noise on the wrong side and copy
it over, LCM looks its noise level up with a device tensor, UniPC solves a 2×2 system on the device. Each of these
empties the queue of a GPU once a step. The subclasses here compute the same step (same paper, same equation) with
numbers of the host; noise comes from a `NoiseSource`. What is not listed here is diffusers' own.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

if TYPE_CHECKING:
    from fooocus_lite.engine.samplers import DiffusersScheduler


class NoiseSource:
    """Standard normal noise of one picture, the same on every device.

    It is drawn on the CPU in float32 from the picture's own seed, so a picture depends neither on the device nor
    on what was drawn before it.
    """

    def __init__(self, seed: int, shape: tuple[int, int, int, int], device: torch.device) -> None:
        self.generator = torch.Generator("cpu").manual_seed(seed)
        self._shape = shape
        self._device = device

    def draw(self) -> Tensor:
        """(B, C, h, w) float32 on the device; the host does not wait for the copy."""
        noise = torch.randn(
            self._shape, generator=self.generator, dtype=torch.float32, pin_memory=self._device.type == "cuda"
        )
        return noise.to(self._device, non_blocking=True)


@dataclass(frozen=True)
class Stepped:
    """What diffusers' ``step`` returns, as far as we read it."""

    prev_sample: Tensor


class Euler(EulerDiscreteScheduler):
    """Euler's method on dx/dsigma = (x - denoised) / sigma (arXiv:2206.00364, algorithm 2 without churn)."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """As diffusers; keeps the noise levels as host numbers too."""
        super().set_timesteps(*args, **kwargs)
        self.levels: list[float] = self.sigmas.tolist()

    def scale_model_input(self, sample: Tensor, timestep: Any) -> Tensor:
        """(B, C, h, w) with variance preserved: x / sqrt(sigma² + 1)."""
        self._ensure_index(timestep)
        self.is_scale_input_called = True
        return sample / math.sqrt(self.levels[_index(self)] ** 2 + 1)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **_: Any) -> Any:
        """The latents at the next noise level."""
        index = _index(self)
        sigma, sigma_next = self.levels[index], self.levels[index + 1]
        denoised = _denoised_from_sigma_space(self, model_output, sample, sigma)
        self._step_index = index + 1
        return Stepped(torch.lerp(denoised, sample, sigma_next / sigma))

    def _ensure_index(self, timestep: Any) -> None:
        if self.step_index is None:
            self._init_step_index(timestep)


class EulerAncestral(EulerAncestralDiscreteScheduler):
    """Euler down to ``sigma_down``, then fresh noise up to the next level (arXiv:2010.02502, eq. 16, eta = 1)."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """As diffusers; keeps the noise levels as host numbers too."""
        super().set_timesteps(*args, **kwargs)
        self.levels: list[float] = self.sigmas.tolist()

    def scale_model_input(self, sample: Tensor, timestep: Any) -> Tensor:
        """(B, C, h, w) with variance preserved: x / sqrt(sigma² + 1)."""
        if self.step_index is None:
            self._init_step_index(timestep)
        self.is_scale_input_called = True
        return sample / math.sqrt(self.levels[_index(self)] ** 2 + 1)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *, variance_noise: Tensor, **_: Any) -> Any:
        """The latents at the next noise level."""
        index = _index(self)
        sigma, sigma_next = self.levels[index], self.levels[index + 1]
        denoised = _denoised_from_sigma_space(self, model_output, sample, sigma)
        # sigma_up² + sigma_down² = sigma_next²: the variance is right whatever is split off as fresh noise.
        sigma_down = sigma_next**2 / sigma
        sigma_up = math.sqrt(max(sigma_next**2 - sigma_down**2, 0.0))
        self._step_index = index + 1
        return Stepped(torch.lerp(denoised, sample, sigma_down / sigma).add_(variance_noise, alpha=sigma_up))


class Lcm(LCMScheduler):
    """Consistency sampling: to x0, and back to the next level with fresh noise (arXiv:2310.04378, algorithm 3)."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """As diffusers; keeps timesteps and kept variances as host numbers too."""
        super().set_timesteps(*args, **kwargs)
        self.clock: list[int] = self.timesteps.tolist()
        self.kept: list[float] = self.alphas_cumprod[self.timesteps].tolist()

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *, variance_noise: Tensor, **_: Any) -> Any:
        """The latents at the next noise level."""
        if self.step_index is None:
            self._init_step_index(timestep)
        index = _index(self)
        alpha, sigma = math.sqrt(self.kept[index]), math.sqrt(1 - self.kept[index])
        x0 = _denoised_from_vp_space(self, model_output, sample, alpha, sigma)
        c_skip, c_out = self.get_scalings_for_boundary_condition_discrete(self.clock[index])
        denoised = c_out * x0 + c_skip * sample
        self._step_index = index + 1
        if index + 1 == len(self.kept):
            return Stepped(denoised)
        kept = self.kept[index + 1]
        return Stepped((math.sqrt(kept) * denoised).add_(variance_noise, alpha=math.sqrt(1 - kept)))


class UniPc(UniPCMultistepScheduler):
    """Unified predictor-corrector on the data prediction (arXiv:2302.04867, algorithms 1 and 2, B(h) = e^h - 1)."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """As diffusers; keeps alpha, sigma and lambda = log(alpha / sigma) as host numbers too."""
        super().set_timesteps(*args, **kwargs)
        self.levels = [_vp_level(sigma) for sigma in self.sigmas.tolist()]

    def convert_model_output(self, model_output: Tensor, *args: Any, sample: Any = None, **kwargs: Any) -> Tensor:
        """x0 as the model sees it now, (B, C, h, w)."""
        alpha, sigma, _ = self.levels[_index(self)]
        return _denoised_from_vp_space(self, model_output, sample, alpha, sigma)

    def multistep_uni_p_bh_update(
        self, model_output: Tensor, *args: Any, sample: Any = None, order: Any = None, **kwargs: Any
    ) -> Tensor:
        """Predict the next latents from this and the former x0."""
        index = _index(self)
        if order > 2:
            return super().multistep_uni_p_bh_update(model_output, *args, sample=sample, order=order, **kwargs)
        here, there = self.levels[index], self.levels[index + 1]
        x0: Any = self.model_outputs[-1]
        phi = math.expm1(here[2] - there[2])
        following = (there[1] / here[1]) * sample - (there[0] * phi) * x0
        if order == 2:
            ratio = (self.levels[index - 1][2] - here[2]) / (there[2] - here[2])
            following = following - (there[0] * phi * 0.5 / ratio) * (self.model_outputs[-2] - x0)
        return following

    def multistep_uni_c_bh_update(
        self, this_model_output: Tensor, *args: Any, last_sample: Any = None, order: Any = None, **kwargs: Any
    ) -> Tensor:
        """Correct the latents, now that x0 at them is known."""
        index = _index(self)
        if order > 2:
            return super().multistep_uni_c_bh_update(
                this_model_output, *args, last_sample=last_sample, order=order, **kwargs
            )
        here, there = self.levels[index - 1], self.levels[index]
        x0: Any = self.model_outputs[-1]
        h = there[2] - here[2]
        phi = math.expm1(-h)
        corrected = (there[1] / here[1]) * last_sample - (there[0] * phi) * x0
        weight = 0.5
        if order == 2:
            ratio = (self.levels[index - 2][2] - here[2]) / h
            former_weight, weight = _unic_weights(h, ratio)
            corrected = corrected - (there[0] * phi * former_weight / ratio) * (self.model_outputs[-2] - x0)
        return corrected - (there[0] * phi * weight) * (this_model_output - x0)


def _unic_weights(h: float, ratio: float) -> tuple[float, float]:
    """Solve R rho = b of arXiv:2302.04867, eq. 8 for two points, (ratio, 1)."""
    phi_1 = math.expm1(-h)
    phi_2 = phi_1 / -h - 1
    phi_3 = phi_2 / -h - 0.5
    b_1, b_2 = phi_2 / phi_1, 2 * phi_3 / phi_1
    former = (b_1 - b_2) / (1 - ratio)
    return former, b_1 - former


def _vp_level(sigma: float) -> tuple[float, float, float]:
    alpha = 1 / math.sqrt(1 + sigma * sigma)
    return alpha, sigma * alpha, -math.log(sigma) if sigma else math.inf


def _index(scheduler: Any) -> int:
    # diffusers sets it in scale_model_input or at the beginning of step.
    index: int = scheduler.step_index
    return index


def _denoised_from_sigma_space(scheduler: Any, prediction: Tensor, sample: Tensor, sigma: float) -> Tensor:
    """x0 for x = x0 + sigma·noise."""
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return sample / (sigma**2 + 1) - prediction * (sigma / math.sqrt(sigma**2 + 1))
    if kind == "sample":
        return prediction
    return sample - sigma * prediction


def _denoised_from_vp_space(scheduler: Any, prediction: Tensor, sample: Tensor, alpha: float, sigma: float) -> Tensor:
    """x0 for x = alpha·x0 + sigma·noise."""
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return alpha * sample - sigma * prediction
    if kind == "sample":
        return prediction
    return (sample - sigma * prediction) / alpha


_OURS: dict[str, type[Any]] = {
    "EulerDiscreteScheduler": Euler,
    "EulerAncestralDiscreteScheduler": EulerAncestral,
    "LCMScheduler": Lcm,
    "UniPCMultistepScheduler": UniPc,
}


def scheduler_class(name: str) -> type[Any]:
    """The class behind a diffusers class name: ours where we take the step, else diffusers' own."""
    if name in _OURS:
        return _OURS[name]
    import diffusers  # the whole namespace: only for samplers that a new row names

    found: type[Any] = getattr(diffusers, name)
    return found


def step(
    scheduler: DiffusersScheduler, prediction: Tensor, timestep: Tensor, latents: Tensor, *, noise: NoiseSource
) -> Tensor:
    """One step of any scheduler, (B, C, h, w), with noise from ``noise`` if it wants any."""
    method: Any = scheduler.step  # pyright: ignore[reportAttributeAccessIssue]
    extra: dict[str, Any] = {}
    if isinstance(scheduler, (EulerAncestral, Lcm)) or _is_sde(scheduler):
        extra["variance_noise"] = noise.draw()
    elif "generator" in inspect.signature(method).parameters:
        extra["generator"] = noise.generator
    following: Tensor = method(prediction, timestep, latents, **extra).prev_sample
    return following


def _is_sde(scheduler: DiffusersScheduler) -> bool:
    return str(getattr(scheduler.config, "algorithm_type", "")).startswith("sde-")
