"""Cleaning and styling of texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.prompts import apply_style, clean_text, make_texts, normal_name


@pytest.mark.parametrize(
    "written, cleaned",
    [
        ("a  red\tstar ", "a red star"),
        ("a red star\non blue\r\n\n", "a red star, on blue"),
        ("a star,\n, on blue,", "a star, on blue"),
        ("nul\x00 and \x1b[31mbell\x07", "nul and [31mbell"),
        (
            "\u05d0\u05d1\u05d2 \u200f\u202e \U0001f469\u200d\U0001f680",
            "\u05d0\u05d1\u05d2 \u200f\u202e \U0001f469\u200d\U0001f680",
        ),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_clean_text(written: str, cleaned: str) -> None:
    assert clean_text(written) == cleaned


@given(st.text())
def test_cleaning_again_changes_nothing(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert "\n" not in once and "\x00" not in once


@pytest.mark.parametrize(
    "template, text, result",
    [
        ("washes of {prompt}, wet", "a cat", "washes of a cat, wet"),
        ("washes of {prompt}, wet", "", "washes, wet"),
        ("{prompt} in snow", "", "in snow"),
        ("{prompt} beside {prompt}", "a cat", "a cat beside a cat"),
        ("sharp", "a cat", "a cat, sharp"),
        ("sharp", "", "sharp"),
        ("", "a cat", "a cat"),
        ("{prompt}, braces {stay}", "a {prompt} {0}", "a {prompt} {0}, braces {stay}"),
    ],
)
def test_apply_style(template: str, text: str, result: str) -> None:
    assert apply_style(template, text) == result


A, B, TWO_LINES = ("x {prompt} y", "n1"), ("z", "n2"), ("one {prompt}\ntwo, {prompt}", "n3\nn4")


@pytest.mark.parametrize(
    "styles, texts, negatives",
    [  # the first four: observed from Fooocus 2.5.5 (commit 59f183ab)
        ([A], ("x cat y",), ("n1", "bad")),
        ([B], ("cat", "z"), ("n2", "bad")),
        ([A, B], ("x cat y", "z"), ("n1", "n2", "bad")),
        ([], ("cat",), ("bad",)),
        ([B, A], ("z", "x cat y"), ("n2", "n1", "bad")),
        ([TWO_LINES], ("one cat", "two, cat"), ("n3", "n4", "bad")),
        ([("", "n5")], ("cat",), ("n5", "bad")),
        ([("{prompt}", "")], ("cat",), ("bad",)),
    ],
)
def test_each_style_makes_texts_of_its_own(
    styles: list[tuple[str, str]], texts: tuple[str, ...], negatives: tuple[str, ...]
) -> None:
    assert make_texts(["cat"], ["bad"], styles) == (texts, negatives)
    assert make_texts(["cat", "more"], ["bad", "worse"], styles) == ((*texts, "more"), (*negatives, "worse"))


def test_what_says_nothing_is_no_text() -> None:
    assert make_texts([], [], []) == (("",), ("",))
    assert make_texts([""], [""], [A, ("", "")]) == (("x y",), ("n1",))
    assert make_texts([""], [""], [B]) == (("z",), ("n2",))


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_no_text_is_empty_among_others(prompt: str, negative: str, styles: list[tuple[str, str]]) -> None:
    for texts in make_texts([clean_text(prompt)], [clean_text(negative)], styles):
        assert texts == ("",) or all(texts)


def test_names_are_compared_loosely() -> None:
    assert normal_name(" Stained-Glass ") == normal_name("stained_glass") == normal_name("STAINED  GLASS")
