"""The family sd15: what diffusers draws with the same weights, with everything that SDXL has too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.family import load_family
from fooocus_lite.engine.preview import SD15_COLOURS
from fooocus_lite.events import Event, Failed, PromptReady
from fooocus_lite.plan import LoraRef, Plan
from tests.engine.lora_files import write
from tests.engine.test_guidance_passes import ON
from tests.engine.tiny_sd15 import make_plan, model_ref, write_model

MACHINE = choose_machine("cpu", "fp32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def plan(folder: Path) -> Plan:
    return make_plan(model_ref(folder), steps=3, width=64, height=64)


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_texts_are_read_as_the_model_was_trained(folder: Path, plan: Plan, clip_skip: int) -> None:
    """One encoder; its last norm is applied to whichever layer is read, and nothing is added to the words."""
    from transformers.models.clip.modeling_clip import CLIPTextModel
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    clip = CLIPTextModel.from_pretrained(folder / "text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    ids = tokenizer("a b", padding="max_length", max_length=16, return_tensors="pt").input_ids
    with torch.inference_mode():
        states = clip(ids, output_hidden_states=True)
        read = clip.final_layer_norm(states.hidden_states[-clip_skip])
        told = load_family(plan.model, MACHINE).encode(replace(plan, texts=("a b",), clip_skip=clip_skip))
    torch.testing.assert_close(told.cond.prompt_embeds, read)
    assert told.cond.added == {}
    if clip_skip == 1:
        torch.testing.assert_close(told.cond.prompt_embeds, states.last_hidden_state)


def test_it_draws_what_diffusers_draws(folder: Path, plan: Plan, pixels: Callable[[Plan], bytes]) -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    # As the plan's schedule: even in the model's own time.
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="linspace")
    pipeline.set_progress_bar_config(disable=True)
    shape = (1, 4, 8, 8)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(plan.seed))
    plan = replace(plan, texts=("a b",), negative_texts=("c",), sampler="euler", scheduler="normal")
    theirs = pipeline(
        "a b", negative_prompt="c", latents=noise, num_inference_steps=plan.steps, width=64, height=64,
        guidance_scale=plan.guidance_scale, output_type="pt",
    ).images[0]  # fmt: skip
    ours = torch.frombuffer(bytearray(pixels(plan)), dtype=torch.uint8).reshape(64, 64, 3).permute(2, 0, 1)
    # Ours rounds to a byte: half a step of 1/255 on either side, and a hair for another order of sums.
    assert (ours / 255 - theirs).abs().max() <= 0.51 / 255


@pytest.mark.parametrize("guidance", sorted(ON))
def test_every_guidance_works_or_says_why_not(
    plan: Plan, draw: Callable[[Plan], list[Event]], pixels: Callable[[Plan], bytes], guidance: str
) -> None:
    guided = replace(plan, guidance_scale=4.0, negative_texts=("b",))
    # Random layers hardly attend to anything, so what disturbs their attention is asked for a hundred times.
    strong = {
        field: value * (100 if field in ("sag_scale", "pag_scale") else 1) for field, value in ON[guidance].items()
    }
    changed = replace(guided, **(strong or {"guidance_scale": 5.0}))
    warned = next(event for event in draw(changed) if isinstance(event, PromptReady)).warnings
    assert bool(warned) == (guidance == "adm"), "this model is told no sizes, and nothing else is missing"
    assert (pixels(changed) != pixels(guided)) == (guidance != "adm")


def test_a_lora_changes_the_picture_and_leaves_no_trace(
    plan: Plan, tmp_path: Path, pixels: Callable[[Plan], bytes]
) -> None:
    layers = {
        "lora_unet_down_blocks_0_attentions_0_proj_in": (16, 16, 1, 1),
        "lora_unet_output_blocks_3_1_proj_in": (32, 32, 1, 1),
        "lora_te_text_model_encoder_layers_0_mlp_fc1": (32, 16),
    }
    tensors: dict[str, torch.Tensor] = {}
    for layer, (rows, columns, *kernel) in layers.items():
        tensors[f"{layer}.lora_down.weight"] = torch.ones(2, columns, *kernel)
        tensors[f"{layer}.lora_up.weight"] = torch.ones(rows, 2, *kernel)
    path = write(tmp_path / "lora.safetensors", tensors)
    plain = pixels(plan)
    assert pixels(replace(plan, loras=(LoraRef("ink", str(path), 0.5),))) != plain
    assert pixels(plan) == plain


def test_another_model_of_the_family_refines_its_pictures(
    plan: Plan, tmp_path: Path, pixels: Callable[[Plan], bytes]
) -> None:
    other = model_ref(write_model(tmp_path / "other", seed=5), "other")
    refined = pixels(replace(plan, refiner=other, refiner_switch=0.5))
    assert refined != pixels(plan)
    assert refined != pixels(replace(plan, model=other))


def test_v_prediction_is_heard(plan: Plan, pixels: Callable[[Plan], bytes]) -> None:
    assert pixels(replace(plan, model=replace(plan.model, prediction="v_prediction"))) != pixels(plan)


def test_previews_have_the_colours_of_its_own_latents(plan: Plan) -> None:
    assert load_family(plan.model, MACHINE).colours == SD15_COLOURS


def test_weights_that_are_no_numbers_are_named(
    plan: Plan, folder: Path, tmp_path: Path, draw: Callable[[Plan], list[Event]]
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    file = broken / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.weight"][0, 0, 0, 0] = float("nan")
    tensors["conv_in.weight"][1, 0, 0, 0] = float("inf")
    save_file(tensors, file)
    last = draw(replace(plan, model=model_ref(broken, "broken")))[-1]
    assert isinstance(last, Failed)
    assert last.code == "corrupt_model"
    assert "broken" in last.problem and "2 of its weights" in last.problem and "conv_in" in last.problem
    assert not isinstance(draw(plan)[-1], Failed)
