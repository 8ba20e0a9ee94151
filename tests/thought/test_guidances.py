"""Guidance before a model is loaded: what is decided, refused, said to have no effect, and what it costs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from fooocus_lite.errors import BadValue
from fooocus_lite.guidances import KNOBS, OFF, Weights, passes_per_step, passes_when_guided
from fooocus_lite.library import Library
from fooocus_lite.plan import make_plan, plan_from_dict, resolve
from fooocus_lite.recipe import number_range, parse_recipe
from fooocus_lite.tasks import work_of


def plan(library: Library, **wish: Any):
    return make_plan(parse_recipe({"prompt": "a cat"} | wish), library, seed=5)


def test_all_is_off_unless_somebody_says_so(library: Library) -> None:
    made = plan(library)
    assert {name: getattr(made, name) for name in KNOBS} == {name: OFF[name] for name in KNOBS}
    assert not [warning for warning in made.warnings if "does nothing" in warning]


@pytest.mark.parametrize("name", KNOBS)
def test_what_is_said_is_decided_and_survives_the_queue(library: Library, name: str) -> None:
    low, high = number_range(name)
    value = high if name != "guidance_start" else low
    made = plan(library, **{name: value})
    assert getattr(made, name) == value
    assert plan_from_dict(json.loads(json.dumps(dataclasses.asdict(made)))) == made
    resolved = resolve(parse_recipe({"prompt": "a cat", name: value}), library, 5)
    assert resolve(resolved, library, 6) == resolved
    with pytest.raises(BadValue, match=f"{name} cannot be"):
        parse_recipe({name: high + 1})


@pytest.mark.parametrize(("start", "end"), [(0.8, 0.2), (0.5, 0.5), (1.0, 1.0), (0.0, 0.0)])
def test_an_interval_that_ends_before_it_begins_is_refused(library: Library, start: float, end: float) -> None:
    with pytest.raises(BadValue) as caught:
        plan(library, guidance_start=start, guidance_end=end)
    assert str(caught.value) == (
        f"guidance_start cannot be {start:g}. It must be below guidance_end, which is {end:g}; "
        "guidance_scale 1 switches guidance off."
    )
    assert caught.value.field == "guidance_start"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"perp_neg": 1, "negative_prompt": "fog"}, "Perp-Neg does nothing at guidance scale 1."),
        ({"apg_eta": 0}, "Contrast kept (APG) does nothing at guidance scale 1."),
        ({"adaptive_cfg": 5}, "Gentle start does nothing at guidance scale 1."),
        ({"guidance_rescale": 0.7}, "Guidance rescale does nothing at guidance scale 1."),
        ({"guidance_end": 0.8}, "Guidance until does nothing at guidance scale 1."),
        (
            {"guidance_start": 0.1, "guidance_end": 0.8},
            "Guidance from and Guidance until do nothing at guidance scale 1.",
        ),
        ({"adm_negative": 0.8}, "Size told to the negative prompt does nothing at guidance scale 1."),
        ({"perp_neg": 1, "guidance_scale": 4}, "Perp-Neg does nothing without a negative prompt."),
    ],
)
def test_what_has_no_effect_is_said(library: Library, wish: dict[str, Any], said: str) -> None:
    assert said in plan(library, **({"guidance_scale": 1} | wish)).warnings


def test_an_interval_that_rounds_to_no_step_is_said(library: Library) -> None:
    said = "The guidance interval holds none of the 20 steps, so nothing guides the picture; make it longer."
    wish = {"guidance_scale": 4, "guidance_start": 0.5, "guidance_end": 0.51, "steps": 20}
    assert said in plan(library, **wish).warnings
    assert said in plan(library, **wish | {"guidance_scale": 1, "pag_scale": 2}).warnings
    assert said in plan(library, **wish | {"guidance_scale": 1, "sharpness": 5}).warnings
    assert plan(library, **wish | {"steps": 60}).warnings == ()
    assert plan(library, **wish | {"guidance_end": 0.6}).warnings == ()
    assert said not in plan(library, **wish | {"guidance_scale": 1}).warnings, "then there is nothing to switch off"


@pytest.mark.parametrize(
    "wish",
    [
        {"guidance_rescale": 0.7, "guidance_end": 0.8, "pag_scale": 2}, {"guidance_end": 0.8, "sag_scale": 1},
        {"sharpness": 2, "guidance_start": 0.5, "guidance_end": 0.8},
        {"sharpness": 2, "freeu_b1": 1.2, "adm_positive": 1.5, "adm_negative": 0.8},
        {"guidance_scale": 4, "adaptive_cfg": 7}, {"guidance_scale": 4, "perp_neg": 1, "negative_prompt": "fog"},
    ],
)  # fmt: skip
def test_what_acts_or_waits_for_more_is_not(library: Library, wish: dict[str, Any]) -> None:
    assert plan(library, **({"guidance_scale": 1} | wish)).warnings == ()


def test_work_counts_passes() -> None:
    recipe = parse_recipe({"width": 10, "height": 10, "steps": 20, "sampler": "euler", "guidance_scale": 4})
    assert work_of(recipe) == 100 * 20 * 2
    interval = recipe.model_copy(update={"guidance_start": 0.2, "guidance_end": 0.8})
    assert work_of(interval) == 100 * (20 + 12) == 0.8 * work_of(recipe)
    everything = Weights(guidance_scale=4, perp_neg=1, sag_scale=1, pag_scale=1, guidance_end=0.5)
    assert (passes_when_guided(everything), passes_per_step(everything, 20)) == (5, 3)
    assert passes_when_guided(Weights(perp_neg=1)) == 1
