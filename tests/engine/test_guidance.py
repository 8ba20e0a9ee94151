"""Guidance: the sum is right, what weighs nothing is not computed, and the model is left as it was found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.stable_diffusion_sag.pipeline_stable_diffusion_sag import (
    StableDiffusionSAGPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from fooocus_lite.engine.attention import column_mass, recorded_attention
from fooocus_lite.engine.denoise import denoise
from fooocus_lite.engine.guidance import (
    Condition,
    Layers,
    Told,
    Weights,
    degrade,
    guided,
    joined,
    map_size,
    unet_forward,
    unet_layers,
)
from fooocus_lite.engine.moment import Moment, NoiseSource
from fooocus_lite.engine.samplers import make_path
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from tests.engine.tiny_sdxl import SCHEDULER, make_unet, make_vae

CPU = torch.device("cpu")
# set_alpha_to_one: diffusers' last step ends at no noise, as every one of ours.
DDIM = {"clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "leading", "steps_offset": 1}


@pytest.fixture(scope="module")
def sdxl_unet() -> Any:
    torch.manual_seed(0)
    return make_unet().eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def sd15_unet() -> Any:
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=16, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, cross_attention_dim=24,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return unet.eval().requires_grad_(requires_grad=False)


def condition(seed: int, *, tokens: int = 16) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    return Condition(
        torch.randn(1, tokens, 40, generator=generator),
        {"text_embeds": torch.randn(1, 24, generator=generator), "time_ids": torch.full((1, 6), 128.0)},
    )


def counted(unet: Any) -> tuple[Any, list[int]]:
    """The bare model and the batch sizes it was called with."""
    batches: list[int] = []
    forward = unet_forward(unet, torch.float32)

    def count(model_input: Tensor, moment: Moment, told: Condition) -> Tensor:
        batches.append(model_input.shape[0])
        return forward(model_input, moment, told)

    return count, batches


def moment(kind: str = "epsilon") -> Moment:
    return Moment(0, torch.tensor(500.0), alpha=0.6, sigma=0.8, prediction_type=kind)


def middle(unet: Any) -> Any:
    return unet.mid_block.attentions[0].transformer_blocks[0].attn1


def run(
    unet: Any, *, g: float, s: float, uncond: Condition | None = None, kind: str = "epsilon"
) -> tuple[Tensor, list[int]]:
    forward, batches = counted(unet)
    latents = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))
    told, weights = Told(condition(8), uncond or condition(9)), Weights(guidance_scale=g, sag_scale=s)
    with guided(forward, told, weights, steps=1, layers=Layers(middle(unet))) as predict:
        return predict(latents, moment(kind)), batches


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
@pytest.mark.parametrize("size", [(128, 128), (128, 96)])
def test_self_attention_guidance_is_that_of_diffusers(
    sd15_unet: Any, guidance_scale: float, size: tuple[int, int]
) -> None:
    """Against diffusers' deprecated SD 1.5 pipeline on random weights, DDIM, five steps (issue: ≤ 1e-4)."""
    width, height = size
    config = {key: SCHEDULER[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    config |= {"prediction_type": "epsilon"}
    torch.manual_seed(3)
    pipe = StableDiffusionSAGPipeline(
        unet=sd15_unet, vae=make_vae("kl", 4).eval(), scheduler=DDIMScheduler(**config, **DDIM),
        text_encoder=None, tokenizer=None, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    cond, uncond, latents = torch.randn(1, 7, 24), torch.randn(1, 7, 24), torch.randn(1, 4, height // 8, width // 8)
    theirs = pipe(
        prompt_embeds=cond, negative_prompt_embeds=uncond, latents=latents, num_inference_steps=5, width=width,
        height=height, guidance_scale=guidance_scale, sag_scale=0.75, output_type="latent",
    ).images  # fmt: skip
    schedule = ddim_schedule(config)
    with torch.no_grad(), guided(
        unet_forward(sd15_unet, torch.float32), Told(Condition(cond), Condition(uncond)),
        Weights(guidance_scale=guidance_scale, sag_scale=0.75), steps=5, layers=unet_layers(sd15_unet),
    ) as predict:  # fmt: skip
        ours = denoise(predict, schedule, latents)
        bare = unet_forward(sd15_unet, torch.float32)
        without = denoise(lambda x, m: bare(x, m, Condition(cond)), ddim_schedule(config), latents)
    assert float((ours - theirs).abs().max()) <= 1e-4
    assert float((ours - without).abs().max()) > 1e-2  # the comparison would notice guidance that does nothing


@pytest.mark.parametrize("kind", ["v_prediction", "sample", "flow_prediction", "edm"])
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_without_noise_estimates_it_leads_from_the_estimate_that_saw_no_edges(
    sdxl_unet: Any, guidance_scale: float, kind: str
) -> None:
    here, latents = moment(kind), torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))
    forward, _ = counted(sdxl_unet)
    told = condition(8) if guidance_scale == 1 else condition(9)
    with recorded_attention(middle(sdxl_unet)) as recorder:
        recorder.rows = slice(0, 1)
        base = forward(latents, here, told)
    assert recorder.mass is not None
    blurred = degrade(latents, base, here, recorder.mass)
    estimates = here.denoised(latents, base), here.denoised(blurred, forward(blurred, here, told))
    plain, _ = run(sdxl_unet, g=guidance_scale, s=0, kind=kind)
    found, _ = run(sdxl_unet, g=guidance_scale, s=0.75, kind=kind)
    led = here.denoised(latents, found) - here.denoised(latents, plain)
    torch.testing.assert_close(led, 0.75 * (estimates[0] - estimates[1]), rtol=0, atol=1e-4)
    assert float(led.abs().max()) > 1e-2


def ddim_schedule(config: dict[str, Any]) -> Any:
    row = SAMPLERS["ddim"]
    noise = NoiseSource(0, (1, 4, 1, 1), CPU)
    return make_path(row, SCHEDULERS[row.scheduler], config, 5, device=CPU, noise=noise)


def test_a_term_that_weighs_nothing_is_not_computed(sdxl_unet: Any) -> None:
    forward, _ = counted(sdxl_unet)
    latents = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))
    alone = forward(latents, moment(), condition(8))
    off, batches = run(sdxl_unet, g=1, s=0)
    assert torch.equal(off, alone)
    assert batches == [1]
    assert run(sdxl_unet, g=4, s=0)[1] == [2]
    assert run(sdxl_unet, g=1, s=0.5)[1] == [1, 1]
    assert run(sdxl_unet, g=4, s=0.5)[1] == [2, 1]


