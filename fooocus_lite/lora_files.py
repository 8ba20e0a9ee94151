"""LoRA files as the library knows them, from their headers alone: what they are for, and how they are used.

Everything in a header was written by whoever made the file: lengths are bounded, and signs that move a cursor are
replaced. The weights themselves are the engine's.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fooocus_lite.errors import BadValue, CorruptModel, FooocusError, MissingModel
from fooocus_lite.library_json import readable
from fooocus_lite.lora_keys import OTHER, MadeFor, made_for
from fooocus_lite.model_files import PICKLES
from fooocus_lite.untrusted import parse_json, printable
from fooocus_lite.weight_header import NotWeights, read_header

if TYPE_CHECKING:
    from fooocus_lite.library import Library

MAX_WORDS, MAX_WORD_CHARS, MAX_LINE_CHARS = 12, 60, 200
MAX_PHRASE_CHARS = 4_000
MAX_CARDS = 20_000
PICTURE_ENDINGS = (".preview.png", ".png", ".preview.jpg", ".jpg", ".jpeg", ".preview.webp", ".webp")
_ARCHITECTURES = (
    (re.compile(r"flux", re.IGNORECASE), "FLUX"),
    (re.compile(r"sdxl|stable-diffusion-xl|xl-v1", re.IGNORECASE), "SDXL"),
    (re.compile(r"sd_?v?1|stable-diffusion-v1", re.IGNORECASE), "Stable Diffusion 1.5"),
    (re.compile(r"sd_?v?2|stable-diffusion-v2", re.IGNORECASE), "Stable Diffusion 2"),
    (re.compile(r"sd3|stable-diffusion-v?3", re.IGNORECASE), "Stable Diffusion 3"),
)


@dataclass(frozen=True)
class LoraCard:
    """A LoRA as a person chooses it.

    Attributes:
        path: Absolute.
        title: What its maker calls it; empty where nothing is said.
        made_for: What its layers are for, or else what its maker says.
        words: What to write into a prompt so that it shows, the most usual first.
        note: A sentence of its maker.
    """

    path: str
    title: str
    made_for: MadeFor
    words: tuple[str, ...]
    note: str
    size_bytes: int


class LoraCards:
    """Cards of files, each read once until the file changes, also one that is damaged; safe from every thread."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[int, int], LoraCard | CorruptModel]] = {}

    def of(self, path: str) -> LoraCard:
        """The card of the file at ``path``.

        Raises:
            BadValue: it is a pickle.
            MissingModel, CorruptModel: it is not there, or not usable.
        """
        refuse_pickle(path)
        try:
            status = os.stat(path)
        except OSError as exc:
            raise MissingModel(f"The LoRA file {_short(path)} is missing.", "Put it back, or leave it out.") from exc
        stamp = (status.st_mtime_ns, status.st_size)
        kept = self._kept.get(path)
        found = kept[1] if kept is not None and kept[0] == stamp else self._read(path, stamp)
        if isinstance(found, CorruptModel):
            raise CorruptModel(found.problem, found.hint)  # a new one: each raise adds its place to an error
        return found

    def _read(self, path: str, stamp: tuple[int, int]) -> LoraCard | CorruptModel:
        found: LoraCard | CorruptModel
        try:
            found = _read_card(path, stamp[1])
        except CorruptModel as exc:
            if isinstance(exc.__cause__, OSError):  # the disk's fault, and the stamp would not tell when it is mended
                raise
            found = CorruptModel(exc.problem, exc.hint)
        if len(self._kept) >= MAX_CARDS:
            self._kept = {}
        self._kept[path] = (stamp, found)
        return found


def refuse_pickle(path: str) -> None:
    """Let pass what is none.

    Raises:
        BadValue: the file is of a kind that can run a stranger's code when it is opened.
    """
    if path.lower().endswith(PICKLES):
        raise BadValue(
            f"The LoRA {_short(path)} is a pickle, and opening a pickle can run a stranger's code.",
            "Make a safe file of it with fooocus-lite models convert FILE, or leave it out.",
            field="loras",
        )


def _read_card(path: str, size: int) -> LoraCard:
    try:
        header = read_header(path)
        found = made_for(dict(header.shapes()))
    except OSError as exc:
        raise _damaged(path, f"it cannot be read ({exc.strerror})") from exc
    except NotWeights as exc:
        raise _damaged(path, str(exc)) from exc
    metadata = header.metadata
    if not found.kind:
        found = MadeFor(_told_kind(metadata), found.context_width, found.rank)
    return LoraCard(
        path=path,
        title=_line(metadata.get("modelspec.title")) or _line(metadata.get("ss_output_name")),
        made_for=found,
        words=trigger_words(metadata),
        note=_line(metadata.get("modelspec.description")),
        size_bytes=size,
    )


