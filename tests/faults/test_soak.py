"""A short soak: see `tests.soak`. Whatever was killed, every picture is there once, in order, with its own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import soak

pytestmark = pytest.mark.slow


def test_a_short_soak_ends_with_every_picture_exactly_once(models: Path, tmp_path: Path) -> None:
    told = soak(tmp_path, models, pictures=40, seed=7, server_kills=3, worker_kills=3)
    assert told["wrong"] == dict.fromkeys(told["wrong"], 0)
    assert told["found"]["states"]["finished"] >= 40
    assert told["done"]["kill server"] == told["done"]["kill worker"] == 3
    assert {"submit", "cancel", "edit", "move", "pause", "resume"} <= told["done"].keys()
