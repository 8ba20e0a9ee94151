"""Families that diffusers draws by itself: tiny ones of each kind, made by code."""

from __future__ import annotations

import itertools
import json
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
from safetensors.torch import load_file, save_file

from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.pipeline_family import PipelineFamily
from fooocus_lite.engine.room import Room
from fooocus_lite.engine.run import Engine
from fooocus_lite.events import Cancelled, Event, Failed, Finished, ImageReady, Preview, Progress, PromptReady
from fooocus_lite.families import FAMILIES
from fooocus_lite.memory import Fit
from fooocus_lite.plan import LoraRef, Plan
from tests.engine import lora_files as files
from tests.engine.conftest import go_on
from tests.engine.test_gguf import write_gguf
from tests.engine.tiny_pipelines import KINDS, make_plan, model_ref, write_pipeline

Pixels = Callable[[Plan], bytes]
Draw = Callable[[Plan], list[Event]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {family: write_pipeline(family, home / family) for family in KINDS}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield


def test_every_row_has_a_tiny_one() -> None:
    assert set(KINDS) == {name for name, row in FAMILIES.items() if row.pipeline}


@pytest.mark.parametrize("family", list(KINDS))
def test_a_picture_comes_with_its_steps_and_previews(family: str, folders: dict[str, Path]) -> None:
    engine = Engine(device="cpu", preview_fps=10_000, progress_fps=math.inf)
    events = list(engine.run(make_plan(family, folders[family]), go_on))
    assert isinstance(events[-1], Finished), events[-1]
    assert [(one.step, one.steps) for one in events if isinstance(one, Progress)] == [(1, 3), (2, 3), (3, 3)]
    assert any(isinstance(one, Preview) and (one.width, one.height) == (64, 32) for one in events)
    (picture,) = (one for one in events if isinstance(one, ImageReady))
    assert (picture.width, picture.height) == (64, 32)
    assert np.frombuffer(picture.rgb, np.uint8).std() > 1
    assert picture.facts["dtype"] == "fp32"


@pytest.mark.parametrize("family", list(KINDS))
def test_the_seed_alone_decides(family: str, folders: dict[str, Path], pixels: Pixels) -> None:
    plan = make_plan(family, folders[family], steps=2)
    first = pixels(plan)
    other = pixels(replace(plan, seed=8))
    torch.randn(100)  # somebody else's numbers in between
    assert pixels(plan) == first != other


@pytest.mark.parametrize("family", list(KINDS))
def test_a_stop_ends_at_the_next_step_and_the_model_draws_again(family: str, folders: dict[str, Path]) -> None:
    engine, seen = Engine(device="cpu", preview_fps=0, progress_fps=math.inf), list[Event]()
    plan = make_plan(family, folders[family], steps=30)
    asked = itertools.count()  # once a step at least, by the thread that draws: who reads may be late
    for event in engine.run(plan, lambda: next(asked) >= 5):
        seen.append(event)
    assert isinstance(seen[-1], Cancelled)
    assert 0 < sum(isinstance(event, Progress) for event in seen) < 30
    assert isinstance(list(engine.run(replace(plan, steps=2), go_on))[-1], Finished)


@pytest.mark.parametrize(
    ("family", "argument", "ours", "theirs"),
    [
        ("sd35", "guidance_scale", 4.5, 4.5),
        ("qwen-image", "true_cfg_scale", 4.0, 4.0),
        ("z-image", "guidance_scale", 4.0, 3.0),
    ],
)
def test_the_picture_is_that_of_the_librarys_own_call(
    family: str, argument: str, ours: float, theirs: float, folders: dict[str, Path], pixels: Pixels
) -> None:
    plan = make_plan(family, folders[family], guidance_scale=ours, negative_texts=("blue",))
    kind = getattr(diffusers, str(json.loads((folders[family] / "model_index.json").read_text())["_class_name"]))
    index = json.loads((folders[family] / "model_index.json").read_text())
    optional = {"image_encoder": None, "feature_extractor": None} if family == "sd35" else {}
    pipe = kind.from_pretrained(str(folders[family]), local_files_only=True, **optional)
    assert index["_class_name"] == kind.__name__
    pipe.set_progress_bar_config(disable=True)
    drawn: Any = pipe(
        "a red circle", negative_prompt="blue", width=64, height=32, num_inference_steps=3, output_type="pt",
        generator=torch.Generator("cpu").manual_seed(7), **{argument: theirs},
    )  # fmt: skip
    found = np.frombuffer(pixels(plan), np.uint8).astype(int)
    expected = (drawn.images[0].float() * 255).round().permute(1, 2, 0).numpy().astype(int).ravel()
    # The same calls of the same code; weights that lie elsewhere in memory may be multiplied in another order.
    assert np.abs(found - expected).max() <= 1
    assert pixels(replace(plan, guidance_scale=1.0)) != pixels(plan)
    assert pixels(replace(plan, negative_texts=())) != pixels(plan)


def test_a_preview_shows_the_estimate_and_not_the_noise(folders: dict[str, Path], pixels: Pixels) -> None:
    """Of a walk of Euler along straight lines the last estimate is where the latents end."""
    from fooocus_lite.engine.pipeline_family import _Estimates  # pyright: ignore[reportPrivateUsage]

    class Pipe:
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        vae_scale_factor = 8

    pipe, velocity = Pipe(), torch.randn(1, 4, 4, 8)
    pipe.scheduler.set_timesteps(4)
    latents = torch.randn(1, 4, 4, 8)
    end = latents - velocity * pipe.scheduler.sigmas[0]
    shown = _Estimates(pipe, make_plan("z-image", folders["z-image"], steps=4))
    for index, timestep in enumerate(pipe.scheduler.timesteps):
        latents = pipe.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        estimate = shown.after(index, latents)
        assert (estimate is None) == (index == 0)
        if estimate is not None:
            torch.testing.assert_close(estimate(), end, atol=1e-5, rtol=1e-5)


def test_weights_in_brackets_are_no_words(folders: dict[str, Path], draw: Draw) -> None:
    events = draw(make_plan("chroma", folders["chroma"], texts=("a (red:1.3) circle",), steps=2))
    said = [event.warnings for event in events if isinstance(event, PromptReady)]
    assert "reads no weights in a prompt" in said[0][0]


def test_a_lora_changes_the_picture_and_leaves_no_trace(
    folders: dict[str, Path], tmp_path: Path, pixels: Pixels
) -> None:
    plan = make_plan("z-image", folders["z-image"])
    path = "layers.0.attention.to_q"
    shape = load_file(folders["z-image"] / "transformer" / "diffusion_pytorch_model.safetensors")[
        f"{path}.weight"
    ].shape
    made = files.lora(tuple(shape), files.dice())
    stored = {f"diffusion_model.{path}.{name}": tensor * 20 for name, tensor in made.items()}
    files.write(tmp_path / "ink.safetensors", stored)
    before = pixels(plan)
    assert pixels(replace(plan, loras=(LoraRef("ink", str(tmp_path / "ink.safetensors"), 1.0),))) != before
    assert pixels(plan) == before


def damaged_model(folder: Path, to: Path, damage: str) -> Path:
    copy = Path(shutil.copytree(folder, to))
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    index = json.loads((copy / "model_index.json").read_text())
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "lacking":
        tensors = load_file(file)
        tensors.pop("layers.0.attention.to_q.weight")
        save_file(tensors, file)
    elif damage == "lacking words":
        words = copy / "text_encoder" / "model.safetensors"
        tensors = load_file(words)
        tensors.pop(next(name for name in tensors if "q_proj" in name))
        save_file(tensors, words, {"format": "pt"})
    elif damage == "no encoder":
        shutil.rmtree(copy / "text_encoder")
    elif damage == "no weights":
        file.unlink()
    elif damage == "foreign code":
        index["transformer"] = ["evil_module", "Model"]
    elif damage == "no such class":
        index["transformer"] = ["diffusers", "NoSuchModel"]
    elif damage == "any network":
        index["text_encoder"] = ["transformers", "AutoModel"]
    elif damage == "no class at all":
        index["text_encoder"] = ["transformers", "logging"]
    elif damage == "code of its own":
        index["tokenizer"] = ["transformers", "AutoTokenizer"]
        settings = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
        (copy / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
        (copy / "tokenizer" / "evil.py").write_text(f"open({str(copy / 'ran')!r}, 'w')\nclass Evil: pass\n")
    elif damage == "not its parts":
        del index["tokenizer"]
    (copy / "model_index.json").write_text(json.dumps(index))
    return copy


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("cut", "diffusion_pytorch_model.safetensors is damaged: it is cut short"),
        ("lacking", "transformer is damaged: 1 of its tensors are not there, such as layers.0.attention.to_q.weight"),
        ("lacking words", "text_encoder is damaged: 1 of its tensors are not there"),
        ("no encoder", "text_encoder is missing"),
        ("no weights", "transformer is damaged: it cannot be loaded"),
        ("foreign code", "it names the class evil_module.Model, which is not known"),
        ("no such class", "it names the unknown class diffusers.NoSuchModel"),
        ("any network", "it names the unknown class transformers.AutoModel"),
        ("no class at all", "it names the unknown class transformers.logging"),
        ("code of its own", "it cannot be loaded"),
        ("not its parts", "it does not describe a ZImagePipeline"),
    ],
)
def test_damage_is_one_sentence(folders: dict[str, Path], tmp_path: Path, draw: Draw, damage: str, words: str) -> None:
    folder = damaged_model(folders["z-image"], tmp_path / "model", damage)
    last = draw(make_plan("z-image", folder))[-1]
    assert isinstance(last, Failed) and re.search(words, last.problem), last
    assert last.code in ("corrupt_model", "missing_model") and last.hint and "\n" not in last.problem
    assert not (folder / "ran").exists()


