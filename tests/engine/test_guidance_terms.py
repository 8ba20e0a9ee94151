"""Each term of guidance against its paper's formula on random tensors, and picture by picture in a batch."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import fourier_filter
from torch import Tensor

from fooocus_lite.engine.guidance import Condition, Passes, Weights
from fooocus_lite.engine.guidance.classifier_free import (
    Projected,
    classifier_free,
    perpendicular,
    rescaled,
    scale_at,
)
from fooocus_lite.engine.guidance.freeu import strengthened, without_low
from fooocus_lite.engine.guidance.sharpness import sharpened, smoothed
from fooocus_lite.engine.levels import read_levels
from fooocus_lite.engine.moment import Moment

KINDS = ["epsilon", "v_prediction", "sample", "flow_prediction", "edm"]
NOTHING = Condition(torch.zeros(1, 1, 1))


def moment(kind: str = "epsilon", progress: float = 0.25) -> Moment:
    alpha, sigma = (0.3, 0.7) if kind == "flow_prediction" else (0.6, 0.8)
    return Moment(0, torch.tensor(500.0), alpha, sigma, kind, progress)


def passes(kind: str = "epsilon", *, seed: int = 0, pictures: int = 2, progress: float = 0.25) -> Passes:
    generator = torch.Generator().manual_seed(seed)
    model_input, cond, base, negative = torch.randn(4, pictures, 4, 9, 14, generator=generator).unbind(0)
    return Passes(model_input, moment(kind, progress), cond, base, NOTHING, negative=negative)


def one(of: Passes, picture: int) -> Passes:
    tensors = {name: value for name, value in vars(of).items() if isinstance(value, Tensor)}
    return dataclasses.replace(of, **{name: value[picture : picture + 1] for name, value in tensors.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_the_slope_is_how_x0_follows_the_prediction(kind: str) -> None:
    here, (model_input, first, second) = moment(kind), torch.randn(3, 1, 4, 8, 8).unbind(0)
    change = here.denoised(model_input, second) - here.denoised(model_input, first)
    torch.testing.assert_close(change, here.slope * (second - first))


def test_progress_is_the_models_clock() -> None:
    table = read_levels({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"})
    assert [table.progress(table.at_time(time)) for time in (999, 499.5, 0)] == pytest.approx([0, 0.5, 1])
    flow = read_levels({"prediction_type": "flow_prediction"})
    assert flow.progress(flow.at_ratio(1.0)) == pytest.approx(0.5)
    edm = read_levels({"sigma_data": 0.5})
    assert [edm.progress(edm.at_ratio(ratio)) for ratio in (80.0, 0.4, 0.002)] == pytest.approx([0, 0.5, 1], abs=1e-6)


@pytest.mark.parametrize(("progress", "scale"), [(0.0, 5.0), (0.25, 6.0), (1.0, 9.0)])
def test_a_high_scale_begins_as_the_lower_one(progress: float, scale: float) -> None:
    weights = Weights(guidance_scale=9, adaptive_cfg=5)
    assert scale_at(weights, moment(progress=progress)) == pytest.approx(scale)
    below = Weights(guidance_scale=4, adaptive_cfg=5)
    assert scale_at(below, moment(progress=progress)) == 4
    answers = passes(progress=progress)
    led = answers.cond + classifier_free(weights)(answers)
    torch.testing.assert_close(led, answers.base + scale * (answers.cond - answers.base))


def reference_projected(
    cond: Any, base: Any, running: Any, *, scale: float, eta: float, threshold: float, momentum: float
) -> tuple[Any, Any]:
    """(guided x0, the momentum) of one picture in double precision, as the paper has it."""
    running = cond - base + momentum * running
    step = running
    length = np.sqrt((step**2).sum())
    if threshold:
        step = step * min(1.0, threshold / length)
    unit = cond / np.sqrt((cond**2).sum())
    parallel = (step * unit).sum() * unit
    return cond + (scale - 1) * (step - parallel + eta * parallel), running


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("eta", "threshold", "momentum"), [(0.0, 15.0, -0.5), (0.3, 0.0, 0.0), (1.0, 10.0, 0.0), (1.0, 0.0, -0.75)]
)
def test_projected_guidance_is_the_papers(kind: str, eta: float, threshold: float, momentum: float) -> None:
    weights = Weights(guidance_scale=7.5, apg_eta=eta, apg_threshold=threshold, apg_momentum=momentum)
    correction = Projected(weights)
    running: list[Any] = [0.0, 0.0]
    for call in range(3):
        answers = passes(kind, seed=call)
        here = answers.moment
        guided = here.denoised(answers.model_input, answers.cond + correction(answers)).double().numpy()
        cond, base = (here.denoised(answers.model_input, one).double().numpy() for one in (answers.cond, answers.base))
        for picture in range(2):
            wanted, running[picture] = reference_projected(
                cond[picture], base[picture], running[picture], scale=7.5, eta=eta, threshold=threshold,
                momentum=momentum,
            )  # fmt: skip
            np.testing.assert_allclose(guided[picture], wanted, atol=2e-4)


def test_perp_neg_is_the_papers() -> None:
    answers, scale, weight = passes(pictures=1), 5.0, 1.5
    assert answers.negative is not None
    positive, negative = answers.cond - answers.base, answers.negative - answers.base
    square = (positive * positive).sum()
    across = negative - (negative * positive).sum() / square * positive
    assert float((across * positive).sum()) == pytest.approx(0, abs=1e-3)
    wanted = answers.base + scale * (positive - weight * across)
    led = dataclasses.replace(answers, cond=perpendicular(answers, weight))
    torch.testing.assert_close(led.cond + classifier_free(Weights(guidance_scale=scale))(led), wanted)
    same = dataclasses.replace(answers, negative=answers.cond)  # what is wanted cannot be taken away
    torch.testing.assert_close(perpendicular(same, weight), answers.cond)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rescaling_is_the_papers(kind: str, share: float) -> None:
    answers = passes(kind)
    here, guided = answers.moment, 3 * answers.base + 1

    def velocity(prediction: Tensor) -> Tensor:
        """What the paper's models predict; of flow and EDM models, what they do."""
        if kind not in ("epsilon", "sample"):
            return prediction
        x0, noise = (of(answers.model_input, prediction) for of in (here.denoised, here.noise))
        return here.alpha * noise - here.sigma * x0

    found, before, cond = (velocity(one) for one in (rescaled(guided, answers, share), guided, answers.cond))
    for picture in range(2):
        ratio = cond[picture].std() / before[picture].std()
        wanted = share * (before[picture] * ratio) + (1 - share) * before[picture]  # eq. 15 and 16
        torch.testing.assert_close(found[picture], wanted, rtol=1e-4, atol=1e-4)


