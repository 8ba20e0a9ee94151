"""FLUX through our loop: the library's own picture, files of its makers, and what it does when something is wrong."""

from __future__ import annotations

import math
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from safetensors.torch import load_file, save_file
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer
from transformers.models.t5.modeling_t5 import T5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer

from fooocus_lite.engine.flux import packed, unpacked
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.moment import NoiseSource
from fooocus_lite.engine.run import Engine
from fooocus_lite.engine.weights import load_module
from fooocus_lite.events import Cancelled, Event, Failed, ImageReady, Preview, Progress, PromptReady
from fooocus_lite.plan import Plan
from tests.engine.flux_files import makers_tensors, save_with_prefix, whole_file
from tests.engine.test_gguf import write_gguf
from tests.engine.tiny_flux import make_plan, model_ref, write_flux

Pixels = Callable[[Plan], bytes]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flux(tmp_path_factory.mktemp("models") / "dev")


@pytest.fixture(scope="module")
def schnell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flux(tmp_path_factory.mktemp("models") / "schnell", guided=False)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield


def their_picture(folder: Path, plan: Plan) -> Any:
    """(height, width, 3) uint8, drawn by diffusers."""
    pipe = FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder_2=T5EncoderModel.from_pretrained(folder / "text_encoder_2"),
        tokenizer_2=T5Tokenizer.from_pretrained(folder / "tokenizer_2"),
        transformer=diffusers.FluxTransformer2DModel.from_pretrained(folder / "transformer"),
    )
    pipe.set_progress_bar_config(disable=True)
    noise = NoiseSource(plan.seed, (1, 4, plan.height // 8, plan.width // 8), torch.device("cpu")).draw()
    drawn: Any = pipe(
        plan.texts[0], width=plan.width, height=plan.height, num_inference_steps=plan.steps,
        guidance_scale=plan.guidance_scale, latents=packed(noise), output_type="np",
        max_sequence_length=512 if pipe.transformer.config.guidance_embeds else 256,
    )  # fmt: skip
    return (drawn.images[0] * 255).round().astype(np.uint8)


@pytest.mark.parametrize(("kind", "steps"), [("dev", 6), ("schnell", 1), ("schnell", 4)])
def test_the_picture_is_that_of_diffusers(
    kind: str, steps: int, pixels: Pixels, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    plan = make_plan(folder, steps=steps)
    ours = np.frombuffer(pixels(plan), np.uint8).reshape(plan.height, plan.width, 3).astype(int)
    # The same float32 operations in another order: at most the last bit of a pixel differs.
    assert np.abs(ours - their_picture(folder, plan)).max() <= 1
    assert ours.std() > 1


def test_packing_is_that_of_diffusers_and_undoes_itself() -> None:
    latents = torch.randn(2, 4, 12, 16)
    theirs: Any = FluxPipeline._pack_latents(latents, 2, 4, 12, 16)
    assert torch.equal(packed(latents), theirs)
    assert torch.equal(unpacked(packed(latents), 6), latents)


def test_the_same_plan_is_the_same_picture_and_another_scale_another(dev: Path, pixels: Pixels) -> None:
    first = pixels(make_plan(dev))
    led = pixels(make_plan(dev, guidance_scale=7.0))
    assert pixels(make_plan(dev)) == first
    assert led != first != pixels(make_plan(dev, seed=8))


def test_a_model_without_a_guidance_scale_says_so(schnell: Path, draw: Callable[[Plan], list[Event]]) -> None:
    said = [event.warnings for event in draw(make_plan(schnell)) if isinstance(event, PromptReady)]
    assert "made without a guidance scale" in " ".join(said[0])
    said = [event.warnings for event in draw(make_plan(schnell, guidance_scale=1.0)) if isinstance(event, PromptReady)]
    assert said == [()]


def test_weights_in_brackets_are_no_words_and_a_long_text_is_cut(
    schnell: Path, draw: Callable[[Plan], list[Event]], pixels: Pixels
) -> None:
    plan = make_plan(schnell, guidance_scale=1.0)
    assert pixels(replace(plan, texts=("a (red:1.4) circle",))) == pixels(replace(plan, texts=("a red circle",)))
    said = [e.warnings for e in draw(replace(plan, texts=("a (red:1.4) circle",))) if isinstance(e, PromptReady)]
    assert "reads no weights" in said[0][0]
    said = [e.warnings for e in draw(replace(plan, texts=("word " * 100,))) if isinstance(e, PromptReady)]
    assert re.search(r"longer than 255 tokens; the last \d+ were left out", said[0][0])


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "uni_pc", "euler_ancestral", "dpmpp_2m_sde"])
def test_every_sampler_for_flow_models_draws(dev: Path, sampler: str, pixels: Pixels) -> None:
    assert len(set(pixels(make_plan(dev, sampler=sampler, scheduler="beta")))) > 10


def test_previews_come_and_a_stop_ends_at_the_next_step(dev: Path) -> None:
    engine, seen = Engine(device="cpu", preview_fps=10_000, progress_fps=math.inf), list[Event]()
    for event in engine.run(make_plan(dev, steps=30), lambda: any(isinstance(e, Progress) for e in seen)):
        seen.append(event)
    assert isinstance(seen[-1], Cancelled)
    steps = [event.step for event in seen if isinstance(event, Progress)]
    assert 1 <= len(steps) < 30
    assert any(isinstance(event, Preview) and (event.width, event.height) == (128, 96) for event in seen)


def build(config: dict[str, Any]) -> Any:
    return diffusers.FluxTransformer2DModel.from_config(config)


def assert_same(one: bytes, other: bytes) -> None:
    """Equal weights that lie elsewhere in memory are multiplied in another order: the last bit may differ."""
    first, second = (np.frombuffer(picture, np.uint8).astype(int) for picture in (one, other))
    assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_file_of_the_makers_draws_the_same(dev: Path, tmp_path: Path, pixels: Pixels, prefix: str) -> None:
    path = save_with_prefix(makers_tensors(dev), tmp_path / "flux1.safetensors", prefix)
    parts = tuple((name, str(dev / name)) for name in ("text_encoder", "text_encoder_2", "vae"))
    ref = model_ref(dev, path=str(path), configs=str(dev), parts=parts)
    assert_same(pixels(make_plan(dev, model=ref)), pixels(make_plan(dev)))
    read, ours = (
        load_module(
            source.component("transformer"), build, device=torch.device("cpu"), dtype=torch.float32
        ).state_dict()
        for source in (ModelParts(ref), ModelParts(model_ref(dev)))
    )
    assert all(torch.equal(read[name], ours[name]) for name in ours)


def test_everything_in_one_file_and_encoders_in_files_of_their_own_draw_the_same(
    dev: Path, tmp_path: Path, pixels: Pixels
) -> None:
    whole = model_ref(dev, path=str(whole_file(dev, tmp_path / "all.safetensors")), configs=str(dev))
    assert_same(pixels(make_plan(dev, model=whole)), pixels(make_plan(dev)))
    path = save_with_prefix(makers_tensors(dev), tmp_path / "flux1.safetensors")
    parts = tuple(
        (name, str(dev / name / f"{stem}.safetensors"))
        for name, stem in (("text_encoder", "model"), ("text_encoder_2", "model"), ("vae", "diffusion_pytorch_model"))
    )
    single = model_ref(dev, path=str(path), configs=str(dev), parts=parts)
    assert_same(pixels(make_plan(dev, model=single)), pixels(make_plan(dev)))


def damaged_model(dev: Path, to: Path, damage: str) -> Path:
    folder = Path(shutil.copytree(dev, to))
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-1000])
    elif damage == "lacking":
        tensors = load_file(file)
        del tensors["x_embedder.weight"]
        save_file(tensors, file)
    elif damage == "no T5":
        shutil.rmtree(folder / "text_encoder_2")
    elif damage == "no words":
        (folder / "tokenizer_2" / "tokenizer.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("cut", "diffusion_pytorch_model.safetensors is damaged: it is cut short"),
        ("lacking", "1 of .* tensors are not in it, such as x_embedder.weight"),
        ("no T5", "text_encoder_2/config.json is missing"),
        ("no words", "tokenizer.json is damaged: it is not a tokenizer"),
    ],
)
def test_damage_is_one_sentence(
    dev: Path, tmp_path: Path, draw: Callable[[Plan], list[Event]], damage: str, words: str
) -> None:
    last = draw(make_plan(damaged_model(dev, tmp_path / "flux", damage)))[-1]
    assert isinstance(last, Failed) and re.search(words, last.problem), last
    assert last.code in ("corrupt_model", "missing_model") and last.hint


