"""Who is asked what and how often; what is off is absent; perturbed layers, hooks and sizes are as they should be."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from fooocus_lite.engine.attention import identity_attention
from fooocus_lite.engine.guidance import Condition, Layers, Told, Weights, guided, not_there, unet_forward, unet_layers
from fooocus_lite.engine.moment import Moment
from fooocus_lite.engine.run import Engine
from fooocus_lite.events import ImageReady, PromptReady
from fooocus_lite.guidances import GUIDANCES, OFF, passes_per_step
from tests.engine.conftest import go_on
from tests.engine.test_guidance import condition, counted, sdxl_unet
from tests.engine.test_host_sync import EVERYTHING
from tests.engine.tiny_sdxl import make_plan, make_unet

__all__ = ["sdxl_unet"]
LATENTS = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))
TOLD = Told(condition(8), condition(9), condition(10))
#: What switches each row on, at guidance scale 4.
ON: dict[str, dict[str, float]] = {
    "classifier_free": {},
    "rescale": {"guidance_rescale": 0.7},
    "interval": {"guidance_start": 0.2, "guidance_end": 0.8},
    "adaptive": {"adaptive_cfg": 2},
    "perp_neg": {"perp_neg": 1},
    "apg": {"apg_eta": 0, "apg_threshold": 5, "apg_momentum": -0.5},
    "self_attention": {"sag_scale": 0.5},
    "perturbed_attention": {"pag_scale": 2},
    "sharpness": {"sharpness": 20},
    "freeu": {"freeu_b1": 1.3, "freeu_s2": 0.5},
    "adm": {"adm_positive": 1.5, "adm_negative": 0.8},
}


def moment(index: int = 2, kind: str = "epsilon", progress: float = 0.2) -> Moment:
    return Moment(index, torch.tensor(500.0), 0.6, 0.8, kind, progress)


def run(unet: Any, *moments: Moment, told: Told = TOLD, **weights: float) -> tuple[Tensor, list[int]]:
    """The last prediction, and the batch sizes of all calls."""
    forward, batches = counted(unet)
    here = Weights(**({"guidance_scale": 4.0} | weights))
    prediction = LATENTS
    with torch.no_grad(), guided(forward, told, here, steps=5, layers=unet_layers(unet)) as predict:
        for one in moments or (moment(),):
            prediction = predict(LATENTS, one)
    return prediction, batches


def test_a_model_without_a_middle_loads_and_is_guided_by_its_decoder(model: Path, tmp_path: Path) -> None:
    """As the distilled ones are; what looks at the middle is said to have no place."""
    folder = shutil.copytree(model, tmp_path / "thin", ignore=shutil.ignore_patterns("unet"))
    torch.manual_seed(0)
    given = {name: value for name, value in make_unet().config.items() if not name.startswith("_")}
    thin: Any = UNet2DConditionModel.from_config(given | {"mid_block_type": None, "block_out_channels": (16, 32, 48)})
    thin.save_pretrained(folder / "unet")
    layers = unet_layers(thin)
    assert (layers.attention, layers.perturbed) == (None, ())
    assert [channels for stage in layers.decoder for _, channels in stage] == [48, 48, 48, 32]
    drawn: set[bytes] = set()
    for freeu in ({}, {"freeu_b1": 1.3, "freeu_s1": 0.5}):
        plan = make_plan(folder, steps=2, pag_scale=2.0, sag_scale=1.0, **freeu)
        events = list(Engine(device="cpu", preview_fps=0).run(plan, go_on))
        missing = [warning for event in events if isinstance(event, PromptReady) for warning in event.warnings]
        rows = ("self_attention", "perturbed_attention")
        assert missing == [f"The model tiny has no place for {GUIDANCES[key].label}; it does nothing." for key in rows]
        drawn |= {event.rgb for event in events if isinstance(event, ImageReady)}
    assert len(drawn) == 2


@pytest.mark.parametrize(
    ("weights", "batches"),
    [
        ({}, [2]),
        ({"guidance_scale": 1}, [1]),
        ({"pag_scale": 2}, [3]),
        ({"guidance_scale": 1, "pag_scale": 2}, [2]),
        ({"perp_neg": 1}, [3]),
        ({"perp_neg": 1, "pag_scale": 2}, [4]),
        ({"perp_neg": 1, "pag_scale": 2, "sag_scale": 1}, [4, 1]),
        ({"guidance_scale": 1, "perp_neg": 1}, [1]),
        ({"sag_scale": 1, "pag_scale": 2}, [3, 1]),
        ({"guidance_rescale": 0.7, "apg_eta": 0, "sharpness": 2, "freeu_b1": 1.2, "adm_positive": 1.5}, [2]),
    ],
)
def test_passes_of_a_step(sdxl_unet: Any, weights: dict[str, float], batches: list[int]) -> None:
    assert run(sdxl_unet, **weights)[1] == batches
    told = Weights(**({"guidance_scale": 4.0} | weights))
    assert passes_per_step(told, 5) == sum(batches)


def test_a_step_outside_the_interval_is_one_pass_and_the_models_own(sdxl_unet: Any) -> None:
    moments = [moment(index) for index in range(5)]
    weights: dict[str, float] = {"guidance_start": 0.2, "guidance_end": 0.8, "sag_scale": 1, "pag_scale": 2}
    _, batches = run(sdxl_unet, *moments, **weights, guidance_rescale=0.5, sharpness=5)
    assert batches == [1, 3, 1, 3, 1, 3, 1, 1]
    assert sum(batches) / 5 == passes_per_step(Weights(guidance_scale=4, **weights), 5)
    alone = unet_forward(sdxl_unet, torch.float32)(LATENTS, moment(0), TOLD.cond)
    assert torch.equal(run(sdxl_unet, moment(0), **weights)[0], alone)
    assert not torch.equal(run(sdxl_unet, moment(1), **weights)[0], alone)


def test_outside_the_interval_the_model_stays_as_changed_and_told(sdxl_unet: Any) -> None:
    """FreeU, and the sizes while they are scaled."""
    late, early = (moment(0, progress=progress) for progress in (0.9, 0.1))
    plain, batches = run(sdxl_unet, early, guidance_start=0.6)
    assert batches == [1]
    assert not torch.equal(run(sdxl_unet, early, guidance_start=0.6, freeu_b1=1.3)[0], plain)
    assert not torch.equal(run(sdxl_unet, early, guidance_start=0.6, adm_positive=1.5)[0], plain)
    assert torch.equal(run(sdxl_unet, late, guidance_start=0.6, adm_positive=1.5)[0], plain)


@pytest.mark.parametrize(("start", "end", "guided"), [(0, 1, 20), (0.2, 0.8, 12), (0, 0.5, 10), (0.99, 1, 0)])
def test_the_interval_is_shares_of_the_steps(start: float, end: float, guided: int) -> None:
    weights = Weights(guidance_scale=4, guidance_start=start, guidance_end=end)
    assert len(weights.guided_steps(20)) == guided
    assert passes_per_step(weights, 20) == 1 + guided / 20


@pytest.mark.parametrize("key", GUIDANCES)
def test_every_row_does_something_and_is_absent_when_off(sdxl_unet: Any, key: str) -> None:
    plain, _ = run(sdxl_unet)
    off = {name: OFF[name] for name in GUIDANCES[key].fields if name != "guidance_scale"}
    assert torch.equal(run(sdxl_unet, **off)[0], plain)
    moments = [moment(0), moment(0 if key == "interval" else 1)]
    changed = {"guidance_scale": 1.0} if key == "classifier_free" else ON[key]
    assert not torch.equal(run(sdxl_unet, *moments, **changed)[0], plain)


@pytest.mark.parametrize(
    "weights",
    [
        {"adm_end": 0.9}, {"adaptive_cfg": 4}, {"adaptive_cfg": 7}, {"guidance_rescale": 0.0},
        {"adm_positive": 1.5, "adm_negative": 0.5, "adm_end": 0.1},
    ],
)  # fmt: skip
def test_what_cannot_act_changes_no_bit(sdxl_unet: Any, weights: dict[str, float]) -> None:
    assert torch.equal(run(sdxl_unet, **weights)[0], run(sdxl_unet)[0])


def test_without_a_second_text_only_what_needs_none_acts(sdxl_unet: Any) -> None:
    alone = Told(TOLD.cond)
    plain, _ = run(sdxl_unet, told=alone)
    needy: dict[str, float] = {"perp_neg": 1, "apg_eta": 0, "adaptive_cfg": 2, "guidance_rescale": 0.7}
    found, batches = run(sdxl_unet, told=alone, **needy)
    assert torch.equal(found, plain) and batches == [1]
    assert run(sdxl_unet, told=alone, pag_scale=1)[1] == [2]


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_perturbed_attention_is_the_models_with_identity_maps(sdxl_unet: Any, scale: float) -> None:
    forward = unet_forward(sdxl_unet, torch.float32)
    cond = forward(LATENTS, moment(), TOLD.cond)
    with values_only(sdxl_unet):
        perturbed = forward(LATENTS, moment(), TOLD.cond)
    plain, _ = run(sdxl_unet, guidance_scale=scale)
    found, _ = run(sdxl_unet, guidance_scale=scale, pag_scale=2.5)
    torch.testing.assert_close(found, plain + 2.5 * (cond - perturbed), rtol=0, atol=2e-5)
    assert float((cond - perturbed).abs().max()) > 1e-3
    apart = dataclasses.replace(TOLD, uncond=condition(9, tokens=16 * 101), cond=condition(8, tokens=16 * 3))
    assert run(sdxl_unet, guidance_scale=4, pag_scale=2.5, told=apart)[1] == [1, 1, 1]


@contextmanager
def values_only(unet: Any) -> Generator[None]:
    """The middle block's self-attention layers give back their values."""
    layers = [b.attn1 for t in unet.mid_block.attentions for b in t.transformer_blocks]
    assert len(layers) == 2
    former = [layer.forward for layer in layers]
    for layer in layers:
        layer.forward = lambda states, *_, layer=layer, **__: layer.to_out[0](layer.to_v(states))
    yield
    for layer, forward in zip(layers, former, strict=True):
        layer.forward = forward


