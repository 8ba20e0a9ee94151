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


def test_styles_are_chained_in_the_chosen_order() -> None:
    washes, dots = ("washes of {prompt}", "dry"), ("{prompt}, dots", "")
    assert make_texts("a cat", "fog", [washes, dots]) == (("washes of a cat, dots",), ("fog, dry",))
    assert make_texts("a cat", "", [dots, washes]) == (("washes of a cat, dots",), ("dry",))
    assert make_texts("a cat", "", []) == (("a cat",), ("",))


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_any_words_make_exactly_one_text_of_each(prompt: str, negative: str, styles: list[tuple[str, str]]) -> None:
    texts, negatives = make_texts(prompt, negative, styles)
    assert len(texts) == len(negatives) == 1


def test_names_are_compared_loosely() -> None:
    assert normal_name(" Stained-Glass ") == normal_name("stained_glass") == normal_name("STAINED  GLASS")
