"""`Recipe`: the border where what people and programs send becomes a value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.errors import BadValue, FooocusError, UnknownName
from fooocus_lite.recipe import MAX_INDEX, MAX_SEED, Recipe, describe_range, parse_recipe

NAMES = st.text(max_size=20)
RECIPES = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.text(max_size=50),
        "negative_prompt": st.none() | st.text(max_size=50),
        "styles": st.none() | st.lists(NAMES, max_size=4),
        "preset": st.none() | NAMES,
        "width": st.none() | st.integers(1, 4096),
        "height": st.none() | st.integers(1, 4096),
        "seed": st.none() | st.integers(0, MAX_SEED),
        "count": st.none() | st.integers(1, 100),
        "index": st.integers(0, MAX_INDEX),
        "wildcard_order": st.sampled_from(["random", "ordered"]),
        "steps": st.none() | st.integers(1, 200),
        "guidance_scale": st.none() | st.floats(1, 30),
        "image_format": st.none() | st.sampled_from(["png", "jpeg", "webp"]),
    },
).map(parse_recipe)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    "field, value, allowed",
    [
        ("width", 0, "1 to 4096"),
        ("height", 100_000, "1 to 4096"),
        ("width", "wide", "1 to 4096"),
        ("steps", 0, "1 to 200"),
        ("steps", 10**6, "1 to 200"),
        ("seed", -1, "0 to 9223372036854775807"),
        ("seed", 2**63, "0 to 9223372036854775807"),
        ("seed", "abc", "0 to 9223372036854775807"),
        pytest.param("seed", 10**5000, "0 to 9223372036854775807", id="seed-5001-digits"),
        ("seed", True, "0 to 9223372036854775807"),
        ("seed", 1.5, "0 to 9223372036854775807"),
        ("count", 0, "1 to 100"),
        ("index", -1, "0 to 2147483647"),
        ("index", True, "0 to 2147483647"),
        ("wildcard_order", "any", "random or ordered"),
        ("guidance_scale", float("nan"), "1 to 30"),
        ("guidance_scale", "1e400", "1 to 30"),
        ("sag_scale", -0.1, "0 to 5"),
        ("guidance_rescale", 1.5, "0 to 1"),
        ("guidance_end", -0.1, "0 to 1"),
        ("apg_momentum", -1, "-0.95 to 0.95"),
        ("freeu_b1", 2.5, "0 to 2"),
        ("adm_positive", 0, "0.1 to 3"),
        ("pag_scale", True, "0 to 10"),
        ("clip_skip", 13, "1 to 12"),
        ("clip_skip", False, "1 to 12"),
        ("image_format", "gif", "png, jpeg or webp"),
        ("styles", "Watercolor", "at most 30 style names"),
        ("styles", ["x"] * 31, "at most 30 style names"),
        ("styles", [[[]]], "at most 30 style names"),
        ("prompt", None, "text"),
        ("prompt", "\ud800", "text"),
        pytest.param("prompt", "x" * 1_000_000, "20,000", id="prompt-1-MB"),
    ],
)
def test_a_bad_value_names_field_and_range(field: str, value: object, allowed: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_recipe({field: value})
    assert caught.value.field == field and field in caught.value.problem
    assert allowed in caught.value.hint
    assert len(str(caught.value)) < 200
    str(caught.value).encode("utf-8")


@pytest.mark.parametrize("name", ["promt", "", pytest.param("x" * 10_000, id="long"), "new\nline", "\ud800"])
def test_an_unknown_field_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownName, match="Fields are: prompt, ") as caught:
        parse_recipe({name: 1})
    json.dumps(caught.value.to_dict(), ensure_ascii=False).encode("utf-8")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("body", [None, [], "a red star", 7, [["prompt", "x"]]])
def test_what_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(BadValue, match="not a JSON object"):
        parse_recipe(body)


def test_words_of_every_script_stay_and_nul_goes() -> None:
    text = "\U0001f469\u200d\U0001f680 \u05e9\u05dc\u05d5\u05dd \u202e"
    assert parse_recipe({"prompt": text + "\x00"}).prompt == text


@given(JSON | st.dictionaries(st.sampled_from(list(Recipe.model_fields)), JSON, max_size=3))
def test_anything_is_a_recipe_or_our_error(data: Any) -> None:
    try:
        recipe = parse_recipe(data)
    except FooocusError as error:
        json.dumps(error.to_dict(), ensure_ascii=False).encode("utf-8")
    else:
        assert parse_recipe(json.loads(recipe.model_dump_json())) == recipe


@given(RECIPES, RECIPES, RECIPES)
def test_over_is_associative_and_has_a_neutral_element(a: Recipe, b: Recipe, c: Recipe) -> None:
    assert a.over(b).over(c) == a.over(b.over(c))
    assert a.over(Recipe()) == a == Recipe().over(a)
    assert a.over(a) == a


@given(RECIPES, RECIPES)
def test_over_keeps_what_was_set(mine: Recipe, other: Recipe) -> None:
    merged = mine.over(other)
    for name in Recipe.model_fields:
        said = name in mine.model_fields_set and getattr(mine, name) is not None
        assert getattr(merged, name) == getattr(mine if said else other, name)


def test_every_field_says_what_is_allowed() -> None:
    assert all(describe_range(name) for name in Recipe.model_fields)
    assert all(info.description for info in Recipe.model_fields.values())