def test_perturbing_no_row_changes_nothing(sdxl_unet: Any) -> None:
    layers, states = unet_layers(sdxl_unet).perturbed, torch.randn(3, 24, 32)
    plain = layers[0](states)
    with identity_attention(layers) as perturbation:
        assert torch.equal(layers[0](states), plain)
        perturbation.rows = slice(2, 3)
        found = layers[0](states)
    assert torch.equal(found[:2], plain[:2])
    assert not torch.equal(found[2], plain[2])
    assert torch.equal(layers[0](states), plain)


def test_freeu_weighs_backbone_and_skip_of_two_stages(sdxl_unet: Any) -> None:
    stages = unet_layers(sdxl_unet).decoder
    assert [[(block.in_channels, own) for block, own in stage] for stage in stages] == [
        [(64, 32), (64, 32)], [(64, 32), (48, 32)],
    ]  # fmt: skip  # a backbone of 32 channels beside skips of 32, 32, 32 and 16
    plain, _ = run(sdxl_unet)
    found = [run(sdxl_unet, **{name: 0.7})[0] for name in ("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2")]
    assert len({prediction.sum().item() for prediction in [plain, *found]}) == 5
    assert torch.equal(run(sdxl_unet)[0], plain)


def test_sizes_are_scaled_early_and_true_later(sdxl_unet: Any) -> None:
    seen: list[list[float]] = []
    forward = unet_forward(sdxl_unet, torch.float32)

    def note(model_input: Tensor, here: Moment, told: Condition) -> Tensor:
        seen.extend(told.added["time_ids"].tolist())
        return forward(model_input, here, told)

    weights = Weights(guidance_scale=4, adm_positive=1.5, adm_negative=0.75, adm_end=0.3)
    with torch.no_grad(), guided(note, TOLD, weights, steps=5) as predict:
        predict(LATENTS, moment(progress=0.29))
        predict(LATENTS, moment(progress=0.3))
    assert seen == [[96, 96, *[128] * 4], [192, 192, *[128] * 4], [128] * 6, [128] * 6]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow_prediction", "edm"])
def test_everything_at_once(sdxl_unet: Any, kind: str) -> None:
    moments = [moment(index, kind, progress=index / 5) for index in range(5)]
    found, batches = run(sdxl_unet, *moments, **dataclasses.asdict(EVERYTHING))
    assert bool(found.isfinite().all())
    assert batches == [4, 1] * 4 + [1]


def test_a_model_without_a_place_for_it_says_so() -> None:
    told = Told(Condition(torch.zeros(1, 1, 1)))
    said = list(not_there(EVERYTHING, told, Layers(), "sketch"))
    assert all(sentence.startswith("The model sketch has no place for ") for sentence in said)
    for key in ("classifier_free", "perp_neg", "self_attention", "perturbed_attention", "freeu", "adm"):
        assert any(GUIDANCES[key].set_sliders(EVERYTHING) in sentence for sentence in said)
    assert not list(not_there(Weights(), told, Layers(), "sketch"))
