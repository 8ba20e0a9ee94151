"""A recipe's words, with what they name looked up in the library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from fooocus_lite.errors import BadValue, UnknownName
from fooocus_lite.library import Library
from fooocus_lite.lora_files import refuse_pickle
from fooocus_lite.prompt_files import LORA_SUFFIXES, ByName
from fooocus_lite.prompt_tags import LoraTag
from fooocus_lite.prompts import Words, make_words
from fooocus_lite.recipe import MAX_LORA_NAME_CHARS, MAX_LORA_WEIGHT, MAX_LORAS, Lora, Recipe
from fooocus_lite.untrusted import printable

MAX_STYLE_TAGS = 30
#: Missing things that are named one by one, because looking for near names takes long and nobody reads hundreds.
MAX_NAMED = 10


@dataclass(frozen=True)
class LoraRef:
    """A LoRA on this disk, and how strongly it acts.

    Attributes:
        name: As the recipe or the prompt writes it.
        path: Absolute; a safetensors file.
        weight: 1 is as trained; may be negative.
    """

    name: str
    path: str
    weight: float


@dataclass(frozen=True)
class Wording:
    """The words of one picture, and what its tags named.

    Attributes:
        lines: The prompt's; each becomes a text of its own.
        negative_lines: Likewise.
        styles: Names as the library writes them.
        warnings: What is not there or could not be done; none of it stops the picture.
    """

    lines: tuple[str, ...]
    negative_lines: tuple[str, ...]
    styles: tuple[str, ...]
    loras: tuple[LoraRef, ...]
    warnings: tuple[str, ...]


def make_wording(recipe: Recipe, library: Library) -> Wording:
    """The words of one picture; its seed and place in the batch choose them."""
    words = _words(recipe, library)
    notes = [*_missing_lists(words, library), *words.notes]
    styles = tuple(_styles(words.styles, library, notes))
    loras = tuple(_loras(recipe, words.loras, library, notes))
    return Wording(words.lines, words.negative_lines, styles, loras, tuple(dict.fromkeys(notes)))


def _words(recipe: Recipe, library: Library) -> Words:
    def find(name: str) -> Sequence[str] | None:
        found = library.word_lists.find(name)
        return None if found is None else found.words

    return make_words(
        recipe.prompt,
        recipe.negative_prompt or "",
        find,
        Random(recipe.seed or 0),
        index=recipe.index,
        ordered=recipe.wildcard_order == "ordered",
    )


def _missing_lists(words: Words, library: Library) -> Iterator[str]:
    for name in words.missing_lists[:MAX_NAMED]:
        yield f"There is no wildcard {name[:60]!r}.{_hint(library.word_lists, name)} It stays as plain words."
    more = len(words.missing_lists) - MAX_NAMED
    if more > 0:
        yield f"{more} more wildcards are not there; they stay as plain words, too."


def _styles(names: Sequence[str], library: Library, notes: list[str]) -> Iterator[str]:
    if len(names) > MAX_STYLE_TAGS:
        notes.append(f"The prompt names {len(names)} styles; the first {MAX_STYLE_TAGS} are used.")
    for name in names[:MAX_STYLE_TAGS]:
        try:
            yield library.find_style(name).name
        except UnknownName as exc:
            notes.append(f"{exc} The tag was left out.")


def _loras(recipe: Recipe, tags: Sequence[LoraTag], library: Library, notes: list[str]) -> Iterator[LoraRef]:
    """Those of the recipe's list, then those that the prompt names; of one file, the list's weight counts.

    Raises:
        BadValue: they are more than anybody uses, one is a pickle, or its weight is beyond all sense.
    """
    listed = [(lora.name, lora.weight) for lora in recipe.loras or () if lora.enabled and lora.weight]
    tagged = [(tag.name, tag.weight) for tag in tags if tag.weight]
    if len(listed) + len(tagged) > MAX_LORAS:
        problem = f"{len(listed) + len(tagged)} LoRAs at once are too many."
        raise BadValue(problem, f"Use at most {MAX_LORAS}.", field="loras")
    missing: dict[str, None] = {}
    taken: set[str] = set()
    for place, (name, weight) in enumerate((*listed, *tagged)):
        if abs(weight) > MAX_LORA_WEIGHT:
            problem = f"The weight of the LoRA {printable(name[:60])} cannot be {weight:g}."
            raise BadValue(problem, f"Allowed is {-MAX_LORA_WEIGHT:g} to {MAX_LORA_WEIGHT:g}.", field="prompt")
        path = find_lora(name, library)
        if path is None:
            missing[name] = None
        elif place < len(listed) or path not in taken:
            taken |= {path} if place < len(listed) else set()
            yield LoraRef(name, path, weight)
    for number, name in enumerate(missing):
        hint = _hint(library.loras, name) if number < MAX_NAMED else ""
        notes.append(f"There is no LoRA {name[:60]!r} in models/loras.{hint} The picture is made without it.")


def find_lora(name: str, library: Library) -> str | None:
    """The path of the LoRA called so, with or without its folder and ending, if there is one.

    Raises:
        BadValue: there is one, but as a pickle.
    """
    path = _lora_path(name, library)
    if path is not None:
        refuse_pickle(path)
    return path


def _lora_path(name: str, library: Library) -> str | None:
    wanted = name.replace("\\", "/")
    ending = next((suffix for suffix in LORA_SUFFIXES if wanted.lower().endswith(suffix)), "")
    return library.loras.find(wanted) or library.loras.find(wanted[: len(wanted) - len(ending)])


def named_loras(loras: Sequence[Lora], library: Library) -> tuple[Lora, ...]:
    """The same, called as the library writes them, so that a file of a nearer name that comes later changes nothing.

    One that is not here keeps its name.
    """
    names = {path: name for name, path in reversed(list(library.loras.items())) if len(name) <= MAX_LORA_NAME_CHARS}
    known = (names.get(_lora_path(lora.name, library) or "", lora.name) for lora in loras)
    return tuple(lora.model_copy(update={"name": name}) for lora, name in zip(loras, known, strict=True))


def _hint(files: ByName[object], name: str) -> str:
    near = files.near(name)
    return f" Did you mean {' or '.join(near)}?" if near else ""
