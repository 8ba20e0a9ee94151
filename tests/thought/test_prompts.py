"""From what a person typed to clean, styled texts."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.prompt_tags import LoraTag
from fooocus_lite.prompts import (
    MAX_LINES,
    MAX_TEXTS,
    MAX_TEXTS_CHARS,
    Words,
    apply_style,
    clean_lines,
    clean_text,
    count_combinations,
    make_texts,
    make_words,
    normal_name,
    split_prompts,
)
from fooocus_lite.recipe import MAX_PROMPT_CHARS

LISTS = {
    "thing": ["cat <lora:fur:0.5>", "[[dog, fox]] <style:Dots>"],
    "pick": [str(number) for number in range(50)],
    "self": ["__self__"],
    "page": ["x" * MAX_PROMPT_CHARS],
}


def words(prompt: str, negative: str = "", *, seed: int = 1, index: int = 0, ordered: bool = False) -> Words:
    return make_words(prompt, negative, LISTS.get, Random(seed), index=index, ordered=ordered)


@pytest.mark.parametrize(
    "written, cleaned",
    [
        ("a  red\tstar ", "a red star"),
        ("a red star\non blue\r\n\n", "a red star, on blue"),
        ("a star,\n, on blue,", "a star, on blue"),
        ("a, ,, b ,c", "a, b,c"),
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


def test_texts_too_many_are_joined_not_lost() -> None:
    lines = "\n".join(map(str, range(MAX_TEXTS + 1)))
    for texts in make_texts([], [], [(lines, lines)]):
        assert len(texts) == MAX_TEXTS and texts[-1] == f"{MAX_TEXTS - 1}, {MAX_TEXTS}"


def test_a_style_that_repeats_the_prompt_without_end_stays_within_a_bound() -> None:
    line = "x y " * (MAX_PROMPT_CHARS // 4)
    for template in ("{prompt}" * 2_500, "{prompt}\n" * 2_000):
        texts, negatives = make_texts([line], [], [(template, "")] * 30)
        assert MAX_TEXTS_CHARS - 2 <= len("".join(texts)) <= MAX_TEXTS_CHARS + 2 * MAX_TEXTS and negatives == ("",)


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_no_text_is_empty_among_others(prompt: str, negative: str, styles: list[tuple[str, str]]) -> None:
    for texts in make_texts([clean_text(prompt)], [clean_text(negative)], styles):
        assert texts == ("",) or all(texts)


@pytest.mark.parametrize(
    "written, prompts",
    [
        ("a cat", ["a cat"]),
        (" a cat\n at sea ", [" a cat\n at sea "]),
        ("a cat\n---\na dog", ["a cat", "a dog"]),
        ("a\nb\r\n  -----  \r\n\r\n c\n---\n \n---", ["a\nb", "c"]),
        ("a --- b", ["a --- b"]),
        ("--\na", ["--\na"]),
        ("---", [""]),
        ("", [""]),
    ],
)
def test_dashes_part_prompts(written: str, prompts: list[str]) -> None:
    assert split_prompts(written) == prompts
    assert [split_prompts(prompt) for prompt in prompts] == [[prompt] for prompt in prompts]


def test_every_line_is_a_text() -> None:
    found = words("a cat, \n\n at  sea\n,", "fog\nrain")
    assert (found.lines, found.negative_lines) == (("a cat", "at sea"), ("fog", "rain"))


def test_a_line_of_tags_is_none() -> None:
    found = words("<lora:a:1>\na cat\n<style:Dots>,<lora:b:0.5>")
    assert found.lines == ("a cat",) and found.styles == ("Dots",)
    assert found.loras == (LoraTag("a", 1.0), LoraTag("b", 0.5))


def test_tags_in_lists_and_arrays_belong_to_the_picture_that_has_them() -> None:
    """What Fooocus's users asked for (its #3839): there they were read before the words were chosen."""
    pictures = [words("[[__thing__, <lora:ink:1> bird]]", index=index, ordered=True) for index in range(4)]
    assert [picture.lines for picture in pictures] == [("cat",), ("bird",), ("cat",), ("bird",)]
    assert [picture.loras for picture in pictures[:2]] == [(LoraTag("fur", 0.5),), (LoraTag("ink", 1.0),)]
    assert words("__thing__", index=1, ordered=True).styles == ("Dots",)


def test_choices_come_in_the_order_of_fooocus() -> None:
    """First line, first negative line, further lines, further negative lines: of one generator."""
    dice = Random(9)
    first, negative, second, third, more = (dice.choice(LISTS["pick"]) for _ in range(5))
    found = words("__pick__\n__pick__\n__pick__", "__pick__\n__pick__", seed=9)
    assert (found.lines, found.negative_lines) == ((first, second, third), (negative, more))


def test_arrays_of_the_negative_prompt_follow_those_of_the_prompt() -> None:
    seen = {(w.lines, w.negative_lines) for index in range(4) for w in [words("[[a, b]]", "[[c, d]]", index=index)]}
    assert len(seen) == 4 == count_combinations("[[a, b]]", "[[c, d]]")


@pytest.mark.parametrize(
    "prompt, negative, said",
    [
        ("__self__ a", "", "The wildcard self refers to itself without end"),
        ("__page__ a", "", "The words of the wildcard page were left out"),
        ("a <lora:x:1e5>", "", "'<lora:x:1e5>' is no tag and stays text."),
        ("a", "<lora:x:1>", "Tags in the negative prompt do nothing"),
        ("\n".join("abcdefgh" * 5), "", "The prompt has 40 lines; those from line 32 on are read as one text."),
    ],
)
def test_what_could_not_be_done_is_said(prompt: str, negative: str, said: str) -> None:
    (note,) = words(prompt, negative).notes
    assert note.startswith(said)


def test_broken_tags_are_named_ten_times_at_most() -> None:
    assert len(words("".join(f"<lora:{number}:x>" for number in range(50))).notes) == 10


def test_lines_too_many_are_joined_not_lost() -> None:
    found = words("\n".join(map(str, range(40))))
    assert len(found.lines) == MAX_LINES and found.lines[-1] == ", ".join(map(str, range(31, 40)))


def test_missing_lists_are_told_once() -> None:
    assert words("__no__ __no__ __nor__", "__no__").missing_lists == ("no", "nor")


TYPED = st.lists(
    st.sampled_from(
        ["__thing__", "__pick__", "__self__", "__no__", "[[a, b]]", "<lora:x:1>", "<style:y>", "(", ":1.2)"]
    )
    | st.sampled_from(["\n", "---", ",", "\x00", "[[", "]]", "<lora:", "__"])
    | st.text(max_size=8),
    max_size=12,
).map("".join)


HOW = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**63 - 1), "index": st.integers(0, 2**31 - 1), "ordered": st.booleans()}
)


@given(TYPED, TYPED, HOW)
def test_any_prompt_gives_clean_words_and_the_same_ones_again(prompt: str, negative: str, how: dict[str, Any]) -> None:
    found = words(prompt, negative, **how)
    assert found == words(prompt, negative, **how)
    for line in (*found.lines, *found.negative_lines):
        assert clean_lines(line) == [line] and "\x00" not in line
    assert len("".join(found.lines)) <= 2 * MAX_PROMPT_CHARS
    texts, negatives = make_texts(found.lines, found.negative_lines, [("{prompt}, x", "y")])
    assert len(texts) == max(1, len(found.lines)) and len(negatives) == 1 + len(found.negative_lines)


def test_names_are_compared_loosely() -> None:
    assert normal_name(" Stained-Glass ") == normal_name("stained_glass") == normal_name("STAINED  GLASS")
