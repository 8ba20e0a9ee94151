"""``<lora:…>`` and ``<style:…>``, against what Fooocus 2.5.5 was seen to do."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.prompt_tags import LoraTag, Tags
from fooocus_lite.prompts import clean_text, make_words
from tests.thought.facts import FACTS

# (prompt, LoRAs, text). Fooocus had room for five, and read tags before it chose from arrays; see docs/prompts.md.
FOOOCUS = [
    ("<lora:hey-lora:0.4>", [("hey-lora", 0.4)], ""),
    ("a <lora:hey-lora:-.5> b", [("hey-lora", -0.5)], "a b"),
    ("a <lora:sub/hey:1> b", [("sub/hey", 1.0)], "a b"),
    ("a, ,, b", [], "a, b"),
    ("x <lora:A:1> y", [("A", 1.0)], "x y"),
    ("<lora:A:1>, <lora:A:0.5>", [("A", 1.0), ("A", 0.5)], ""),
    ("(a, b:1.2), <lora:A:1e2>", [], "(a, b:1.2), <lora:A:1e2>"),
    ("<lora:foo:1..2>, <lora:bar:.>, <lora:baz:+>", [], "<lora:foo:1..2>, <lora:bar:.>, <lora:baz:+>"),
    ("<test:1.0>", [], "<test:1.0>"),
]
OURS = [
    ("a <lora:my lora v1.2:+.75>, b", [("my lora v1.2", 0.75)], "a, b"),
    ("<lora:bare> a", [("bare", 1.0)], "a"),
    ("<lora:a:0.5><lora:b:1.>x", [("a", 0.5), ("b", 1.0)], "x"),
    ("<lora:a:1:2>", [], "<lora:a:1:2>"),
    ("<lora:a:9999999>", [], "<lora:a:9999999>"),
    ("<lora:日本:1>", [("日本", 1.0)], ""),
]
NAMES = st.text(alphabet=st.characters(exclude_characters=":<>,\n"), min_size=1, max_size=20).filter(str.strip)
WEIGHTS = st.integers(-2000, 2000).map(lambda thousandths: thousandths / 1000)


@pytest.mark.parametrize("text, loras, rest", FOOOCUS + OURS)
def test_lora_tags(text: str, loras: list[tuple[str, float]], rest: str) -> None:
    tags = Tags()
    assert clean_text(tags.take(text)) == rest
    assert tags.loras == [LoraTag(name, weight) for name, weight in loras]


@pytest.mark.parametrize("row", FACTS["inline_lora"], ids=lambda row: row["prompt"])
def test_tags_are_those_of_fooocus(row: dict[str, Any]) -> None:
    on_purpose = {  # docs/prompts.md: at most 20 LoRAs, and none of a widget; read after the words are chosen
        "x <lora:A:1> y": ([("A", 1.0)], "x y"),
        "[[<lora:A:1>, <lora:B:1>]] x": ([("A", 1.0)], "x"),
    }
    loras = [(file.removesuffix(".safetensors"), weight) for file, weight in row["out_loras"]]
    loras, text = on_purpose.get(row["prompt"], (loras, row["out_prompt"]))
    found = make_words(row["prompt"], "", lambda name: None, Random(0), index=0, ordered=False)
    assert (list(found.loras), ", ".join(found.lines)) == ([LoraTag(name, weight) for name, weight in loras], text)


def test_style_tags_keep_their_order() -> None:
    tags = Tags()
    assert clean_text(tags.take("<style: Oil Painting >a cat <style:neon>")) == "a cat"
    assert tags.styles == ["Oil Painting", "neon"]


@pytest.mark.parametrize("text", ["<lora:a:1e2>", "<style:>", "<lora:a", "<lora>", "x <lora:a:b> y"])
def test_what_only_looks_like_a_tag_stays_and_is_named(text: str) -> None:
    tags = Tags()
    assert tags.take(text) == text
    assert len(tags.broken) == 1 and tags.broken[0] in text


@given(st.lists(st.tuples(NAMES, WEIGHTS), max_size=5), st.text(alphabet="abc, ", max_size=20))
def test_what_is_written_as_a_tag_is_read_as_one(loras: list[tuple[str, float]], text: str) -> None:
    tags = Tags()
    rest = tags.take(text + "".join(f"<lora:{name}:{weight:.3f}>" for name, weight in loras))
    assert rest == text and not tags.broken
    assert tags.loras == [LoraTag(name.strip(), pytest.approx(weight)) for name, weight in loras]


@given(st.text(alphabet="<>:lorastye.1-, \n") | st.text())
def test_any_text_is_read(text: str) -> None:
    tags = Tags()
    rest = tags.take(text)
    assert (rest == text) == (not tags.loras and not tags.styles)
