"""Two models on one walk: the change at a step is the composition by hand, and nothing else changes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.embeddings import load_embedding
from fooocus_lite.engine.guidance import guided
from fooocus_lite.engine.levels import read_levels
from fooocus_lite.engine.model_cache import ModelCache
from fooocus_lite.engine.moment import Moment, NoiseSource
from fooocus_lite.engine.refiner import handed_over
from fooocus_lite.engine.run import Engine
from fooocus_lite.engine.samplers import make_path
from fooocus_lite.engine.sdxl import Sdxl
from fooocus_lite.errors import BadValue
from fooocus_lite.events import Event, Failed, Finished, ImageReady
from fooocus_lite.plan import Plan, first_refined
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from tests.engine.conftest import go_on
from tests.engine.tiny_sdxl import SCHEDULER, make_plan, make_unet, model_ref, write_model

Pixels = Callable[[Plan], bytes]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkpoint of the same architecture."""
    return write_model(tmp_path_factory.mktemp("models") / "second", seed=1)


@pytest.fixture(scope="module")
def true_refiner(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As SDXL's refiner: the second text encoder alone, and five numbers beside the words."""
    folder = tmp_path_factory.mktemp("models") / "refiner"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("text_encoder", "tokenizer", "unet"))
    torch.manual_seed(3)
    config = {**make_unet(cross=24).config, "projection_class_embeddings_input_dim": 24 + 5 * 8}
    unet: Any = UNet2DConditionModel.from_config(config)
    unet.save_pretrained(folder / "unet")
    index = {"text_encoder": [None, None], "tokenizer": [None, None], "requires_aesthetics_score": True}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def refined(plan: Plan, folder: Path, share: float) -> Plan:
    return dataclasses.replace(plan, refiner=model_ref(folder, "second"), refiner_switch=share)


def by_hand(engine: Engine, plan: Plan, step: int) -> bytes:
    """The picture, with the models exchanged by the one who walks."""
    assert plan.refiner
    machine = engine.machine()
    models = engine.families(plan.model, plan.refiner)
    with torch.inference_mode():
        noise = NoiseSource(plan.seed, models[0].latent_shape(plan), machine.device)
        config = models[0].scheduler_config
        rows = SAMPLERS[plan.sampler], SCHEDULERS[plan.scheduler]
        path = make_path(*rows, config, plan.steps, device=machine.device, noise=noise)
        latents = noise.draw() * path.init_noise_sigma
        for index in range(len(path.spans)):
            family = models[int(index >= step)]
            encoded = family.encode(plan)
            steps = len(path.spans)
            with guided(family.forward, encoded, plan, steps=steps, layers=family.layers) as predict:
                latents, _ = path.step(predict, latents, index)
        return models[0].decode(latents).contiguous().numpy().tobytes()


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "uni_pc", "dpmpp_2m_sde", "heun"])
def test_the_change_at_a_step_is_the_composition_by_hand(
    engine: Engine, pixels: Pixels, model: Path, second: Path, sampler: str
) -> None:
    plan = refined(make_plan(model, steps=5, sampler=sampler, sag_scale=0.4), second, 0.6)
    assert pixels(plan) == by_hand(engine, plan, 3)
    assert pixels(plan) != by_hand(engine, plan, 2)


def test_never_and_none_are_the_picture_of_the_model_alone(pixels: Pixels, model: Path, second: Path) -> None:
    plan = make_plan(model)
    alone = pixels(plan)
    assert pixels(refined(plan, second, 1.0)) == alone
    assert pixels(refined(plan, model, 0.5)) == alone, "the same weights go on"
    assert pixels(refined(plan, second, 0.0)) != alone
    assert pixels(refined(plan, second, 0.75)) not in (alone, pixels(refined(plan, second, 0.0)))
    assert pixels(plan) == alone


@pytest.mark.parametrize("share, steps, first", [(0.8, 30, 24), (0.0, 4, 0), (1.0, 4, 4), (0.5, 5, 2), (0.8, 4, 3)])
def test_the_first_refined_step_is_fooocus_s(share: float, steps: int, first: int) -> None:
    assert first_refined(share, steps) == first


def test_what_a_picture_does_not_need_is_freed_when_memory_is_short(model: Path, second: Path) -> None:
    engine = Engine(device="cpu", preview_fps=0)
    free = 1 << 60
    engine.models = ModelCache(engine.machine, free_bytes=lambda _: free)
    plan = refined(make_plan(model, steps=2), second, 0.5)
    assert plan.refiner
    assert isinstance(list(engine.run(plan, go_on))[-1], Finished)
    base, other = engine.families(plan.model, plan.refiner)
    assert engine.families(plan.model, plan.refiner)[0] is base
    gone = weakref.ref(other)
    del other
    free = 0
    assert engine.family(plan.model) is base
    assert gone() is not None, "nobody needs the room"
    engine.models.get([dataclasses.replace(plan.model, name="another")], "resident")
    assert gone() is None
    gone = weakref.ref(base)
    del base
    engine.forget()
    assert gone() is None


def test_latents_of_another_kind_are_refused_before_any_weights_are_read(model: Path, tmp_path: Path) -> None:
    wide = write_model(tmp_path / "wide", channels=6)
    scaled = shutil.copytree(model, tmp_path / "scaled")
    vae = json.loads((scaled / "vae" / "config.json").read_text())
    (scaled / "vae" / "config.json").write_text(json.dumps(vae | {"scaling_factor": 0.5}))
    for folder, words in ((wide, "channels is 6, not 4"), (scaled, "scaling_factor is 0.5, not 1.0")):
        for weights in folder.rglob("*.safetensors"):
            weights.unlink()
        engine = Engine(device="cpu", preview_fps=0)
        failure = list(engine.run(refined(make_plan(model), folder, 0.5), go_on))[-1]
        assert isinstance(failure, Failed)
        assert (failure.code, failure.field_name) == ("bad_value", "refiner")
        assert words in failure.problem and failure.hint == "Choose another refiner, or none."


