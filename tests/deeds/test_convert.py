"""Pickles into safetensors: what is kept, what is left out, and hostile files of which nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from fooocus_lite.commands.convert import convert_command
from fooocus_lite.convert import convert_pickle
from fooocus_lite.errors import BadValue, CorruptModel, FooocusError, MissingModel


class Runs:
    """What it says is called with what it says when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *values: Any) -> None:
        self.call, self.values = call, values

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.values


def checkpoint() -> dict[str, Any]:
    shared = torch.arange(6.0).reshape(2, 3)
    return {
        "state_dict": {
            "model.diffusion_model.input_blocks.0.0.weight": shared.half(),
            "model_ema.decay": torch.tensor(0.9999),
            "cond_stage_model.a": shared,
            "cond_stage_model.b": shared.T,
            "loss.logvar": torch.zeros(1),
            "a.word": "not a tensor",
        },
        "optimizer_states": [{"state": {0: torch.zeros(3)}}],
        "global_step": 470000,
        "epoch": 3,
    }


@pytest.mark.parametrize("is_old_format", [False, True])
def test_weights_are_kept_and_the_rest_is_left_out(tmp_path: Path, *, is_old_format: bool) -> None:
    source = tmp_path / "model.ckpt"
    torch.save(checkpoint(), source, _use_new_zipfile_serialization=not is_old_format)
    before = source.read_bytes()
    text = convert_command([source], as_json=False)
    target = tmp_path / "model.safetensors"
    tensors, expected = load_file(target), checkpoint()["state_dict"]
    assert set(tensors) == {name for name in expected if name.startswith(("model.", "cond"))}
    for name, value in tensors.items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name])
    with safe_open(str(target), framework="pt") as file:
        assert file.metadata() == {"format": "pt", "global_step": "470000", "epoch": "3"}
    assert str(target) in text and "3 tensors" in text and "left out" in text
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ckpt", "model.safetensors"]
    with pytest.raises(BadValue, match="already there"):
        convert_pickle(source)


def test_a_textual_inversion_becomes_one_that_is_read_here(tmp_path: Path) -> None:
    source = tmp_path / "mood.pt"
    vectors = torch.randn(2, 768)
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "mood", "step": 9}, source)
    target = convert_pickle(source).path
    assert torch.equal(load_file(target)["emb_params"], vectors)


def with_callback(path: Path) -> None:
    """As the first Stable Diffusion checkpoints: a class of the training tool among the settings."""
    data = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(2)}, "callbacks": {"HERE": 1}}, data)
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                named = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
                place = content.index(b"X\x04\x00\x00\x00HERE")
                content = content[:place] + named + content[place + 9 :]
            new.writestr(name, content)


def test_what_a_training_tool_left_is_no_reason_to_refuse(tmp_path: Path) -> None:
    with_callback(tmp_path / "old.ckpt")
    assert torch.equal(load_file(convert_pickle(tmp_path / "old.ckpt").path)["a"], torch.ones(2))


def hostile_calls(mark: Path) -> dict[str, Runs]:
    return {
        "shell": Runs(os.system, f"touch {mark}"),
        "python": Runs(eval, f"open({str(mark)!r}, 'w').close()"),
        "write": Runs(open, str(mark), "w"),
        "network": Runs(socket.create_connection, ("127.0.0.1", 9)),
    }


@pytest.mark.parametrize("call", ["shell", "python", "write", "network"])
@pytest.mark.parametrize("kind", ["torch", "plain pickle"])
def test_nothing_of_a_hostile_pickle_runs(tmp_path: Path, call: str, kind: str) -> None:
    source, mark = tmp_path / "evil.ckpt", tmp_path / "mark"
    content = {"state_dict": {"a": torch.ones(2), "b": hostile_calls(mark)[call]}}
    if kind == "torch":
        torch.save(content, source)
    else:
        source.write_bytes(pickle.dumps(hostile_calls(mark)[call]))
    with pytest.raises(CorruptModel) as caught:
        convert_pickle(source)
    assert not mark.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.ckpt"]
    assert "evil.ckpt was not converted" in caught.value.problem and caught.value.hint
    if kind == "torch":
        assert "asks to run" in caught.value.problem and "Nothing of it was run" in caught.value.problem


def test_the_second_wall_stands_if_the_reader_is_fooled(tmp_path: Path) -> None:
    """The hook that stands behind torch's reader, in a process of its own: no program, no connection, no other file."""
    import subprocess
    import sys

    code = f"""
import os, socket, subprocess, sys
from pathlib import Path
from fooocus_lite.engine.unpickle import _only_writing
part = Path({str(tmp_path / "part")!r})
sys.addaudithook(_only_writing(part))
part.write_bytes(b"1")
for attempt in (
    lambda: os.system("true"),
    lambda: subprocess.run(["true"]),
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: open({str(tmp_path / "other")!r}, "w"),
    lambda: os.open({str(tmp_path / "other")!r}, os.O_WRONLY | os.O_CREAT),
    lambda: os.remove(part),
    lambda: os.fork(),
):
    try:
        attempt()
    except PermissionError:
        continue
    sys.exit("let through")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "other").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html></html>")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x02garbage" * 100)


def no_weights(path: Path) -> None:
    torch.save({"state_dict": {"a": "words"}}, path)


def vast_list(path: Path) -> None:
    """Few bytes that ask for much memory."""
    path.write_bytes(b"\x80\x02]q\x00" + b"]" * 50 + b"(" + b"h\x00" * 10_000_000 + b"e.")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "damaged"),
        (web_page, "web page"),
        (emptied, "empty"),
        (garbage, "not converted"),
        (no_weights, "no weights"),
        (vast_list, "not converted"),
    ],
)
def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    source = tmp_path / "model.pt"
    torch.save(checkpoint(), source)
    damage(source)
    with pytest.raises(CorruptModel, match=words) as caught:
        convert_pickle(source)
    assert "model.pt" in caught.value.problem and caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(
    ("name", "kind"), [("model.safetensors", BadValue), ("picture.png", BadValue), ("gone.ckpt", MissingModel)]
)
def test_only_pickles_that_are_there_are_converted(tmp_path: Path, name: str, kind: type[FooocusError]) -> None:
    with pytest.raises(kind, match=name):
        convert_pickle(tmp_path / name)
