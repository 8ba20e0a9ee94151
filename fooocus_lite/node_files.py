"""Where the files of a plan lie on another machine than the server's, and how they come there.

A plan names files by their absolute paths on the server. Here each is looked for below this machine's own models
folder, under the same name there; then at the very same path, as on storage that machines share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, cast

from fooocus_lite.download_offer import fetch_offer
from fooocus_lite.download_state import Download
from fooocus_lite.errors import MissingModel
from fooocus_lite.http_streams import Halt
from fooocus_lite.model_files import ModelFile
from fooocus_lite.offers import Offer
from fooocus_lite.settings import Settings

#: Fields of a plan, and of a wish for words, that say where something lies.
_PATHS = ("path", "configs", "parts", "embeddings", "model", "words")
#: Those among them without which no picture can be drawn.
_NEEDED = ("path", "configs", "parts", "embeddings")


@dataclass(frozen=True)
class ServerFolders:
    """The server's folders of models, as it writes them; ``is_windows`` says how to read that."""

    folders: tuple[str, ...]
    is_windows: bool

    def relative(self, path: str) -> tuple[str, ...] | None:
        """The parts of a path below one of the folders; ``None`` for any other."""
        kind: type[PurePath] = PureWindowsPath if self.is_windows else PurePosixPath
        for folder in self.folders:
            if kind(folder) in kind(path).parents:
                return kind(path).relative_to(kind(folder)).parts
        return None


def server_folders(settings: Settings) -> ServerFolders:
    """Those of this process, which is the server."""
    return ServerFolders((str(settings.models_dir), str(settings.root / "models")), os.name == "nt")


def offers_to_tell(offers: Sequence[Offer]) -> list[dict[str, Any]]:
    """What another machine must know of each offer to fetch it, JSON-ready."""
    return [
        {"name": one.name, "label": one.label, "kind": one.kind, "files": [asdict(file) for file in one.files]}
        for one in offers
    ]


class NodeFiles:
    """The files of one machine that is not the server.

    Args:
        settings: Of this machine.
        server: Where the server keeps models.
        machine: What people call this one.
    """

    def __init__(self, settings: Settings, server: ServerFolders, machine: str) -> None:
        self._settings, self._server, self._machine = settings, server, machine
        self._own = (settings.models_dir, settings.root / "models")
        self._is_same_system = server.is_windows == (os.name == "nt")
        self._offers: tuple[Offer, ...] = ()  # with the server's paths

    def learn(self, rows: Sequence[dict[str, Any]]) -> None:
        """What the server's catalogs offer now, as `offers_to_tell` says it."""
        self._offers = tuple(
            Offer(
                name=row["name"],
                label=row["label"],
                kind=row["kind"],
                description="",
                files=tuple(ModelFile(**file) for file in row["files"]),
            )
            for row in rows
        )

    def here(self, path: str) -> str:
        """Where the server's ``path`` lies on this machine, or would."""
        below = self._server.relative(path)
        if below is None or ".." in below:
            return path
        places = [folder.joinpath(*below) for folder in self._own]
        same = [Path(path)] if self._is_same_system else []
        return str(next((place for place in (*places, *same) if place.exists()), places[0]))

    def localized(self, value: Any, *, is_path: bool = False) -> Any:
        """What a message says, with this machine's paths; everything else is as it was."""
        if isinstance(value, dict):
            said = cast("dict[str, Any]", value)
            return {key: self.localized(part, is_path=key in _PATHS) for key, part in said.items()}
        if isinstance(value, list):
            return [self.localized(part, is_path=is_path) for part in cast("list[Any]", value)]
        return self.here(value) if is_path and isinstance(value, str) else value

    def needed_offers(self, value: Any) -> list[Offer]:
        """What must be fetched before a message with plans, localized, can be obeyed.

        Raises:
            MissingModel: something is not here, and nobody offers it.
        """
        models, paths = _wanted(value)
        wanted = [
            offer
            for offer in map(self._localized_offer, self._offers)
            if (offer.name in models or any(file.path in paths for file in offer.files)) and offer.missing
        ]
        to_come = {Path(file.path) for offer in wanted for file in offer.missing}
        to_come |= {folder for path in to_come for folder in path.parents}
        for path in paths:
            if not Path(path).exists() and Path(path) not in to_come:
                raise MissingModel(
                    f"{Path(path).name} is not on the machine {self._machine}.",
                    f"Put it into {self._settings.models_dir} there, or set FOOOCUS_MODELS_DIR there to a folder that"
                    " all machines share; then press Try again.",
                )
        return wanted

    def fetch(self, offers: Sequence[Offer], halt: Halt, observe: Callable[[Download], None]) -> None:
        """Fetch what is missing, one after the other. Raises: as `fetch_offer`."""
        for offer in offers:
            fetch_offer(offer, self._settings, halt, observe)

    def _localized_offer(self, offer: Offer) -> Offer:
        return replace(offer, files=tuple(replace(file, path=self.here(file.path)) for file in offer.files))


def _wanted(value: Any) -> tuple[set[str], set[str]]:
    """(names of models, absolute paths) that plans anywhere in a message need."""
    models: set[str] = set()
    paths: set[str] = set()
    for part in _dicts(value):
        if "family" in part and "name" in part:
            models.add(str(part["name"]))
        for key in _NEEDED:
            paths |= {text for text in _texts(part.get(key)) if Path(text).is_absolute()}
    return models, paths


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        said = cast("dict[str, Any]", value)
        yield said
        yield from (inner for part in said.values() for inner in _dicts(part))
    elif isinstance(value, list):
        yield from (inner for part in cast("list[Any]", value) for inner in _dicts(part))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (inner for part in cast("list[Any]", value) for inner in _texts(part))
