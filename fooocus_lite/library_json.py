"""JSON files that people write by hand and get wrong: read, bounded, and complained about in words.

Every reader takes a list of problems and adds one sentence per broken file or entry, naming file,
line and entry; nothing here raises because of what a file holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ValidationError

#: Who wrote a style or preset: this project, the Fooocus folder that is used in place, or the person.
Source = Literal["shipped", "fooocus", "own"]
MAX_FILE_BYTES = 8_000_000
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
#: An escaped backslash or a pair of escapes, which stay; or half of such a pair, which no UTF-8 can hold.
_HALF = re.compile(r"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_OURS = "holds something that is no style, preset, language or catalog"


def json_files(folder: Path, order: Callable[[Path], Any] | None = None) -> list[Path]:
    """The folder's ``.json`` files, subfolders included, by path or in ``order``."""
    return sorted(sorted(folder.rglob("*.json")), key=order)


def read_json(path: Path, root: Path, problems: list[str]) -> Any:
    """What the file holds; ``None``, and a problem, when it cannot be read."""
    text, shown = _read_text(path, root, problems), shown_path(path, root)
    if text is None:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as exc:
        problems.append(f"{shown}, line {exc.lineno}: {exc.msg} (column {exc.colno}).")
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        problems.append(f"{shown} {_NOT_OURS}.")
    return None


def read_object(path: Path, root: Path, problems: list[str]) -> Mapping[str, Any]:
    """What the file holds when that is a JSON object, else nothing and a problem."""
    data = read_json(path, root, problems)
    if isinstance(data, dict):
        return cast("dict[str, Any]", data)
    if data is not None:
        problems.append(f"{shown_path(path, root)} is not a JSON object.")
    return {}


def read_rows(path: Path, root: Path, kind: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """The entries of a file that holds a list, each with where it stands: "file, line 7, entry 2".

    The entries before a broken one are given; the broken one is named, and what follows it is lost.
    """
    text, shown = _read_text(path, root, problems), shown_path(path, root)
    if text is None:
        return
    if text.strip()[:1] not in ("[", ""):
        problems.append(f"{shown} is not a list of {kind}.")
        return
    number, line, last = 0, 1, 0
    try:
        for number, (at, row) in enumerate(_entries(text), start=1):
            line, last = line + text.count("\n", last, at), at
            yield f"{shown}, line {line}, entry {number}", row
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, entry {number + 1}"
        problems.append(f"{shown}, {where}: {exc.msg} (column {exc.colno}); the file is used up to there.")
    except (RecursionError, ValueError):
        problems.append(f"{shown}, entry {number + 1} {_NOT_OURS}.")


def _entries(text: str) -> Iterator[tuple[int, Any]]:
    """(offset, value) of each entry of the list that ``text`` is; raises at the place where it is none."""
    place = _after_space(text, 0)
    if text[place : place + 1] != "[":
        raise json.JSONDecodeError("Expecting a list", text, place)
    place = _after_space(text, place + 1)
    is_open = text[place : place + 1] != "]"
    while is_open:
        row, end = _DECODER.raw_decode(text, place)
        yield place, row
        place = _after_space(text, end)
        if is_open := text[place : place + 1] == ",":
            place = _after_space(text, place + 1)
    if text[place : place + 1] != "]":
        raise json.JSONDecodeError("Expecting ',' or ']'", text, place)
    if _after_space(text, place + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, place + 1)


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _read_text(path: Path, root: Path, problems: list[str]) -> str | None:
    shown = shown_path(path, root)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            problems.append(f"{shown} is larger than {MAX_FILE_BYTES // 1_000_000} MB.")
            return None
        text = path.read_text(encoding="utf-8-sig")
        return _HALF.sub(lambda found: found[1] or r"\ufffd", text) if r"\u" in text else text
    except UnicodeDecodeError:
        problems.append(f"{shown} is not UTF-8 text; save it as UTF-8.")
    except OSError as exc:
        problems.append(f"{shown} cannot be read: {exc.strerror}.")
    return None


def shown_path(path: Path, root: Path) -> str:
    """The path as a sentence names it: short inside the app's folder, whole outside."""
    return readable(path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path))


def readable(name: str) -> str:
    """A file's name as text that can be sent: bytes that are no UTF-8, which Linux allows, become �."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", name)


def called(row: Any) -> str:
    """The entry's name in brackets, if it has one."""
    name = cast("dict[str, Any]", row).get("name") if isinstance(row, dict) else None
    return f" ('{name[:60]}')" if isinstance(name, str) and name else ""


def sentence(exc: ValidationError) -> str:
    """What is wrong with the first wrong field, in words."""
    first = exc.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    kinds = {"missing": "is missing", "string_type": "is not text", "extra_forbidden": "is no known field"}
    said = kinds.get(first["type"])
    if not name:
        return "it is not a JSON object"
    return f"{name} {said}" if said else f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}"
