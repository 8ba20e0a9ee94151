"""The light server that most of these tests talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.light import LightServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LightServer]:
    """Nothing is drawn, so that what waits stays; a file that needs another one makes its own."""
    running = LightServer(tmp_path)
    yield running
    running.close()
