"""What is said of memory before a picture is drawn."""

from __future__ import annotations

from typing import Any

import pytest

from fooocus_lite.library import Library
from fooocus_lite.outlook import card_words, look_ahead
from fooocus_lite.plan import make_plan
from tests.deeds.conftest import a_recipe

CARD: dict[str, Any] = {"device": "cuda:0", "dtype": "fp16", "free_memory_bytes": 7 * 2**30, "memory": "auto"}


def plan_of(library: Library, **fields: object) -> Any:
    return make_plan(a_recipe(width=1024, height=1024, **fields), library, 1)


def test_a_worker_that_has_said_nothing_tells_nothing(library: Library) -> None:
    for about in ({}, {"problem": "There is no device called 'toaster'."}, CARD | {"dtype": "int4"}):
        assert look_ahead(plan_of(library), about, library) is None


def test_the_sentence_goes_by_what_the_worker_has(library: Library) -> None:
    """No weights lie there: the family's typical size counts."""
    tight = look_ahead(plan_of(library), CARD, library)
    assert tight and tight.is_tight
    assert tight.words == "needs 6.0 GB, 7.0 free: fp16, encoders off the card after use, VAE in tiles"
    large = look_ahead(plan_of(library), CARD | {"free_memory_bytes": 24 * 2**30}, library)
    assert large and (large.rung, large.is_tight) == ("resident", False)
    unknown = look_ahead(plan_of(library), CARD | {"free_memory_bytes": None}, library)
    assert unknown and (unknown.rung, unknown.is_tight, unknown.free_bytes) == ("resident", False, None)
    chosen = look_ahead(plan_of(library), CARD | {"memory": "groups"}, library)
    assert chosen and chosen.rung == "groups"
    short = look_ahead(plan_of(library), CARD | {"home_free_bytes": 2**30}, library)
    assert short and short.words == f"{tight.words}; this computer's own memory (RAM) is short: needs 6.5 GB, 1.0 free"


@pytest.mark.parametrize(
    "about, verdict",
    [
        ({"free_memory_bytes": 24 * 2**30}, "Fits your graphics card: takes 9.0 of 24.0 GB"),
        ({}, "Tight for your graphics card, so slower: takes 6.0 of 7.0 GB"),
        ({"free_memory_bytes": 2**29}, "Too large for your graphics card: drawn by the processor, slowly"),
        ({"memory": "resident"}, "Too large for your graphics card: needs 7.5 GB, 7.0 GB are free"),
        ({"memory": "cpu"}, "Drawn by the processor, slowly"),
        ({"device": "cpu", "free_memory_bytes": 40 * 2**30}, "Fits this computer's memory: takes "),
        ({"free_memory_bytes": None}, ""),
    ],
)
def test_whoever_chooses_a_model_hears_whether_it_fits(library: Library, about: dict[str, Any], verdict: str) -> None:
    said = look_ahead(plan_of(library), CARD | about, library)
    assert said and said.verdict.startswith(verdict) and bool(said.verdict) == bool(verdict)


def test_without_a_worker_the_card_is_described(library: Library) -> None:
    assert card_words(plan_of(library)) == "about 9.0 GB of a graphics card; 1.5 GB at least, then slower"


@pytest.mark.parametrize("side, words", [(32, "about 7.0 GB of a graphics card; 1.1 GB at least, then slower")])
def test_a_small_picture_needs_the_weights_all_the_same(library: Library, side: int, words: str) -> None:
    assert card_words(make_plan(a_recipe(width=side, height=side), library, 1)) == words