def test_a_file_of_another_kind_is_told_before_anything_is_read(
    dev: Path, tmp_path: Path, draw: Callable[[Plan], list[Event]]
) -> None:
    path = save_with_prefix({"input_blocks.0.0.weight": torch.zeros(4)}, tmp_path / "x.safetensors", "model.")
    last = draw(make_plan(dev, model=model_ref(dev, path=str(path), configs=str(dev))))[-1]
    assert isinstance(last, Failed) and "a model with a UNet" in last.problem


def test_a_size_between_two_tokens_is_refused(dev: Path, draw: Callable[[Plan], list[Event]]) -> None:
    last = draw(make_plan(dev, width=136))[-1]
    assert isinstance(last, Failed) and last.hint == "It must be a multiple of 16." and last.field_name == "width"


def test_the_engine_hands_over_a_whole_picture(dev: Path, draw: Callable[[Plan], list[Event]]) -> None:
    pictures = [event for event in draw(make_plan(dev)) if isinstance(event, ImageReady)]
    assert [(one.width, one.height, len(one.rgb)) for one in pictures] == [(128, 96, 128 * 96 * 3)]


def test_a_packed_file_of_the_makers_draws_what_its_numbers_say(dev: Path, tmp_path: Path, pixels: Pixels) -> None:
    exact = write_gguf(tmp_path / "flux1.gguf", makers_tensors(dev), "Q8_0")
    save_with_prefix(exact, tmp_path / "flux1.safetensors")
    parts = tuple((name, str(dev / name)) for name in ("text_encoder", "text_encoder_2", "vae"))
    packed, plain = (
        pixels(make_plan(dev, model=model_ref(dev, path=str(tmp_path / name), configs=str(dev), parts=parts)))
        for name in ("flux1.gguf", "flux1.safetensors")
    )
    assert_same(packed, plain)
    assert packed != pixels(make_plan(dev))
