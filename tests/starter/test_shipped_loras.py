"""The LoRAs that ship: found by name, small, and made for the starter, layer by layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fooocus_lite.engine.adapters import Adapters
from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.sdxl import Sdxl
from fooocus_lite.library import Library, load_library
from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import parse_recipe
from fooocus_lite.settings import load_settings

FILES = sorted((Path(__file__).resolve().parents[2] / "models" / "adapters").glob("*.safetensors"))


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library(load_settings(env={}))


@pytest.fixture(scope="module")
def starter(library: Library) -> Sdxl:
    plan = make_plan(parse_recipe({"prompt": "x", "model": "starter"}), library, 1)
    return Sdxl(plan.model, choose_machine("cpu", "fp32"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_lora_fits_the_starter(path: Path, library: Library, starter: Sdxl) -> None:
    wish = parse_recipe({"prompt": "a red star", "model": "starter", "loras": [{"name": path.stem}]})
    plan = make_plan(wish, library, 1)
    assert [lora.path for lora in plan.loras] == [str(path)] and plan.warnings == ()
    assert path.stat().st_size <= 10_000_000
    before = {name: tensor.clone() for name, tensor in starter._unet.state_dict().items()}
    with starter.adapted(Adapters().uses(plan.loras)):
        moved = [name for name, tensor in starter._unet.state_dict().items() if not tensor.equal(before[name])]
        assert len(moved) > 10
    assert all(tensor.equal(before[name]) for name, tensor in starter._unet.state_dict().items())
