"""A small app root in a temporary folder, so that tests may break its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from fooocus_lite.library import Library, load_library
from fooocus_lite.settings import Settings, load_settings

# The same examples everywhere, however slow the machine, and no folder of examples left behind.
hypothesis.settings.register_profile("calm", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("calm")

STYLES = [
    {"name": "Washes", "prompt": "washes of {prompt}, wet", "negative_prompt": "dry"},
    {"name": "Dots", "prompt": "{prompt}, dots", "negative_prompt": "lines"},
    {"name": "plain-addition", "prompt": "sharp"},
]
MODELS = [
    {
        "name": "tiny",
        "family": "sdxl",
        "path": "tiny",
        "native_size": 128,
        "size_multiple": 32,
        "defaults": {"steps": 20, "sampler": "euler"},
    },
    {"name": "big", "family": "sdxl", "path": "big.safetensors", "native_size": 1024},
]
PRESETS = {
    "plain": {"label": "Plain", "recipe": {"model": "tiny", "guidance_scale": 3.0}},
    "wide": {"recipe": {"model": "tiny", "width": 192, "steps": 9, "count": 3, "styles": ["dots"]}},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An app root with three styles, two presets and two models, of which one is there."""
    for folder in ("styles", "presets", "models/tiny"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "styles" / "some_styles.json").write_text(json.dumps(STYLES))
    (tmp_path / "models" / "catalog.json").write_text(json.dumps(MODELS))
    (tmp_path / "models" / "tiny" / "model_index.json").write_text("{}")
    for name, preset in PRESETS.items():
        (tmp_path / "presets" / f"{name}.json").write_text(json.dumps(preset))
    return tmp_path


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings of that root, whose default preset is ``plain``."""
    return load_settings({"preset": "plain"}, env={}, root=root)


@pytest.fixture
def load(settings: Settings) -> Callable[[], Library]:
    """Reads the root again; a fixture's library would be read before a test writes its files."""
    return lambda: load_library(settings)


@pytest.fixture
def library(load: Callable[[], Library]) -> Library:
    """The root as it is."""
    return load()
