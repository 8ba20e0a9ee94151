"""Sizes and times as people read them."""

from __future__ import annotations

import pytest

from fooocus_lite.download_state import size_text
from fooocus_lite.teller import time_text


@pytest.mark.parametrize(
    "size, text",
    [
        (0, "0 bytes"), (999, "999 bytes"), (999.6, "1.0 kB"), (1400, "1.4 kB"), (9_949_000, "9.9 MB"),
        (9_950_001, "10 MB"), (999_400_000, "999 MB"), (999_600_000, "1.0 GB"), (6_938_078_334, "6.9 GB"),
        (1.2e12, "1,200.0 GB"),
    ],
)  # fmt: skip
def test_size(size: float, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "1 s"), (29, "29 s"), (31, "1 min"), (3540, "59 min"), (3600, "1 h 0 min"), (12_000, "3 h 20 min")],
)
def test_time(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
