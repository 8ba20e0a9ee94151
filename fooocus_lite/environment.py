"""The environment in ``.venv``: made, mended, and told apart from a half-made one.

Standard library only, because ``launch.py`` runs this before anything is installed. Every step
can be stopped and picked up again; a stamp, written last, says that all of them were done.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fooocus_lite import torch_build
from fooocus_lite.pip_runner import Problem, explain, last_line, run_pip, say

IS_WINDOWS = os.name == "nt"


@dataclass(frozen=True)
class Place:
    """Where everything of one checkout lies."""

    root: Path | str

    @property
    def venv(self) -> Path:
        """The environment's folder."""
        return Path(self.root) / ".venv"

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.venv / ("Scripts/python.exe" if IS_WINDOWS else "bin/python")

    @property
    def stamp(self) -> Path:
        """Says what was completely installed."""
        return self.venv / "fooocus-lite.json"

    @property
    def log(self) -> Path:
        """All that pip said."""
        return self.venv / "install.log"

    @property
    def pins(self) -> Path:
        """The one file of pinned versions."""
        return Path(self.root) / "constraints.txt"

    @property
    def packages(self) -> Path | None:
        """Where the environment keeps its packages, once it is made."""
        found = [self.venv / "Lib/site-packages"] if IS_WINDOWS else self.venv.glob("lib/python3.*/site-packages")
        return next((path for path in found if path.is_dir()), None)


