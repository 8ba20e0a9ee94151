"""The model that ships and one engine for all tests that look at its pictures."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from fooocus_lite.library import load_library
from fooocus_lite.plan import Plan
from fooocus_lite.settings import load_settings

SETTINGS = load_settings(env={})
STARTER = SETTINGS.models_dir / "starter"
SEEDS = range(8)
ENOUGH = 7

needs_starter = pytest.mark.skipif(not (STARTER / "unet").is_dir(), reason="models/starter is not there")

Picture = Any  # (height, width, 3) uint8


@lru_cache(maxsize=1)
def engine() -> Any:
    from fooocus_lite.engine.run import Engine

    return Engine(preview_fps=0)


@lru_cache(maxsize=1)
def library() -> Any:
    return load_library(SETTINGS)


def drawn(plan: Plan) -> Picture:
    """The picture that a plan gives."""
    for event in engine().run(plan, lambda: False):
        if event.kind == "image_ready":
            return np.frombuffer(event.rgb, np.uint8).reshape(event.height, event.width, 3)
    raise AssertionError(event)
