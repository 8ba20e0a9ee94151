"""`read`: what it prints, in which channel, with which exit code."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.cli import main
from fooocus_lite.settings import SETTINGS
from tests.deeds import foreign as f


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in SETTINGS.values():
        monkeypatch.delenv(row.env, raising=False)
    monkeypatch.setenv("FOOOCUS_DATA_DIR", str(tmp_path / "data"))


def read(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, *options: str, code: int = 0) -> str:
    """What `read` prints about a file with ``data`` in it; nothing may come in the other channel."""
    path = tmp_path / "some picture.png"
    path.write_bytes(data)
    assert main(["read", str(path), *options]) == code
    out, err = capsys.readouterr()
    assert (err if code == 0 else out) == ""
    return out if code == 0 else err


def test_json_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(read(tmp_path, capsys, f.png(parameters=f.A1111), "--json"))
    assert set(found) == {"scheme", "recipe", "warnings", "raw"}
    assert (found["scheme"], found["recipe"]["seed"]) == ("a1111", 1234567890)
    words = "The model sdxl is known here, but not on this disk yet. It can be downloaded under Models."
    assert words in found["warnings"]


def test_lines_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = read(tmp_path, capsys, f.png(parameters=f.as_json(f.FOOOCUS))).splitlines()
    assert lines[:3] == ["scheme: fooocus", "prompt: a fox", "  in snow"]
    assert "lora: ink 0.7" in lines and "seed: 8123456789012345678" in lines
    assert any(line.startswith("note: The model 'bluePencilXL_v050' is not here") for line in lines)


def test_what_stands_in_a_picture_moves_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "red\x1b[2J\x9b31m \u202etext"
    data = f.png(parameters=f.as_json(f.FOOOCUS | {"prompt": words, "base_model": words, "styles": [words]}))
    for options in ((), ("--json",)):
        printed = read(tmp_path, capsys, data, *options)
        assert all(line.isprintable() for line in printed.splitlines())
    assert json.loads(printed)["recipe"]["prompt"] == words


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no settings"),
        (b"\xff\xfe\xfd", "is neither a PNG, JPEG or WebP nor a text"),
        (f.png(), "holds no settings"),
        (f.png(parameters=f.A1111)[:-40], "is cut short"),
        (f.png(parameters=f.as_json(f.FOOOCUS | {"styles": "__import__('os')"})), "styles is"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, words: str
) -> None:
    for options in ((), ("--json",)):
        said = read(tmp_path, capsys, data, *options, code=2)
        assert said.startswith("some picture.png ") and words in said
        assert said.count("\n") == 1


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "gone.png", tmp_path):
        assert main(["read", str(path)]) == 2
        assert "cannot be read" in capsys.readouterr().err


def test_text_comes_through_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    piped: Any = io.TextIOWrapper(io.BytesIO(f.FORGE.encode()))
    monkeypatch.setattr(sys, "stdin", piped)
    assert main(["read", "-"]) == 0
    assert "model: foxXL" in capsys.readouterr().out
