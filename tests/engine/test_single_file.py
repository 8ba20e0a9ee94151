"""Checkpoints that are one file: bit for bit as diffusers reads them, without a network; and what cannot be read."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.family import load_family
from fooocus_lite.engine.levels import read_levels
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.errors import CorruptModel, FooocusError, MissingModel
from fooocus_lite.events import Event
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan
from tests.engine import tiny_sd15, tiny_sdxl
from tests.engine.checkpoints import Tensors, checkpoint_tensors, in_half, vae_tensors, write_checkpoint

SHIPPED = Path(__file__).parents[2] / "models" / "families"
MACHINE = choose_machine("cpu", "fp32")
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
VAE, TEXT = "first_stage_model.", "conditioner."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Diffusers folders of three kinds, each with what diffusers itself needs to read them."""
    root = tmp_path_factory.mktemp("folders")
    sdxl = tiny_sdxl.write_model(root / "sdxl", vae="kl")
    index = json.loads((SHIPPED / "sdxl" / "model_index.json").read_text())
    (sdxl / "model_index.json").write_text(json.dumps(index))
    refiner = tiny_sdxl.write_model(root / "refiner", vae="kl", seed=1)
    shutil.rmtree(refiner / "text_encoder")
    shutil.rmtree(refiner / "tokenizer")
    tiny_sdxl.make_unet(cross=24, sizes=5).save_pretrained(refiner / "unet")
    index = json.loads((SHIPPED / "sdxl-refiner" / "model_index.json").read_text())
    (refiner / "model_index.json").write_text(json.dumps(index))
    return {"sdxl": sdxl, "refiner": refiner, "sd15": tiny_sd15.write_model(root / "sd15")}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("a call to the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def file_ref(kind: str, path: Path, configs: Path, **changes: Any) -> ModelRef:
    made = tiny_sd15.model_ref(path) if kind == "sd15" else tiny_sdxl.model_ref(path)
    return replace(made, configs=str(configs), **changes)


def states(family: Any) -> dict[str, dict[str, Tensor]]:
    modules = {"unet": family._unet, "vae": family._vae, **family._texts.parts}
    return {name: module.state_dict() for name, module in modules.items()}


def theirs(kind: str, path: Path, folder: Path, dtype: torch.dtype) -> dict[str, dict[str, Tensor]]:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

    pipelines: dict[str, Any] = {
        "sdxl": StableDiffusionXLPipeline, "refiner": StableDiffusionXLImg2ImgPipeline, "sd15": StableDiffusionPipeline,
    }  # fmt: skip
    pipeline = pipelines[kind].from_single_file(path, config=str(folder), local_files_only=True, dtype=dtype)
    modules = {name: getattr(pipeline, name, None) for name in PARTS}
    return {name: module.state_dict() for name, module in modules.items() if module is not None}


def assert_same(ours: dict[str, dict[str, Tensor]], others: dict[str, dict[str, Tensor]]) -> None:
    assert ours.keys() == others.keys()
    for part, tensors in others.items():
        assert ours[part].keys() == tensors.keys()
        for name, value in tensors.items():
            mine = ours[part][name]
            # Of fp16 the VAE alone is kept in more bits: it says of itself that it overflows.
            assert mine.dtype == value.dtype or (part == "vae" and mine.dtype == torch.float32)
            assert torch.equal(mine.to(value.dtype), value), f"{part} {name}"


@pytest.mark.parametrize("kind", ["sdxl", "refiner", "sd15"])
@pytest.mark.parametrize("stored", ["fp32", "fp16"])
@pytest.mark.usefixtures("no_network")
def test_bit_for_bit_as_diffusers_reads_it(folders: dict[str, Path], tmp_path: Path, kind: str, stored: str) -> None:
    change: Callable[[Tensors], Tensors] = in_half if stored == "fp16" else dict
    path = write_checkpoint(folders[kind], tmp_path / "model.safetensors", change)
    for machine in (MACHINE, choose_machine("cpu", "fp16")):
        family = load_family(file_ref(kind, path, folders[kind]), machine)
        assert_same(states(family), theirs(kind, path, folders[kind], machine.dtype))


@pytest.mark.parametrize("kind", ["sdxl", "sd15"])
@pytest.mark.usefixtures("no_network")
def test_the_file_draws_what_its_folder_draws(
    folders: dict[str, Path], tmp_path: Path, pixels: Callable[[Plan], bytes], kind: str
) -> None:
    path = write_checkpoint(folders[kind], tmp_path / "model.safetensors")
    ref = file_ref(kind, path, folders[kind])
    plan = tiny_sdxl.make_plan(folders[kind], steps=2, width=64, height=64, model=replace(ref, path=str(folders[kind])))
    assert pixels(plan) == pixels(replace(plan, model=ref))


def without(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: value for name, value in tensors.items() if not name.startswith(prefix)}


@pytest.mark.parametrize(("gone", "part", "words"), [(VAE, "vae", "no VAE"), (TEXT, "text_encoder", "no text encoder")])
def test_what_a_file_lacks_is_named_and_can_come_from_elsewhere(
    folders: dict[str, Path], tmp_path: Path, gone: str, part: str, words: str
) -> None:
    folder = folders["sdxl"]
    path = write_checkpoint(folder, tmp_path / "model.safetensors", without(gone))
    with pytest.raises(MissingModel, match=words) as caught:
        load_family(file_ref("sdxl", path, folder), MACHINE)
    assert f'"{part}"' in caught.value.hint and "parts" in caught.value.hint
    elsewhere = [(name, str(folder / name)) for name in PARTS[1:] if name.startswith(part)]
    family = load_family(file_ref("sdxl", path, folder, parts=tuple(elsewhere)), MACHINE)
    whole = load_family(tiny_sdxl.model_ref(folder), MACHINE)
    assert_same(states(family), states(whole))


@pytest.mark.parametrize("naming", ["diffusers", "ldm", "checkpoint", "former"])
def test_a_vae_from_elsewhere_takes_the_place_of_the_files_own(
    folders: dict[str, Path], tmp_path: Path, naming: str
) -> None:
    folder = folders["sdxl"]
    torch.manual_seed(99)
    other = tiny_sdxl.make_vae("kl", 4)
    tensors = dict(other.state_dict())
    if naming == "former":
        swaps = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
        for new, old in swaps.items():
            tensors = {name.replace(new, old): value for name, value in tensors.items()}
    elif naming != "diffusers":
        prefix = VAE if naming == "checkpoint" else ""
        tensors = {prefix + name: value for name, value in vae_tensors(other).items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "vae.safetensors")
    path = write_checkpoint(folder, tmp_path / "model.safetensors")
    for model in (file_ref("sdxl", path, folder), tiny_sdxl.model_ref(folder)):
        family: Any = load_family(replace(model, parts=(("vae", str(tmp_path / "vae.safetensors")),)), MACHINE)
        for name, value in other.state_dict().items():
            assert torch.equal(family._vae.state_dict()[name], value), name


def test_what_the_model_was_trained_for_reaches_the_noise_levels(folders: dict[str, Path]) -> None:
    ref = tiny_sdxl.model_ref(folders["sdxl"])
    assert read_levels(ModelParts(ref).scheduler_config).prediction_type == "epsilon"
    levels = read_levels(ModelParts(replace(ref, prediction="v_prediction", has_zero_snr=True)).scheduler_config)
    assert levels.prediction_type == "v_prediction"
    assert levels.ratios[1] > 1000, "the last level is noise alone"


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("scale_name", [None, "scale_weight", "weight_scale"])
def test_weights_of_eight_bits_are_brought_back_to_size(
    folders: dict[str, Path], tmp_path: Path, kind: torch.dtype, scale_name: str | None
) -> None:
    folder = folders["sdxl"]
    exact = checkpoint_tensors(folder)
    packed = dict[str, Tensor]()
    expected = dict[str, Tensor]()
    for name, value in exact.items():
        is_linear = name.startswith("model.") and name.endswith(".weight") and value.dim() == 2
        scale = value.abs().max() / 400 if is_linear and scale_name else torch.tensor(1.0)
        packed[name] = (value / scale).to(kind) if is_linear else value
        expected[name] = packed[name].float() * scale if is_linear else value
        if is_linear and scale_name:
            packed[name.removesuffix("weight") + scale_name] = scale
    if scale_name == "scale_weight":
        packed["scaled_fp8"] = torch.zeros(2, dtype=kind)
    save_file({name: value.contiguous().clone() for name, value in packed.items()}, tmp_path / "packed.safetensors")
    save_file({name: value.contiguous().clone() for name, value in expected.items()}, tmp_path / "plain.safetensors")
    ours, wanted = (
        load_family(file_ref("sdxl", tmp_path / f"{name}.safetensors", folder), MACHINE) for name in ("packed", "plain")
    )
    assert_same(states(ours), states(wanted))


def as_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>Sign in to download</body></html>")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def with_twins(path: Path) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode().rstrip()
    first = header.index('"', 1)
    rows = json.loads(header)
    name = next(name for name in rows if name != "__metadata__")
    header = header[:-1] + f", {json.dumps(name)}: {json.dumps(rows[name])}}}"
    assert first > 0
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + data[8 + length :])


