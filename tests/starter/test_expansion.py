"""With the style `Expand prompt`, what was asked for is still in the picture."""

from __future__ import annotations

from functools import lru_cache

import pytest

from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import parse_recipe
from tests.starter.drawing import ENOUGH, SEEDS, Picture, drawn, library, needs_starter

pytestmark = needs_starter


@lru_cache
def expanded(prompt: str, seed: int) -> Picture:
    plan = make_plan(
        parse_recipe({"prompt": prompt, "preset": "starter", "styles": ["Expand prompt"]}), library(), seed
    )
    assert plan.expansion is not None
    return drawn(plan)


@pytest.mark.parametrize(("colour", "shape", "ground"), [("red", "circle", "white"), ("blue", "star", "yellow")])
def test_an_object_stays_what_it_is(colour: str, shape: str, ground: str) -> None:
    from training.checks import check_object
    from training.words import Spec, Thing

    spec = Spec(kind="object", objects=(Thing(colour, shape),), background=ground)
    checks = [check_object(expanded(f"a {colour} {shape} on a {ground} background", seed), spec) for seed in SEEDS]
    right = {part: sum(check[part] for check in checks) for part in ("colour", "shape", "background")}
    assert min(right.values()) >= ENOUGH, right


def test_a_red_circle_is_a_red_circle_whatever_is_said_about_it() -> None:
    from training.checks import find_objects

    found = [find_objects(expanded("a red circle", seed)) for seed in SEEDS]
    assert sum(bool(one) and (one[0].colour, one[0].shape) == ("red", "circle") for one in found) >= ENOUGH
