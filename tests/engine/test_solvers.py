"""Each solver, step by step, against its published formula on random tensors and a model that bends.

The formulas are written here once more, in k-diffusion's terms (x0 + sigma·noise, a model of x and sigma) and with no
code of ours; where diffusers takes the same step, against diffusers too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_lite.engine.moment import NoiseSource, Step
from fooocus_lite.engine.samplers import Path
from tests.engine.gaussian import CPU, path_of, walk
from tests.engine.tiny_sdxl import SCHEDULER

SHAPE = (1, 4, 8, 8)
STEPS = 12
Denoise = Callable[[Tensor, float], Tensor]
Reference = Callable[[Denoise, Tensor, list[float], Callable[[], Tensor]], Iterator[Tensor]]


def bent(x: Tensor, sigma: float) -> Tensor:
    """A denoiser that is neither linear nor the same at all levels."""
    return torch.tanh(x / (1 + sigma)) * (1.5 - 0.4 * math.tanh(sigma)) + 0.1 * x / (1 + sigma * sigma)


def up_down(s: float, t: float) -> tuple[float, float]:
    up = math.sqrt(t * t * (s * s - t * t) / (s * s))
    return math.sqrt(t * t - up * up), up


def heun(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    for a, b in itertools.pairwise(s):
        d = (x - f(x, a)) / a
        y = x + d * (b - a)
        x = y if b == 0 else x + (d + (y - f(y, b)) / b) / 2 * (b - a)
        yield x


def dpm_2(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor], eta: float = 0) -> Iterator[Tensor]:
    for a, b in itertools.pairwise(s):
        down, up = up_down(a, b) if eta else (b, 0.0)
        d = (x - f(x, a)) / a
        if b == 0:
            x = x + d * (down - a)
        else:
            m = math.exp((math.log(a) + math.log(down)) / 2)
            y = x + d * (m - a)
            x = x + (y - f(y, m)) / m * (down - a)
            x = x + noise() * up if eta else x
        yield x


def dpm_2_ancestral(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    return dpm_2(f, x, s, noise, eta=1)


def lms(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    slopes: list[Tensor] = []
    for i in range(len(s) - 1):
        slopes.append((x - f(x, s[i])) / s[i])
        known = list(range(max(0, i - 3), i + 1))
        for j in known:
            basis = np.poly1d([1.0])
            for k in known:
                if k != j:
                    basis *= np.poly1d([1.0, -s[k]]) / (s[j] - s[k])
            whole = basis.integ()
            x = x + slopes[j] * float(whole(s[i + 1]) - whole(s[i]))
        yield x


def dpmpp_2s_ancestral(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    for a, b in itertools.pairwise(s):
        x0 = f(x, a)
        if b == 0:
            yield x0
            return
        down, up = up_down(a, b)
        h = math.log(a) - math.log(down)
        m = a * math.exp(-h / 2)
        y = m / a * x - math.expm1(-h / 2) * x0
        x = down / a * x - math.expm1(-h) * f(y, m) + noise() * up
        yield x


def dpmpp_sde(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    for a, b in itertools.pairwise(s):
        x0 = f(x, a)
        if b == 0:
            yield x0
            return
        m = math.sqrt(a * b)
        first, second = noise(), noise()
        (down, up), (_, up_2), (far, up_all) = up_down(a, m), up_down(m, b), up_down(a, b)
        y = down / a * x + (1 - down / a) * x0 + up * first
        whole = (up * (b / m) ** 2 * first + up_2 * second) / up_all  # one Brownian path seen at both times
        x = far / a * x + (1 - far / a) * f(y, m) + up_all * whole
        yield x


def dpmpp_2m(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    before: Tensor | None = None
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        x0 = f(x, a)
        if before is None or b == 0:
            d = x0
        else:
            r = math.log(s[i - 1] / a) / math.log(a / b)
            d = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * before
        x = b / a * x + (1 - b / a) * d
        before = x0
        yield x


def dpmpp_2m_sde(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    before: Tensor | None = None
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        x0 = f(x, a)
        if b == 0:
            yield x0
            return
        h = math.log(a / b)
        x = b / a * math.exp(-h) * x - math.expm1(-2 * h) * x0
        if before is not None:
            x = x - 0.5 * math.expm1(-2 * h) * (h / math.log(s[i - 1] / a)) * (x0 - before)
        x = x + noise() * b * math.sqrt(-math.expm1(-2 * h))
        before = x0
        yield x


def dpmpp_3m_sde(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    past: list[Tensor] = []
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        x0 = f(x, a)
        if b == 0:
            yield x0
            return
        h = math.log(a / b)
        x = math.exp(-2 * h) * x - math.expm1(-2 * h) * x0
        phi_2 = math.expm1(-2 * h) / (2 * h) + 1
        if i == 1:
            x = x + phi_2 * (x0 - past[-1]) * h / math.log(s[0] / a)
        elif i > 1:
            r_0, r_1 = math.log(s[i - 1] / a) / h, math.log(s[i - 2] / s[i - 1]) / h
            near, far = (x0 - past[-1]) / r_0, (past[-1] - past[-2]) / r_1
            x = x + phi_2 * (near + (near - far) * r_0 / (r_0 + r_1))
            x = x - (phi_2 / (2 * h) - 0.5) * (near - far) / (r_0 + r_1)
        x = x + noise() * b * math.sqrt(-math.expm1(-2 * h))
        past.append(x0)
        yield x


def ddpm(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    for a, b in itertools.pairwise(s):
        kept, following = 1 / (1 + a * a), 1 / (1 + b * b)  # the paper's cumulative alphas
        beta = 1 - kept / following
        x0, vp = f(x, a), x * math.sqrt(kept)
        mean = math.sqrt(following) * beta / (1 - kept) * x0
        mean = mean + math.sqrt(kept / following) * (1 - following) / (1 - kept) * vp
        spread = math.sqrt((1 - following) / (1 - kept) * beta)
        x = (mean + spread * noise() if b else mean) / math.sqrt(following)
        yield x


def ddim(f: Denoise, x: Tensor, s: list[float], noise: Callable[[], Tensor]) -> Iterator[Tensor]:
    for a, b in itertools.pairwise(s):
        x0 = f(x, a)
        x = x0 + b * (x - x0) / a
        yield x


REFERENCES: dict[str, Reference] = {
    one.__name__: one
    for one in (heun, dpm_2, dpm_2_ancestral, lms, dpmpp_2s_ancestral, dpmpp_sde, dpmpp_2m, dpmpp_2m_sde, dpmpp_3m_sde)
} | {"ddpm": ddpm, "ddim": ddim}


class Doubles(NoiseSource):
    """The same noise in double precision, so that what is left between two formulas is their own rounding."""

    def draw(self) -> Tensor:
        return super().draw().double()


def run_ours(path: Path, model: Denoise, latents: Tensor) -> list[Tensor]:
    """The latents after each step, as x0 + sigma·noise."""
    ends, seen = walk(path, lambda x, moment: model(x / moment.alpha, moment.ratio), latents)
    return [step.model_input / step.moment.alpha for step in seen[1:]] + [ends]


@pytest.mark.parametrize("scheduler", ["karras", "normal", "beta"])
@pytest.mark.parametrize("name", list(REFERENCES))
def test_each_step_is_that_of_the_published_formula(name: str, scheduler: str) -> None:
    noise, theirs = Doubles(5, SHAPE, CPU), Doubles(5, SHAPE, CPU)
    path = path_of(name, STEPS, scheduler, noise=noise)
    sigmas = [span[0].ratio for span in path.spans] + [0.0]
    latents = noise.draw() * path.init_noise_sigma
    theirs.draw()
    start = latents / path.spans[0][0].alpha
    expected = list(REFERENCES[name](bent, start, sigmas, theirs.draw))
    for ours, published in zip(run_ours(path, bent, latents), expected, strict=True):
        torch.testing.assert_close(ours, published, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.3])
def test_tcd_is_algorithm_4_of_its_paper(gamma: float) -> None:
    noise, theirs = Doubles(5, SHAPE, CPU), Doubles(5, SHAPE, CPU)
    path = path_of("tcd", 4, noise=noise)
    latents = noise.draw()
    theirs.draw()
    kept = diffusers.TCDScheduler(
        **{k: SCHEDULER[k] for k in ("beta_start", "beta_end", "beta_schedule")}
    ).alphas_cumprod
    steps: list[Step] = walk(path, lambda x, m: bent(x, m.ratio), latents)[1]
    for here, there in itertools.pairwise(steps):
        now, following = (int(step.moment.timestep) for step in (here, there))
        x, x0 = here.model_input, bent(here.model_input, here.moment.ratio)
        eps = (x - kept[now] ** 0.5 * x0) / (1 - kept[now]) ** 0.5
        past = (1 - gamma) * following  # between two times of the table
        ratio = np.interp(past, np.arange(1000), ((1 / kept - 1) ** 0.5).numpy())
        at_past = 1 / (1 + ratio**2)
        x_s = at_past**0.5 * x0 + (1 - at_past) ** 0.5 * eps
        share = float(kept[following]) / at_past
        expected = share**0.5 * x_s + (1 - share) ** 0.5 * theirs.draw()
        torch.testing.assert_close(there.model_input, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "scheduler", "theirs", "options"),
    [
        ("euler", "normal", "EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
        ("euler_ancestral", "normal", "EulerAncestralDiscreteScheduler", {"timestep_spacing": "linspace"}),
        ("uni_pc", "whole_uniform", "UniPCMultistepScheduler", {}),
        ("lcm", "lcm", "LCMScheduler", {}),
        ("dpmpp_2m", "karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    ],
)
def test_our_steps_are_those_of_diffusers(
    name: str, scheduler: str, theirs: str, options: dict[str, Any], kind: str
) -> None:
    """Pictures drawn before, with diffusers' own steps, stay as they are."""
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(SHAPE, generator=generator) for _ in range(STEPS)]
    kept = {key: SCHEDULER[key] for key in ("beta_start", "beta_end", "beta_schedule")} | options
    other: Any = getattr(diffusers, theirs)(**kept, prediction_type=kind)
    other.set_timesteps(STEPS)
    noise, their_noise = NoiseSource(5, SHAPE, CPU), torch.Generator().manual_seed(5)
    path = path_of(name, STEPS, scheduler, kind=kind, noise=noise)
    latents = their_latents = torch.randn(SHAPE, generator=generator) * path.init_noise_sigma
    assert path.init_noise_sigma == pytest.approx(float(other.init_noise_sigma))
    for index, (timestep, output) in enumerate(zip(other.timesteps, outputs, strict=True)):
        latents, seen = path.step(lambda x, moment, said=output: said, latents, index)
        torch.testing.assert_close(
            seen.model_input, other.scale_model_input(their_latents, timestep), rtol=1e-4, atol=1e-4
        )
        extra = {"generator": their_noise} if name in ("euler_ancestral", "lcm") else {}
        their_latents = other.step(output, timestep, their_latents, **extra).prev_sample
        torch.testing.assert_close(latents, their_latents, rtol=1e-4, atol=1e-4 * float(their_latents.std()))
