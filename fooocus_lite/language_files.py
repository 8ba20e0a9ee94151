"""Language files: what the page says in another language, as a person wrote it or their Fooocus has it.

A file is a JSON object of English text and its translation. What it does not hold stays English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fooocus_lite.fooocus_folder import FooocusFolder, fooocus_root
from fooocus_lite.library_json import json_files, read_object, readable, shown_path
from fooocus_lite.prompts import normal_name
from fooocus_lite.settings import Settings

MAX_SENTENCES = 10_000
MAX_CHARS = 2_000
_FEW = 8  # names that a sentence lists


@dataclass(frozen=True)
class Language:
    """The language of the page.

    Attributes:
        name: The file's, without ``.json``; empty for English.
        words: English text → what is said instead.
    """

    name: str = ""
    words: Mapping[str, str] = field(default_factory=dict[str, str])


def language_paths(settings: Settings) -> list[Path]:
    """Every language file in reading order: Fooocus's, then a person's own."""
    root = fooocus_root(settings)
    folders = [*([FooocusFolder(root).languages] if root else []), settings.languages_dir]
    return [path for folder in folders for path in json_files(folder)]


def read_language(settings: Settings, problems: list[str]) -> Language:
    """The language that is set; English, and a problem, when there is no file of that name.

    All files are read, so that a broken one is named before somebody chooses it. A person's own takes the
    place of Fooocus's of that name.
    """
    found: dict[str, Language] = {}
    for path in language_paths(settings):
        language = Language(readable(path.stem), read_words(path, settings.root, problems))
        found[normal_name(language.name)] = language
    wanted = settings.language.strip()
    if not wanted:
        return Language()
    if normal_name(wanted) not in found:
        source = settings.sources.get("language", "default")
        those = _those(found) or f"put its file into {shown_path(settings.languages_dir, settings.root)}"
        problems.append(f"There is no language '{readable(wanted[:60])}' (setting language, from {source}); {those}.")
    return found.get(normal_name(wanted), Language())


def read_words(path: Path, root: Path, problems: list[str]) -> dict[str, str]:
    """The translations in a file. What is no short text is left out, and named in one problem."""
    data, words, wrong = read_object(path, root, problems), dict[str, str](), list[str]()
    for english, said in list(data.items())[:MAX_SENTENCES]:
        if not isinstance(said, str) or len(said) > MAX_CHARS or len(english) > MAX_CHARS:
            wrong.append(english)
        elif english.strip() and said.strip():
            words[english.strip()] = said.strip()
    if wrong:
        rest = f"; {len(wrong) - 1:,} more like it are left out, too" if len(wrong) > 1 else "; it is left out"
        what = f"the entry {wrong[0][:40]!r} is no text of at most {MAX_CHARS:,} characters{rest}"
        problems.append(f"{shown_path(path, root)}: {what}.")
    if len(data) > MAX_SENTENCES:
        what = f"holds {len(data):,} sentences; the first {MAX_SENTENCES:,} are used"
        problems.append(f"{shown_path(path, root)} {what}.")
    return words


def _those(found: Mapping[str, Language]) -> str:
    """Which ones are there, as the end of a sentence; empty when there is none."""
    names = [language.name for language in found.values() if language.words]
    if len(names) < 2:
        return f"there is {names[0]}" if names else ""
    rest = f" … ({len(names)} in all)" if len(names) > _FEW else ""
    return f"there are {', '.join(names[:_FEW])}{rest}"
