"""A Fooocus outputs folder in our history: its pictures stay where they lie and appear in the gallery.

Settings come out of each picture, or out of its day's ``log.html``, because Fooocus writes them into pictures
only on request. The log is searched as text and its tables are taken apart: no markup in it is followed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote

from fooocus_lite.errors import FooocusError
from fooocus_lite.library import Library
from fooocus_lite.library_json import readable
from fooocus_lite.metadata import read_text
from fooocus_lite.picture_file import PictureFile, read_picture_file
from fooocus_lite.recipe import MAX_SIDE, Recipe
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import PastPicture
from fooocus_lite.untrusted import Refused

MAX_LOG_BYTES = 200_000_000
#: Of one picture's table; Fooocus writes some 7,000.
MAX_PART_CHARS = 100_000
AT_ONCE = 500
_NAME = re.compile(r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)_\d{4}\.(?:png|jpe?g|webp)")
#: A picture's part of the log begins with its file name as an id; the Copy button, where there
#: is one, holds its settings, URL-encoded.
_LOG_PART = re.compile(r'<div id="([\w.-]{10,80}?)_(png|jpe?g|webp)"')
_URL_ENCODED = re.compile(r"[\w%.~/-]*", re.ASCII)


@dataclass(frozen=True)
class Imported:
    """What came of it.

    Attributes:
        added: Pictures that are new in the history.
        known: Pictures that were there already.
        bare: Those of ``added`` that say nothing about their settings.
        problems: One sentence for each file that cannot be read.
    """

    added: int
    known: int
    bare: int
    problems: tuple[str, ...]


def import_outputs(folder: Path, queue: TaskQueue, library: Library | None = None) -> Imported:
    """Every picture that Fooocus saved in ``folder`` as a finished task; running it again adds only new ones.

    Args:
        folder: Holds a folder for each day, and perhaps some into which a person moved pictures.
        library: Where names of models and styles are looked up.

    Raises:
        DiskProblem: the history cannot be written.
    """
    added = known = bare = 0
    problems: list[str] = []
    folder = Path(os.path.abspath(folder))
    places = [folder, *sorted(path for path in _listed(folder, problems) if os.path.isdir(path))]
    odd = [place for place in places if readable(str(place)) != str(place)]
    if odd:
        problems.append(f"{readable(str(odd[0]))} is no name in UTF-8, so its pictures are left out; rename it.")
    for place in (place for place in places if place not in odd):
        paths = sorted(path for path in _listed(place, problems) if _NAME.fullmatch(path.name))
        new = queue.not_in_history([str(path) for path in paths])
        known += len(paths) - len(new)
        past: list[PastPicture] = []
        for day, names in groupby(new, lambda name: Path(name).name[:10]):
            log = _read_log(folder / day / "log.html", problems)  # which keeps what a moved picture was made with
            past += [one for path in map(Path, names) if (one := _past_picture(path, log, library, problems))]
        bare += sum(one.recipe == Recipe(width=one.width or None, height=one.height or None) for one in past)
        for start in range(0, len(past), AT_ONCE):
            added += queue.add_history(past[start : start + AT_ONCE])
    return Imported(added, known, bare, tuple(problems))


def _listed(folder: Path, problems: list[str]) -> Sequence[Path]:
    try:
        return list(folder.iterdir())
    except OSError as exc:
        problems.append(f"{folder} cannot be read ({exc.strerror or exc}).")
        return []


def _past_picture(path: Path, log: dict[str, str], library: Library | None, problems: list[str]) -> PastPicture | None:
    try:
        with path.open("rb") as file:
            picture = read_picture_file(file)
        at = datetime.strptime(path.name[:19], "%Y-%m-%d_%H-%M-%S").timestamp()
    except (OSError, ValueError, OverflowError) as exc:
        reason = str(exc) if isinstance(exc, Refused) else "cannot be read"
        problems.append(f"{path.name} {reason}; it is left out.")
        return None
    if picture is None:
        problems.append(f"{path.name} is no picture; it is left out.")
        return None
    recipe = _recipe_of(path, picture, log, library)
    return PastPicture(str(path), recipe, at, picture.width, picture.height)


def _recipe_of(path: Path, picture: PictureFile, log: dict[str, str], library: Library | None) -> Recipe:
    """The picture's own settings, its log's, or its size alone."""
    for text in (picture.texts.get("parameters"), picture.texts.get("UserComment"), log.get(path.name)):
        try:
            if text:
                return read_text(text, library).recipe
        except FooocusError:
            continue
    fits = 0 < picture.width <= MAX_SIDE and 0 < picture.height <= MAX_SIDE
    return Recipe(width=picture.width, height=picture.height) if fits else Recipe()


def _read_log(path: Path, problems: list[str]) -> dict[str, str]:
    """File name → its settings as JSON text."""
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            problems.append(f"{path} is too long to be read.")
            return {}
        return dict(_log_parts(path.read_text("utf-8", "replace")))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        problems.append(f"{path} cannot be read ({exc.strerror or exc}).")
        return {}


def _log_parts(text: str) -> Iterator[tuple[str, str]]:
    marks = list(_LOG_PART.finditer(text))
    for number, mark in enumerate(marks):
        end = marks[number + 1].start() if number + 1 < len(marks) else len(text)
        start = text.find("%7B", mark.end(), end)
        name = f"{mark.group(1)}.{mark.group(2)}"
        if start >= 0:
            encoded = _URL_ENCODED.match(text, start, end)
            yield name, unquote(encoded.group() if encoded else "")
        else:
            yield name, json.dumps(_Table.read(text[mark.start() : end]))


class _Table(HTMLParser):
    """Labels and values of a part without the button, as older Fooocus wrote them: nothing in them is escaped."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[str, str] = {}
        self._kind = self._label = ""
        self._text: list[str] = []

    @classmethod
    def read(cls, html: str) -> dict[str, str]:
        """Label → value of every row."""
        table = cls()
        with suppress(AssertionError):  # how the parser says that it has no idea what "<![x[" declares
            table.feed(html[:MAX_PART_CHARS])
        return table.pairs

    def set_cdata_mode(self, elem: str, **_: object) -> None:
        """Not at all: a prompt with ``<script>`` in it ends where its cell ends."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A cell begins; in a value, what looks like a tag, such as ``<lora:ink:0.5>``, is the person's."""
        if tag == "td":
            self._kind, self._text = dict(attrs).get("class") or "", []
        elif self._kind == "value":
            self._text.append("\n" if tag == "br" else self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        """A cell ends; ``</br>`` stands for a line's end."""
        if tag != "td":
            self._text.append("\n" if tag == "br" else f"</{tag}>")
            return
        text = "\n".join(line.strip() for line in "".join(self._text).split("\n")).strip()
        if self._kind == "label":
            self._label = text
        elif self._kind == "value" and self._label and text:
            self.pairs.setdefault(self._label, text)
        self._kind, self._text = "", []

    def handle_data(self, data: str) -> None:
        """Words of a cell."""
        self._text.append(data)