def test_a_part_may_lie_elsewhere(folders: dict[str, Path], tmp_path: Path, pixels: Pixels) -> None:
    folder = Path(shutil.copytree(folders["z-image"], tmp_path / "model"))
    shutil.move(folder / "vae", tmp_path / "their-vae")
    ref = model_ref("z-image", folder, parts=(("vae", str(tmp_path / "their-vae")),))
    assert pixels(make_plan("z-image", folder, model=ref)) == pixels(make_plan("z-image", folders["z-image"]))


def makers_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Z-Image's transformer as its makers' file has it: queries, keys and values are one matrix."""
    theirs: dict[str, torch.Tensor] = {}
    ours = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    renamed = {
        "all_final_layer.2-1.": "final_layer.", "all_x_embedder.2-1.": "x_embedder.", "to_out.0.": "out.",
        "norm_k.": "k_norm.", "norm_q.": "q_norm.",
    }  # fmt: skip
    for name in ours:
        if name.endswith("attention.to_q.weight"):
            stem = name.removesuffix("to_q.weight")
            theirs[f"{stem}qkv.weight"] = torch.cat([ours[f"{stem}to_{one}.weight"] for one in "qkv"])
        elif not re.search(r"to_[kv]\.weight$", name):
            there = name
            for mine, makers in renamed.items():
                there = there.replace(mine, makers)
            theirs[there] = ours[name]
    return theirs


@pytest.mark.parametrize("ending", ["safetensors", "gguf"])
def test_a_transformer_may_be_one_file(folders: dict[str, Path], tmp_path: Path, pixels: Pixels, ending: str) -> None:
    folder, path = folders["z-image"], tmp_path / f"z_image.{ending}"
    tensors = makers_tensors(folder)
    if ending == "gguf":
        tensors = write_gguf(path, tensors, "Q8_0", plain="pad_token")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "z_image.safetensors")
    ref = model_ref("z-image", folder, path=str(path), configs=str(folder))
    exact = model_ref("z-image", folder, path=str(tmp_path / "z_image.safetensors"), configs=str(folder))
    found, wanted = (
        np.frombuffer(pixels(make_plan("z-image", folder, model=one)), np.uint8).astype(int) for one in (ref, exact)
    )
    assert np.abs(found - wanted).max() <= 1
    if ending == "safetensors":
        whole = np.frombuffer(pixels(make_plan("z-image", folder)), np.uint8).astype(int)
        assert np.abs(found - whole).max() <= 1


@pytest.mark.parametrize("family", list(KINDS))
def test_a_picture_that_must_be_small_in_memory_is_decoded_in_tiles(family: str, folders: dict[str, Path]) -> None:
    machine = choose_machine("cpu")
    plan = make_plan(family, folders[family], steps=2)
    made = PipelineFamily(plan.model, machine)
    vae: Any = made.parts["vae"]
    used: list[bool] = []
    decode = vae.decode
    vae.decode = lambda *args, **named: (used.append(vae.use_tiling), decode(*args, **named))[1]
    with torch.inference_mode():
        whole = made.draw(plan, lambda *_: None)
        made.in_tiles, made._tile_side = True, 32  # pyright: ignore[reportPrivateUsage]
        in_tiles = made.draw(plan, lambda *_: None)
    assert used == [False, True] and not vae.use_tiling
    assert in_tiles.shape == whole.shape
    if hasattr(vae, "tile_latent_min_size"):  # else it has its own size of a tile, which is larger than this picture
        assert not torch.equal(in_tiles, whole)


def test_how_a_picture_was_decoded_is_told(folders: dict[str, Path]) -> None:
    plan = make_plan("z-image", folders["z-image"], steps=1)
    engine = Engine(device="cpu", preview_fps=0)
    with torch.inference_mode():
        room = Room(engine.models, plan, Fit("resident", in_tiles=True, needs_bytes=1, free_bytes=None))
        assert isinstance(room.model, PipelineFamily) and room.model.in_tiles
        assert room.facts(None)["decoding"] == "in tiles"
        room = Room(engine.models, plan, Fit("resident", in_tiles=False, needs_bytes=1, free_bytes=None))
        assert isinstance(room.model, PipelineFamily) and not room.model.in_tiles
        assert "decoding" not in room.facts(None)
