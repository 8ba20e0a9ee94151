"""Attention weights, against what Fooocus 2.5.5 was seen to do, and for any text at all."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.attention_weights import MAX_WEIGHT, parse_weights
from tests.thought.facts import FACTS

# Observed from Fooocus 2.5.5. Its "[a]" stays two brackets and an a; ours weighs less, as in A1111.
FOOOCUS = [
    ("I am (happy:1.5)", [("I am ", 1.0), ("happy", 1.5)]),
    ("(a)", [("a", 1.1)]),
    ("(a:1.2) b", [("a", 1.2), (" b", 1.0)]),
    ("a (b (c:1.3) d:0.5) e", [("a ", 1.0), ("b ", 0.5), ("c", 1.3), (" d", 0.5), (" e", 1.0)]),
    ("(a:abc)", [("a:abc", 1.1)]),
    ("(unclosed:1.3", [("(unclosed:1.3", 1.0)]),
    ("(a:1.5:2)", [("a:1.5", 2.0)]),
    ("(embedding:file_name:1.1)", [("embedding:file_name", 1.1)]),
    ("((a))", [("a", 1.21)]),
    ("((a:1.2))", [("a", 1.2)]),
    ("((a):1.2)", [("a", 1.32)]),
    ("(a, b:1.2), c", [("a, b", 1.2), (", c", 1.0)]),
    ("()", []),
    ("(a:0)", [("a", 0.0)]),
    ("(a : 1.2 )", [("a ", 1.2)]),
    (r"\(literal\)", [("(literal)", 1.0)]),
]
OURS = [
    ("[a]", [("a", 1 / 1.1)]),
    ("[[a] b]", [("a", 1 / 1.21), (" b", 1 / 1.1)]),
    ("([a])", [("a", 1.0)]),
    ("(a:-.5)(b:+2.)", [("a", -0.5), ("b", 2.0)]),
    (r"(a \(b\):1.2)", [("a (b)", 1.2)]),
    (r"\[a\] \\ \n", [(r"[a] \ \n", 1.0)]),
    ("a) (b)", [("a) ", 1.0), ("b", 1.1)]),
    ("(a (b) c", [("(a ", 1.0), ("b", 1.1), (" c", 1.0)]),
    ("([a)]", [("[a", 1.1), ("]", 1.0)]),
    ("(:1.2)", [(":1.2", 1.1)]),
    ("(a:nan)(b:1e9)", [("a:nan", 1.1), ("b:1e9", 1.1)]),
    ("[a:1.2]", [("a:1.2", 1 / 1.1)]),
    ("a BREAK b", [("a BREAK b", 1.0)]),
    ("", []),
]
WEIGHTS = st.integers(-300, 300).map(lambda hundredths: hundredths / 100)
BRACKETS = st.text(alphabet="()[]\\:.19a ,🦊\n", max_size=60)


@pytest.mark.parametrize("text, pieces", FOOOCUS + OURS, ids=lambda value: value if isinstance(value, str) else "")
def test_pieces_and_weights(text: str, pieces: list[tuple[str, float]]) -> None:
    found = parse_weights(text)
    assert [piece for piece, _ in found] == [piece for piece, _ in pieces]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in pieces])


@pytest.mark.parametrize("row", FACTS["attention"], ids=lambda row: row["text"])
def test_weights_are_those_of_fooocus(row: dict[str, Any]) -> None:
    on_purpose = {"[a]": [("a", pytest.approx(1 / 1.1))]}  # as in A1111; docs/prompts.md says so
    wanted = [(piece, pytest.approx(weight)) for piece, weight in row["out"]]
    assert list(parse_weights(row["text"])) == on_purpose.get(row["text"], wanted)


@given(BRACKETS | st.text())
def test_any_text_has_weights(text: str) -> None:
    found = parse_weights(text)
    assert all(piece and math.isfinite(weight) for piece, weight in found)
    if not set(text) & set("()[]\\"):
        assert found == (((text, 1.0),) if text else ())


@given(st.lists(st.tuples(BRACKETS.filter(bool), WEIGHTS), max_size=6))
def test_what_is_written_with_weights_is_read_with_them(pieces: list[tuple[str, float]]) -> None:
    def escaped(text: str) -> str:
        return "".join("\\" + char if char in "\\()[]" else char for char in text)

    written = "".join(f"({escaped(text)}:{weight})" for text, weight in pieces)
    assert parse_weights(written) == tuple(pieces)


@pytest.mark.parametrize("bracket, end", [("(", ")"), ("[", "]"), ("(a:9)", ""), ("([", "]"), ("(", "")])
def test_depth_and_length_are_no_danger(bracket: str, end: str) -> None:
    """No recursion to run out of, no weight that overflows, also at a million characters."""
    for count in (10_000, 200_000):
        found = parse_weights(bracket * count + "x" + end * count)
        assert max(abs(weight) for _, weight in found) <= MAX_WEIGHT
