"""Samplers against exact answers: for data ~ N(0, s²) the ideal denoiser and the sampling ODE have closed forms."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import Tensor

from fooocus_lite.engine.denoise import Step, denoise
from fooocus_lite.engine.moment import Moment, NoiseSource
from fooocus_lite.engine.samplers import Schedule, make_schedule
from fooocus_lite.registry import SAMPLERS, Sampler
from tests.engine.tiny_sdxl import SCHEDULER

CPU = torch.device("cpu")
DATA_STD = 0.5


def walk(
    sampler: Sampler,
    steps: int,
    *,
    kind: str = "epsilon",
    places: int = 4096,
    model: Callable[..., Tensor] | None = None,
) -> tuple[Tensor, list[Step]]:
    """Sample N(0, DATA_STD²) with the ideal model; the latents at the end and every step on the way."""
    noise = NoiseSource(3, (1, 1, places, 1), CPU)
    schedule = make_schedule(sampler, SCHEDULER | {"prediction_type": kind}, steps, device=CPU, noise=noise)
    seen: list[Step] = []
    latents = denoise(
        lambda x, moment: (model or ideal_denoiser)(x, moment, kind),
        schedule,
        noise.draw() * schedule.init_noise_sigma,
        observe=seen.append,
    )
    return latents, seen


def predict(x: Tensor, moment: Moment, kind: str, denoised: Tensor) -> Tensor:
    noise = (x - moment.alpha * denoised) / moment.sigma
    return noise if kind == "epsilon" else moment.alpha * noise - moment.sigma * denoised


def ideal_denoiser(x: Tensor, moment: Moment, kind: str) -> Tensor:
    """E[x0 | x] for x0 ~ N(0, s²): alpha s² x / (alpha² s² + sigma²)."""
    weight = moment.alpha * DATA_STD**2 / (moment.alpha**2 * DATA_STD**2 + moment.sigma**2)
    return predict(x, moment, kind, weight * x)


def consistency(x: Tensor, moment: Moment, kind: str) -> Tensor:
    """Where the sampling ODE ends from x: the answer of a perfectly distilled model."""
    ratio = moment.sigma / moment.alpha
    return predict(x, moment, kind, x / moment.alpha * DATA_STD / math.hypot(DATA_STD, ratio))


def ode_error(sampler: Sampler, steps: int, kind: str) -> float:
    """Relative error at the last noise level before zero, where the exact solution is known.

    In x/alpha the ODE's solution is x(σ) = x(σ0) sqrt((s² + σ²) / (s² + σ0²)).
    """
    _, seen = walk(sampler, steps, kind=kind)
    first, last = seen[0], seen[-1]
    start, end = (step.moment.sigma / step.moment.alpha for step in (first, last))
    exact = first.model_input / first.moment.alpha * math.hypot(DATA_STD, end) / math.hypot(DATA_STD, start)
    reached = last.model_input / last.moment.alpha
    return float((reached - exact).norm() / exact.norm())


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", [name for name, row in SAMPLERS.items() if row.order])
def test_halving_the_step_divides_the_error_by_two_to_the_order(name: str, kind: str) -> None:
    sampler = SAMPLERS[name]
    order = sampler.order
    assert order is not None
    if name == "uni_pc":  # its own grid ends at another level for every step count; Karras' always ends at the same
        sampler = dataclasses.replace(sampler, config={**sampler.config, "use_karras_sigmas": True})
    # n points are n - 1 intervals. error = C h^p (1 + O(h)): at h = 1/80 the exponent is within 0.2 of p.
    rough, fine = ode_error(sampler, 81, kind), ode_error(sampler, 161, kind)
    assert math.log2(rough / fine) == pytest.approx(order, abs=0.2)


def test_euler_a_spreads_as_its_recursion_says() -> None:
    """Each step is linear, so the variance has a recursion: v' = (w + (1 - w) c)² v + sigma_up²."""
    places = 40_000
    latents, seen = walk(SAMPLERS["euler_ancestral"], 20, places=places)
    sigmas = [step.moment.sigma / step.moment.alpha for step in seen] + [0.0]
    variance = 1 + sigmas[0] ** 2
    for sigma, following in itertools.pairwise(sigmas):
        down = following**2 / sigma
        shrink = DATA_STD**2 / (DATA_STD**2 + sigma**2)
        kept = down / sigma + (1 - down / sigma) * shrink
        variance = kept**2 * variance + following**2 - down**2
    assert float(latents.std()) == pytest.approx(math.sqrt(variance), rel=3 / math.sqrt(2 * places))


