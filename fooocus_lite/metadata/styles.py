"""Styles found again by their words: A1111's text holds the full prompt, and names no style."""

from __future__ import annotations

from collections.abc import Iterator

from fooocus_lite.library import Library
from fooocus_lite.metadata.found import Found
from fooocus_lite.prompts import PLACEHOLDER
from fooocus_lite.recipe import MAX_EXPANSION_CHARS, shown

#: What Fooocus calls its prompt expansion, which it lists among the styles.
EXPANSION = "Fooocus V2"


def styles_in(found: Found, library: Library | None, warnings: list[str]) -> list[str]:
    """The styles whose words stand in the full prompt, in the library's order.

    Words that are left over and begin like the prompt are an expanded prompt; other ones are said aloud.
    """
    lines = [line.strip() for line in found.prompt.split("\n") if line.strip()]
    main = lines[0] if lines else ""
    names, left = list[str](), found.words
    for name, text in _matching(found, library, main) if library else ():
        names.append(name)
        left = left.replace(text, "", 1) if text else left
    for line in lines:
        left = left.replace(line, "", 1)
    left = left.strip(" ,\n")
    if left and main and left.startswith(main):
        names.insert(0, EXPANSION)
        found.expansion = left
    elif left:
        warnings.append(f"Words that a style added and that no style here adds are left out: {shown(left)}.")
    return names


def added_words(found: Found) -> str | None:
    """What an expanded prompt has behind the person's first line; ``None`` where that cannot be told."""
    lines = [line.strip(" ,.") for line in found.prompt.split("\n") if line.strip(" ,.")]
    if not lines or not found.expansion.startswith(lines[0]):
        return None
    words = found.expansion[len(lines[0]) :].strip(" ,\n")
    return words if words and len(words) <= MAX_EXPANSION_CHARS else None


def _matching(found: Found, library: Library, main: str) -> Iterator[tuple[str, str]]:
    """Name and wanted words of each style that is in both full prompts."""
    for style in library.styles.values():
        text = style.prompt.replace(PLACEHOLDER, main)
        is_wanted = not text or (text != main and text in found.words)
        is_unwanted = not style.negative_prompt or style.negative_prompt in found.negative_words
        if is_wanted and is_unwanted and (text or style.negative_prompt):
            yield style.name, text
