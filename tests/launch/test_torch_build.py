"""The build of PyTorch for a machine, and pip's words in ours."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest

from fooocus_lite import torch_build
from fooocus_lite.pip_runner import Ticker, explain, last_line


@pytest.mark.parametrize(
    "listing, build",
    [
        ("8.6, 580.65.06\n", "cu130"),  # RTX 3060, new driver
        ("8.6, 550.54.14\n", "cu126"),  # the same with an older driver
        ("6.1, 580.65.06\n", "cu126"),  # GTX 1080: not in CUDA 13
        ("7.0, 580.65.06\n", "cu126"),  # V100
        ("12.0, 570.10.01\n", "cu130"),  # RTX 5090: in CUDA 13 only
        ("6.1, 580.1\n9.0, 580.1\n", "cu130"),  # the best card counts
    ],
)
def test_nvidia_build(listing: str, build: str) -> None:
    found = torch_build.nvidia_build(listing)
    assert found and found[0] == build


def test_no_card_is_no_build() -> None:
    assert torch_build.nvidia_build("") is None
    assert torch_build.nvidia_build("No devices were found\n") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a shell script as nvidia-smi")
@pytest.mark.parametrize("script, build", [("echo '8.9, 581.15'", "cu130"), ("exit 9", None)])
def test_nvidia_smi_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, build: str | None) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("FOOOCUS_TORCH_INDEX", raising=False)
    assert str(tool) in torch_build.hardware()
    chosen = torch_build.choose()[0]
    assert chosen == build if build else not chosen.startswith("cu")


def test_a_persons_choice_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOOCUS_TORCH_INDEX", "cu126")
    assert torch_build.choose()[0] == "cu126"


@pytest.mark.parametrize(
    "build, url, local, needed",
    [
        ("cu130", "https://download.pytorch.org/whl/cu130", "+cu130", 9),
        ("rocm7.2", "https://download.pytorch.org/whl/rocm7.2", "+rocm7.2", 22),
        ("https://mirror.example/torch/cpu/", "https://mirror.example/torch/cpu/", "+cpu", 3),
        ("https://mirror.example/simple", "https://mirror.example/simple", "", 3),
    ],
)
def test_index_of(build: str, url: str, local: str, needed: float) -> None:
    assert torch_build.index_of(build) == (url, local)
    assert torch_build.needed_gb(build) == needed


@pytest.mark.parametrize(
    "said, sentence",
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "NewConnectionError('Failed to establish a new connection: [Errno -3]')\nERROR: No matching",
            "cannot be reached",
        ),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))", "not trusted"),
        ("ERROR: Could not install packages: [Errno 13] Permission denied: '/x'", "cannot be written"),
        ("ERROR: No matching distribution found for torch==2.13.0", "torch==2.13.0 cannot be had"),
        (
            "ERROR: Cannot install brush==7.0 because these package versions have conflicting",
            "brush==7.0 cannot be had",
        ),
        ("ERROR: something new", ""),
    ],
)
def test_pips_failures_in_a_sentence(said: str, sentence: str) -> None:
    assert sentence in explain(said) and bool(explain(said)) == bool(sentence)


def test_the_line_that_says_most() -> None:
    assert last_line("a\nERROR: b\n\nnotice: c\n") == "ERROR: b"
    assert last_line("a\nb\n\n") == "b"
    assert last_line("") == "no output"


def test_without_a_terminal_only_large_files_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    ticker = Ticker()
    for line in (
        "Collecting six\n",
        "  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)\n",
        "  Downloading https://example.org/torch-2.13.0-cp311-cp311-linux.whl (915.7 MB)\n",
        "Progress 500 of 1000\n",
        "Installing collected packages: six, torch\n",
    ):
        ticker.see(line)
    ticker.clear()
    said = capfd.readouterr().err.splitlines()
    assert [line.strip() for line in said] == ["downloading torch (915.7 MB)", "unpacking 2 packages"]


def test_a_long_silence_is_broken(capfd: pytest.CaptureFixture[str]) -> None:
    said = ""
    with Ticker(patience_s=0.01) as ticker:
        time.sleep(0.1)
        assert capfd.readouterr().err == ""  # pip has not begun with anything yet
        ticker.see("Installing collected packages: six, torch\n")
        while said.count("unpacking 2 packages: ") < 2:
            said += capfd.readouterr().err
            time.sleep(0.01)
    assert re.search(r"^ +unpacking 2 packages: \d+ s$", said, re.MULTILINE)
    assert not ticker._clock.is_alive()