def reference_smoothed(values: Any, guide: Any) -> Any:
    """One picture, neighbour by neighbour."""
    guide = (guide - guide.mean()) / (guide.std(ddof=1) + 1e-5)
    wide_values, wide_guide = (np.pad(one, ((0, 0), (6, 6), (6, 6)), mode="reflect") for one in (values, guide))
    result = np.zeros_like(values)
    for y in range(values.shape[1]):
        for x in range(values.shape[2]):
            total = 0.0
            for dy in range(13):
                for dx in range(13):
                    distance = np.abs(wide_guide[:, y + dy, x + dx] - guide[:, y, x]).sum()
                    away = (dy - 6) ** 2 + (dx - 6) ** 2
                    weight = math.exp(-0.5 * (distance / 3) ** 2 - 0.5 * away / 9)
                    result[:, y, x] += weight * wide_values[:, y + dy, x + dx]
                    total += weight
            result[:, y, x] /= total
    return result


def test_smoothing_keeps_to_the_shapes_of_the_guide() -> None:
    values, guide = torch.randn(2, 2, 4, 9, 14).unbind(0)
    for picture in range(2):
        wanted = reference_smoothed(values[picture].double().numpy(), guide[picture].double().numpy())
        np.testing.assert_allclose(smoothed(values, guide)[picture].numpy(), wanted, atol=1e-5)
    assert bool(smoothed(values[..., :3, :5], guide[..., :3, :5]).isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
def test_sharpness_mixes_smoothed_noise_in_late(kind: str) -> None:
    answers = passes(kind, progress=0.5)
    here = answers.moment
    noise = here.noise(answers.model_input, answers.cond)
    smooth = smoothed(noise, here.denoised(answers.model_input, answers.cond))
    wanted = torch.lerp(noise, smooth, 0.001 * 20 * 0.5)
    found = here.noise(answers.model_input, sharpened(answers, 20))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert float((found - noise).abs().mean()) > 1e-3
    first = passes(kind, progress=0.0)
    assert sharpened(first, 20) is first.cond


def test_freeu_strengthens_half_of_the_backbone_where_it_is_active() -> None:
    backbone = torch.randn(2, 6, 8, 8)
    found = strengthened(backbone, 1.4)
    for picture in range(2):
        mean = backbone[picture].mean(0)
        activity = (mean - mean.min()) / (mean.max() - mean.min())
        torch.testing.assert_close(found[picture, :3], backbone[picture, :3] * (1 + 0.4 * activity))
    assert torch.equal(found[:, 3:], backbone[:, 3:])
    assert bool(strengthened(torch.ones(1, 4, 1, 1), 1.4).isfinite().all())


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (16, 4)])
def test_freeu_takes_low_frequencies_from_the_skip(size: tuple[int, int]) -> None:
    skip = torch.randn(2, 3, *size)
    torch.testing.assert_close(without_low(skip, 0.3), fourier_filter(skip, threshold=1, scale=0.3), atol=1e-5, rtol=0)  # type: ignore[arg-type]
    torch.testing.assert_close(without_low(torch.ones(1, 1, 1, 1), 0.3), torch.full((1, 1, 1, 1), 0.3))
    assert without_low(skip.bfloat16(), 0.3).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["projected", "perpendicular", "rescaled", "sharpened"])
def test_a_picture_in_a_batch_is_led_as_alone(name: str) -> None:
    weights = Weights(guidance_scale=7, apg_eta=0.2, apg_threshold=8, apg_momentum=-0.5)

    def term(answers: list[Passes]) -> Tensor:
        correction = Projected(weights)
        terms = {
            "projected": correction,
            "perpendicular": lambda of: perpendicular(of, 1.5),
            "rescaled": lambda of: rescaled(of.base, of, 0.7),
            "sharpened": lambda of: sharpened(of, 20),
        }
        return [terms[name](one) for one in answers][-1]

    both = [passes(seed=1), passes(seed=2)]
    for picture in range(2):
        alone = term([one(of, picture) for of in both])
        torch.testing.assert_close(term(both)[picture : picture + 1], alone, rtol=1e-5, atol=1e-6)
