"""Every family on every rung: the same picture, but for the one that stores weights in fewer bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from fooocus_lite.engine.run import Engine
from fooocus_lite.events import ImageReady
from fooocus_lite.memory import RUNGS
from fooocus_lite.plan import Plan
from tests.engine import tiny_flux, tiny_pipelines, tiny_sd15

PIPELINES = ("z-image", "flux2-klein", "sd35", "chroma", "qwen-image")


def make_plan(family: str, folder: Path) -> Plan:
    if family == "flux":
        return tiny_flux.make_plan(tiny_flux.write_flux(folder / family))
    if family == "sd15":
        return tiny_sd15.make_plan(tiny_sd15.model_ref(tiny_sd15.write_model(folder / family)))
    return tiny_pipelines.make_plan(family, tiny_pipelines.write_pipeline(family, folder / family))


@pytest.mark.parametrize("family", ["flux", "sd15", *PIPELINES])
def test_the_ladder_holds_for_every_family(family: str, tmp_path: Path) -> None:
    plan = make_plan(family, tmp_path)
    drawn: dict[str, ImageReady] = {}
    for rung in RUNGS:
        events = list(Engine(device="cpu", preview_fps=0, memory=rung).run(plan, lambda: False))
        pictures = [event for event in events if isinstance(event, ImageReady)]
        assert pictures, events[-1]
        drawn[rung] = pictures[0]
    assert {rung: picture.facts["memory"] for rung, picture in drawn.items()} == {rung: rung for rung in RUNGS}
    wanted = drawn["resident"].rgb
    assert [rung for rung, picture in drawn.items() if picture.rgb != wanted] in ([], ["fp8"])
