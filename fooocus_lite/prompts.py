"""Words: what a person typed and the styles they chose, made into the texts that are encoded.

Pure text in, pure text out. Every line of a prompt is a text of its own. A style is a template
around the first; each line of each style makes a text of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

from fooocus_lite.prompt_tags import LoraTag, Tags
from fooocus_lite.recipe import MAX_PROMPT_CHARS
from fooocus_lite.wildcards import FindList, Wildcards, choose_from_arrays, ordered_pick, random_pick

#: Lines that are a text of their own; what follows is joined to the last of them.
MAX_LINES = 32
#: Texts that are encoded, those of styles included; what follows is joined to the last of them.
MAX_TEXTS = 200
#: Of one side's texts together; what follows is left out. Of so much the encoders read the first part only, and say so.
MAX_TEXTS_CHARS = 500_000
MAX_NOTED_TAGS = 10
PLACEHOLDER = "{prompt}"
_SEPARATOR = re.compile(r"-{3,}")
_COMMAS = re.compile(r" ?,(?: ?,)*")
# What a template leaves dangling when there is no prompt to put in: "a watercolor of , soft".
_DANGLING = re.compile(r"\b(?:of|with|showing|depicting|featuring)\s*(?=,|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Words:
    """A prompt in which nothing is left open, without its tags.

    Attributes:
        lines: Each a text of its own; none is empty.
        negative_lines: Likewise.
        styles: Named by ``<style:…>``, in order.
        loras: Named by ``<lora:…>``, in order.
        missing_lists: Wildcards of which there is no list.
        notes: Sentences a person should read.
    """

    lines: tuple[str, ...]
    negative_lines: tuple[str, ...]
    styles: tuple[str, ...] = ()
    loras: tuple[LoraTag, ...] = ()
    missing_lists: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def split_prompts(text: str) -> list[str]:
    """The prompts that lines of ``---`` separate, as written; at least one. Those without a word are left out."""
    lines = text.splitlines()
    cuts = [at for at, line in enumerate(lines) if _SEPARATOR.fullmatch(line.strip())]
    if not cuts:
        return [text]
    starts, ends = [0, *(at + 1 for at in cuts)], [*cuts, len(lines)]
    parts = ("\n".join(lines[start:end]).strip() for start, end in zip(starts, ends, strict=True))
    return [part for part in parts if part] or [""]


def count_combinations(prompt: str, negative_prompt: str) -> int:
    """How many pictures show every entry of the ``[[…]]`` as they are written."""
    return choose_from_arrays([*clean_lines(prompt), *clean_lines(negative_prompt)], 0)[1]


def make_words(prompt: str, negative_prompt: str, find: FindList, rng: Random, *, index: int, ordered: bool) -> Words:
    """The words of one picture: wildcards filled, an entry of each array chosen, tags taken out.

    Args:
        prompt: As the person wrote it.
        negative_prompt: Likewise.
        find: The words of a list, or ``None``.
        rng: Chooses from the lists. It is asked in the order of Fooocus: first line, first negative
            line, further lines, further negative lines.
        index: The picture's place in its batch, from 0.
        ordered: Lists give line ``index`` instead of any.
    """
    wanted, unwanted = clean_lines(prompt), clean_lines(negative_prompt)
    pick = ordered_pick(index) if ordered else random_pick(rng)
    fillers = [Wildcards(find, pick, MAX_PROMPT_CHARS - len(text)) for text in (prompt, negative_prompt)]
    for part in (slice(0, 1), slice(1, None)):
        for filler, lines in zip(fillers, (wanted, unwanted), strict=True):
            lines[part] = [filler.fill(line) for line in lines[part]]
    chosen, _ = choose_from_arrays([*wanted, *unwanted], index)
    tags, ignored = Tags(), Tags()
    texts = _lines_of(tags.take(line) for line in chosen[: len(wanted)])
    negative_texts = _lines_of(ignored.take(line) for line in chosen[len(wanted) :])
    return Words(
        _at_most(MAX_LINES, texts),
        _at_most(MAX_LINES, negative_texts),
        styles=tuple(tags.styles),
        loras=tuple(tags.loras),
        missing_lists=tuple({name: None for filler in fillers for name in filler.missing}),
        notes=tuple(dict.fromkeys(_notes(fillers, tags, ignored, len(texts)))),
    )


def _lines_of(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in clean_lines(text)]


def _at_most(count: int, lines: list[str]) -> tuple[str, ...]:
    rest = lines[count - 1 :]
    return (*lines[: count - 1], ", ".join(rest)) if rest else tuple(lines)


def _notes(fillers: Sequence[Wildcards], tags: Tags, ignored: Tags, lines: int) -> Iterator[str]:
    for filler in fillers:
        for name in filler.endless:
            yield f"The wildcard {name[:60]} refers to itself without end; what was left of it was taken out."
        for name in filler.too_long:
            yield f"The words of the wildcard {name[:60]} were left out: they are too many or too long."
    for tag in (*tags.broken, *ignored.broken)[:MAX_NOTED_TAGS]:
        yield f"{tag[:60]!r} is no tag and stays text. Write it as <lora:name:0.8> or <style:name>."
    if ignored.loras or ignored.styles:
        yield "Tags in the negative prompt do nothing; write them in the prompt."
    if lines > MAX_LINES:
        yield f"The prompt has {lines} lines; those from line {MAX_LINES} on are read as one text."


def clean_lines(text: str) -> list[str]:
    """The lines that say something, without control characters, doubled spaces or empty parts between commas.

    Letters of every script, emoji and the marks that order right-to-left text stay as they are.
    """
    spaced = (" ".join(_without_controls(line).split()) for line in text.splitlines())
    lines = (_COMMAS.sub(",", line).strip(" ,") for line in spaced)
    return [line for line in lines if line]


def clean_text(text: str) -> str:
    """`clean_lines` as one line: line ends become commas."""
    return ", ".join(clean_lines(text))


def _without_controls(line: str) -> str:
    return "".join(char for char in line if char.isspace() or unicodedata.category(char) not in ("Cc", "Cs"))


def apply_style(template: str, text: str) -> str:
    """``text`` put into a style's ``template``; one without ``{prompt}`` is appended."""
    if PLACEHOLDER not in template:
        return _join((text, clean_text(template)))
    if text:
        return clean_text(template.replace(PLACEHOLDER, text)[:MAX_TEXTS_CHARS])
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
    alone = () if any(PLACEHOLDER in line for line in templates) else (text,)
    styled = (apply_style(line, text) if PLACEHOLDER in line else clean_text(line) for line in templates)
    unwanted = (clean_text(line) for _, negative in styles for line in negative.splitlines())
    return _that_say_something(chain(alone, styled, further)), _that_say_something(chain(unwanted, negative_lines))


def _that_say_something(texts: Iterable[str]) -> tuple[str, ...]:
    """``texts`` is asked for no more than fits: a style may hold ``{prompt}`` thousands of times."""
    kept, room = list[str](), MAX_TEXTS_CHARS
    for text in texts:
        kept += [text[:room]] if text else []
        room -= len(text)
        if room <= 0:
            break
    return _at_most(MAX_TEXTS, kept) or ("",)


def _join(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)


def normal_name(name: str) -> str:
    """The form in which names are compared: case, ``-``, ``_`` and doubled spaces do not matter."""
    return " ".join(name.replace("-", " ").replace("_", " ").casefold().split())
