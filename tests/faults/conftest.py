"""Servers, a model that may be broken, and disks that are small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.server import Server, fill_models

DAMAGED = b"no database at all" * 1000
if not sys.platform.startswith("linux"):
    collect_ignore_glob = ["test_*.py"]  # they kill with signals, look into /proc and mount disks


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder that a test may damage, as long as it mends it."""
    return fill_models(tmp_path_factory.mktemp("fault-models"))


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that the tests which do not end it share; it finds a damaged queue file when it starts."""
    folder = tmp_path_factory.mktemp("fault-server")
    (folder / "data").mkdir()
    (folder / "data" / "queue.db").write_bytes(DAMAGED)
    running = Server(folder, models).start()
    yield running
    running.end()


@pytest.fixture
def start(models: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of the test's own, and ends them after it."""
    with ExitStack() as ends:

        def start_one(folder: Path = tmp_path, **settings: object) -> Server:
            running = Server(folder, models, **settings).start()
            assert running.process
            ends.callback(running.process.wait)
            ends.callback(running.process.kill)
            return running

        yield start_one


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Mounts a tmpfs of a given size; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(name: str, size: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        if shutil.which("mount") is None or os.geteuid() != 0:
            pytest.skip("mounting a small disk needs root")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
        if done.returncode != 0:
            pytest.skip("mounting is not allowed here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Fill the disk of ``folder`` to the last byte; returns the file that does it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return ballast
