"""How words are read, seen in pictures: weights, lines and long prompts, on the model that ships."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache

from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import parse_recipe
from tests.starter.drawing import ENOUGH, SEEDS, Picture, drawn, library, needs_starter

pytestmark = needs_starter


@lru_cache(maxsize=256)
def picture(texts: tuple[str, ...], seed: int) -> Picture:
    """Drawn from texts as the engine gets them, each read by itself."""
    plan = make_plan(parse_recipe({"preset": "starter", "prompt": texts[0]}), library(), seed)
    return drawn(dataclasses.replace(plan, texts=texts))


def enough(is_right: Callable[[int], bool]) -> bool:
    return sum(is_right(seed) for seed in SEEDS) >= ENOUGH


def redness(one: Picture) -> float:
    """Mean of how much more red than green and blue there is, 0 … 255."""
    return float((one[..., 0].astype(float) - one[..., 1:].max(-1)).clip(0).mean())


def blueness(one: Picture) -> float:
    return float((one[..., 2].astype(float) - one[..., :2].max(-1)).clip(0).mean())


def checked(one: Picture, colour: str, shape: str, background: str) -> dict[str, bool]:
    from training.checks import check_object
    from training.words import Spec, Thing

    return check_object(one, Spec(kind="object", objects=(Thing(colour, shape),), background=background))


def test_a_heavier_word_shows_more() -> None:
    """A word of degree: a colour that stands alone is as red as red gets, whatever its weight."""

    def is_smaller(seed: int) -> bool:
        heavy, light = (
            picture((f"a (small:{weight}) red circle on a blue background",), seed) for weight in (1.4, 0.6)
        )
        return redness(heavy) < 0.8 * redness(light)

    assert enough(is_smaller)


def test_a_line_more_adds_what_it_says() -> None:
    def is_bluer(seed: int) -> bool:
        alone = picture(("a red circle",), seed)
        together = picture(("a red circle", "blue background"), seed)
        return blueness(together) > blueness(alone) and redness(together) > 2

    assert enough(is_bluer)


def test_a_prompt_of_five_chunks_still_gives_what_its_first_words_name() -> None:
    filler = ", ".join(["simple", "clean", "plain", "flat", "clear"] * 20)
    text = f"a red circle on a blue background, {filler}"

    def is_right(seed: int) -> bool:
        found = checked(picture((text,), seed), "red", "circle", "blue")
        return found["colour"] and found["background"]

    assert enough(is_right)