def requirements(place: Place, *, tools: bool) -> list[str]:
    """The requirement lines of pyproject.toml; its arrays of strings read the same in Python."""
    text = (Path(place.root) / "pyproject.toml").read_text(encoding="utf-8")
    found: list[str] = []
    for name in ("dependencies", "dev") if tools else ("dependencies",):
        match = re.search(rf"^{name} = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)
        if match is None:
            raise Problem(f"pyproject.toml has no list '{name}': get a fresh copy of Fooocus Lite.")
        found += ast.literal_eval(match.group(1))
    return found


def pins_hash(place: Place) -> str:
    """Changes when any wanted or pinned package changes."""
    pins = place.pins.read_text(encoding="utf-8")
    return hashlib.sha256("\n".join([pins, *requirements(place, tools=True)]).encode()).hexdigest()[:16]


def torch_pin(place: Place) -> str:
    """The pinned version of PyTorch, such as ``2.13.0``."""
    match = re.search(r"^torch==([\w.]+)", place.pins.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise Problem("constraints.txt does not pin torch: get a fresh copy of Fooocus Lite.")
    return match.group(1)


def read_stamp(place: Place) -> dict[str, Any]:
    """What was completely installed, or ``{}``."""
    try:
        stamp = json.loads(place.stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], stamp) if isinstance(stamp, dict) and place.python.exists() else {}


def is_ready(place: Place, *, tools: bool) -> bool:
    """Whether the environment is complete, for these pins and this machine."""
    stamp = read_stamp(place)
    override = torch_build.override()
    return (
        stamp.get("pins") == pins_hash(place)
        and stamp.get("hardware") == torch_build.hardware()
        and (not override or override == stamp.get("torch"))
        and (stamp.get("tools") is True or not tools)
        and stamp.get("python") == python_of(place)
    )


def python_of(place: Place, *modules: str) -> str:
    """The environment's Python, such as ``3.12``; ``""`` when it does not start or lacks a module."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    # A system upgrade can put another Python behind the same link; its packages would then be out of sight.
    found = torch_build.output_of([str(place.python), "-c", "\n".join([*(f"import {name}" for name in modules), code])])
    packages = place.packages
    return found.strip() if packages and (IS_WINDOWS or packages.parent.name == f"python{found.strip()}") else ""


def ensure_environment(place: Place, *, tools: bool) -> None:
    """Make or mend ``.venv``; returns at once when it is complete.

    Raises:
        Problem: one sentence for the person.
    """
    if is_ready(place, tools=tools):
        return
    with _only_one(place):
        if is_ready(place, tools=tools):
            return
        started = time.monotonic()
        build, reason = torch_build.choose()
        _check_disk(place, build)
        is_first = not place.python.exists()
        say("First start: making .venv (only this once)." if is_first else "Bringing .venv up to date.")
        try:
            place.stamp.unlink(missing_ok=True)
            _install(place, build, reason, tools=tools)
        except OSError as exc:
            raise Problem(explain(str(exc)) or f"Setting up failed ({exc}): delete .venv and start again.") from exc
        stamp = {"pins": pins_hash(place), "python": python_of(place), "hardware": torch_build.hardware()}
        part = place.stamp.with_suffix(".part")
        part.write_text(json.dumps({**stamp, "torch": build, "tools": tools}), encoding="utf-8")
        os.replace(part, place.stamp)
        say(f"  ready after {time.monotonic() - started:.0f} s")


def _install(place: Place, build: str, reason: str, *, tools: bool) -> None:
    say("  [1/4] Python environment")
    make_venv(place)
    packages = place.packages
    if packages is None:
        raise Problem(f"The environment in {place.venv} is incomplete: delete that folder and start again.")
    if dropped := drop_half_installed(packages):
        say(f"        repairing {', '.join(dropped)}")
    place.log.write_text("", encoding="utf-8")
    pins = ["-c", str(place.pins)]
    run_pip(place.python, ["pip", *pins], place.log, is_quiet=True)  # a newer one shows progress; the old one will do
    show_bar = shows_progress(packages)
    say(f"  [2/4] PyTorch for {reason}" + ("" if build == "default" else f" ({build})"))
    _install_torch(place, build, show_bar=show_bar)
    say("  [3/4] everything else")
    if failed := run_pip(place.python, [*pins, *requirements(place, tools=tools)], place.log, show_bar=show_bar):
        raise Problem(failed)
    write_doors(place, packages)
    say("  [4/4] checking")
    _check_torch(place)


def make_venv(place: Place) -> None:
    """An environment with a working pip; a broken one is made anew."""
    if python_of(place, "pip"):
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Problem(f"This Python has no venv module: install it with {_venv_package()} and start again.")
    base = getattr(sys, "_base_executable", sys.executable) or sys.executable
    command = [base, "-m", "venv", "--clear", str(place.venv)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        text = done.stdout.decode("utf-8", "replace")
        if "ensurepip" in text and not explain(text):
            raise Problem(f"This Python's venv module has no pip: install it with {_venv_package()} and start again.")
        raise Problem(
            explain(text) or f"The environment cannot be made: {last_line(text)}. Delete .venv and start again."
        )


def _venv_package() -> str:
    return "`sudo apt install python3-venv`" if shutil.which("apt") else "your system's package for Python's venv"


def shows_progress(packages: Path) -> bool:
    """Whether pip is new enough to report progress in numbers: since 24.1."""
    found = [re.match(r"pip-(\d+)\.(\d+)", info.name) for info in packages.glob("pip-*.dist-info")]
    return any(match and (int(match[1]), int(match[2])) >= (24, 1) for match in found)


def drop_half_installed(packages: Path) -> list[str]:
    """Forget packages whose installation was cut off, so that pip installs them again.

    pip writes INSTALLER and RECORD last, but believes in a package as soon as its folder is there.
    """
    dropped: list[str] = []
    for info in packages.glob("*.dist-info"):
        if not _is_whole(info):
            dropped.append(info.name.split("-")[0])
            shutil.rmtree(info)
    for leftover in packages.glob("~*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return sorted(dropped)


def _is_whole(info: Path) -> bool:
    if not (info / "INSTALLER").is_file() or not (info / "RECORD").is_file():
        return False
    names = (line.split(",")[0] for line in (info / "RECORD").read_text(encoding="utf-8").splitlines())
    return all(
        (info.parent / name).exists() for name in names if not name.startswith('"') and not name.endswith(".pyc")
    )


def _install_torch(place: Place, build: str, *, show_bar: bool) -> None:
    """PyTorch from its own index, or from the default one when that cannot be had."""
    version, pins = torch_pin(place), ["-c", str(place.pins)]
    if build != "default":
        url, local = torch_build.index_of(build)
        if torch_build.is_url(build) or torch_build.answers(url):
            # A local version such as 2.13.0+cu126 exists on PyTorch's own index only.
            arguments = ["--extra-index-url", url, "--retries", "1", *pins, f"torch=={version}{local}"]
            failed = run_pip(place.python, arguments, place.log, show_bar=show_bar)
            if not failed:
                return
            say(f"        {failed}")
        say(f"        {url} does not answer with that build; using the default package index instead")
        if torch_build.brings_cuda():
            say(
                f"        its build is for NVIDIA cards too and needs {torch_build.needed_gb('default'):.0f} GB of disk"
            )
        _check_disk(place, "default")
    if failed := run_pip(place.python, [*pins, f"torch=={version}"], place.log, show_bar=show_bar):
        raise Problem(failed)


def _check_torch(place: Place) -> None:
    """Start PyTorch once: a missing system library shows here, in a sentence."""
    command = [str(place.python), "-c", "import torch"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode and IS_WINDOWS and re.search(r"DLL|WinError 126", text):
        link = "https://aka.ms/vs/17/release/vc_redist.x64.exe"
        raise Problem(f"PyTorch needs Microsoft's runtime: install {link} and start again.")
    if done.returncode:
        raise Problem(f"PyTorch does not start ({last_line(text)}): delete the folder .venv and start again.")


def _check_disk(place: Place, build: str) -> None:
    """Raise when a first installation cannot fit."""
    if place.packages and (place.packages / "torch").is_dir():
        return
    needed = torch_build.needed_gb(build)
    free = shutil.disk_usage(place.root).free / 1e9
    if free < needed:
        raise Problem(
            f"Setting up needs {needed:.0f} GB of disk and {free:.1f} GB are free: free some and start again."
        )


def write_doors(place: Place, packages: Path) -> None:
    """Let the environment find the app, wherever the folder is moved to, and give it the short command."""
    (packages / "fooocus-lite.pth").write_text(os.path.relpath(place.root, packages) + "\n", encoding="utf-8")
    if IS_WINDOWS:
        door, text = place.python.with_name("fooocus-lite.cmd"), '@"%~dp0python.exe" -m fooocus_lite %*\n'
    else:
        door, text = place.python.with_name("fooocus-lite"), '#!/bin/sh\nexec "${0%/*}/python" -m fooocus_lite "$@"\n'
    door.write_text(text, encoding="utf-8")
    door.chmod(0o755)


@contextlib.contextmanager
def _only_one(place: Place) -> Generator[None]:
    """Hold the set-up of this folder: a second double-click waits instead of installing over the first."""
    user = os.getuid() if sys.platform != "win32" else 0  # others may not open our file in a folder that all share
    name = hashlib.sha256(f"{user} {place.venv}".encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"fooocus-lite-{name}.lock"
    try:
        lock = path.open("a+b")
    except OSError as exc:
        raise Problem(f"The file {path} cannot be opened ({exc.strerror}): remove it and start again.") from exc
    with lock:
        is_told = False
        while not _try_lock(lock.fileno()):
            if not is_told:
                say("Another window is setting up this folder; waiting for it.")
            is_told = True
            time.sleep(0.5)
        yield  # the system lets go when the file is closed, also after a kill


def _try_lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
