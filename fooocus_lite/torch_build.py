"""Which build of PyTorch fits this machine. Standard library only: asked before PyTorch is there."""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from fooocus_lite.pip_runner import Problem

INDEX = "https://download.pytorch.org/whl/"
VARIABLE = "FOOOCUS_TORCH_INDEX"
#: Free space in GB that a first installation needs, by the start of the build's name.
_NEEDED_GB = {"cu": 9.0, "rocm": 22.0, "xpu": 9.0}


def override() -> str:
    """The build or address a person insists on, or ``""``."""
    return os.environ.get(VARIABLE, "").strip()


def output_of(command: list[str]) -> str:
    """What a command prints, or ``""`` when it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def nvidia_smi() -> str:
    """Where NVIDIA's tool is, or ``""``."""
    return shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib") or ""


def hardware() -> str:
    """What can be told of the machine within a millisecond; a change asks for a new look."""
    return f"{sys.platform} {platform.machine()} {nvidia_smi() or '-'} {os.path.exists('/dev/kfd')}"


def choose() -> tuple[str, str]:
    """(build, for what): ``cu130``, ``cpu`` …; ``default`` is what the package index offers by itself."""
    if wanted := override():
        return wanted, VARIABLE
    if sys.platform == "darwin":
        if platform.machine() != "arm64":
            raise Problem("PyTorch has no build for Macs with Intel processors: use a Mac with Apple silicon.")
        return "default", "Apple silicon"
    query = ["--query-gpu=compute_cap,driver_version", "--format=csv,noheader"]
    if found := nvidia_build(output_of([nvidia_smi(), *query]) if nvidia_smi() else ""):
        return found
    return _windows() if sys.platform == "win32" else _linux()


def nvidia_build(listing: str) -> tuple[str, str] | None:
    """The build for nvidia-smi's lines ``compute_cap, driver_version``; ``None`` when it lists no card.

    CUDA 13 needs Turing (7.5) and driver 580; CUDA 12.6 serves what is older, but not Blackwell (10, 12).
    """
    rows = re.findall(r"^(\d+)\.(\d+), (\d+)", listing, re.MULTILINE)
    if not rows:
        return None
    newest = max((int(major), int(minor)) for major, minor, _ in rows)
    driver = min(int(number) for *_, number in rows)
    if newest >= (7, 5) and driver >= 580:
        return "cu130", "an NVIDIA card"
    if newest >= (10, 0):
        return "cu130", "an NVIDIA card; it needs driver 580 or newer, please update the driver"
    return "cu126", "an NVIDIA card of an older kind or with an older driver"


def _windows() -> tuple[str, str]:
    cards = output_of(["powershell", "-NoProfile", "-Command", "(Get-CimInstance Win32_VideoController).Name"])
    if re.search(r"\bArc\b", cards):
        return "xpu", "Intel Arc"
    if re.search(r"AMD|Radeon", cards):
        return "default", "the processor (PyTorch for AMD cards needs Linux)"
    return "default", "the processor"


def _linux() -> tuple[str, str]:
    if os.path.exists("/dev/kfd") and platform.machine() == "x86_64":
        return "rocm7.2", "an AMD card"
    cards = [Path(name).read_text(encoding="utf-8") for name in glob.glob("/sys/class/drm/card*/device/uevent")]
    # Arc (Alchemist, Battlemage) and Data Center GPU Max; PyTorch is no faster on other Intel graphics.
    if any(re.search(r"PCI_ID=8086:(56|E2|0BD)", text) for text in cards):
        return "xpu", "Intel Arc"
    return "cpu", "the processor"


def is_url(build: str) -> bool:
    """Whether a person gave an address instead of a build's name."""
    return "://" in build


def index_of(build: str) -> tuple[str, str]:
    """(index address, local version): ``cu126`` → (…/whl/cu126, ``+cu126``)."""
    url = build if is_url(build) else INDEX + build
    tag = url.rstrip("/").rsplit("/", 1)[-1]
    return url, f"+{tag}" if re.fullmatch(r"cpu|xpu|cu\d+|rocm[\d.]+", tag) else ""


def answers(url: str) -> bool:
    """Whether the index can be reached at all, so that a blocked network costs seconds, not minutes."""
    try:
        with urllib.request.urlopen(f"{url}/torch/", timeout=8) as reply:
            return reply.status == 200
    except (OSError, ValueError):
        return False


def brings_cuda() -> bool:
    """Whether the default package index's PyTorch for this machine is the one with CUDA and all its libraries."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def needed_gb(build: str) -> float:
    """Free disk space in GB that a first installation of this build needs."""
    tag = index_of(build)[0].rstrip("/").rsplit("/", 1)[-1]
    if tag == "default" and brings_cuda():
        tag = "cu"
    return next((size for start, size in _NEEDED_GB.items() if tag.startswith(start)), 3.0)
