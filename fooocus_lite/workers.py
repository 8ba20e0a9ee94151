"""One worker for each device: which devices there are, and how the engine of each is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fooocus_lite.errors import FooocusError
from fooocus_lite.library import Library
from fooocus_lite.ray_runner import RayFleet, Staff
from fooocus_lite.runner import LocalRunner, Runner
from fooocus_lite.settings import Settings

ALL = "all"
_ASK_S = 300.0
_ASK = (
    "import json; from fooocus_lite.engine.device import every_device; "  # a child: this process has no torch
    "print(json.dumps(every_device()))"
)


class Fleet(Protocol):
    """All workers of a server, wherever they are."""

    @property
    def runners(self) -> Sequence[Runner]:
        """Those that are there from the beginning."""
        ...

    def start(self, staff: Staff) -> None:
        """From now on ``staff`` is told who comes and goes."""
        ...

    def close(self) -> None:
        """After whoever gave them work has closed the runners."""
        ...


class LocalFleet:
    """One worker per device of this machine, always the same."""

    def __init__(self, settings: Settings) -> None:
        self.runners: Sequence[Runner] = [LocalRunner(options=options) for options in engine_options(settings)]

    def start(self, staff: Staff) -> None:
        """Nobody comes or goes."""

    def close(self) -> None:
        """The runners were all."""


def make_fleet(settings: Settings, library: Callable[[], Library]) -> Fleet:
    """What the setting ``engine`` asks for.

    Raises:
        FooocusError: Ray is not installed, or nobody can say which devices there are.
    """
    if settings.engine == "ray":
        return RayFleet(settings, library, remote_options(settings))
    return LocalFleet(settings)


def engine_options(settings: Settings) -> list[dict[str, Any]]:
    """Keyword arguments for the engine of every worker, one per device of the setting.

    Raises:
        FooocusError: nobody can say which devices there are.
    """
    return [{"device": name} | _common_options(settings) for name in device_names(settings.device)]


def remote_options(settings: Settings) -> dict[str, Any]:
    """The same for a worker on whichever machine: of each it is the GPU that it was given, unless nobody wants GPUs."""
    return {"device": "cpu" if settings.device.startswith("cpu") else "auto"} | _common_options(settings)


def _common_options(settings: Settings) -> dict[str, Any]:
    return {"dtype": settings.dtype, "preview_fps": settings.preview_fps, "memory": settings.memory}


def device_names(setting: str) -> list[str]:
    """The devices that the setting names; ``all`` asks PyTorch which there are.

    Raises:
        FooocusError: it does not answer.
    """
    return _every_device() if setting == ALL else [name.strip() for name in setting.split(",")]


def first_device(setting: str) -> str:
    """The one that draws where one is enough."""
    return "auto" if setting == ALL else device_names(setting)[0]


def _every_device() -> list[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, text=True, env=env, timeout=_ASK_S, check=True
        )
        names: list[str] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as exc:
        raise FooocusError(
            "PyTorch does not say which devices there are.", "Name them: --device cuda:0,cuda:1.", field="device"
        ) from exc
    return names
