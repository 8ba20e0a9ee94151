"""Pictures from the command line, with the model that ships and the real process that draws."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from fooocus_lite.images import read_recipe
from tests.faults.server import is_alive, until

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--steps", "4", "--size", "64x96"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generate")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command in its own folders, started."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FOOOCUS_")}
    env |= {
        "FOOOCUS_DATA_DIR": str(folder / "data"),
        "FOOOCUS_OUTPUT_DIR": str(folder / "out"),
        "FOOOCUS_DEVICE": "cpu",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "fooocus_lite", *arguments],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command."""
    with start(folder, *arguments) as process:
        out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def pictures(folder: Path) -> list[Path]:
    """Two pictures, by their printed paths."""
    code, out, err = run(
        folder, "generate", "a red circle", "--style", "Watercolor", "--count", "2", "--seed", "5", *QUICK
    )
    assert code == 0, err
    return [Path(line) for line in out.splitlines()]


def test_paths_are_printed_and_pictures_are_there(pictures: list[Path], folder: Path) -> None:
    assert len(pictures) == 2
    for number, path in enumerate(pictures):
        assert path.is_relative_to(folder / "out")
        with Image.open(path) as picture:
            assert picture.size == (64, 96)
        recipe = read_recipe(path)
        assert (recipe.seed, recipe.prompt, recipe.styles) == (5 + number, "a red circle", ("Watercolor",))
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


def test_replay_gives_the_same_pixels(pictures: list[Path], folder: Path) -> None:
    code, out, err = run(folder, "replay", str(pictures[1]), "--out", str(folder / "again"), "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["seed"], facts["width"], facts["height"]) == (6, 64, 96)
    assert Path(facts["path"]).parent == folder / "again"
    with Image.open(facts["path"]) as again, Image.open(pictures[1]) as first:
        assert again.tobytes() == first.tobytes()


def test_replay_uses_the_words_of_then_and_says_so(pictures: list[Path], folder: Path) -> None:
    styles = folder / "data" / "styles"
    styles.mkdir(parents=True)
    (styles / "mine.json").write_text(json.dumps([{"name": "Watercolor", "prompt": "{prompt} drawn with a nail"}]))
    try:
        code, out, err = run(folder, "replay", str(pictures[0]), "--out", str(folder / "changed"))
    finally:
        (styles / "mine.json").unlink()
    assert code == 0 and "A style or word list has changed since" in err
    with Image.open(out.strip()) as again, Image.open(pictures[0]) as first:
        assert again.tobytes() == first.tobytes()


def test_a_folder_that_cannot_be_written_is_one_sentence(folder: Path) -> None:
    (folder / "file").write_text("in the way")
    code, out, err = run(folder, "generate", "a red circle", *QUICK, "--out", str(folder / "file"))
    assert code == 1 and out == "" and "Traceback" not in err
    assert "file" in err.splitlines()[-1]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_ends_it_and_its_child(folder: Path) -> None:
    with start(folder, "generate", "a red circle", "--steps", "200", "--count", "50") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (child := children.read_text().split()):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "Stopped." and "Traceback" not in err
    # Interrupted while it was being started, the child notices by itself that nobody is there.
    until(lambda: not is_alive(int(child[0])), "the child's end")
