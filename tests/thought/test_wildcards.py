"""Wildcards and arrays: the rules of Fooocus, any words at all, and the same words for the same seed."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.wildcards import MAX_ROUNDS, MAX_WORDS, Wildcards, choose_from_arrays, ordered_pick, random_pick
from tests.thought.facts import FACTS

LISTS = {
    "color": [f"color {number}" for number in range(17)],
    "one": ["1"],
    "plant": ["__color__ rose", "__color__ __tree__"],
    "tree": ["oak", "elm", "fir"],
    "tagged": ["<lora:ink:0.5> [[x, y]]"],
    "nature/leaf": ["green leaf"],
    "self": ["__self__ x"],
    "ping": ["__pong__"],
    "pong": ["__ping__"],
    "twice": ["__twice__ __twice__"],
}
# Observed from Fooocus 2.5.5; "[[(a, b:1.2), c]]" is ours, as a comma in a weight broke it there.
ARRAYS = [
    ("[[red, green, blue]] flower", 0, "red flower"),
    ("[[red, green, blue]] flower", 1, " green flower"),
    ("[[red, green, blue]] flower", 3, "red flower"),
    ("[[a,b]] [[c,d,e]]", 0, "a c"),
    ("[[a,b]] [[c,d,e]]", 1, "b c"),
    ("[[a,b]] [[c,d,e]]", 2, "a d"),
    ("[[a,b]] [[c,d,e]]", 3, "b d"),
    ("[[a,b]] [[c,d,e]]", 5, "b e"),
    ("[[a,b]] [[c,d,e]]", 6, "a c"),
    ("[[]] x", 0, " x"),
    ("[[(red:1.2), blue]] x", 0, "(red:1.2) x"),
    ("[[a,b]] [[a,b]]", 3, "b b"),
    ("no arrays", 3, "no arrays"),
    ("[[(a, b:1.2),c]]", 0, "(a, b:1.2)"),
    ("[[(a, b:1.2),c]]", 1, "c"),
    ("[[<lora:A:1>,<lora:B:1>]] x", 1, "<lora:B:1> x"),
    ("[[a,[b]]] x", 1, "[b] x"),
    ("[[[a],b]] x", 0, "[a] x"),
    ("[[[a,b]]]", 1, "[b]"),
    ("[[a,[[b,c]]]]", 0, "a"),
    ("[[a,[[b,c]]]]", 1, "b"),
    ("[[a,[[b,c]]]]", 3, "c"),
    ("[[:),:(]]", 1, ":("),
    ("[[never closed, x", 1, "[[never closed, x"),
    ("]] [[a,b]]", 1, "]] b"),
]


def filled(text: str, *, seed: int = 0, index: int | None = None, room: int = 2000) -> tuple[str, Wildcards]:
    pick = random_pick(random.Random(seed)) if index is None else ordered_pick(index)
    wildcards = Wildcards(LISTS.get, pick, room)
    return wildcards.fill(text), wildcards


def fooocus_lists() -> dict[str, list[str]]:
    """As long as Fooocus's own, with its words in the places that were observed."""
    lists = {
        name.removesuffix(".txt"): [f"{name} {line}" for line in range(row["nonempty_lines"])]
        for name, row in FACTS["wildcard_files"].items()
    }
    for place, word in {0: "aqua", 1: "black", 3: "fuchsia", 4: "gray", 12: "red", 13: "silver"}.items():
        lists["color"][place] = word
    lists["extended-color"][82] = "lime"
    lists["flower"][3] = "African Boxwood"
    lists["color_flower"] = ["__color__ __flower__"]
    return lists


@pytest.mark.parametrize("row", FACTS["wildcards"], ids=lambda row: f"{row['text']}, {row['seed']}, {row['index']}")
def test_words_are_those_of_fooocus(row: dict[str, Any]) -> None:
    pick = ordered_pick(row["index"]) if row["in_order"] else random_pick(random.Random(row["seed"]))
    assert Wildcards(fooocus_lists().get, pick, 2000).fill(row["text"]) == row["out"]


@pytest.mark.parametrize("row", FACTS["arrays"], ids=lambda row: f"{row['text']}, {row['index']}")
def test_entries_are_those_of_fooocus(row: dict[str, Any]) -> None:
    assert choose_from_arrays([row["text"]], row["index"])[0] == [row["out"]]


@pytest.mark.parametrize("seed", [0, 1, 7, 12345, 2**63 - 1])
@pytest.mark.parametrize("count", [1, 2, 17, 147, 250, 2765])
def test_chance_is_that_of_fooocus(seed: int, count: int) -> None:
    """``random.Random(seed).choice``, so that a Fooocus picture's seed gives its words with its lists."""
    words, dice = [str(number) for number in range(count)], random.Random(seed)
    pick = random_pick(random.Random(seed))
    assert [pick(words) for _ in range(20)] == [dice.choice(words) for _ in range(20)]


@pytest.mark.parametrize(
    "text, seed, out",
    [
        # Fooocus's words for these seeds stand in these lines of its list of 17: red, gray; silver and aqua.
        ("__color__ flower", 0, "color 12 flower"),
        ("__color__ flower", 1, "color 4 flower"),
        ("__color__ __color__", 12345, "color 13 color 0"),
        # Ours, written down so that a change of Python or of the code shows.
        ("__color__ __color__ __tree__", 12345, "color 13 color 0 elm"),
    ],
)
def test_a_seed_gives_its_words_for_ever(text: str, seed: int, out: str) -> None:
    assert filled(text, seed=seed)[0] == out


