"""The starter's adapters: how they are taught, on known answers, and what those that ship do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from fooocus_lite.engine import schedules
from fooocus_lite.engine.levels import CLEAN, Level
from fooocus_lite.engine.noisy_solvers import lcm
from fooocus_lite.engine.walk import Walk
from training.adapter_run import ADAPTERS, Job, Sample, Starter
from training.config import CONFIGS, STARTER, Config, save_atomic
from training.draw import draw
from training.evaluate import Sampling, held_out_specs, judge, make_jobs, make_painter, pop_art_job, read_adapter
from training.low_rank import Adapter, merge, write
from training.models import make_unet, time_ids
from training.pop_art import check_pop_art, pop_art, pop_art_caption
from training.team import Team, train
from training.train_adapter import StyleRun
from training.train_lcm import HOPS, TAUGHT_STEPS, LcmRun, boundary
from training.words import random_spec

CPU = torch.device("cpu")
TOY: Config = replace(CONFIGS["cpu128"], channels=(32, 32, 32), lcm_batch=4, style_batch=4, style_pictures=8)
LCM, POP_ART = ADAPTERS / "starter-lcm.safetensors", ADAPTERS / "starter-pop-art.safetensors"

needs_starter = pytest.mark.skipif(not (STARTER / "unet").is_dir(), reason="models/starter is not there")


def unet_output(unet: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    latents, text = torch.randn(1, 8, 8, 8, generator=generator), torch.randn(1, 5, 256, generator=generator)
    conditions = {"text_embeds": torch.randn(1, 128, generator=generator), "time_ids": time_ids(1, 64, 64, CPU)}
    with torch.no_grad():
        return unet(latents, 500, text, added_cond_kwargs=conditions).sample


def test_an_adapter_does_in_training_what_its_file_does(tmp_path: Path) -> None:
    torch.manual_seed(1)
    unet = make_unet(TOY)
    before = unet_output(unet)
    adapter = Adapter(unet, linear_rank=4, conv_rank=2)
    assert torch.equal(unet_output(unet), before), "an untrained adapter changes nothing"
    for pair in adapter.pairs.values():
        torch.nn.init.normal_(pair.up.weight, std=0.1)
    trained = unet_output(unet)
    assert (trained - before).abs().mean() > 0.01
    adapter.is_on = False
    assert torch.equal(unet_output(unet), before)
    write(adapter.tensors(), tmp_path / "a.safetensors", {"modelspec.title": "toy"})
    merge(unet, tmp_path / "a.safetensors", 1.0)
    torch.testing.assert_close(unet_output(unet), trained, atol=1e-3, rtol=1e-3)
    merge(unet, tmp_path / "a.safetensors", -1.0)
    torch.testing.assert_close(unet_output(unet), before, atol=1e-5, rtol=1e-5)


def test_alpha_counts(tmp_path: Path) -> None:
    unet = make_unet(TOY)
    tensors = Adapter(unet, linear_rank=4, conv_rank=2).tensors()
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    key = "lora_unet_" + name.replace(".", "_")
    up, down = torch.randn(32, 4).half(), torch.randn(4, 32).half()
    tensors |= {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down, f"{key}.alpha": torch.tensor(1.0)}
    write(tensors, tmp_path / "a.safetensors", {})
    layer = unet.get_submodule(name)
    before = layer.weight.detach().clone()
    merge(unet, tmp_path / "a.safetensors", 0.5)
    torch.testing.assert_close(layer.weight.detach() - before, 0.5 * (1.0 / 4) * (up.float() @ down.float()))


def test_an_adapter_for_another_model_is_refused(tmp_path: Path) -> None:
    adapter = Adapter(make_unet(TOY), linear_rank=2, conv_rank=2)
    tensors = adapter.tensors() | {"lora_unet_elsewhere.alpha": torch.tensor(1.0)}
    write(tensors, tmp_path / "a.safetensors", {})
    with pytest.raises(ValueError, match=r"another model.*elsewhere"):
        merge(make_unet(TOY), tmp_path / "a.safetensors")


class OneCall(Walk):
    """A walk of one step whose model always sees the same picture."""

    def __init__(self, here: Level, answer: Tensor) -> None:
        super().__init__([(here, CLEAN)], None, keeps_ratio=False)  # type: ignore[arg-type]
        self.answer = answer

    def _ask(self, latents: Tensor, level: Level) -> Tensor:
        return self.answer

    def noise(self) -> Tensor:
        raise AssertionError("the last step adds no noise")


@needs_starter
def test_the_student_is_taught_what_the_sampler_computes() -> None:
    levels = Starter(STARTER, CPU).levels
    taught = schedules.lcm(levels, HOPS)
    for steps in TAUGHT_STEPS:
        assert set(schedules.lcm(levels, steps)) <= set(taught), "asked at times that it was taught at"
    latents, answer = torch.randn(2, 1, 8, 4, 4).unbind()
    for level in taught:
        c_skip, c_out = boundary(torch.tensor(level.timestep))
        torch.testing.assert_close(c_skip * latents + c_out * answer, lcm(latents, 0, OneCall(level, answer)))
    c_skip, c_out = boundary(torch.tensor(0.0))
    assert (float(c_skip), float(c_out)) == (1, 0), "at the end a picture is what it is"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with a few latents."""
    (tmp_path / "latents").mkdir()
    rng = Random(1)
    for index, (width, height) in enumerate(((64, 64), (64, 96))):
        shard = {
            "latents": torch.randn(8, 8, height // 8, width // 8).half(),
            "specs": [random_spec(rng).to_dict() for _ in range(8)],
        }
        save_atomic(shard, tmp_path / "latents" / f"{index:04d}_{width}x{height}.pt")
    return tmp_path


def lcm_run(work: Path) -> LcmRun:
    job = Job("toy", work, STARTER, linear_rank=2, conv_rank=2, rate=1e-2, ema=0.9)
    return LcmRun(TOY, job, CPU, Team(0, 1))


@needs_starter
def test_with_a_teacher_that_knows_the_picture_the_goal_is_that_picture(work: Path) -> None:
    run = lcm_run(work)
    picture = torch.randn(HOPS, 8, 8, 8)
    asked: list[int] = []

    def predict(latents: Tensor, times: Tensor, condition: Any) -> Tensor:
        """v of whatever noise lies over ``picture``, at the times of the sampler."""
        asked.append(len(latents))
        rows = (times[:, None] - run.times).abs().argmin(dim=1)
        signal, noise = run.signal[rows][:, None, None, None], run.noise[rows][:, None, None, None]
        known = picture.repeat(len(latents) // HOPS, 1, 1, 1)
        drawn = torch.where(noise > 0, (latents - signal * known) / noise.clamp(min=1e-9), 0)
        return signal * drawn - noise * known

    run.starter.predict = predict  # type: ignore[method-assign]
    index = torch.arange(HOPS)
    noisy = run.at(run.signal, index) * picture + run.at(run.noise, index) * torch.randn_like(picture)
    condition = run.starter.encode(torch.zeros(HOPS, 77, dtype=torch.long), time_ids(HOPS, 64, 64, CPU))
    torch.testing.assert_close(run.goal(noisy, index, condition), picture, atol=2e-3, rtol=1e-3)
    assert asked == [2 * HOPS, HOPS], "the teacher with and without the words, the averaged adapter once"
    assert (run.adapter.is_on, run.averaged.is_on) == (True, False)


@needs_starter
def test_the_student_goes_on_from_its_own_pictures(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.train_lcm.FRESH", 0.0)
    run = lcm_run(work)
    run.renew()
    before, own = torch.tensor([0, 3, 11, 15]), torch.full_like(run.drawn, 7)
    run.index, run.own = before, own
    run.renew()
    went = (run.index - before).tolist()
    assert {went[0], went[1], went[2]} <= {HOPS // steps for steps in TAUGHT_STEPS}
    assert torch.equal(run.own[:3], own[:3])
    assert torch.equal(run.own[3], run.drawn[3]), "at its end it begins anew"


@needs_starter
@pytest.mark.parametrize("kind", [LcmRun, StyleRun])
def test_a_stopped_training_goes_on(work: Path, kind: type[LcmRun] | type[StyleRun]) -> None:
    job = Job("toy", work, STARTER, linear_rank=2, conv_rank=2, rate=1e-2, ema=0.9)
    first = kind(TOY, job, CPU, Team(0, 1))
    frozen = {name: value.clone() for name, value in first.starter.unet.named_parameters()}
    train(first, 0.001)
    assert first.steps > 0
    assert any(pair.up.weight.abs().sum() > 0 for pair in first.adapter.pairs.values())
    for name, value in first.starter.unet.named_parameters():
        assert torch.equal(value, frozen[name]), "the model under it stays as it is"
    second = kind(TOY, job, CPU, Team(0, 1))
    assert (second.steps, second.seen, second.elapsed) == (first.steps, first.seen, first.elapsed)
    for part in ("adapter", "averaged"):
        for mine, saved in zip(getattr(second, part).parameters(), getattr(first, part).parameters(), strict=True):
            assert torch.equal(mine, saved)
    sample = Sample("a red heart", Sampling("lcm", steps=1, guidance_scale=1.0))
    second.export(work / "toy.safetensors", {"modelspec.title": "toy"}, sample)
    with safe_open(work / "toy.safetensors", "pt") as opened:
        assert opened.metadata()["modelspec.title"] == "toy"
        assert opened.metadata()["modelspec.thumbnail"].startswith("data:image/jpeg;base64,/9j/")
    merge(first.starter.unet, work / "toy.safetensors")


def test_pop_art_can_be_told_from_the_plain_look() -> None:
    specs = pop_art_job(12, (128, 128)).specs
    assert all(all(check_pop_art(draw(spec, 1, painter=pop_art), spec).values()) for spec in specs)
    assert not any(any(check_pop_art(draw(spec, 1), spec).values()) for spec in specs)
    rng = Random(1)
    named = ["pop art" in pop_art_caption(spec, rng) for spec in specs * 20]
    assert 0.7 < sum(named) / len(named) < 0.9
    assert "pop art" not in {job.title for job in make_jobs(0.02, 128)}
    assert "pop art" in {job.title for job in make_jobs(0.02, 128, with_adapter=True)}


def test_an_adapter_can_be_named_with_its_weight() -> None:
    assert read_adapter("a/b.safetensors") == (Path("a/b.safetensors"), 1.0)
    assert read_adapter("a/b.safetensors:-0.5") == (Path("a/b.safetensors"), -0.5)
    assert read_adapter("C:\\b.safetensors") == (Path("C:\\b.safetensors"), 1.0)


@pytest.mark.parametrize(("path", "size_bytes"), [(LCM, 3_000_000), (POP_ART, 1_000_000)])
def test_the_files_that_ship_are_small_and_say_what_they_are(path: Path, size_bytes: int) -> None:
    assert path.stat().st_size <= size_bytes
    with safe_open(path, "pt") as opened:
        told = opened.metadata()
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    assert told["modelspec.license"] == "Apache-2.0"
    assert told["modelspec.architecture"] == "fooocus-lite-starter/lora"
    assert told["modelspec.title"] and told["modelspec.description"]
    assert told["modelspec.thumbnail"].startswith("data:image/jpeg;base64,/9j/")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    if path == POP_ART:
        assert told["modelspec.trigger_phrase"] == "pop art"
        assert "pop art" in json.loads(told["ss_tag_frequency"])["pop_art"]
    merge(make_unet(CONFIGS["cpu128"]), path)


@pytest.fixture(scope="module")
def few_steps() -> Iterator[Any]:
    yield make_painter(STARTER, CPU, Sampling("lcm", 4, 1.0, adapter=(LCM, 1.0)))


@needs_starter
def test_four_steps_without_guidance_give_what_was_asked(few_steps: Any) -> None:
    job = replace(make_jobs(0.02, 128)[0], specs=held_out_specs(16, Random("four steps")))
    counts = judge(few_steps, job, 1).counts
    assert counts["colour"][0] >= 15 and counts["background"][0] >= 15, counts
    assert counts["shape"][0] >= 12, counts


@needs_starter
def test_the_style_adapter_makes_pop_art_and_without_it_there_is_none() -> None:
    job = pop_art_job(8, (128, 128))
    with_it = judge(make_painter(STARTER, CPU, Sampling(steps=10, adapter=(POP_ART, 1.0))), job, 1).counts
    without = judge(make_painter(STARTER, CPU, Sampling(steps=10)), job, 1).counts
    assert with_it["dots"][0] >= 7 and with_it["ink"][0] >= 7, with_it
    assert without["dots"][0] <= 1, without
