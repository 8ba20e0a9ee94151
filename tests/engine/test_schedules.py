"""Schedules against their formulas, computed here once more with numpy alone; and what every one must be."""

from __future__ import annotations

import math
from typing import Any

import diffusers
import numpy as np
import pytest

from fooocus_lite.engine.levels import CLEAN, read_levels
from fooocus_lite.engine.samplers import find_solver, make_spans
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from tests.engine.gaussian import CONFIGS
from tests.engine.tiny_sdxl import SCHEDULER

KEPT = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
TABLE = np.sqrt((1 - KEPT) / KEPT)
KINDS = {"table": "epsilon", "flow": "flow_prediction", "edm": "edm"}


def ratios(name: str, steps: int, kind: str = "epsilon", config: dict[str, Any] | None = None) -> Any:
    """sigma / alpha where each step begins, and at the end."""
    levels = read_levels(config or CONFIGS[kind])
    spans = make_spans(find_solver(SAMPLERS["euler"]), SCHEDULERS[name], levels, steps)
    assert spans[-1][1] is CLEAN and len(spans) == steps
    return np.array([here.ratio for here, _ in spans] + [spans[-1][1].ratio])


def at(times: Any) -> Any:
    """The table between its times, even in the logarithm: k-diffusion's; ours is even in the ratio."""
    return np.append(np.exp(np.interp(times, np.arange(1000), np.log(TABLE))), 0)


def karras(low: float, high: float, n: int) -> Any:
    i = np.arange(n)
    return np.append((high ** (1 / 7) + i / max(n - 1, 1) * (low ** (1 / 7) - high ** (1 / 7))) ** 7, 0)


def beta_times(n: int) -> Any:
    """999 times the quantiles at 1, 1 - 1/n, … of a Beta(0.6, 0.6) distribution, by brute force.

    With x = sin²(a) its density is (sin a cos a)^0.2, which has no poles.
    """
    a = np.linspace(0, math.pi / 2, 400_001)
    density = (np.sin(a) * np.cos(a)) ** 0.2
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return 999 * np.sin(np.interp(1 - np.arange(n) / n, mass / mass[-1], a)) ** 2


def aligned(n: int) -> Any:
    known = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029]
    wanted = np.interp(np.linspace(0, 1, n + 1), np.linspace(0, 1, 11), np.log(known))
    return np.append(np.exp(wanted)[:-1], 0)


