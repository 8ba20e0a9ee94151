"""`.venv` is made, mended and trusted only when it is complete: with a real venv and a real pip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from fooocus_lite import environment, torch_build
from fooocus_lite.environment import Place, ensure_environment, is_ready
from fooocus_lite.pip_runner import Problem
from tests.launch.conftest import write_wheel

ROOT = Path(__file__).resolve().parents[2]
Usage = namedtuple("Usage", "total used free")


def python(place: Place, code: str) -> str:
    """What the environment's Python prints, started from elsewhere."""
    done = subprocess.run(
        [str(place.python), "-c", code], cwd=place.venv, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def test_first_start_second_start_and_changed_pins(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    ensure_environment(place, tools=False)
    assert "[4/4]" in capfd.readouterr().err
    assert python(place, "import brush; print(brush.__version__)") == "1.0"
    assert python(place, "import fooocus_lite") == "the app", "the app is found from anywhere"
    assert is_ready(place, tools=False) and not is_ready(place, tools=True)

    ensure_environment(place, tools=False)
    assert capfd.readouterr().err == "", "the second start has nothing to do and says nothing"

    place.pins.write_text(place.pins.read_text().replace("brush==1.0", "brush==1.1"))
    assert not is_ready(place, tools=False)
    ensure_environment(place, tools=True)
    assert python(place, "import brush, probe; print(brush.__version__)") == "1.1"
    assert is_ready(place, tools=True) and is_ready(place, tools=False)


def test_half_made_environment_is_repaired(begun: Place, capfd: pytest.CaptureFixture[str]) -> None:
    ensure_environment(begun, tools=False)
    packages = begun.packages
    assert packages is not None
    # What a kill in the middle of an installation leaves: files without a record, and no stamp.
    begun.stamp.unlink()
    (packages / "brush-1.0.dist-info" / "RECORD").unlink()
    (packages / "brush" / "__init__.py").write_text("")
    ensure_environment(begun, tools=False)
    assert "repairing brush" in capfd.readouterr().err
    assert python(begun, "import brush; print(brush.__version__)") == "1.0"


def test_environment_whose_python_is_gone_is_made_anew(place: Place) -> None:
    ensure_environment(place, tools=False)
    place.python.unlink()
    assert not is_ready(place, tools=False)
    ensure_environment(place, tools=False)
    assert python(place, "import brush; print(brush.__version__)") == "1.0"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_killed_in_the_middle_it_goes_on_where_it_stopped(begun: Place) -> None:
    code = "import sys; from fooocus_lite.environment import *; ensure_environment(Place(sys.argv[1]), tools=False)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(begun.root)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "[3/4]" in line:
                os.killpg(process.pid, signal.SIGKILL)
                break
    assert not begun.stamp.exists() and not is_ready(begun, tools=False)
    ensure_environment(begun, tools=False)
    assert python(begun, "import brush, torch; print(torch.__version__)") == "2.13.0"


def test_torch_index_that_does_not_answer_falls_back(
    begun: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOOCUS_TORCH_INDEX", "http://127.0.0.1:1/whl/cpu")
    monkeypatch.setattr(torch_build, "brings_cuda", lambda: True)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: Usage(10**12, 0, 4e9))  # enough for /whl/cpu
    with pytest.raises(Problem, match=r"needs 9 GB of disk and 4\.0 GB are free"):
        ensure_environment(begun, tools=False)
    said = capfd.readouterr().err
    assert "using the default package index instead" in said and "needs 9 GB of disk" in said
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: Usage(10**12, 0, 20e9))
    ensure_environment(begun, tools=False)
    assert json.loads(begun.stamp.read_text())["torch"] == "http://127.0.0.1:1/whl/cpu"


def test_build_of_the_special_index_wins(begun: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(tmp_path / "wheels", "torch", "2.13.0+cu126")
    monkeypatch.setattr(torch_build, "answers", lambda url: True)
    monkeypatch.setenv("FOOOCUS_TORCH_INDEX", "cu126")
    ensure_environment(begun, tools=False)
    assert python(begun, "import torch; print(torch.__version__)") == "2.13.0+cu126"


def test_package_that_cannot_be_had_is_one_sentence(begun: Place) -> None:
    begun.pins.write_text(begun.pins.read_text().replace("brush==1.0", "brush==7.0"))
    with pytest.raises(Problem, match=r"brush.* cannot be had for Python"):
        ensure_environment(begun, tools=False)
    assert not begun.stamp.exists()


def test_torch_that_does_not_start_is_one_sentence(begun: Place, tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", "torch", "2.13.0", code="raise ImportError('libcud.so is missing')")
    with pytest.raises(Problem, match=r"PyTorch does not start \(ImportError: libcud.so is missing\)"):
        ensure_environment(begun, tools=False)
    assert not is_ready(begun, tools=False)


def test_too_little_disk_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: Usage(10**12, 0, 1.2e9))
    with pytest.raises(Problem, match=r"needs [39] GB of disk and 1\.2 GB are free"):
        ensure_environment(place, tools=False)
    assert not place.venv.exists()


def test_a_lock_that_is_not_ours_is_one_sentence(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shared"
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(folder))  # a folder that is not there
    with pytest.raises(Problem, match=r"^The file .*\.lock cannot be opened \(No such file or directory\): .+\.$"):
        ensure_environment(place, tools=False)
    folder.mkdir()
    with environment._only_one(place):
        (mine,) = folder.iterdir()
    monkeypatch.setattr(environment.os, "getuid", lambda: 54321)
    with environment._only_one(place):
        assert len(list(folder.iterdir())) == 2  # another user's has another name
    assert mine.exists()


def test_missing_venv_module_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(environment.shutil, "which", lambda name: "/usr/bin/apt" if name == "apt" else None)
    with pytest.raises(Problem, match="no venv module: install it with `sudo apt install python3-venv`"):
        ensure_environment(place, tools=False)


def test_something_in_the_way_is_one_sentence(place: Place) -> None:
    place.venv.write_text("a file where the folder should be")
    with pytest.raises(Problem, match=r"^[^\n]+\.$"):
        ensure_environment(place, tools=False)


@pytest.mark.parametrize("stamp", ["", "[]", "{}", '{"pins": 1', '{"pins": "old", "python": "3.11"}'])
def test_a_stamp_that_says_something_else_is_not_trusted(place: Place, stamp: str) -> None:
    place.python.parent.mkdir(parents=True)
    place.python.symlink_to(sys.executable)
    place.stamp.write_text(stamp)
    assert not is_ready(place, tools=False)
