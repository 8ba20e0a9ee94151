"""A person's own styles, presets and favourites: saved, changed and deleted in the data folder.

Files of the project and of a Fooocus folder are only read: changing one of their styles saves an
own one, which takes its place; deleting that brings theirs back.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from fooocus_lite.choices import MAX_FAVOURITES, Choices, a1111_text, choices_path, default_preset, read_choices
from fooocus_lite.disk import disk_problem, write_atomic
from fooocus_lite.errors import BadFile, BadValue, FooocusError, NotFound, UnknownName
from fooocus_lite.fooocus_presets import Need
from fooocus_lite.library import Library
from fooocus_lite.library_json import read_json
from fooocus_lite.plan import make_plan
from fooocus_lite.preset_files import Preset, need_row
from fooocus_lite.prompts import normal_name
from fooocus_lite.recipe import MAX_PROMPT_CHARS, Recipe
from fooocus_lite.settings import Settings
from fooocus_lite.style_files import OWN_STYLES_FILE, RANDOM_STYLE, Style

MAX_NAME_CHARS = 60
_OWNERS = {"shipped": "it ships with Fooocus Lite", "fooocus": "it stands in your Fooocus folder, which is only read"}
#: Names that Windows keeps for devices.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


class OwnFiles:
    """Writes a person's own files, one change at a time.

    Args:
        library: Gives what is there now; asked again after every change.
    """

    def __init__(self, settings: Settings, library: Callable[[], Library]) -> None:
        self._settings = settings
        self._library = library
        self._lock = threading.Lock()

    def add_style(self, style: Style) -> Style:
        """Save a new style; returns it as it now stands in the library.

        Raises:
            BadValue: a field cannot be so.
            FooocusError: the name is taken (``conflict``).
            DiskProblem: the data folder cannot be written to.
        """
        style = _checked_style(style)
        with self._lock:
            self._refuse_taken(self._library().known_style(style.name), "style")
            self._write_style(self._styles_file, None, style)
            return self._library().find_style(style.name)

    def change_style(self, name: str, style: Style) -> Style:
        """Put ``style`` in the place of the style called ``name``; it may have a new name.

        Raises:
            NotFound: there is no such style.
            BadValue, FooocusError, DiskProblem: as for `add_style`.
        """
        style = _checked_style(style)
        with self._lock:
            old, before = self._style(name), self._library()
            if normal_name(style.name) != normal_name(old.name):
                self._refuse_taken(self._library().known_style(style.name), "style")
            is_own = old.source == "own" and old.path is not None
            self._write_style(
                old.path if is_own and old.path else self._styles_file, old.name if is_own else None, style
            )
            library = self._library()
            if library.known_style(old.name) is None:  # it has a new name, and stays a favourite under that
                favourites = [style.name if name == old.name else name for name in before.favourites]
                if style.name in favourites:
                    self._write_choices(favourites=favourites)
            return self._library().find_style(style.name)

    def delete_style(self, name: str) -> None:
        """Delete an own style; one that it stood in for is there again.

        Raises:
            NotFound: there is no such style.
            FooocusError: it is not the person's own (``conflict``).
        """
        with self._lock:
            old = self._style(name)
            if old.source != "own" or old.path is None:
                raise _not_own("style", old.name, old.source)
            self._write_style(old.path, old.name, None)

    def add_preset(self, label: str, description: str, recipe: Recipe) -> Preset:
        """Save a new preset, whose name is made of its label. Errors as for `add_style`."""
        name = _file_name(label)
        with self._lock:
            taken = [one for one in self._library().presets.values() if normal_name(one.name) == normal_name(name)]
            self._refuse_taken(taken[0] if taken else None, "preset")
            return self._write_preset(name, label, description, recipe)

    def change_preset(self, name: str, label: str, description: str, recipe: Recipe) -> Preset:
        """Put another recipe, label and description in the place of a preset's; its name stays.

        Raises:
            NotFound: there is no such preset.
            BadValue, FooocusError, DiskProblem: as for `add_style`.
        """
        with self._lock:
            return self._write_preset(self._preset(name).name, label, description, recipe)

    def delete_preset(self, name: str) -> None:
        """Delete an own preset; errors as for `delete_style`."""
        with self._lock:
            old = self._preset(name)
            if old.source != "own" or old.path is None:
                raise _not_own("preset", old.name, old.source)
            try:
                old.path.unlink(missing_ok=True)
            except OSError as exc:
                raise disk_problem(exc, old.path.parent, "FOOOCUS_DATA_DIR") from exc
            saved = read_choices(self._settings, []).preset
            is_gone = normal_name(old.name) not in map(normal_name, self._library().presets)
            if is_gone and saved is not None and normal_name(saved) == normal_name(old.name):
                self._write_choices(preset=None)

    def set_favourites(self, names: Sequence[str]) -> tuple[str, ...]:
        """Make these the favourite styles, in this order; returns them as the library writes them.

        Raises:
            UnknownName: there is no such style.
            BadValue: they are too many.
        """
        if len(names) > MAX_FAVOURITES:
            raise BadValue(f"{len(names):,} favourites are too many.", f"At most {MAX_FAVOURITES:,}.", field="styles")
        with self._lock:
            library = self._library()
            found = tuple(dict.fromkeys(library.find_style(name).name for name in names))
            self._write_choices(favourites=list(found))
            return found

    def set_default_preset(self, name: str | None) -> tuple[str, str]:
        """Make this preset fill what is left open, from now on; ``None`` leaves it to the settings again.

        Returns:
            (preset in force, a sentence if that is another one, because a setting says so).

        Raises:
            UnknownName: there is no such preset.
        """
        with self._lock:
            chosen = None if name is None else self._library().find_preset(name).name
            self._write_choices(preset=chosen)
            in_force, source = default_preset(self._settings, read_choices(self._settings, []))
            if chosen is None or normal_name(in_force) == normal_name(chosen):
                return in_force, ""
            return in_force, f"{chosen} is saved, but {source} says preset = {in_force}, which is stronger."

    def set_a1111_text(self, wanted: bool | None) -> tuple[bool, str]:
        """Whether pictures also hold the text that other programs read; returns as `set_default_preset`."""
        with self._lock:
            self._write_choices(a1111_text=wanted)
            in_force, source = a1111_text(self._settings, read_choices(self._settings, []))
            if wanted is None or in_force == wanted:
                return in_force, ""
            said = "true" if in_force else "false"
            return in_force, f"It is saved, but {source} says a1111_text = {said}, which is stronger."

    @property
    def _styles_file(self) -> Path:
        return self._settings.styles_dirs[-1] / OWN_STYLES_FILE

    def _style(self, name: str) -> Style:
        style = self._library().known_style(name)
        if style is None or style.kind != "text":
            raise NotFound(f"There is no style {name[:60]!r}.", "`GET /v1/menu` lists them.")
        return style

    def _preset(self, name: str) -> Preset:
        try:
            return self._library().find_preset(name)
        except UnknownName as exc:
            raise NotFound(exc.problem, exc.hint) from exc

    def _refuse_taken(self, taken: Style | Preset | None, kind: str) -> None:
        if taken is None:
            return
        said = "you have one of that name" if taken.source == "own" else _OWNERS[taken.source]
        hint = f"Choose another name, or change that {kind}."
        raise FooocusError(f"The name {taken.name[:60]!r} is taken: {said}.", hint, code="conflict", field="name")

    def _write_style(self, path: Path, old_name: str | None, style: Style | None) -> None:
        """Replace the entry of that name in a file, append one, or drop one; other entries stay as they are."""
        problems: list[str] = []
        rows = read_json(path, self._settings.root, problems) if path.exists() else []
        if not isinstance(rows, list):
            said = problems[0] if problems else f"{path.name} is not a list of styles."
            raise BadFile(said, "Mend the file or move it away; then save again.")
        new: list[Any] = []
        for row in cast("list[Any]", rows):
            if old_name is None or not _is_called(row, old_name):
                new.append(row)
            elif style is not None:
                new.append({**row, **_style_row(style)})
                style = None
        new += [] if style is None else [_style_row(style)]
        self._write(path, new)

    def _write_preset(self, name: str, label: str, description: str, recipe: Recipe) -> Preset:
        library = self._library()
        if recipe.preset is not None:
            raise BadValue("A preset cannot name another preset.", "Leave preset out.", field="preset")
        own_fields = recipe.model_copy(update={"seed": recipe.seed or 0, "count": 1})
        make_plan(own_fields, library, 0)
        old = library.presets.get(name)
        path = old.path if old is not None and old.source == "own" else None
        if path is None:
            path = self._settings.presets_dirs[-1] / f"{name}.json"
            _refuse_unread(path)
        body = {"label": _line(label, "label", 100), "description": _line(description, "description", 500, least=0)}
        said = recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        needs = [need_row(need) for need in old.needs if _is_needed(need, old, recipe)] if old is not None else []
        self._write(path, {**body, "recipe": said, **({"needs": needs} if needs else {})})
        return self._library().presets[name]

    def _write_choices(self, **update: Any) -> None:
        path, problems = choices_path(self._settings), list[str]()
        choices = read_choices(self._settings, problems)
        if problems:  # what a person may still mend is not thrown away
            path.replace(path.with_name(path.name + ".damaged"))
        values = Choices.model_validate({**choices.model_dump(), **update})
        self._write(path, values.model_dump(exclude_none=True))

    def _write(self, path: Path, data: Any) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
            write_atomic(path, text.encode("utf-8"), replace=True)
        except OSError as exc:
            raise disk_problem(exc, path.parent, "FOOOCUS_DATA_DIR") from exc


def _refuse_unread(path: Path) -> None:
    """A file that is there and yet no preset in the library is broken, and what a person may mend is not replaced."""
    if path.exists():
        problem = f"{path} is there already, and cannot be read as a preset."
        raise FooocusError(problem, "Mend it or move it away, or choose another name.", code="conflict", field="label")


def _is_needed(need: Need, old: Preset, recipe: Recipe) -> bool:
    """Files that a preset needs stay needed when it is changed; its model only while it is the model."""
    return need.kind != "model" or recipe.model in (old.recipe.model, need.name)


def _checked_style(style: Style) -> Style:
    name = _line(style.name, "name", MAX_NAME_CHARS)
    # A name of dots alone would be a step up the path where a browser asks for it.
    if normal_name(name) == normal_name(RANDOM_STYLE.name) or not normal_name(name).strip(". "):
        raise BadValue(f"name cannot be {name!r}.", "Choose one that says what the style looks like.", field="name")
    for field in ("prompt", "negative_prompt"):
        if len(getattr(style, field)) > MAX_PROMPT_CHARS:
            raise BadValue(f"{field} is too long.", f"Use at most {MAX_PROMPT_CHARS:,} characters.", field=field)
    if not style.prompt.strip() and not style.negative_prompt.strip():
        raise BadValue("The style says nothing.", "Write a prompt, with {prompt} where the words go.", field="prompt")
    return Style(name, _clean(style.prompt).strip(), _clean(style.negative_prompt).strip())


def _line(text: str, field: str, most: int, *, least: int = 1) -> str:
    """One line of text within limits.

    Raises:
        BadValue: it is too short or too long.
    """
    line = " ".join(_clean(text).split())
    if not least <= len(line) <= most:
        raise BadValue(f"{field} has {len(line):,} characters.", f"Allowed is {least} to {most}.", field=field)
    return line


def _clean(text: str) -> str:
    """Without control characters and half characters, which no file can hold."""
    kept = "".join(char for char in text if char in "\n\t" or ord(char) >= 32)
    return kept.encode("utf-8", "ignore").decode("utf-8")


def _file_name(label: str) -> str:
    """A file name, without its ending, that every system can hold: ``Wide & calm`` → ``wide-calm``."""
    name = re.sub(r"[^\w]+", "-", _line(label, "label", 100).casefold()).strip("-_")[:MAX_NAME_CHARS].strip("-_")
    if not name:
        raise BadValue(f"label cannot be {label[:40]!r}.", "Use at least one letter or digit.", field="label")
    return f"{name}-preset" if name in _DEVICES else name


def _style_row(style: Style) -> dict[str, str]:
    return {"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative_prompt}


def _is_called(row: Any, name: str) -> bool:
    said = cast("dict[str, Any]", row).get("name") if isinstance(row, dict) else None
    return isinstance(said, str) and normal_name(said) == normal_name(name)


def _not_own(kind: str, name: str, source: str) -> FooocusError:
    problem = f"The {kind} {name} cannot be deleted: {_OWNERS.get(source, 'it is not yours')}."
    return FooocusError(problem, "Make one of your own under another name, or leave it unused.", code="conflict")
