"""Words: what a person typed and the styles they chose, made into the texts that are encoded.

Pure text in, pure text out. A style is a template around the prompt; each one chosen makes a text
of its own.
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
    lines: Sequence[str], negative_lines: Sequence[str], styles: Sequence[tuple[str, str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts to encode, wanted and unwanted; at least one each, which may be empty.

    As in Fooocus: each line of each style is a text of its own, with the first line of the prompt
    in its ``{prompt}``; that line stands alone, first, only when no style has a place for it; the
    further lines come last. The unwanted texts of the styles come before the person's.

    Args:
        lines: Clean; the first is the one that styles go around.
        negative_lines: Likewise.
        styles: (template, negative) of each chosen style, in order.
    """
    text, *further = lines or ("",)
    templates = [line for template, _ in styles for line in template.splitlines()]
    wanted = [] if any(PLACEHOLDER in line for line in templates) else [text]
    wanted += [apply_style(line, text) if PLACEHOLDER in line else clean_text(line) for line in templates]
    unwanted = [clean_text(line) for _, negative in styles for line in negative.splitlines()]
    return _that_say_something([*wanted, *further]), _that_say_something([*unwanted, *negative_lines])


def _that_say_something(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if text) or ("",)


def _join(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)


def normal_name(name: str) -> str:
    """The form in which names are compared: case, ``-``, ``_`` and doubled spaces do not matter."""
    return " ".join(name.replace("-", " ").replace("_", " ").casefold().split())
