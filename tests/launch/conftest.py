"""A checkout in miniature, whose packages are wheels in a folder: real venv, real pip, no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fooocus_lite.environment import Place


def write_wheel(folder: Path, name: str, version: str, *, code: str = "") -> Path:
    """A wheel with one module, as small as pip accepts."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code or f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inner, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(inner, text)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A root with pins for two packages, both in ``wheels/``, and pip that may look nowhere else."""
    root = tmp_path / "checkout"
    (root / "fooocus_lite").mkdir(parents=True)
    (root / "fooocus_lite" / "__init__.py").write_text("print('the app')\n")
    (root / "pyproject.toml").write_text(
        'dependencies = [\n    "torch>=2",\n    "brush",\n]\ndev = [\n    "probe",\n]\n'
    )
    (root / "constraints.txt").write_text("torch==2.13.0\nbrush==1.0\nprobe==1.0\n")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, version in (("torch", "2.13.0"), ("brush", "1.0"), ("brush", "1.1"), ("probe", "1.0")):
        write_wheel(wheels, name, version)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("FOOOCUS_TORCH_INDEX", "default")
    return Place(root)


@pytest.fixture(scope="session")
def empty_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but pip, made once: making one takes seconds."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def begun(place: Place, empty_venv: Path) -> Place:
    """``place``, stopped after its first step."""
    shutil.copytree(empty_venv, place.venv, symlinks=True)
    return place
