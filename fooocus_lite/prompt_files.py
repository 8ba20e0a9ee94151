"""The files that a prompt names: word lists, LoRAs and textual inversions, found by path or by bare name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fooocus_lite.fooocus_folder import fooocus_wildcards, in_reading_order
from fooocus_lite.library_json import Source, readable, shown_path
from fooocus_lite.model_folders import NamedKind, fooocus_models
from fooocus_lite.prompts import normal_name
from fooocus_lite.settings import Settings

File = TypeVar("File", covariant=True)
#: Of textual inversions; the pickles are known only to be refused with a sentence.
EMBEDDING_SUFFIXES = (".safetensors", ".pt", ".bin")
#: Of LoRAs, likewise.
LORA_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_SUFFIXES: Mapping[NamedKind, tuple[str, ...]] = {"loras": LORA_SUFFIXES, "embeddings": EMBEDDING_SUFFIXES}
MAX_LIST_BYTES = 8_000_000
MAX_LISTS_BYTES = 64_000_000


@dataclass(frozen=True)
class WordList:
    """The lines of a text file, of which a wildcard takes one."""

    name: str
    words: tuple[str, ...]
    source: Source = "shipped"

    def __str__(self) -> str:
        """As a person writes it in a prompt, and the words it begins with."""
        return f"__{self.name}__  {len(self.words):,} ({self.source}): {', '.join(self.words[:3])[:80]} …"

    def to_dict(self) -> dict[str, str | int | list[str]]:
        """What programs are told of it."""
        return {"name": self.name, "source": self.source, "count": len(self.words), "first": list(self.words[:3])}


class ByName(Mapping[str, File], Generic[File]):
    """Files by their path below a folder, without suffix, such as ``nature/flower``.

    `find` also takes the bare name (``flower``), and case, ``-``, ``_`` and spaces do not matter.
    What is closer to the name as written wins; then what comes first.
    """

    def __init__(self, files: Mapping[str, File] | None = None) -> None:
        self._files = dict(files or {})
        self._places: dict[str, File] = {}
        for form in (str, normal_name, _bare, lambda name: normal_name(_bare(name))):
            for name, file in self._files.items():
                self._places.setdefault(form(name), file)

    def find(self, name: str) -> File | None:
        """The file called so, or ``None``."""
        return self._places.get(name) or self._places.get(normal_name(name))

    def near(self, name: str) -> list[str]:
        """Up to three names that look like ``name``."""
        # The first of equal forms counts, and a bare name as it is before one below a folder.
        forms = [(normal_name(form(known)), known) for form in (_bare, str) for known in reversed([*self._files])]
        by_form = dict(forms)
        matches = difflib.get_close_matches(normal_name(name)[:80], by_form, n=3, cutoff=0.6)
        return list(dict.fromkeys(by_form[match] for match in matches))

    def __getitem__(self, name: str) -> File:
        return self._files[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _bare(name: str) -> str:
    return name.rpartition("/")[2]


def read_word_lists(settings: Settings, problems: list[str]) -> ByName[WordList]:
    """Every word list; a person's own come first and take the place of another of that name.

    One word or phrase a line; empty lines do not count, and nothing is a comment, as in Fooocus.
    """
    found: dict[str, WordList] = {}
    taken: set[str] = set()
    room = MAX_LISTS_BYTES
    for name, path, source in _list_files(settings):
        if normal_name(name) in taken:
            continue
        text = read_list(path, room, settings.root, problems)
        words = tuple(word for line in text.splitlines() if (word := line.replace("\0", "").strip()))
        room -= len(text)
        if words:
            taken.add(normal_name(name))
            found[name] = WordList(name, words, source)
    return ByName(found)


def read_loras(settings: Settings) -> ByName[str]:
    """Absolute paths of the LoRA files: a person's own first, then those that ship, then Fooocus's."""
    found: dict[str, str] = {}
    for name, path in _lora_files(settings):
        found.setdefault(name, str(path))
    return ByName(found)


def _lora_files(settings: Settings) -> list[tuple[str, Path]]:
    ours = dict.fromkeys((settings.loras_dir, *settings.adapters_dirs))
    own = [file for folder in ours for file in _files(folder, *LORA_SUFFIXES)]
    return own + _files_of_fooocus(settings, "loras", ours)


def read_embeddings(settings: Settings) -> ByName[str]:
    """Absolute paths of the textual inversions: a person's own first, then Fooocus's.

    Of one name in two formats in one folder, the safetensors file counts.
    """
    found: dict[str, str] = {}
    for name, path in _embedding_files(settings):
        found.setdefault(name, str(path))
    return ByName(found)


def watched(settings: Settings) -> list[Path]:
    """Every file that the readers above look at."""
    weights = (*_lora_files(settings), *_embedding_files(settings))
    return [path for _, path, _ in _list_files(settings)] + [path for _, path in weights]


def _embedding_files(settings: Settings) -> list[tuple[str, Path]]:
    own = [file for suffix in EMBEDDING_SUFFIXES for file in _files(settings.embeddings_dir, suffix)]
    return own + _files_of_fooocus(settings, "embeddings", (settings.embeddings_dir,))


def _files_of_fooocus(settings: Settings, kind: NamedKind, ours: Container[Path]) -> list[tuple[str, Path]]:
    folders = [folder for folder in fooocus_models(settings, kind) if folder not in ours]
    return [file for folder in folders for file in files_of_fooocus(folder, kind)]


def files_of_fooocus(folder: Path, kind: NamedKind) -> list[tuple[str, Path]]:
    """(name, path) of every LoRA or textual inversion in a folder of Fooocus, but no link that leads out of it."""
    home = os.path.realpath(folder)
    files = _files(folder, *_SUFFIXES[kind])
    return [
        (name, path)
        for name, path in files
        if not os.path.islink(path) or Path(os.path.realpath(path)).is_relative_to(home)
    ]


def _list_files(settings: Settings) -> Iterator[tuple[str, Path, Source]]:
    """(name, path, whose) of every word list: a person's own first, then Fooocus's, then the shipped ones."""
    shipped, own = settings.wildcards_dirs
    for folder, source in reversed(list(in_reading_order(shipped, fooocus_wildcards(settings), own))):
        for name, path in _files(folder, ".txt"):
            yield name, path, source


def _files(folder: Path, *suffixes: str) -> list[tuple[str, Path]]:
    """(name, path) of every file below ``folder``, folders included; the upper ones first, then by name.

    Of one name in two formats, the one whose suffix is named first comes first.
    """
    # os.path says no, where Path would raise, of what may not be looked at.
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in suffixes and os.path.isfile(path)]
    paths.sort(key=lambda path: suffixes.index(path.suffix.lower()))
    named = [(readable(path.relative_to(folder).with_suffix("").as_posix()), path) for path in paths]
    return sorted(named, key=lambda item: (item[0].count("/"), item[0]))


def read_list(path: Path, room: int, root: Path, problems: list[str]) -> str:
    """What a file of words holds; nothing, and a problem, when it cannot be used.

    Args:
        room: Bytes that all lists together may still have.
    """
    shown = shown_path(path, root)
    try:
        size = path.stat().st_size
        if size > min(MAX_LIST_BYTES, room):
            what = f"{shown} is larger than {MAX_LIST_BYTES // 1_000_000} MB"
            all_of_them = f"{shown} is left out: the word lists are larger than {MAX_LISTS_BYTES // 1_000_000} MB"
            problems.append(f"{what if size > MAX_LIST_BYTES else all_of_them}.")
            return ""
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        problems.append(f"{shown} is not UTF-8 text; save it as UTF-8.")
    except OSError as exc:
        problems.append(f"{shown} cannot be read: {exc.strerror}.")
    else:
        if not text.strip():
            problems.append(f"{shown} holds no words.")
        return text
    return ""
