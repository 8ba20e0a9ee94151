"""Pictures of a batch are those that are drawn alone, as near as the recorded run says."""

from __future__ import annotations

import math

import pytest

from fooocus_lite.registry import SAMPLERS
from tests.starter.drawing import needs_starter
from tests.starter.together import GUIDANCE, measured, plans, recorded

pytestmark = needs_starter
#: What ``docs/batches.md`` promises: other kernels round otherwise, and a value at a half goes to the other side.
LEVELS = 1
#: Follows from that: a mean square of at most LEVELS², so 10·log10(255² / LEVELS²) dB; rounded down as it is recorded.
PSNR = math.floor(200 * math.log10(255 / LEVELS)) / 10


def test_the_recorded_run_is_of_every_sampler_and_keeps_the_promise() -> None:
    rows = recorded()
    assert {*SAMPLERS, *GUIDANCE} <= set(rows)
    assert max(row["levels"] for row in rows.values()) <= LEVELS
    assert min(row["psnr"] for row in rows.values()) >= PSNR


@pytest.mark.parametrize("wish", [{}, {"sampler": "dpmpp_2m_sde"}, GUIDANCE["sag"]], ids=["usual", "noisy", "sag"])
def test_a_batch_is_as_near_as_recorded(wish: dict[str, float]) -> None:
    row = measured(plans(**wish))
    assert row["levels"] <= LEVELS
    assert row["psnr"] >= PSNR
