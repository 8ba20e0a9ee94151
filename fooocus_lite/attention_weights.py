"""Attention weights: how strongly each part of a text counts, as its brackets say.

``(text:1.2)`` gives a weight, ``(text)`` is × 1.1, ``[text]`` is ÷ 1.1, and ``\\(`` is a bracket
that is only a bracket. A number replaces the weight around it, as in Fooocus; a pair without a
number multiplies it. Whatever does not pair up is text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

STEP = 1.1
MAX_WEIGHT = 100.0
_TOKEN = re.compile(r"\\[()\[\]\\]|[()\[\]]|[^\\()\[\]]+|\\")
# Nine digits at most: a number that float() would make infinite is no weight.
_NUMBER = re.compile(r":\s*([+-]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}))\s*\Z")
_OPENING = {")": "(", "]": "["}


def parse_weights(text: str) -> tuple[tuple[str, float], ...]:
    """The text in pieces, each with its weight; no piece is empty, and an empty text has none.

    Neighbours of equal weight stay apart, because a tokenizer may read "sun" + "flower" otherwise
    than "sunflower". ``BREAK`` is text here.

    Args:
        text: As a person wrote it.

    Returns:
        (piece, weight) in order; brackets, numbers and escapes that meant something are gone.
    """
    tokens = _TOKEN.findall(text)
    closing = _pairs(tokens)
    numbers = _numbers(tokens, closing)
    weights, ends = [1.0], set(closing.values())
    pieces: list[tuple[str, float]] = []
    written: list[str] = []
    for at, token in enumerate(tokens):
        if at not in closing and at not in ends:
            written.append(token[1:] if len(token) == 2 and token[0] == "\\" else token)
            continue
        _close_piece(pieces, written, weights[-1])
        if at in ends:
            weights.pop()
        elif at in numbers:
            weights.append(numbers[at])
        else:
            factor = STEP if token == "(" else 1 / STEP
            weights.append(_bounded(weights[-1] * factor))
    _close_piece(pieces, written, weights[-1])
    return tuple(pieces)


def _pairs(tokens: Sequence[str]) -> dict[int, int]:
    """Position of each opening bracket that is closed → position of what closes it."""
    pairs: dict[int, int] = {}
    waiting: dict[str, list[int]] = {"(": [], "[": []}
    for at, token in enumerate(tokens):
        if token in waiting:
            waiting[token].append(at)
        elif token in _OPENING and waiting[_OPENING[token]]:
            start = waiting[_OPENING[token]].pop()
            pairs[start] = at
            for others in waiting.values():  # opened in between and never closed: "(a [b)"
                while others and others[-1] > start:
                    others.pop()
    return pairs


def _numbers(tokens: list[str], closing: dict[int, int]) -> dict[int, float]:
    """Position of each ``(`` with a number before its ``)`` → the number, which is taken out of ``tokens``."""
    numbers: dict[int, float] = {}
    for start, end in closing.items():
        match = _NUMBER.search(tokens[end - 1]) if tokens[start] == "(" and end - start > 1 else None
        # "(:1.2)" weighs nothing: it is a face, or a slip.
        if match and (match.start() > 0 or end - start > 2):
            numbers[start] = _bounded(float(match[1]))
            tokens[end - 1] = tokens[end - 1][: match.start()]
    return numbers


def _close_piece(pieces: list[tuple[str, float]], written: list[str], weight: float) -> None:
    piece = "".join(written)
    written.clear()
    if piece:
        pieces.append((piece, weight))


def _bounded(weight: float) -> float:
    return max(-MAX_WEIGHT, min(MAX_WEIGHT, weight))
