"""`generate` with a model that is not here: it says what it fetches, fetches it, and draws."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.big_model import LICENCE, put_big_model, write_offer
from tests.fake_hub import FakeHub, Status
from tests.faults.server import ROOT, STARTER, is_shipped

pytestmark = pytest.mark.skipif(not is_shipped(), reason="needs the starter model")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as running:
        put_big_model(running, STARTER)
        write_offer(running, tmp_path / "data")
        (tmp_path / "models").mkdir()
        shutil.copy(STARTER.parent / "catalog.json", tmp_path / "models")
        yield running


def generate(folder: Path, hub: FakeHub, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("FOOOCUS_")}
    own = {"data_dir": folder / "data", "output_dir": folder / "out", "models_dir": folder / "models"}
    own |= {"hub_endpoint": hub.address, "device": "cpu"} | settings
    env |= {f"FOOOCUS_{name.upper()}": str(value) for name, value in own.items()}
    wish = ["generate", "a red circle", "--preset", "default", "--size", "64x96", "--steps", "3"]
    return subprocess.run(
        [sys.executable, "-m", "fooocus_lite", *wish, *options],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def test_what_is_missing_is_said_fetched_and_drawn_with(hub: FakeHub, tmp_path: Path) -> None:
    done = generate(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    assert all(words in done.stderr for words in ("Big one", "38 MB", "Open licence", LICENCE, "free"))
    with Image.open(done.stdout.strip()) as picture:  # nothing else goes to stdout
        assert picture.size == (64, 96)
    asked = len(hub.seen)
    again = generate(tmp_path, hub)
    assert again.returncode == 0 and len(hub.seen) == asked and "Big one" not in again.stderr


def test_what_does_not_come_is_one_sentence_and_no_picture(hub: FakeHub, tmp_path: Path) -> None:
    hub.always = Status(404)
    done = generate(tmp_path, hub)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Big one could not be fetched, so nothing was drawn." in done.stderr and "Traceback" not in done.stderr


def test_offline_it_is_missing_and_nobody_is_asked(hub: FakeHub, tmp_path: Path) -> None:
    done = generate(tmp_path, hub, offline="yes")
    assert done.returncode == 2 and "The model big is not at" in done.stderr
    assert hub.seen == []