def test_a_refiner_reads_one_encoder_and_is_told_how_beautiful(true_refiner: Path) -> None:
    refiner = Sdxl(model_ref(true_refiner), choose_machine("cpu"))
    encoded = refiner.encode(make_plan(true_refiner, width=96, height=64))
    assert encoded.cond.prompt_embeds.shape[-1] == 24
    assert encoded.cond.added["time_ids"].tolist() == [[64, 96, 0, 0, 6.0]]
    assert encoded.uncond and encoded.uncond.added["time_ids"].tolist() == [[64, 96, 0, 0, 2.5]]


def test_a_refiner_of_its_own_architecture_draws(
    engine: Engine, pixels: Pixels, model: Path, true_refiner: Path
) -> None:
    plan = refined(make_plan(model, steps=4, sampler="dpmpp_2m"), true_refiner, 0.5)
    assert pixels(plan) == by_hand(engine, plan, 2)


def test_a_word_of_both_encoders_is_read_by_the_refiner_s_one(
    engine: Engine, pixels: Pixels, model: Path, true_refiner: Path, tmp_path: Path
) -> None:
    """A textual inversion for SDXL: the refiner takes the part for its encoder, and only vectors of its size."""
    file, widths = tmp_path / "f.safetensors", {"clip_l": 16, "clip_g": 24}
    plan = refined(make_plan(model, texts=("a embedding:f",), embeddings=(("f", str(file)),)), true_refiner, 0.5)
    for names in (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")):
        save_file({name: torch.ones(2, width) for name, width in zip(names, widths.values(), strict=True)}, file)
        assert load_embedding("f", file, {"clip_g": 24}, room=14).keys() == {"clip_g"}
        assert pixels(plan) == by_hand(engine, plan, 2)
    for stored in ({"clip_l": 24}, {"clip_l": 16, "clip_g": 16}):
        save_file({name: torch.ones(2, width) for name, width in stored.items()}, file)
        with pytest.raises(BadValue, match="another kind of model"):
            load_embedding("f", file, {"clip_g": 24}, room=14)


@pytest.mark.parametrize("theirs", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("ours", ["epsilon", "v_prediction", "sample"])
def test_models_that_predict_otherwise_estimate_the_same(ours: str, theirs: str) -> None:
    """A second model that knows the answer leads there, whatever either of them predicts."""
    answer = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    noise = NoiseSource(2, (1, 4, 3, 5), torch.device("cpu"))
    rows = SAMPLERS["dpmpp_2m"], SCHEDULERS["karras"]
    path = make_path(*rows, SCHEDULER | {"prediction_type": ours}, 6, device=torch.device("cpu"), noise=noise)
    levels = read_levels(SCHEDULER | {"prediction_type": theirs, "beta_end": 0.02})

    def knows(model_input: Tensor, moment: Moment) -> Tensor:
        assert moment.prediction_type == theirs
        own = levels.at_time(float(moment.timestep)).ratio
        assert own == pytest.approx(moment.ratio, rel=1e-3) or own == levels.ratios[1]
        eps = (model_input - moment.alpha * answer) / moment.sigma
        return {"epsilon": eps, "sample": answer, "v_prediction": moment.alpha * eps - moment.sigma * answer}[theirs]

    def lost(model_input: Tensor, moment: Moment) -> Tensor:
        return torch.zeros_like(model_input)

    predict = handed_over(lost, knows, path, levels, step=3)
    latents = noise.draw() * path.init_noise_sigma
    for index in range(6):
        latents, _ = path.step(predict, latents, index)
    assert torch.allclose(latents, answer, atol=1e-4)


SEQUENCE: list[dict[str, Any]] = [
    {},
    {"sampler": "lcm", "scheduler": "lcm", "guidance_scale": 1.0, "steps": 3},
    {"width": 64, "height": 96},
    {"sampler": "dpmpp_2m_sde", "scheduler": "karras", "sag_scale": 0.6, "guidance_scale": 6.0},
    {"sampler": "euler", "scheduler": "sgm_uniform", "guidance_scale": 1.0, "texts": ("a (blue:1.3) square", "two")},
    {"refiner_switch": 0.5},
]


def test_the_same_recipe_is_the_same_pixels_whatever_ran_before(model: Path, second: Path) -> None:
    """Other modes, guidance, sizes and models in one engine, there and back; and each once in a fresh one."""

    def plan_of(changes: dict[str, Any]) -> Plan:
        made = make_plan(model, steps=changes.get("steps", 4), **{k: v for k, v in changes.items() if k != "steps"})
        return refined(made, second, 0.5) if "refiner_switch" in changes else made

    def draw(engine: Engine, plan: Plan) -> bytes:
        events: list[Event] = list(engine.run(plan, go_on))
        return next(event.rgb for event in events if isinstance(event, ImageReady))

    plans = [plan_of(changes) for changes in SEQUENCE]
    warm = Engine(device="cpu", preview_fps=0)
    there = [draw(warm, plan) for plan in plans]
    back = [draw(warm, plan) for plan in reversed(plans)]
    alone = [draw(Engine(device="cpu", preview_fps=0), plan) for plan in plans]
    assert there == back[::-1] == alone
    assert len(set(there)) == len(plans)