def test_dpmpp_2m_sde_reaches_the_right_spread() -> None:
    places = 40_000
    sampler = SAMPLERS["dpmpp_2m_sde_karras"]
    errors = [abs(float(walk(sampler, steps, places=places)[0].std()) / DATA_STD - 1) for steps in (10, 80)]
    # At least first order: eight times the steps leave an eighth of the bias; three standard errors of a std on top.
    assert errors[1] < errors[0] / 8 + 3 / math.sqrt(2 * places)
    assert errors[0] < 0.1


def test_lcm_draws_the_data_when_the_model_is_consistent() -> None:
    places = 40_000
    for steps in (1, 4, 8):
        latents, _ = walk(SAMPLERS["lcm"], steps, places=places, model=consistency)
        assert float(latents.std()) == pytest.approx(DATA_STD, rel=3 / math.sqrt(2 * places) + 0.002)


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("steps", [1, 2, 7, 60, 200])
def test_every_sampler_takes_the_steps_it_is_asked_for(name: str, steps: int) -> None:
    latents, seen = walk(SAMPLERS[name], steps, places=16)
    assert len(seen) == steps
    assert bool(latents.isfinite().all())
    clock = [float(step.moment.timestep) for step in seen]
    assert clock == sorted(clock, reverse=True)
    assert len(set(clock)) == steps
    # alpha and sigma belong to the timestep the model is told: nothing is rounded away.
    sigmas = EulerDiscreteScheduler(**{k: SCHEDULER[k] for k in ("beta_start", "beta_end", "beta_schedule")}).sigmas
    table = sigmas.flip(0)[1:].double().log().tolist()
    for step in seen:
        below = min(int(float(step.moment.timestep)), 998)
        between = float(step.moment.timestep) - below
        told = math.exp(table[below] * (1 - between) + table[below + 1] * between)
        assert step.moment.sigma / step.moment.alpha == pytest.approx(told, rel=2e-3)


def test_a_models_taste_in_spacing_does_not_cut_the_noise_range() -> None:
    # SDXL's own file says "leading"; taken literally, 10 Karras steps of Euler would start at 8.4 instead of 14.6.
    karras = dataclasses.replace(SAMPLERS["euler"], config={**SAMPLERS["euler"].config, "use_karras_sigmas": True})
    for sampler in (SAMPLERS["euler"], karras, SAMPLERS["dpmpp_2m_karras"]):
        _, seen = walk(sampler, 10, places=16)
        assert seen[0].moment.sigma / seen[0].moment.alpha == pytest.approx(14.61, abs=0.01)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", ["euler", "euler_ancestral", "uni_pc", "lcm"])
def test_our_steps_are_those_of_diffusers(name: str, kind: str) -> None:
    """Same equations with host numbers: steps that we take ourselves stay within float32 rounding of diffusers'."""
    sampler, steps = SAMPLERS[name], 12
    shape = (1, 4, 8, 8)
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(shape, generator=generator) for _ in range(steps)]
    kept = {key: SCHEDULER[key] for key in ("beta_start", "beta_end", "beta_schedule")} | dict(sampler.config)
    theirs: Any = getattr(diffusers, sampler.scheduler)(**kept, prediction_type=kind)
    theirs.set_timesteps(steps)
    noise, their_noise = NoiseSource(5, shape, CPU), torch.Generator().manual_seed(5)
    ours = make_schedule(sampler, SCHEDULER | {"prediction_type": kind}, steps, device=CPU, noise=noise)
    latents = their_latents = torch.randn(shape, generator=generator) * ours.init_noise_sigma
    for moment, timestep, output in zip(ours.moments, theirs.timesteps, outputs, strict=True):
        seen = ours.scale_model_input(latents, moment)
        torch.testing.assert_close(seen, theirs.scale_model_input(their_latents, timestep), rtol=1e-4, atol=1e-4)
        latents = ours.step(output, moment, latents)
        extra = {"generator": their_noise} if name in ("euler_ancestral", "lcm") else {}
        their_latents = theirs.step(output, timestep, their_latents, **extra).prev_sample
        torch.testing.assert_close(latents, their_latents, rtol=1e-4, atol=1e-4 * float(their_latents.std()))


def test_noise_depends_on_the_seed_alone() -> None:
    def draw(seed: int) -> Tensor:
        source = NoiseSource(seed, (1, 4, 8, 8), CPU)
        return torch.cat([source.draw(), source.draw()])

    first = draw(1)
    torch.randn(100)  # somebody else's numbers in between
    assert torch.equal(first, draw(1))
    assert not torch.equal(first, draw(2))
    assert not torch.equal(first[0], first[1])
    assert draw(2**63 - 1).isfinite().all()


def test_schedule_is_a_walk_to_zero() -> None:
    schedule: Schedule = make_schedule(
        SAMPLERS["euler"], SCHEDULER, 20, device=CPU, noise=NoiseSource(0, (1, 1, 1, 1), CPU)
    )
    for moment in schedule.moments:
        assert moment.alpha**2 + moment.sigma**2 == pytest.approx(1)
