"""Damaged and missing files: one sentence that names the file, no traceback, and mending it is enough."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fooocus_lite.engine.run import Engine
from fooocus_lite.engine.weights import load_module, weight_files
from fooocus_lite.errors import CorruptModel, MissingModel
from fooocus_lite.events import Failed, Finished
from tests.engine.conftest import go_on
from tests.engine.tiny_sdxl import make_plan, make_unet

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_to_five_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff\x13<html>not here</html>" * 1000)


def pickled(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


def lying_header(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 10**15]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 36)


def wrong_shape(path: Path) -> None:
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = torch.zeros(*tensors[name].shape, 2)
    save_file(tensors, path)


def lacking(path: Path) -> None:
    tensors = load_file(path)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, path)


def gone(path: Path) -> None:
    path.unlink()


def not_json(path: Path) -> None:
    path.write_text("{ oops", encoding="utf-8")


def a_list(path: Path) -> None:
    path.write_text("[1, 2]", encoding="utf-8")


def nonsense_values(path: Path) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"block_out_channels": "many", "down_block_types": 3}))


DAMAGE = [
    (UNET, cut, "corrupt_model"),
    (UNET, cut_to_five_bytes, "corrupt_model"),
    (UNET, empty, "corrupt_model"),
    (UNET, garbage, "corrupt_model"),
    (UNET, pickled, "corrupt_model"),
    (UNET, lying_header, "corrupt_model"),
    (UNET, wrong_shape, "corrupt_model"),
    (UNET, lacking, "corrupt_model"),
    (UNET, gone, "missing_model"),
    (TEXT, cut, "corrupt_model"),
    (TEXT, gone, "missing_model"),
    ("vae/diffusion_pytorch_model.safetensors", lacking, "corrupt_model"),
    ("unet/config.json", not_json, "corrupt_model"),
    ("unet/config.json", a_list, "corrupt_model"),
    ("unet/config.json", nonsense_values, "corrupt_model"),
    ("unet/config.json", gone, "missing_model"),
    ("scheduler/scheduler_config.json", gone, "missing_model"),
    ("tokenizer/vocab.json", gone, "missing_model"),
    ("tokenizer/merges.txt", gone, "missing_model"),
    ("tokenizer_2/vocab.json", garbage, "corrupt_model"),
]


@pytest.mark.parametrize(("name", "damage", "code"), DAMAGE, ids=[f"{name}-{how.__name__}" for name, how, _ in DAMAGE])
def test_damage_is_named_and_mending_helps(
    model: Path, tmp_path: Path, name: str, damage: Callable[[Path], None], code: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    damage(folder / name)
    engine = Engine(device="cpu", preview_fps=0)
    plan = make_plan(folder, steps=1, width=64, height=64)
    events = list(engine.run(plan, go_on))
    failure = events[-1]
    assert isinstance(failure, Failed)
    assert failure.code == code, failure.details
    assert name in failure.problem
    assert "Traceback" not in failure.problem + failure.hint
    assert len(failure.problem) < 300
    assert failure.hint
    assert [event.kind for event in events] == ["started", "failed"]
    shutil.copy(model / name, folder / name)
    assert isinstance(list(engine.run(plan, go_on))[-1], Finished)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    failure = list(Engine(device="cpu").run(make_plan(tmp_path / "nowhere"), go_on))[-1]
    assert isinstance(failure, Failed)
    assert failure.code == "missing_model"
    assert "nowhere" in failure.problem


def test_weights_are_cast_placed_and_frozen(tmp_path: Path) -> None:
    unet = make_unet()
    unet.half().save_pretrained(tmp_path / "unet")
    loaded = load_module(tmp_path / "unet", type(unet).from_config, device=torch.device("cpu"), dtype=torch.float32)
    assert not loaded.training
    for (name, mine), (other, theirs) in zip(loaded.named_parameters(), unet.named_parameters(), strict=True):
        assert name == other
        assert mine.dtype == torch.float32
        assert not mine.requires_grad
        assert torch.equal(mine, theirs.float())


def test_shards_are_read_together(tmp_path: Path) -> None:
    unet = make_unet()
    unet.save_pretrained(tmp_path / "unet", max_shard_size="60KB")
    files = weight_files(tmp_path / "unet")
    assert len(files) > 1
    loaded = load_module(tmp_path / "unet", type(unet).from_config, device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(loaded.conv_in.weight, unet.conv_in.weight)
    files[1].unlink()
    with pytest.raises(MissingModel, match=files[1].name):
        load_module(tmp_path / "unet", type(unet).from_config, device=torch.device("cpu"), dtype=torch.float32)


def test_text_encoders_with_and_without_prefix(model: Path, tmp_path: Path) -> None:
    """Older folders say ``text_model.encoder…``, newer ones ``encoder…``; both are the same weights."""
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    tensors = load_file(folder / TEXT)
    prefixed = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in tensors.items()}
    bare = {name.removeprefix("text_model."): value for name, value in tensors.items()}
    for names in (prefixed, bare):
        save_file(names, folder / TEXT)
        assert isinstance(list(Engine(device="cpu").run(make_plan(folder, steps=1), go_on))[-1], Finished)


def test_errors_are_ours(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CorruptModel):
        load_module(tmp_path, lambda config: torch.nn.Linear(**config), device=torch.device("cpu"), dtype=torch.float32)
