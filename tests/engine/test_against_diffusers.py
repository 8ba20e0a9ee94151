"""The whole picture against diffusers' own SDXL pipeline: same folder, same words, same noise, same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from fooocus_lite.engine.moment import NoiseSource
from fooocus_lite.engine.run import Engine
from fooocus_lite.events import ImageReady
from fooocus_lite.plan import Plan
from tests.engine.conftest import go_on
from tests.engine.tiny_sdxl import SCHEDULER, make_plan

#: (sampler, scheduler) → what walks so in diffusers.
THEIRS: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("euler", "normal"): ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
    ("uni_pc", "whole_uniform"): ("UniPCMultistepScheduler", {}),
}


def their_picture(folder: Path, plan: Plan) -> Any:
    """(height, width, 3) uint8, drawn by diffusers."""
    name, options = THEIRS[plan.sampler, plan.scheduler]
    kept = {key: SCHEDULER[key] for key in ("beta_start", "beta_end", "beta_schedule", "prediction_type")}
    pipe = StableDiffusionXLPipeline(
        vae=diffusers.AutoencoderTiny.from_pretrained(folder / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
        unet=diffusers.UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=getattr(diffusers, name)(**kept, **options),
        force_zeros_for_empty_prompt=False, add_watermarker=False,
    )  # fmt: skip
    pipe.to(torch.float32).set_progress_bar_config(disable=True)
    shape = (1, int(pipe.unet.config.in_channels), plan.height // 8, plan.width // 8)
    latents = NoiseSource(plan.seed, shape, torch.device("cpu")).draw()
    drawn: Any = pipe(
        plan.texts[0], negative_prompt=plan.negative_texts[0], width=plan.width, height=plan.height,
        num_inference_steps=plan.steps, guidance_scale=plan.guidance_scale, latents=latents, output_type="np",
    )  # fmt: skip
    return (drawn.images[0] * 255).round().astype(np.uint8)


def our_picture(plan: Plan) -> Any:
    for event in Engine(device="cpu", preview_fps=0).run(plan, go_on):
        if isinstance(event, ImageReady):
            return np.frombuffer(event.rgb, np.uint8).reshape(event.height, event.width, 3)
    raise AssertionError(event)


@pytest.mark.parametrize(("sampler", "scheduler"), list(THEIRS))
def test_the_picture_is_that_of_diffusers(model: Path, sampler: str, scheduler: str) -> None:
    plan = make_plan(
        model, sampler=sampler, scheduler=scheduler, guidance_scale=4.0, steps=6, width=96, texts=("red dot",)
    )
    ours, theirs = our_picture(plan).astype(int), their_picture(model, plan).astype(int)
    # Different order of the same float32 operations: at most the last bit of a pixel differs.
    assert np.abs(ours - theirs).max() <= 1
    assert ours.std() > 1
