"""Attention weights in a prompt: ``(more)``, ``[less]``, ``(exactly:1.3)``, ``\\(no weight\\)``."""

from __future__ import annotations

import math
import re

_STEP = 1.1
_MOST = 100.0
# An escaped character, the end of a weighted group, a bracket, or text without any of these.
_PART = re.compile(r"\\[()\[\]\\]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[()\[\]]|[^\\()\[\]:]+|[\\:]")


def parse_weights(text: str) -> tuple[tuple[str, float], ...]:
    """The text in pieces, each with its weight; brackets that have no partner stand for nothing and are ordinary text.

    ``(x)`` multiplies by 1.1, ``[x]`` divides by it, ``(x:1.3)`` multiplies by 1.3; nested ones multiply.
    """
    pieces: list[tuple[str, float]] = []
    opened: list[tuple[str, int]] = []
    for part in _PART.finditer(text):
        word = part[0]
        if word in "([":
            opened.append((word, len(pieces)))
            pieces.append((word, 1.0))
        elif (word in ")]" or part[1]) and opened and opened[-1][0] == ("[" if word == "]" else "("):
            start = opened.pop()[1]
            factor = float(part[1]) if part[1] else _STEP if word == ")" else 1 / _STEP
            pieces[start] = ("", 1.0)
            pieces[start:] = [(inner, _bounded(weight * factor)) for inner, weight in pieces[start:]]
        else:
            pieces.append((word[1:] if len(word) == 2 and word[0] == "\\" else word, 1.0))
    return tuple(_merged(pieces))


def _bounded(weight: float) -> float:
    return max(-_MOST, min(_MOST, weight)) if math.isfinite(weight) else 1.0


def _merged(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    merged: list[tuple[str, float]] = []
    for text, weight in pieces:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        elif text:
            merged.append((text, weight))
    return merged