def test_classifier_free_guidance_in_one_pass_is_that_of_two(sdxl_unet: Any) -> None:
    forward, _ = counted(sdxl_unet)
    latents = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))
    cond, uncond = (forward(latents, moment(), condition(seed)) for seed in (8, 9))
    together, _ = run(sdxl_unet, g=4, s=0)
    torch.testing.assert_close(together, uncond + 4 * (cond - uncond), rtol=0, atol=2e-5)


@pytest.mark.parametrize("tokens", [32, 24, 16 * 101])
def test_texts_of_unequal_length_are_guided_like_two_passes(sdxl_unet: Any, tokens: int) -> None:
    forward, _ = counted(sdxl_unet)
    latents = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(2))
    longer = condition(9, tokens=tokens)
    cond, uncond = forward(latents, moment(), condition(8)), forward(latents, moment(), longer)
    guided_together, batches = run(sdxl_unet, g=4, s=0, uncond=longer)
    torch.testing.assert_close(guided_together, uncond + 4 * (cond - uncond), rtol=0, atol=2e-5)
    assert batches == [2]


def test_lengths_whose_common_multiple_is_huge_are_not_repeated(sdxl_unet: Any) -> None:
    assert joined(condition(1, tokens=16 * 31), condition(2, tokens=16 * 32)) is None
    long, short = condition(9, tokens=16 * 32), condition(8, tokens=16 * 31)
    forward, batches = counted(sdxl_unet)
    latents = torch.randn(1, 4, 8, 8)
    weights = Weights(guidance_scale=3, sag_scale=0.5, pag_scale=1)
    with guided(forward, Told(short, long), weights, steps=1, layers=unet_layers(sdxl_unet)) as predict:
        assert bool(predict(latents, moment()).isfinite().all())
    assert batches == [1, 1, 1, 1]


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_sag_adds_to_cfg_with_its_own_scale(sdxl_unet: Any, scale: float) -> None:
    plain, _ = run(sdxl_unet, g=4, s=0)
    half, _ = run(sdxl_unet, g=4, s=scale)
    one, _ = run(sdxl_unet, g=4, s=2 * scale)
    assert not torch.equal(plain, half)
    torch.testing.assert_close(one - plain, 2 * (half - plain), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_degrading_nothing_gives_back_what_the_model_saw(kind: str) -> None:
    model_input, prediction = torch.randn(2, 1, 4, 16, 24).unbind(0)
    untouched = degrade(model_input, prediction, moment(kind), torch.zeros(1, 8 * 12))
    torch.testing.assert_close(untouched, model_input, rtol=0, atol=1e-5)


def test_degrading_blurs_only_where_attention_is_high() -> None:
    model_input, prediction = torch.randn(2, 1, 4, 16, 24).unbind(0)
    mass = torch.zeros(1, 8, 12)
    mass[:, :, :6] = 2.0
    changed = (degrade(model_input, prediction, moment(), mass.flatten(1)) - model_input).abs()
    assert float(changed[..., 12:].max()) < 1e-5
    assert float(changed[..., :12].mean()) > 0.1


def test_attention_mass_is_the_column_sum_of_the_map(sdxl_unet: Any) -> None:
    layer = middle(sdxl_unet)
    states = torch.randn(2, 24, 32)
    query, key = layer.head_to_batch_dim(layer.to_q(states)), layer.head_to_batch_dim(layer.to_k(states))
    whole = layer.get_attention_scores(query, key).view(2, layer.heads, 24, 24)
    torch.testing.assert_close(column_mass(layer, states), whole.mean(1).sum(1), rtol=1e-5, atol=1e-5)
    assert column_mass(layer, states).mean() == pytest.approx(1)


def test_recording_changes_nothing(sdxl_unet: Any) -> None:
    layer, states = middle(sdxl_unet), torch.randn(2, 24, 32)
    plain = layer(states)
    with recorded_attention(layer) as recorder:
        recorder.rows = slice(0, 1)
        assert torch.equal(layer(states), plain)
    assert recorder.mass is not None
    assert recorder.mass.shape == (1, 24)


def test_the_model_is_as_before_also_after_a_failure(sdxl_unet: Any) -> None:
    before = dict(sdxl_unet.attn_processors)
    modules = [name for name, _ in sdxl_unet.named_modules()]
    forward, _ = counted(sdxl_unet)
    weights = Weights(guidance_scale=4, sag_scale=1, pag_scale=1, freeu_b1=1.2, freeu_s2=0.5)
    told = Told(condition(1), condition(2))
    with (
        pytest.raises(ZeroDivisionError),
        guided(forward, told, weights, steps=1, layers=unet_layers(sdxl_unet)) as predict,
    ):
        assert sdxl_unet.attn_processors != before
        assert any(module._forward_pre_hooks for module in sdxl_unet.modules())
        predict(torch.zeros(1, 4, 8, 8), moment())
        raise ZeroDivisionError
    assert sdxl_unet.attn_processors == before
    assert [name for name, _ in sdxl_unet.named_modules()] == modules
    assert not any(module._forward_pre_hooks for module in sdxl_unet.modules())


def test_map_size_follows_the_unet_down() -> None:
    assert map_size(128, 128, 32 * 32) == (32, 32)
    assert map_size(17, 24, 9 * 12) == (9, 12)
    assert map_size(17, 25, 5 * 7) == (5, 7)
    with pytest.raises(RuntimeError):
        map_size(16, 16, 63)