FORMULAS = {
    "normal": lambda n: at(np.linspace(999, 0, n)),
    "sgm_uniform": lambda n: at(np.linspace(999, 0, n + 1)[:-1]),
    "whole_uniform": lambda n: at(np.round(np.linspace(999, 0, n + 1)[:-1])),
    "simple": lambda n: at(999 - np.floor(np.arange(n) * 1000 / n)),
    "ddim_uniform": lambda n: at(1 + np.arange(n)[::-1] * (1000 // n)),
    "beta": lambda n: at(beta_times(n)),
    "turbo": lambda n: at(999 - 100 * np.arange(n)),
    "karras": lambda n: karras(TABLE[0], TABLE[-1], n),
    "exponential": lambda n: np.append(np.exp(np.linspace(np.log(TABLE[-1]), np.log(TABLE[0]), n)), 0),
    "align_your_steps": aligned,
}


@pytest.mark.parametrize("steps", [1, 2, 10, 31])
@pytest.mark.parametrize("name", list(FORMULAS))
def test_levels_are_those_of_the_formula(name: str, steps: int) -> None:
    steps = min(steps, SCHEDULERS[name].max_steps)
    # Between two times of the table ours is a straight line and theirs even in the logarithm: 1.5e-3 apart at most
    # above time 5, where neighbours differ by a tenth.
    np.testing.assert_allclose(ratios(name, steps), FORMULAS[name](steps), rtol=1.5e-3)


@pytest.mark.parametrize(("name", "theirs"), [("lcm", "LCMScheduler"), ("tcd", "TCDScheduler")])
@pytest.mark.parametrize("steps", [1, 4, 7, 50])
def test_distilled_models_are_asked_at_the_times_they_were_taught(name: str, theirs: str, steps: int) -> None:
    scheduler = getattr(diffusers, theirs)(**{k: SCHEDULER[k] for k in ("beta_start", "beta_end", "beta_schedule")})
    scheduler.set_timesteps(steps)
    np.testing.assert_allclose(ratios(name, steps)[:-1], TABLE[scheduler.timesteps.numpy()], rtol=1e-5)


def test_edm_models_have_edms_levels() -> None:
    np.testing.assert_allclose(ratios("edm", 12, "edm"), karras(0.002, 120.0, 12), rtol=1e-6)
    np.testing.assert_allclose(ratios("karras", 12, "edm"), karras(0.002, 80.0, 12), rtol=1e-6)


def test_flow_models_begin_at_noise_alone_and_are_shifted() -> None:
    shift = CONFIGS["flow_prediction"]["shift"]
    levels = read_levels(CONFIGS["flow_prediction"])
    spans = make_spans(find_solver(SAMPLERS["euler"]), SCHEDULERS["simple"], levels, 4)
    times = np.array([1, 0.75, 0.5, 0.25])
    expected = shift * times / (1 + (shift - 1) * times)  # as FLUX and Stable Diffusion 3 are sampled
    np.testing.assert_allclose([here.sigma for here, _ in spans], expected, rtol=1e-6)
    np.testing.assert_allclose([here.timestep for here, _ in spans], 1000 * expected, rtol=1e-6)
    assert all(here.alpha + here.sigma == pytest.approx(1) for here, _ in spans)


FLUX = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "use_dynamic_shifting": True,
    "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0,
}  # fmt: skip


def flow_times(config: dict[str, Any], steps: int, tokens: int | None = None, name: str = "simple") -> Any:
    """(steps,): the share of noise where each step begins."""
    spans = make_spans(find_solver(SAMPLERS["euler"]), SCHEDULERS[name], read_levels(config, tokens), steps)
    return np.array([here.sigma for here, _ in spans])


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize(("width", "height"), [(512, 512), (1024, 1024), (1344, 768), (2048, 2048)])
def test_the_shift_of_a_dynamic_model_grows_with_the_picture(width: int, height: int, kind: str) -> None:
    tokens = (width // 16) * (height // 16)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(FLUX | {"time_shift_type": kind})
    mu = 0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256)
    scheduler.set_timesteps(sigmas=list(np.linspace(1, 1 / 28, 28)), mu=mu)
    # Theirs is computed in float32, ours rounded to it once.
    np.testing.assert_allclose(
        flow_times(FLUX | {"time_shift_type": kind}, 28, tokens), scheduler.sigmas.numpy()[:-1], rtol=5e-7
    )


def test_one_to_four_steps_of_a_model_without_a_shift_are_even() -> None:
    schnell = FLUX | {"use_dynamic_shifting": False, "shift": 1.0}
    for steps in (1, 2, 3, 4):
        np.testing.assert_allclose(flow_times(schnell, steps, 4096), [1 - i / steps for i in range(steps)], rtol=1e-7)


@pytest.mark.parametrize("name", [name for name, row in SCHEDULERS.items() if "flow" in row.noise])
def test_every_schedule_of_a_flow_model_begins_at_noise_alone(name: str) -> None:
    for steps in (1, 4, 28):
        assert flow_times(FLUX, steps, 1024, name)[0] == 1


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_every_schedule_falls_and_ends_at_zero(name: str) -> None:
    row = SCHEDULERS[name]
    for noise in row.noise:
        for steps in (1, 2, 7, 60, 200):
            steps = min(steps, row.max_steps)
            found = ratios(name, steps, KINDS[noise])
            assert found[-1] == 0 and len(found) == steps + 1
            assert bool((np.diff(found[np.isfinite(found)]) < 0).all()), (name, noise, steps)


@pytest.mark.parametrize("name", [name for name, row in SCHEDULERS.items() if "table" in row.noise])
def test_a_models_taste_in_spacing_does_not_cut_the_noise_range(name: str) -> None:
    # SDXL's own file says "leading"; taken literally, 10 Karras steps of Euler would start at 8.4 instead of 14.6.
    assert ratios(name, 10)[0] == pytest.approx(8.39 if name == "ddim_uniform" else 14.61, abs=0.01)


def test_the_model_is_told_the_level_it_sees() -> None:
    levels = read_levels(CONFIGS["epsilon"])
    for name in ("karras", "beta", "normal"):
        for here, _ in make_spans(find_solver(SAMPLERS["euler"]), SCHEDULERS[name], levels, 20):
            told = at([here.timestep])[0]
            assert here.ratio == pytest.approx(told, rel=2e-3)
            assert here.alpha**2 + here.sigma**2 == pytest.approx(1)


def test_a_model_trained_down_to_no_signal_begins_at_a_number() -> None:
    config = CONFIGS["v_prediction"] | {"rescale_betas_zero_snr": True}
    assert ratios("normal", 5, config=config)[0] == pytest.approx(4096, rel=1e-3)
    assert ratios("karras", 5, config=config)[0] == pytest.approx(4096, rel=1e-3)
