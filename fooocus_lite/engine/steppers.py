"""Steps that diffusers takes while the host waits for the device, taken with numbers of the host.

Euler compares a tensor with a number at every step, Euler a and LCM copy their noise over while everything waits,
LCM looks its noise level up with a device tensor, UniPC solves a 2×2 system on the device. Each of these empties
the queue of a GPU once a step. Here are the same steps (same paper, same equation) without that; whatever is not
listed here is diffusers' own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from fooocus_lite.engine.moment import Moment, NoiseSource

#: (scheduler, here, there, prediction, latents, noise) -> latents at ``there``; ``there`` is ``None`` at the end.
Stepper = Callable[[Any, Moment, "Moment | None", Tensor, Tensor, NoiseSource], Tensor]


def euler(
    scheduler: Any, here: Moment, there: Moment | None, prediction: Tensor, latents: Tensor, noise: NoiseSource
) -> Tensor:
    """Euler's method on dx/dσ = (x - denoised) / σ (arXiv:2206.00364, algorithm 2 without churn).

    Latents are x0 + σ·noise, as in the paper.
    """
    del scheduler, noise
    denoised = here.denoised(latents * here.alpha, prediction)
    return torch.lerp(denoised, latents, (there.ratio if there else 0.0) / here.ratio)


def euler_ancestral(
    scheduler: Any, here: Moment, there: Moment | None, prediction: Tensor, latents: Tensor, noise: NoiseSource
) -> Tensor:
    """Euler down to σ_down, then fresh noise up to the next level (arXiv:2010.02502, eq. 16, eta = 1)."""
    del scheduler
    denoised = here.denoised(latents * here.alpha, prediction)
    if there is None:
        return denoised
    # σ_up² + σ_down² = σ_next²: the variance is right whatever is split off as fresh noise.
    down = there.ratio**2 / here.ratio
    up = math.sqrt(max(there.ratio**2 - down**2, 0.0))
    return torch.lerp(denoised, latents, down / here.ratio).add_(noise.draw(), alpha=up)


def lcm(
    scheduler: Any, here: Moment, there: Moment | None, prediction: Tensor, latents: Tensor, noise: NoiseSource
) -> Tensor:
    """To x0, and back to the next level with fresh noise (arXiv:2310.04378, algorithm 3)."""
    clock = float(scheduler.host_clock[here.index])
    c_skip, c_out = scheduler.get_scalings_for_boundary_condition_discrete(clock)
    denoised = c_out * here.denoised(latents, prediction) + c_skip * latents
    if there is None:
        return denoised
    return (there.alpha * denoised).add_(noise.draw(), alpha=there.sigma)


#: By diffusers class name.
STEPPERS: dict[str, Stepper] = {
    "EulerDiscreteScheduler": euler,
    "EulerAncestralDiscreteScheduler": euler_ancestral,
    "LCMScheduler": lcm,
}
#: Of `STEPPERS`, those whose latents are x0 + σ·noise and not variance-preserving.
SIGMA_SPACE = (euler, euler_ancestral)


class UniPc(UniPCMultistepScheduler):
    """Unified predictor-corrector on the data prediction (arXiv:2302.04867, algorithms 1 and 2, B(h) = e^h - 1)."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """As diffusers; keeps alpha, sigma and lambda = log(alpha / sigma) as host numbers too."""
        super().set_timesteps(*args, **kwargs)
        self.levels = [_vp_level(sigma) for sigma in self.sigmas.tolist()]

    def convert_model_output(self, model_output: Tensor, *args: Any, sample: Any = None, **kwargs: Any) -> Tensor:
        """x0 as the model sees it now, (B, C, h, w)."""
        alpha, sigma, _ = self.levels[self.step_index]
        here = Moment(self.step_index, model_output, alpha, sigma, str(self.config["prediction_type"]))
        return here.denoised(sample, model_output)

    def multistep_uni_p_bh_update(
        self, model_output: Tensor, *args: Any, sample: Any = None, order: Any = None, **kwargs: Any
    ) -> Tensor:
        """Predict the next latents from this and the former x0."""
        index = self.step_index
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
        index = self.step_index
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


def scheduler_class(name: str) -> type[Any]:
    """The class behind a diffusers class name."""
    if name == UniPCMultistepScheduler.__name__:
        return UniPc
    import diffusers

    found: type[Any] = getattr(diffusers, name)
    return found