def huge_header(path: Path) -> None:
    path.write_bytes((200_000_000).to_bytes(8, "little") + b"{" + b" " * 1000)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (as_page, "web page"),
        (truncated, "cut short"),
        (emptied, "empty"),
        (garbled, "no safetensors file"),
        (with_twins, "twice"),
        (huge_header, "no safetensors file"),
    ],
)
def test_damage_is_one_sentence(
    folders: dict[str, Path], tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    path = write_checkpoint(folders["sd15"], tmp_path / "model.safetensors")
    damage(path)
    with pytest.raises(CorruptModel, match=words) as caught:
        load_family(file_ref("sd15", path, folders["sd15"]), MACHINE)
    assert "model.safetensors" in caught.value.problem and caught.value.hint


def with_width(width: int) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        return {
            name: torch.zeros(value.shape[0], width) if name.endswith("attn2.to_k.weight") else value
            for name, value in tensors.items()
        }

    return change


def only_loras(_tensors: Tensors) -> Tensors:
    return {"lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight": torch.zeros(4, 8)}


def flux(_tensors: Tensors) -> Tensors:
    return {"double_blocks.0.img_attn.qkv.weight": torch.zeros(3, 3)}


def for_inpainting(tensors: Tensors) -> Tensors:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    return tensors | {name: torch.zeros(tensors[name].shape[0], 9, 3, 3)}


def vae_alone(tensors: Tensors) -> Tensors:
    return {name.removeprefix(VAE): value for name, value in tensors.items() if name.startswith(VAE)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_width(768), "a model of Stable Diffusion 1.5"),
        (with_width(2048), "a model of SDXL"),
        (only_loras, "a LoRA"),
        (flux, "a model of FLUX"),
        (for_inpainting, "inpainting"),
        (vae_alone, "a VAE alone"),
    ],
)
def test_another_kind_of_model_is_named(
    folders: dict[str, Path], tmp_path: Path, change: Callable[[Tensors], Tensors], words: str
) -> None:
    path = write_checkpoint(folders["sdxl"], tmp_path / "model.safetensors", change)
    with pytest.raises(CorruptModel, match=words) as caught:
        load_family(file_ref("sdxl", path, folders["sdxl"]), MACHINE)
    assert "sdxl" in caught.value.problem and caught.value.hint


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".bin", ".CKPT"])
def test_a_pickle_is_refused_with_the_command_that_converts_it(
    folders: dict[str, Path], tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"model{ending}"
    path.write_bytes(b"not even opened")
    with pytest.raises(CorruptModel, match="pickle") as caught:
        load_family(file_ref("sdxl", path, folders["sdxl"]), MACHINE)
    assert f"fooocus-lite models convert {path}" in caught.value.hint


def test_a_file_without_configuration_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(FooocusError, match=r"how the networks of model\.safetensors are built"):
        load_family(tiny_sdxl.model_ref(path), MACHINE)


def test_the_events_of_a_wrong_file_are_a_failure(
    folders: dict[str, Path], tmp_path: Path, draw: Callable[[Plan], list[Event]]
) -> None:
    path = write_checkpoint(folders["sd15"], tmp_path / "model.safetensors")
    load_file(path)
    as_page(path)
    events = draw(tiny_sd15.make_plan(file_ref("sd15", path, folders["sd15"])))
    assert [event.kind for event in events] == ["started", "failed"]
