"""Words: what a person typed and the styles they chose, made into the texts that are encoded.

Pure text in, pure text out. A style is a template around the prompt; several are chained in
the order they were chosen, so that one text results.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

PLACEHOLDER = "{prompt}"
# What a template leaves dangling when there is no prompt to put in: "a watercolor of , soft".
_DANGLING = re.compile(r"\b(?:of|with|showing|depicting|featuring)\s*(?=,|$)", re.IGNORECASE)


def clean_text(text: str) -> str:
    """One line without control characters, doubled spaces or empty parts between lines.

    Line ends become ", ", because today every prompt is one text. Letters of every script,
    emoji and the marks that order right-to-left text stay as they are.
    """
    lines = (" ".join(_without_controls(line).split()).strip(" ,") for line in text.splitlines())
    return ", ".join(line for line in lines if line)


def _without_controls(line: str) -> str:
    return "".join(char for char in line if char.isspace() or unicodedata.category(char) not in ("Cc", "Cs"))


def apply_style(template: str, text: str) -> str:
    """``text`` put into a style's ``template``; one without ``{prompt}`` is appended."""
    if PLACEHOLDER not in template:
        return _join((text, clean_text(template)))
    if text:
        return clean_text(template.replace(PLACEHOLDER, text))
    bare = _DANGLING.sub("", template.replace(PLACEHOLDER, ""))
    return _join(" ".join(part.split()) for part in bare.replace("\n", ",").split(","))


def make_texts(
    prompt: str, negative_prompt: str, styles: Sequence[tuple[str, str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts to encode, wanted and unwanted.

    Args:
        prompt: As the person wrote it.
        negative_prompt: Likewise.
        styles: (template, negative) of each chosen style, in order.

    Returns:
        One text each for now; tuples, because later each line and style may be a text of its own.
    """
    text = clean_text(prompt)
    for template, _ in styles:
        text = apply_style(template, text)
    negative = _join((clean_text(negative_prompt), *(clean_text(unwanted) for _, unwanted in styles)))
    return (text,), (negative,)


def _join(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)


def normal_name(name: str) -> str:
    """The form in which names are compared: case, ``-``, ``_`` and doubled spaces do not matter."""
    return " ".join(name.replace("-", " ").replace("_", " ").casefold().split())
