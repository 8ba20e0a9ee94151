"""`make_plan`: the picture's ladder, its checks, and the round-trip law."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fooocus_lite.errors import BadValue, FooocusError, UnknownName
from fooocus_lite.library import Library
from fooocus_lite.plan import expand, make_plan, resolve
from fooocus_lite.recipe import MAX_SEED, Recipe, parse_recipe
from fooocus_lite.registry import SAMPLERS

ANY_SEED = st.integers(0, MAX_SEED)
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.text(max_size=40),
        "negative_prompt": st.text(max_size=20),
        "styles": st.lists(st.sampled_from(["Washes", "dots", "PLAIN addition", "nope"]), max_size=3),
        "preset": st.sampled_from(["plain", "Wide", "nope"]),
        "model": st.sampled_from(["tiny", "Big", "nope"]),
        "width": st.integers(1, 40).map(lambda n: n * 32) | st.just(7),
        "height": st.integers(1, 40).map(lambda n: n * 32),
        "seed": ANY_SEED,
        "count": st.integers(1, 5),
        "steps": st.integers(1, 200),
        "sampler": st.sampled_from([*SAMPLERS, "Euler a", "nope"]),
        "guidance_scale": st.floats(1, 30),
        "image_format": st.sampled_from(["png", "jpeg", "webp"]),
    },
).map(parse_recipe)


def plan(library: Library, **wish: Any):
    return make_plan(parse_recipe(wish), library, seed=5)


def test_an_empty_wish_is_filled_from_family_entry_and_preset(library: Library) -> None:
    made = plan(library)
    assert (made.width, made.height, made.steps, made.sampler) == (128, 128, 20, "euler")  # the catalog entry
    assert (made.guidance_scale, made.seed) == (3.0, 5)  # the default preset; the seed handed in
    assert (made.sag_scale, made.image_format, made.negative_texts) == (0.0, "png", ("",))  # the family
    assert made.clip_skip == 2


def test_the_person_wins_over_preset_over_entry_over_family(library: Library) -> None:
    assert plan(library, preset="wide").width == 192
    assert plan(library, preset="wide").steps == 9
    assert plan(library, preset="wide", steps=11).steps == 11
    assert plan(library, preset="wide").texts == ("dots",)
    assert plan(library, preset="wide", styles=[]).texts == ("",)
    assert plan(library, model="big").steps == 30


def test_the_default_preset_leaves_another_model_alone(library: Library) -> None:
    """Guidance that suits the starter must not reach a model that somebody chose instead."""
    assert plan(library, model="big").guidance_scale == 4.0
    assert plan(library, model="TINY").guidance_scale == 3.0
    assert plan(library, model="big", preset="plain").guidance_scale == 3.0


def test_a_model_that_is_there_comes_first_when_nobody_chose(library: Library) -> None:
    lone = dataclasses.replace(library, presets={}, models=dict(reversed(library.models.items())))
    assert plan(lone).model.name == "tiny"


def test_texts_are_cleaned_and_styled_and_the_recipe_keeps_what_was_written(library: Library) -> None:
    wish = parse_recipe({"prompt": "a  cat\nat sea ", "negative_prompt": " fog", "styles": ["dots", "washes"]})
    made, full = make_plan(wish, library, 5), resolve(wish, library, 5)
    assert made.texts == ("washes of a cat, at sea, dots, wet",)
    assert made.negative_texts == ("fog, lines, dry",)
    assert full.prompt == "a  cat\nat sea " and full.styles == ("Dots", "Washes")


def test_a_style_alone_is_enough(library: Library) -> None:
    assert plan(library, styles=["washes"]).texts == ("washes, wet",)


@pytest.mark.parametrize(
    "wish, problem, hint",
    [
        ({"width": 7}, "width cannot be 7.", "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"height": 130}, "height cannot be 130.", "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"height": 288}, "height cannot be 288.", "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"width": 32}, "width cannot be 32.", "Allowed for tiny: multiples of 32 from 64 to 256."),
        ({"width": 128, "model": "big"}, "width cannot be 128.", "Allowed for big: multiples of 8 from 512 to 2048."),
        ({"steps": 1, "sampler": "uni_pc"}, "steps cannot be 1.", "Allowed for UniPC: 2 to 200."),
    ],
)
def test_what_model_or_sampler_cannot_do(library: Library, wish: dict[str, Any], problem: str, hint: str) -> None:
    with pytest.raises(BadValue) as caught:
        plan(library, **wish)
    assert (caught.value.problem, caught.value.hint) == (problem, hint)
    assert caught.value.field in wish


@pytest.mark.parametrize("field", ["preset", "model", "sampler", "styles"])
def test_unknown_names(library: Library, field: str) -> None:
    with pytest.raises(UnknownName) as caught:
        plan(library, **{field: ["nope"] if field == "styles" else "nope"})
    assert caught.value.field == field and "'nope'" in caught.value.problem and caught.value.hint


@pytest.mark.parametrize("text", ["\U0001f680" * 900, "\u202eabc\u05d0", "a\x00b", "word " * 3999], ids=range(4))
def test_strange_prompts_make_a_plan(library: Library, text: str) -> None:
    (made,) = plan(library, prompt=text).texts
    made.encode("utf-8")
    assert "\x00" not in made


@pytest.mark.parametrize(
    "wish, said",
    [
        ({}, "The prompt is empty"),
        ({"styles": ["dots", "Dots", "washes"]}, "Dots was chosen more than once"),
        ({"guidance_scale": 1, "negative_prompt": "fog"}, "does nothing at guidance scale 1"),
        ({"width": 256, "height": 256}, "256×256 is far from the 128×128 that tiny was trained at"),
        ({"width": 64, "height": 256}, "64×256 is far from"),
        ({"model": "big"}, "big is not on this disk yet"),
    ],
)
def test_warnings(library: Library, wish: dict[str, Any], said: str) -> None:
    assert any(said in warning for warning in plan(library, **wish).warnings)
    assert plan(library, prompt="a cat", styles=["dots"]).warnings == ()


def test_styles_a_model_has_not_learned_are_mentioned(library: Library) -> None:
    models = {"tiny": dataclasses.replace(library.models["tiny"], style_categories=("Other",))}
    warnings = plan(dataclasses.replace(library, models=models), prompt="a cat", styles=["dots"]).warnings
    assert warnings == ("The model tiny has not learned the style Dots; it may show little of it.",)


def test_a_batch_is_one_recipe_per_picture_with_rising_seeds(library: Library) -> None:
    batch = expand(parse_recipe({"prompt": "a cat", "count": 3, "seed": MAX_SEED - 1}), library, seed=9)
    assert [recipe.seed for recipe in batch] == [MAX_SEED - 1, MAX_SEED, 0]
    assert {recipe.count for recipe in batch} == {1}
    assert [recipe.seed for recipe in expand(parse_recipe({"count": 2}), library, seed=9)] == [9, 10]
    assert len(expand(parse_recipe({"preset": "wide"}), library, seed=9)) == 3


def test_a_resolved_recipe_writes_names_as_the_library_does(library: Library) -> None:
    wish = {"preset": "Wide", "model": "TINY", "sampler": "DPM++ 2M Karras", "styles": ["WASHES", "plain addition"]}
    full = resolve(parse_recipe(wish), library, 5)
    assert (full.preset, full.model, full.sampler) == ("wide", "tiny", "dpmpp_2m_karras")
    assert full.styles == ("Washes", "plain-addition")


def test_a_style_chosen_twice_is_applied_once(library: Library) -> None:
    assert plan(library, prompt="a cat", styles=["dots", "Dots"]).texts == ("a cat, dots",)


def test_a_resolved_recipe_is_complete_and_outlives_its_preset(library: Library, root: Path) -> None:
    full = resolve(parse_recipe({"prompt": "a cat", "preset": "WIDE"}), library, 5)
    assert full.preset == "wide" and None not in full.model_dump().values()
    (root / "presets" / "wide.json").unlink()
    assert make_plan(full, library.refreshed(), 0) == make_plan(full, library, 0)
    older = full.model_copy(update={"clip_skip": None})  # of a picture from before the field existed
    assert make_plan(older, library.refreshed(), 0) == make_plan(full, library, 0)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WISHES, ANY_SEED, ANY_SEED)
def test_the_round_trip_law(library: Library, wish: Recipe, seed: int, other_seed: int) -> None:
    """Resolving again, through JSON and with another seed at hand, changes nothing."""
    try:
        full = resolve(wish, library, seed)
    except FooocusError:
        return
    again = parse_recipe(json.loads(full.model_dump_json()))
    assert resolve(again, library, other_seed) == full == again
    assert make_plan(again, library, other_seed) == make_plan(wish, library, seed)
    assert [resolve(one, library, other_seed) for one in expand(wish, library, seed)] == expand(wish, library, seed)