def _told_kind(metadata: Mapping[str, Any]) -> str:
    """What its maker says it is for."""
    for name in ("modelspec.architecture", "ss_base_model_version"):
        text = _line(metadata.get(name))
        for pattern, kind in _ARCHITECTURES:
            if pattern.search(text):
                return kind
    return ""


def trigger_words(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """What its maker names as trigger, then the words that its training pictures were described with most often."""
    phrase = metadata.get("modelspec.trigger_phrase")
    words = [_line(part) for part in phrase[:MAX_PHRASE_CHARS].split(",")] if isinstance(phrase, str) else []
    words += _frequent(metadata.get("ss_tag_frequency"))
    return tuple(dict.fromkeys(word[:MAX_WORD_CHARS] for word in words if word))[:MAX_WORDS]


def _frequent(text: Any) -> list[str]:
    """kohya's count of words: ``{folder: {word: count}}`` as JSON."""
    try:
        folders = parse_json(text) if isinstance(text, str) else {}
        counts: Counter[str] = Counter()
        for tags in folders.values():
            for tag, count in tags.items():
                counts[_line(tag)] += min(int(count), 1_000_000)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return []
    return [word for word, _ in counts.most_common(MAX_WORDS)]


def _line(value: Any) -> str:
    text = " ".join(value[: 4 * MAX_LINE_CHARS].split()) if isinstance(value, str) else ""
    return printable(text[:MAX_LINE_CHARS])


def preview_path(path: str) -> Path | None:
    """The picture that lies beside a LoRA under its name: ``ink.png`` or ``ink.preview.png``.

    One that is a link must lead to beside the LoRA, which may be a link, too: a folder of LoRAs from anybody
    shows no picture of another folder.
    """
    stem = os.path.splitext(path)[0]
    there = next((Path(stem + ending) for ending in PICTURE_ENDINGS if os.path.isfile(stem + ending)), None)
    if there is None or not os.path.islink(there):
        return there
    homes = [os.path.dirname(os.path.realpath(file)) for file in (there, path)]
    return there if homes[0] == homes[1] else None


@dataclass(frozen=True)
class Takes:
    """Which LoRAs a model takes.

    Attributes:
        context_width: See `fooocus_lite.library_files.CatalogEntry`; 0 = unknown.
        kind: See `fooocus_lite.families.Family.loras`; empty = those for a UNet.
    """

    context_width: int = 0
    kind: str = ""


def misfit(card: LoraCard, model: str, takes: Takes) -> str:
    """Why a LoRA cannot be used with a model, as the end of a sentence; empty when it can, or nobody knows.

    Args:
        model: What the model is called.
    """
    made = card.made_for
    is_other = made.context_width and takes.context_width and made.context_width != takes.context_width
    if takes.kind:
        is_other = made.context_width or (made.is_transformer and made.kind not in (takes.kind, OTHER))
    elif made.kind and not made.context_width and made.is_transformer:
        is_other = True
    return f"was made for {made.kind}, and {model} is another kind of model" if is_other else ""


def _damaged(path: str, reason: str) -> CorruptModel:
    return CorruptModel(
        f"The LoRA file {_short(path)} is damaged: {reason}.", "Put an intact copy in its place, or leave it out."
    )


def _short(path: str) -> str:
    return printable(readable("/".join(Path(path).parts[-2:])))


def lora_rows(library: Library) -> list[dict[str, Any]]:
    """Every LoRA of the library as `lora_row` shows it, the upper folders first."""
    models = {entry.name: entry.takes for entry in library.models.values()}
    return [lora_row(name, path, library.lora_cards, models) for name, path in library.loras.items()]


def lora_row(name: str, path: str, cards: LoraCards, models: Mapping[str, Takes]) -> dict[str, Any]:
    """What a list of LoRAs shows of one, JSON-ready.

    Args:
        models: What each takes, for ``fits``.
    """
    row: dict[str, Any] = {
        "name": name, "title": "", "note": "", "kind": "", "rank": 0, "words": [], "size_bytes": 0,
        "fits": [], "has_picture": preview_path(path) is not None, "problem": "",
    }  # fmt: skip
    try:
        card = cards.of(path)
    except FooocusError as exc:
        return row | {"problem": str(exc)}
    return row | {
        "title": card.title,
        "note": card.note,
        "kind": card.made_for.kind,
        "rank": card.made_for.rank,
        "words": list(card.words),
        "size_bytes": card.size_bytes,
        "fits": [model for model, takes in models.items() if not misfit(card, model, takes)],
    }