def test_each_occurrence_is_a_choice_of_its_own() -> None:
    assert len({filled("__color__ __color__", seed=seed)[0] for seed in range(40)}) > 30


@pytest.mark.parametrize(
    "text, index, out",
    [
        ("__color__ flower", 0, "color 0 flower"),
        ("__color__ flower", 1, "color 1 flower"),
        ("__color__ flower", 17, "color 0 flower"),
        ("__color__ __color__", 2, "color 2 color 2"),
        ("__plant__", 1, "color 1 elm"),
        ("__plant__", 3, "color 3 oak"),
    ],
)
def test_in_order_every_list_gives_the_line_of_the_picture(text: str, index: int, out: str) -> None:
    assert filled(text, index=index)[0] == out


@pytest.mark.parametrize("text", ["__plant__ __plant__", "__plant__ __color__ __tree__", "__tree__ __plant__ __tree__"])
@pytest.mark.parametrize("seed", range(8))
def test_lists_within_lists_get_the_words_that_fooocus_gives_them(text: str, seed: int) -> None:
    """It goes through the names of a round in order, and each choice takes the first place of that name.

    So a wildcard that an earlier word of the same round brought gets the choice of a later one of its name.
    """
    dice, expected = random.Random(seed), text
    while names := re.findall("__(plant|color|tree)__", expected):
        for name in names:
            expected = expected.replace(f"__{name}__", dice.choice(LISTS[name]), 1)
    assert filled(text, seed=seed)[0] == expected


@pytest.mark.parametrize(
    "text, out, missing",
    [
        ("__nope__ x", "nope x", ["nope"]),
        ("__nope__ __nope__ __gone__", "nope nope gone", ["nope", "gone"]),
        ("__sub/color__", "__sub/color__", ["sub/color"]),
        ("__nature/leaf__", "green leaf", []),
        ("__one____one__", "11", []),
        ("a__one__b", "a1b", []),
        ("____ __ __a b__ _one_", "____ __ __a b__ _one_", []),
    ],
)
def test_names(text: str, out: str, missing: list[str]) -> None:
    found, wildcards = filled(text)
    assert (found, list(wildcards.missing)) == (out, missing)


@pytest.mark.parametrize("text, out", [("__self__", " x" * MAX_ROUNDS), ("a __ping__", "a ")])
def test_a_list_that_refers_to_itself_ends(text: str, out: str) -> None:
    found, wildcards = filled(text)
    assert found == out and list(wildcards.endless)


def test_a_list_that_doubles_itself_stays_within_its_room() -> None:
    found, wildcards = filled("__twice__", room=500)
    assert len(found) <= 500 + len("__twice__") and list(wildcards.too_long) == ["twice"]


def test_lists_that_name_each_other_are_asked_so_often_and_no_more() -> None:
    picks: list[str] = []

    def pick(words: Sequence[str]) -> str:
        picks.append(words[0])
        return words[0]

    wildcards = Wildcards(LISTS.get, pick, 0)
    found = wildcards.fill("__ping__" * 1_500)
    assert len(picks) <= MAX_WORDS + 1_500 and "__" not in found and (wildcards.too_long or wildcards.endless)


@pytest.mark.parametrize("text, index, out", ARRAYS)
def test_arrays(text: str, index: int, out: str) -> None:
    chosen, _ = choose_from_arrays([text], index)
    assert [line.strip() for line in chosen] == [out.strip()]


def test_arrays_run_over_all_lines_and_the_first_changes_fastest() -> None:
    lines = ["[[a,b]] x", "plain", "[[c,d,e]]"]
    seen = [tuple(choose_from_arrays(lines, index)[0]) for index in range(6)]
    assert len(set(seen)) == 6 and choose_from_arrays(lines, 0)[1] == 6
    assert seen[:3] == [("a x", "plain", "c"), ("b x", "plain", "c"), ("a x", "plain", "d")]
    assert choose_from_arrays(lines, 6)[0] == list(seen[0])


MARKS = st.text(alphabet="_[](),<>:\\ a1/-\n", max_size=60)
NAMES = st.sampled_from([f"__{name}__" for name in [*LISTS, "nope", "sub/nope"]])
PROMPTS = st.lists(NAMES | MARKS | st.text(max_size=10), max_size=12).map("".join)


@given(PROMPTS, st.integers(0, 2**63 - 1), st.integers(0, 2**31))
def test_any_text_is_filled_the_same_way_twice(text: str, seed: int, index: int) -> None:
    once, again = (choose_from_arrays([filled(text, seed=seed)[0]], index) for _ in range(2))
    assert once == again and once[1] >= 1
    assert len(once[0][0]) <= len(text) + 2000


@given(st.lists(st.text(alphabet="abc ()", max_size=5), min_size=1, max_size=5), st.integers(0, 30))
def test_every_entry_has_its_turn(entries: list[str], index: int) -> None:
    chosen, combinations = choose_from_arrays([f"[[{','.join(entries)}]]"], index)
    if not set("".join(entries)) & set("()"):
        assert combinations == len(entries) and chosen == [entries[index % len(entries)]]


@pytest.mark.parametrize(
    "text", ["[[" * 10_000, "[[a," * 5_000 + "]]" * 5_000, "__" * 10_000, "__a" * 6_000, "[" * 20_000]
)
def test_hostile_prompts_end(text: str) -> None:
    assert len(choose_from_arrays([filled(text)[0]], 5)[0][0]) <= len(text)
