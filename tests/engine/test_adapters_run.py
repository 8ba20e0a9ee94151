"""LoRAs in whole pictures: they show, they leave no trace, and texts are read anew only where they must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fooocus_lite.engine.run import Engine
from fooocus_lite.events import Cancelled, Failed, PromptReady
from fooocus_lite.plan import LoraRef, Plan
from tests.engine import lora_files as files
from tests.engine.lora_files import write
from tests.engine.tiny_sdxl import make_plan, make_unet

Pixels = Callable[[Plan], bytes]


@pytest.fixture(scope="module")
def in_unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On every attention and feed-forward layer of the tiny UNet."""
    stored: dict[str, torch.Tensor] = {}
    for number, (path, child) in enumerate(make_unet().named_modules()):
        if "transformer_blocks" in path and isinstance(child, torch.nn.Linear):
            factors = files.lora(tuple(child.weight.shape), files.dice(number))
            stored |= {f"lora_unet_{path.replace('.', '_')}.{name}": factor for name, factor in factors.items()}
            stored[f"lora_unet_{path.replace('.', '_')}.alpha"] = torch.tensor(1.0)
    return write(tmp_path_factory.mktemp("loras") / "unet.safetensors", stored)


@pytest.fixture(scope="module")
def in_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On one layer of each text encoder."""
    stored: dict[str, torch.Tensor] = {}
    for encoder, width in (("te1", 16), ("te2", 24)):
        layer = f"lora_{encoder}_text_model_encoder_layers_0_mlp_fc1"
        factors = files.lora((2 * width, width), files.dice(width))
        stored |= {f"{layer}.{name}": 4 * factor for name, factor in factors.items()}
    return write(tmp_path_factory.mktemp("loras") / "texts.safetensors", stored)


def loras(*files: tuple[Path, float]) -> tuple[LoraRef, ...]:
    return tuple(LoraRef(path.stem, str(path), weight) for path, weight in files)


@pytest.mark.parametrize("kind", ["in_unet", "in_texts"])
def test_a_lora_shows_and_leaves_no_trace(
    model: Path, pixels: Pixels, request: pytest.FixtureRequest, kind: str
) -> None:
    path = request.getfixturevalue(kind)
    plain = pixels(make_plan(model))
    at_one = pixels(make_plan(model, loras=loras((path, 1.0))))
    at_half = pixels(make_plan(model, loras=loras((path, 0.5))))
    assert len({plain, at_one, at_half}) == 3
    assert pixels(make_plan(model)) == plain
    assert pixels(make_plan(model, loras=loras((path, 0.0)))) == plain
    assert pixels(make_plan(model, loras=loras((path, 1.0)))) == at_one


def test_both_at_once_are_neither_alone(model: Path, pixels: Pixels, in_unet: Path, in_texts: Path) -> None:
    found = [
        pixels(make_plan(model, loras=loras(*chosen)))
        for chosen in ([], [(in_unet, 1.0)], [(in_texts, 1.0)], [(in_unet, 1.0), (in_texts, 1.0)])
    ]
    assert len(set(found)) == 4
    assert pixels(make_plan(model, loras=loras((in_texts, 1.0), (in_unet, 1.0)))) == found[3]


def test_texts_are_read_anew_only_for_another_text_encoder(
    model: Path, in_unet: Path, in_texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fooocus_lite.engine.text import TextEncoders

    read: list[str] = []
    encode = TextEncoders._encode

    def note(self: Any, text: str, *rest: Any) -> Any:
        read.append(text)
        return encode(self, text, *rest)

    monkeypatch.setattr(TextEncoders, "_encode", note)
    engine = Engine(device="cpu", preview_fps=0)

    def reads(*chosen: tuple[Path, float]) -> int:
        read.clear()
        list(engine.run(make_plan(model, loras=loras(*chosen)), lambda: False))
        return len(read)

    assert reads() == 2
    assert reads((in_unet, 1.0)) == reads((in_unet, -0.5)) == 0
    assert reads((in_texts, 1.0)) == 2
    assert reads((in_texts, 1.0), (in_unet, 1.0)) == reads() == 0
    assert reads((in_texts, 0.9)) == 2


def test_a_picture_called_off_leaves_no_trace(model: Path, engine: Engine, pixels: Pixels, in_unet: Path) -> None:
    plain = pixels(make_plan(model))
    plan, told = make_plan(model, steps=50, loras=loras((in_unet, 1.0))), []
    for event in engine.run(plan, lambda: any(isinstance(event, PromptReady) for event in told)):
        told.append(event)
    assert isinstance(told[-1], Cancelled)
    assert pixels(make_plan(model)) == plain


def test_a_wrong_lora_fails_in_one_sentence_and_leaves_no_trace(
    model: Path, engine: Engine, pixels: Pixels, in_unet: Path, tmp_path: Path
) -> None:
    plain = pixels(make_plan(model))
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    foreign = {f"{layer}.lora_down.weight": torch.ones(3, 768), f"{layer}.lora_up.weight": torch.ones(320, 3)}
    path = write(tmp_path / "foreign.safetensors", foreign)
    failed = list(engine.run(make_plan(model, loras=loras((in_unet, 1.0), (path, 1.0))), lambda: False))[-1]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.field_name) == ("bad_value", "loras")
    assert "Stable Diffusion 1.5" in failed.problem
    assert pixels(make_plan(model)) == plain


def test_a_file_that_cannot_be_read_is_told_before_the_model_is_loaded(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    engine = Engine(device="cpu", preview_fps=0)
    plan = make_plan(model / "nowhere", loras=loras((path, 1.0)))
    failed = list(engine.run(plan, lambda: False))[-1]
    assert isinstance(failed, Failed)
    assert "cut.safetensors is damaged" in failed.problem
