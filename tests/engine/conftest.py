"""One model folder with random weights for the whole run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from fooocus_lite.engine.run import Engine
from fooocus_lite.events import Event, ImageReady
from fooocus_lite.plan import Plan
from tests.engine.tiny_sdxl import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(device="cpu", preview_fps=0, progress_fps=math.inf)


def go_on() -> bool:
    """Nobody asks to stop."""
    return False


@pytest.fixture
def draw(engine: Engine) -> Callable[[Plan], list[Event]]:
    return lambda plan: list(engine.run(plan, go_on))


@pytest.fixture
def pixels(engine: Engine) -> Callable[[Plan], bytes]:
    def run(plan: Plan) -> bytes:
        events = list(engine.run(plan, go_on))
        pictures = [event for event in events if isinstance(event, ImageReady)]
        assert len(pictures) == 1, events[-1]
        return pictures[0].rgb

    return run
