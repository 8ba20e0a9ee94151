"""Textual inversions in a prompt: ``embedding:name`` stands for the vectors of a file in ``models/embeddings``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fooocus_lite.attention_weights import parse_weights

# A name ends before a space, a comma or a bracket, and not with the punctuation of the sentence around it.
_NAMED = re.compile(r"(?<!\w)embedding:([^\s,;()\[\]{}|]*[^\s,;()\[\]{}|.:!?])", re.IGNORECASE)


def split_embeddings(text: str) -> Iterator[tuple[str, str]]:
    """(plain text, name of the embedding after it) in order; the name is empty where none follows."""
    parts = _NAMED.split(text)
    for plain, name in zip(parts[::2], [*parts[1::2], ""], strict=True):
        if plain or name:
            yield plain, name


def named_embeddings(texts: Iterable[str]) -> list[str]:
    """The names that the texts ask for, as written, each once."""
    pieces = (piece for text in texts if ":" in text for piece, _ in parse_weights(text))
    return list(dict.fromkeys(name for piece in pieces for _, name in split_embeddings(piece) if name))
