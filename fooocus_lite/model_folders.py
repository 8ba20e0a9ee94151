"""The folders of a person's Fooocus in which models, LoRAs and embeddings are found without being copied.

One used in place is asked each time; one that was imported left a list in the data folder, which
`fooocus_lite.fooocus_import` writes. A broken list is a problem, and counts as empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fooocus_lite.fooocus_folder import MAX_FOLDERS, fooocus_in_place
from fooocus_lite.library_json import read_json, readable, sentence, shown_path
from fooocus_lite.settings import Settings

NamedKind = Literal["loras", "embeddings"]  # known by the names of their files
ScannedKind = Literal["checkpoints", "vae"]  # known by what is in them
Kind = NamedKind | ScannedKind
SCANNED: tuple[ScannedKind, ...] = get_args(ScannedKind)
KINDS: tuple[Kind, ...] = (*get_args(NamedKind), *SCANNED)


class ModelFolders(BaseModel):
    """The file ``model_folders.json`` in the data folder: absolute folders of what was imported."""

    model_config = ConfigDict(frozen=True, strict=True)  # what a newer version added is no error

    loras: list[str] = Field(default=[], max_length=MAX_FOLDERS)
    embeddings: list[str] = Field(default=[], max_length=MAX_FOLDERS)
    checkpoints: list[str] = Field(default=[], max_length=MAX_FOLDERS)
    vae: list[str] = Field(default=[], max_length=MAX_FOLDERS)

    def of(self, kind: Kind) -> Iterator[tuple[Path, bool]]:
        """(folder, whether it is there now) of that kind."""
        folders: dict[Kind, list[str]] = {
            "loras": self.loras, "embeddings": self.embeddings, "checkpoints": self.checkpoints, "vae": self.vae,
        }  # fmt: skip
        for text in folders[kind]:
            yield Path(text), os.path.isabs(text) and os.path.isdir(text)


def model_folders_path(settings: Settings) -> Path:
    """Where the list of imported folders is kept."""
    return settings.data_dir / "model_folders.json"


def read_model_folders(settings: Settings, problems: list[str]) -> ModelFolders:
    """The imported folders, or none and a problem when the list is broken."""
    path = model_folders_path(settings)
    data = read_json(path, settings.root, problems) if path.exists() else {}
    try:
        return ModelFolders.model_validate({} if data is None else data)
    except ValidationError as exc:
        said = f"{shown_path(path, settings.root)}: {sentence(exc)}"
        problems.append(f"{said}; run import-fooocus again, and the list is written anew.")
        return ModelFolders()


def fooocus_models(settings: Settings, kind: Kind) -> tuple[Path, ...]:
    """The folders of that kind: of the Fooocus that is used in place, then those imported that are there."""
    in_place = fooocus_in_place(settings)
    folders = () if in_place is None else in_place.models[f"path_{kind}"]
    imported = (folder for folder, is_there in read_model_folders(settings, []).of(kind) if is_there)
    return tuple(dict.fromkeys((*folders, *imported)))


def gone_folders(folders: ModelFolders) -> Iterator[str]:
    """One sentence when imported folders are not there any more."""
    gone = list(dict.fromkeys(folder for kind in KINDS for folder, is_there in folders.of(kind) if not is_there))
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        yield (
            f"What was imported from Fooocus is not there any more: the folder {readable(str(gone[0]))}{more}. "
            "Bring it back, or run import-fooocus again."
        )
