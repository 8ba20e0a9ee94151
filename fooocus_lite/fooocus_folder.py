"""A person's Fooocus folder: where its parts lie, and what its configuration says. Only read, never written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from fooocus_lite.library_json import Source, read_object, readable
from fooocus_lite.settings import Settings

#: Kind of model → where Fooocus keeps it, below its own folder; ``config.txt`` may say otherwise.
MODEL_FOLDERS = {
    "path_checkpoints": "models/checkpoints",
    "path_loras": "models/loras",
    "path_embeddings": "models/embeddings",
    "path_vae": "models/vae",
    "path_upscale_models": "models/upscale_models",
    "path_controlnet": "models/controlnet",
    "path_inpaint": "models/inpaint",
}
_LOOKED_INTO = ("path_loras", "path_embeddings", "path_checkpoints", "path_vae")
#: Folders of one kind that are looked at; a list in ``config.txt`` may name any number.
MAX_FOLDERS = 20
_MAX_SHOWN = 80
#: A folder is Fooocus's when one of these is in it.
SIGNS = ("sdxl_styles", "presets", "wildcards", "config.txt", "fooocus_version.py")


@dataclass(frozen=True)
class FooocusFolder:
    """Where the parts lie. They need not be there.

    Attributes:
        config: What ``config.txt`` says.
        startup: The configuration that presets fall back to: ``presets/default.json`` below ``config.txt``.
        models: Key of `MODEL_FOLDERS` → its folders.
        problems: One sentence for each file that cannot be read.
    """

    root: Path
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    startup: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problems: tuple[str, ...] = ()

    @property
    def styles(self) -> Path:
        """The folder of style files."""
        return self.root / "sdxl_styles"

    @property
    def presets(self) -> Path:
        """The folder of presets."""
        return self.root / "presets"

    @property
    def languages(self) -> Path:
        """The folder of translations."""
        return self.root / "language"

    @property
    def wildcards(self) -> Path:
        """The folder of word lists."""
        return self._folders("path_wildcards", "wildcards")[0]

    @property
    def outputs(self) -> Path:
        """The folder of pictures, with a ``log.html`` for each day."""
        return self._folders("path_outputs", "outputs")[0]

    @property
    def models(self) -> dict[str, tuple[Path, ...]]:
        """The folders of each kind of model."""
        return {key: self._folders(key, usual) for key, usual in MODEL_FOLDERS.items()}

    @property
    def moved(self) -> Iterator[str]:
        """A sentence for each list of folders in ``config.txt`` of which not every one is looked into."""
        used = {"path_wildcards": (self.wildcards,), "path_outputs": (self.outputs,)}
        for key, folders in (used | {key: self.models[key] for key in _LOOKED_INTO}).items():
            said = self._said(key)
            if len(said) > MAX_FOLDERS:
                yield f"config.txt names {len(said):,} folders as {key}; only the first {MAX_FOLDERS} are looked at."
            lost = [(one, why) for one in said[:MAX_FOLDERS] if (why := self._why_not(one, folders))]
            if lost:
                shown = readable(repr(lost[0][0]))
                shown = shown if len(shown) <= _MAX_SHOWN else shown[: _MAX_SHOWN - 1] + "…"
                more = f", and {len(lost) - 1} more like it" if len(lost) > 1 else ""
                names = ", ".join(readable(str(folder)) for folder in folders[:3])
                yield f"config.txt says {key} is {shown}, which {lost[0][1]}{more}; {names} is used."

    def _folders(self, key: str, usual: str) -> tuple[Path, ...]:
        """Those that the configuration names; as in Fooocus the usual one when they are not there.

        A folder that was moved, or comes from another computer, still names where it once lay.
        """
        named = (self._place(one) for one in self._said(key)[:MAX_FOLDERS] if not self._why_not(one))
        return tuple(dict.fromkeys(named)) or (self.root / usual,)

    def _said(self, key: str) -> list[Any]:
        """What the configuration names, one folder or a list of them; nobody checked that it is text."""
        said = self.config.get(key)
        return [one for one in (cast("list[Any]", said) if isinstance(said, list) else [said]) if one not in (None, "")]

    def _place(self, text: str) -> Path:
        return Path(os.path.abspath(self.root / text))

    def _why_not(self, said: Any, used: tuple[Path, ...] = ()) -> str:
        """Why a folder is not looked into, as the end of a sentence; empty for one that is, or is in ``used``."""
        if not isinstance(said, str) or not said.strip() or "\0" in said:
            return "is no folder"
        place = self._place(said)
        if place in used:
            return ""
        if not os.path.isdir(place):
            return "is not there"
        # Such as a whole disk: looking for models in it would never end.
        real = os.path.realpath(place)
        is_around = os.path.dirname(real) == real or Path(os.path.realpath(self.root)).is_relative_to(real)
        return "is a whole disk, or Fooocus itself lies in it" if is_around else ""


def find_root(path: Path) -> Path | None:
    """The folder that holds Fooocus: ``path``, the one of that name in it, or the one that holds the file ``path``."""
    for folder in (path, path / "Fooocus", path.parent if os.path.isfile(path) else path):
        # os.path says no, where Path would raise, of what may not be looked at.
        if os.path.isdir(folder) and any(os.path.exists(folder / sign) for sign in SIGNS):
            return folder
    return None


def fooocus_root(settings: Settings) -> Path | None:
    """The Fooocus folder that is used in place, if there is one."""
    return None if settings.legacy_folder is None else find_root(settings.legacy_folder)


def fooocus_in_place(settings: Settings) -> FooocusFolder | None:
    """Where the parts of the Fooocus folder that is used in place lie, if there is one."""
    root = fooocus_root(settings)
    return None if root is None else FooocusFolder(root, _object(root / "config.txt", []))


def fooocus_wildcards(settings: Settings) -> Path | None:
    """The folder of word lists in the Fooocus folder that is used in place, if there is one."""
    in_place = fooocus_in_place(settings)
    return None if in_place is None else in_place.wildcards


def in_reading_order(shipped: Path, fooocus: Path | None, own: Path) -> Iterator[tuple[Path, Source]]:
    """The folders with whose they are; what a later one holds takes the place of what an earlier one holds."""
    yield shipped, "shipped"
    if fooocus is not None:
        yield fooocus, "fooocus"
    yield own, "own"


def read_fooocus(root: Path) -> FooocusFolder:
    """What lies in a Fooocus folder. A broken ``config.txt`` is a problem; presets are checked where they are read."""
    problems: list[str] = []
    config = _object(root / "config.txt", problems)
    startup = {**_object(root / "presets" / "default.json", []), **config}
    folder = FooocusFolder(root, config, startup)
    return replace(folder, problems=(*problems, *folder.moved))


def _object(path: Path, problems: list[str]) -> Mapping[str, Any]:
    return read_object(path, path.parent.parent, problems) if path.exists() else {}
