"""The training pictures, their words and their judges: each judge must be right on what was drawn."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from training.checks import background_colour, check_object, check_pair, check_scene, find_scene, nearest_colour
from training.draw import draw
from training.style_check import style_of
from training.words import (
    COLOURS,
    SHAPES,
    STYLE_TEMPLATES,
    STYLES,
    Spec,
    Thing,
    caption,
    combinations,
    is_held_out,
    plain_caption,
    random_pair,
    random_scene,
    random_spec,
    shows_held_out,
)


def test_the_same_seed_draws_the_same_pixels() -> None:
    for style in ("", *STYLES):
        spec = Spec("object", (Thing("red", "star"),), background="blue", style=style)
        assert np.array_equal(draw(spec, 7), draw(spec, 7)), style
        assert not np.array_equal(draw(spec, 7), draw(spec, 8)), style


def test_every_size_is_drawn_in_its_size() -> None:
    for style in ("", *STYLES):
        spec = Spec("scene", places=("house", "sea"), body="sun", style=style)
        assert draw(spec, 1, 192, 96).shape == (96, 192, 3), style


def test_fifteen_percent_of_the_combinations_are_held_out() -> None:
    held_out = [combination for combination in combinations() if is_held_out(*combination)]
    assert 0.13 < len(held_out) / len(combinations()) < 0.17
    assert {colour for colour, _, _ in held_out} == set(COLOURS)
    assert {shape for _, shape, _ in held_out} == set(SHAPES)


def test_training_never_shows_a_combination_that_was_held_out() -> None:
    rng = Random(5)
    specs = [random_spec(rng, 0.4) for _ in range(5000)]
    assert not [spec for spec in specs if shows_held_out(spec)]
    assert {spec.kind for spec in specs} == {"object", "pair", "scene"}
    assert {spec.style for spec in specs} == {"", *STYLES}


def test_a_spec_survives_json() -> None:
    rng = Random(2)
    for _ in range(50):
        spec = random_spec(rng)
        assert Spec.from_dict(spec.to_dict()) == spec


def test_captions_name_what_is_drawn_in_many_ways() -> None:
    spec = Spec("object", (Thing("red", "star", "small"),), background="blue", style="neon")
    texts = {caption(spec, Random(seed)) for seed in range(60)}
    assert len(texts) > 40
    assert all("red" in text and "star" in text and "neon" in text for text in texts)
    assert plain_caption(spec) == STYLE_TEMPLATES["neon"].format(prompt="a small red star on a blue background")


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_told_apart(colour: str) -> None:
    assert nearest_colour(np.array(COLOURS[colour])) == colour


def test_objects_are_read_right_and_wrong_ones_noticed() -> None:
    rng = Random(11)
    for index, (colour, shape, background) in enumerate(rng.sample(combinations(), 60)):
        spec = Spec("object", (Thing(colour, shape, rng.choice(("small", "medium", "large"))),), background=background)
        picture = draw(spec, index)
        assert all(check_object(picture, spec).values()), spec
        other = Spec("object", (Thing(background, "ring" if shape != "ring" else "star"),), background=colour)
        assert not any(check_object(picture, other).values()), spec


def test_pairs_are_read_right_and_swapped_ones_noticed() -> None:
    rng = Random(12)
    for index in range(40):
        spec = random_pair(rng)
        picture = draw(spec, index)
        assert all(check_pair(picture, spec).values()), spec
        swapped = Spec(**{**spec.__dict__, "objects": spec.objects[::-1]})
        assert not check_pair(picture, swapped)["relation"], spec


def test_scenes_are_read_right_and_missing_things_noticed() -> None:
    rng = Random(13)
    wrong = 0
    for index in range(60):
        spec = random_scene(rng)
        picture = draw(spec, index)
        assert all(check_scene(picture, spec).values()), spec
        wrong += bool(find_scene(picture) & {"house", "tree", "mountain", "sea"} - set(spec.places))
    assert wrong <= 3


def test_styles_are_told_apart() -> None:
    rng = Random(14)
    right = 0
    for index in range(110):
        style = ("", *STYLES)[index % 11]
        spec = Spec(**{**random_spec(rng, 0).__dict__, "style": style})
        right += style_of(draw(spec, index)) == style
    assert right >= 104


def test_a_picture_of_nothing_is_no_object() -> None:
    empty = np.full((128, 128, 3), COLOURS["blue"], np.uint8)
    assert background_colour(empty) == "blue"
    verdict = check_object(empty, Spec("object", (Thing("red", "star"),), background="blue"))
    assert verdict == {"colour": False, "background": True, "shape": False}
