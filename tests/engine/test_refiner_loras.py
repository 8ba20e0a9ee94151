"""LoRAs on two models: a refiner takes those that fit it, and whoever it draws without is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from fooocus_lite.engine.adapters import load_adapter
from fooocus_lite.engine.run import Engine
from fooocus_lite.events import PromptReady
from fooocus_lite.plan import Plan
from tests.engine import lora_files as files
from tests.engine.conftest import go_on
from tests.engine.test_adapters_run import in_unet, loras
from tests.engine.test_refiner import refined, second, true_refiner
from tests.engine.tiny_sdxl import make_plan, make_unet

__all__ = ["in_unet", "second", "true_refiner"]
Pixels = Callable[[Plan], bytes]


def told(engine: Engine, plan: Plan) -> list[str]:
    events = list(engine.run(plan, go_on))
    return [warning for event in events if isinstance(event, PromptReady) for warning in event.warnings]


def test_a_refiner_takes_the_loras_that_fit_it(
    pixels: Pixels, engine: Engine, model: Path, second: Path, in_unet: Path, tmp_path: Path
) -> None:
    sibling = shutil.copytree(second, tmp_path / "sibling", ignore=shutil.ignore_patterns("vae"))
    shutil.copytree(model / "vae", sibling / "vae")  # the model's own decodes
    plain = refined(make_plan(model), sibling, 0.0)  # the refiner draws everything
    with_it = refined(make_plan(model, loras=loras((in_unet, 1.0))), sibling, 0.0)
    before = pixels(plain)
    assert pixels(with_it) != before
    assert told(engine, with_it) == []
    assert pixels(plain) == before, "no trace of it"
    as_itself = pixels(make_plan(sibling, loras=loras((in_unet, 1.0))))
    assert pixels(with_it) == as_itself, "as on the same checkpoint alone"


def test_one_that_does_not_fit_is_named_and_the_model_keeps_it(
    pixels: Pixels, engine: Engine, model: Path, true_refiner: Path, tmp_path: Path
) -> None:
    """As a LoRA for SDXL beside SDXL's own refiner, whose cross-attention reads other texts."""
    path = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    weight = make_unet().get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k").weight
    factors = files.lora((int(weight.shape[0]), int(weight.shape[1])), files.dice(3))
    stored = {f"lora_unet_{path}.{name}": factor for name, factor in factors.items()}
    one = files.write(tmp_path / "ink.safetensors", stored | {f"lora_unet_{path}.alpha": torch.tensor(8.0)})
    assert load_adapter(one, "ink").deltas
    for share, differs in ((0.5, True), (0.0, False)):
        plain = refined(make_plan(model), true_refiner, share)
        with_it = refined(make_plan(model, loras=loras((one, 1.0))), true_refiner, share)
        assert told(engine, with_it) == [
            "The refiner second draws the last steps without the LoRA ink, which does not fit it."
        ]
        assert (pixels(with_it) != pixels(plain)) == differs
