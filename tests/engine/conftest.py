"""One model folder with random weights for the whole run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fooocus_lite.engine.run import Engine
from fooocus_lite.events import Event, ImageReady
from fooocus_lite.plan import LoraRef, Plan
from tests.engine import lora_files as files
from tests.engine.tiny_sdxl import make_unet, write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def ink_lora(tmp_path_factory: pytest.TempPathFactory) -> LoraRef:
    """On the UNet and on both text encoders."""
    stored: dict[str, torch.Tensor] = {}
    for encoder, width in (("te1", 16), ("te2", 24)):
        factors = files.lora((2 * width, width), files.dice(width))
        stored |= {
            f"lora_{encoder}_text_model_encoder_layers_0_mlp_fc1.{name}": 4 * factor for name, factor in factors.items()
        }
    for number, (path, child) in enumerate(make_unet().named_modules()):
        if "transformer_blocks" in path and isinstance(child, nn.Linear):
            factors = files.lora(tuple(child.weight.shape), files.dice(number))
            stored |= {f"lora_unet_{path.replace('.', '_')}.{name}": factor for name, factor in factors.items()}
    path = files.write(tmp_path_factory.mktemp("loras") / "both.safetensors", stored)
    return LoraRef(name="ink", path=str(path), weight=0.8)


@pytest.fixture(scope="module")
def kl_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("memory") / "kl", vae="kl", seed=3)


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
