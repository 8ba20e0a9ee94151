"""What is asked for is in the picture: the model that ships, through the whole way from Recipe to pixels.

Eight fixed seeds each; at least seven must be right. The judges are those of `training.checks`, which look at
colours and outlines and are themselves checked on drawn pictures.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import parse_recipe
from tests.starter.drawing import ENOUGH, SEEDS, Picture, drawn, library, needs_starter

pytestmark = needs_starter

# Strict: the day that better weights ship, these turn red and the mark goes.
not_learned = pytest.mark.xfail(strict=True, reason="the shipped weights fall short here: see models/starter/README.md")


@lru_cache(maxsize=512)
def picture(prompt: str, seed: int, fields: tuple[tuple[str, Any], ...] = ()) -> Picture:
    recipe = parse_recipe({"prompt": prompt, "preset": "starter"} | dict(fields))
    return drawn(make_plan(recipe, library(), seed))


def pictures(prompt: str, **fields: Any) -> list[Picture]:
    return [picture(prompt, seed, tuple(sorted(fields.items()))) for seed in SEEDS]


def colourfulness(picture: Picture) -> float:
    """Mean chroma in L*a*b*."""
    from training.checks import to_lab

    return float(np.hypot(*np.moveaxis(to_lab(picture)[..., 1:], -1, 0)).mean())


def spec(colour: str, shape: str, background: str) -> Any:
    from training.words import Spec, Thing

    return Spec(kind="object", objects=(Thing(colour, shape),), background=background)


@pytest.mark.parametrize(
    ("colour", "shape", "background"),
    [
        ("red", "circle", "blue"), ("green", "square", "white"),
        ("yellow", "star", "black"), ("purple", "heart", "cyan"),
    ],
)  # fmt: skip
def test_an_object_has_its_colour_shape_and_background(colour: str, shape: str, background: str) -> None:
    from training.checks import check_object

    article = "an" if colour[0] in "aeiou" else "a"
    prompt = f"{article} {colour} {shape} on a {background} background"
    checks = [check_object(one, spec(colour, shape, background)) for one in pictures(prompt)]
    for what in ("colour", "background", "shape"):
        assert sum(check[what] for check in checks) >= ENOUGH, (what, checks)


def test_a_red_circle_is_red_and_round() -> None:
    """Without the trainer's judges: red pixels in the middle, blue at the rim, as wide as high, π/4 of its box."""
    right = 0
    for one in pictures("a red circle on a blue background"):
        red, green, blue = (one[..., i].astype(int) for i in range(3))
        mask = (red > blue + 60) & (red > green + 60)
        rows, columns = np.nonzero(mask)
        if len(rows) < 50:
            continue
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        rim = np.concatenate([one[0], one[-1], one[:, 0], one[:, -1]]).astype(int)
        round_enough = 0.8 < width / height < 1.25 and 0.68 < mask.sum() / (height * width) < 0.9
        right += round_enough and bool(np.median(rim[:, 2] - rim[:, 0]) > 60)
    assert right >= ENOUGH


@pytest.mark.parametrize(
    "prompt",
    ["A RED CIRCLE ON A BLUE BACKGROUND", pytest.param("blue background, circle, red", marks=not_learned)],
)
def test_capitals_and_word_order_do_not_matter(prompt: str) -> None:
    from training.checks import check_object

    checks = [check_object(one, spec("red", "circle", "blue")) for one in pictures(prompt)]
    assert sum(check["colour"] and check["shape"] for check in checks) >= ENOUGH


@pytest.mark.parametrize("relation", ["left of", "above"])
def test_two_objects_stand_where_they_should(relation: str) -> None:
    from training.checks import check_pair
    from training.words import Spec, Thing

    wanted = Spec(
        kind="pair", objects=(Thing("red", "circle"), Thing("green", "square")), relation=relation, background="white"
    )
    found = [
        check_pair(one, wanted) for one in pictures(f"a red circle {relation} a green square on a white background")
    ]
    assert sum(check["colours"] and check["relation"] for check in found) >= ENOUGH, found


def test_more_guidance_is_more_colour() -> None:
    prompt = "a red circle on a blue background"
    weak, strong = pictures(prompt, guidance_scale=1.0), pictures(prompt, guidance_scale=5.0)
    stronger = [colourfulness(much) > colourfulness(little) for little, much in zip(weak, strong, strict=True)]
    assert sum(stronger) >= ENOUGH


def test_a_negative_prompt_leads_away() -> None:
    """ "red" unwanted: less red than without, in the picture of a circle of no colour."""
    prompt = "a circle on a white background"

    def redness(one: Picture) -> float:
        return float((one[..., 0].astype(float) - one[..., 1:].mean(-1)).clip(0).mean())

    with_red = pictures(prompt, negative_prompt="blue green purple cyan black gray")
    without = pictures(prompt, negative_prompt="red orange pink")
    assert np.mean([redness(one) for one in without]) < np.mean([redness(one) for one in with_red])


@pytest.mark.parametrize("style", ["Watercolor", "Pixel Art", "Neon", "Blueprint"])
def test_a_style_shows(style: str) -> None:
    from training.style_check import style_of

    seen = [style_of(one) for one in pictures("a red circle on a blue background", styles=(style,))]
    assert seen.count(style.lower()) >= ENOUGH, seen


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m_sde_karras", "uni_pc"])
def test_every_sampler_draws_it(sampler: str) -> None:
    from training.checks import check_object

    found = pictures("a green square on a white background", sampler=sampler, steps=20)
    checks = [check_object(one, spec("green", "square", "white")) for one in found]
    assert sum(check["colour"] and check["background"] for check in checks) >= ENOUGH, checks


@pytest.mark.parametrize(("width", "height"), [(128, 192), (160, 96)])
def test_other_shapes_of_picture_work(width: int, height: int) -> None:
    from training.checks import check_object

    found = pictures("a red circle on a blue background", width=width, height=height)
    checks = [check_object(one, spec("red", "circle", "blue")) for one in found]
    assert sum(check["colour"] and check["background"] for check in checks) >= ENOUGH, checks
