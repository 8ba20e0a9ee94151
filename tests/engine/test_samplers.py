"""Samplers against exact answers: the closed form of Gaussian data, and a picture that is known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fooocus_lite.engine.moment import Moment, NoiseSource
from fooocus_lite.engine.samplers import find_solver
from fooocus_lite.errors import BadValue
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from fooocus_lite.tasks import model_calls
from tests.engine.gaussian import CPU, DATA_STD, OneHot, consistent, ideal, path_of, predicted, spread, walk

ODE = [name for name, row in SAMPLERS.items() if row.order]
SDE = [name for name, row in SAMPLERS.items() if not row.order and name not in ("lcm", "tcd")]


def schedule_for(kind: str) -> str:
    """One that ends at the same level for every count of steps, where there is one."""
    return "normal" if kind == "flow_prediction" else "karras"


def ode_error(name: str, steps: int, kind: str) -> float:
    """Relative error at the last level of noise before zero: there x / spread is what it was at the first."""
    path = path_of(name, steps, schedule_for(kind), kind=kind, noise=OneHot(1))
    _, seen = walk(path, ideal, torch.full((1, 1, 1, 1), path.init_noise_sigma, dtype=torch.float64))
    first, last = seen[0], seen[-1]
    exact = first.model_input * (spread(last.moment) / spread(first.moment))
    return float((last.model_input - exact).abs() / exact.abs())


KIND_OF = {"epsilon": "table", "v_prediction": "table", "flow_prediction": "flow", "edm": "edm"}


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in ODE for k in KIND_OF if KIND_OF[k] in SAMPLERS[n].noise])
def test_halving_the_step_divides_the_error_by_two_to_the_order(name: str, kind: str) -> None:
    order = SAMPLERS[name].order or 0
    # n points are n - 1 intervals. error = C h^p (1 + O(h)), the O(h) growing with the order.
    measured = math.log2(ode_error(name, 81, kind) / ode_error(name, 161, kind))
    if kind == "flow_prediction":
        # Straight lines begin at noise alone, infinitely far away in log-SNR: the first step is Euler's, of order 2.
        assert measured >= min(order, 2) - 0.2
    else:
        assert measured == pytest.approx(order, abs=0.2 if order < 4 else 0.3)


def bias(name: str, steps: int, kind: str = "epsilon") -> float:
    """How far the deviation at the last level before zero is from the right one, relatively. No randomness in it."""
    noise = OneHot(3 * steps)
    path = path_of(name, steps, "simple" if kind == "flow_prediction" else "karras", kind=kind, noise=noise)
    _, seen = walk(path, ideal, noise.draw() * path.init_noise_sigma)
    return abs(float(seen[-1].model_input.norm()) / spread(seen[-1].moment) - 1)


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in SDE for k in KIND_OF if KIND_OF[k] in SAMPLERS[n].noise])
def test_noisy_samplers_reach_the_spread_of_the_data(name: str, kind: str) -> None:
    # Weakly of first order at least: four times the steps leave a quarter of the bias, (1 + O(h)). Along straight
    # lines few steps lie where the log-SNR changes most, so that h is small only with more of them.
    few = 160 if kind == "flow_prediction" else 40
    rough, fine = bias(name, few, kind), bias(name, 4 * few, kind)
    assert fine < 0.3 * rough or fine < 1e-3
    assert rough < 0.15


@pytest.mark.parametrize("name", SDE)
def test_noise_from_the_seed_spreads_as_the_exact_answer_says(name: str) -> None:
    """The unit vectors above and the picture's own generator give the same walk: within three standard errors."""
    places, steps = 20_000, 8
    noise, exact = NoiseSource(3, (1, 1, places, 1), CPU), OneHot(3 * steps)
    found: list[float] = []
    for source in (noise, exact):
        path = path_of(name, steps, "karras", noise=source)
        ends, _ = walk(path, ideal, source.draw() * path.init_noise_sigma)
        found.append(float(ends.std() if source is noise else ends.norm()))
    assert found[0] == pytest.approx(found[1], rel=3 / math.sqrt(2 * places))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_picture_that_is_known_is_reached_with_the_right_noise_on_the_way(name: str) -> None:
    """Along every schedule: if x0 is known, each level holds alpha·x0 and noise of sigma, no more and no less."""
    for kind in ("epsilon", "flow_prediction", "edm"):
        for scheduler, row in SCHEDULERS.items():
            if KIND_OF[kind] in row.noise and KIND_OF[kind] in SAMPLERS[name].noise:
                for steps in {5, min(22, row.max_steps)}:
                    walk_to_a_known_picture(name, scheduler, kind, steps)


def walk_to_a_known_picture(name: str, scheduler: str, kind: str, steps: int) -> None:
    noise, known = OneHot(4 * steps + 4), torch.zeros(1, 1, 4 * steps + 4, 1, dtype=torch.float64)
    known[0, 0, -1] = 2.0
    path = path_of(name, steps, scheduler, kind=kind, noise=noise)
    here = path.spans[0][0]
    start = here.alpha * known + noise.draw() * here.sigma
    ends, seen = walk(path, lambda x, moment: known, start)
    assert len(seen) == steps
    tolerance = 2e-4 if name == "lcm" else 1e-9  # LCM's boundary keeps a little of what came in
    for step in seen:
        rest = step.model_input - step.moment.alpha * known
        assert float(rest.norm()) == pytest.approx(step.moment.sigma, rel=tolerance)
    torch.testing.assert_close(ends, known, rtol=0, atol=1e-4 if name == "lcm" else 1e-6)


def test_lcm_draws_the_data_when_the_model_is_consistent() -> None:
    for steps in (1, 4, 8):
        noise = OneHot(2 * steps)
        path = path_of("lcm", steps, noise=noise)
        ends, _ = walk(path, consistent, noise.draw() * path.init_noise_sigma)
        assert float(ends.norm()) == pytest.approx(DATA_STD, rel=0.002)  # the first latents are 0.0018 too wide


@pytest.mark.parametrize("steps", [1, 2, 7, 60, 200])
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_takes_the_steps_and_calls_it_is_asked_for(name: str, steps: int) -> None:
    noise = NoiseSource(3, (1, 1, 16, 1), CPU)
    path = path_of(name, steps, noise=noise)
    calls: list[float] = []

    def count(x: Tensor, moment: Moment) -> Tensor:
        calls.append(float(moment.timestep))
        return ideal(x, moment)

    ends, seen = walk(path, count, noise.draw() * path.init_noise_sigma)
    assert [step.moment.index for step in seen] == list(range(steps))
    assert bool(ends.isfinite().all())
    assert len(calls) == model_calls(name, steps), "the registry says how much work a picture is"
    clock = [float(step.moment.timestep) for step in seen]
    assert name == "restart" or clock == sorted(set(clock), reverse=True)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_picture_in_a_batch_is_the_picture_alone(name: str) -> None:
    def draw(seeds: list[int]) -> Tensor:
        noise = NoiseSource(seeds, (1, 2, 8, 8), CPU)
        path = path_of(name, 24, noise=noise)
        return walk(path, ideal, noise.draw() * path.init_noise_sigma)[0]

    together = draw([5, 6, 7])
    assert together.shape == (3, 2, 8, 8)
    for row, seed in enumerate((5, 6, 7)):
        assert torch.equal(together[row : row + 1], draw([seed]))
    assert not torch.equal(together[0], together[1])


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
    assert torch.equal(first[:1], torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    ("sampler", "scheduler", "kind", "field"),
    [
        ("tcd", "simple", "flow_prediction", "sampler"),
        ("lcm", "karras", "edm", "sampler"),
        ("euler", "karras", "flow_prediction", "scheduler"),
        ("euler", "edm", "epsilon", "scheduler"),
        ("euler", "turbo", "edm", "scheduler"),
    ],
)
def test_what_a_model_was_not_trained_for_is_one_sentence(sampler: str, scheduler: str, kind: str, field: str) -> None:
    with pytest.raises(BadValue, match="not made for how this model was trained") as caught:
        path_of(sampler, 4, scheduler, kind=kind, noise=OneHot(1))
    assert caught.value.field == field


def test_restart_goes_back_and_down_again() -> None:
    path = path_of("restart", 40, noise=OneHot(1))
    jumps = [(former[1].sigma, here[0].sigma) for former, here in itertools.pairwise(path.spans)]
    back = [jump for jump in jumps if jump[0] != jump[1]]
    assert len(back) == 2 and all(low < 0.2 and high == pytest.approx(2.0) for low, high in back)
    assert path.spans[-1][1].sigma == 0 and len(path.spans) == 40


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_row_names_a_solver_that_says_its_paper(name: str) -> None:
    assert find_solver(SAMPLERS[name]).__doc__
    assert SAMPLERS[name].scheduler in SCHEDULERS


def test_predictions_of_every_kind_mean_the_same() -> None:
    x, denoised = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64).unbind(0)
    levels: dict[str, Any] = {"flow_prediction": (0.4, 0.6), "edm": (0.7, 1.2)}
    for kind in KIND_OF:
        alpha, sigma = levels.get(kind, (0.6, 0.8))
        moment = Moment(0, torch.tensor(0.0), alpha, sigma, kind)
        said = predicted(x, moment, denoised)
        if kind == "edm":  # c_in x = model input, c_skip and c_out of arXiv:2206.00364, table 1
            ratio = 2.0
            moment = Moment(0, torch.tensor(0.0), (0.25 + ratio**2) ** -0.5, ratio * (0.25 + ratio**2) ** -0.5, kind)
            whole = 0.25 / (ratio**2 + 0.25) * (x / moment.alpha) + ratio * 0.5 / (0.25 + ratio**2) ** 0.5 * denoised
            torch.testing.assert_close(moment.denoised(x, denoised), whole)
            continue
        torch.testing.assert_close(moment.denoised(x, said), denoised)
        torch.testing.assert_close(moment.noise(x, said), (x - alpha * denoised) / sigma)
