"""The part of a catalog entry that says what is fetched: files, their places on this disk, the licence.

A catalog may come from anybody, so a file's place is checked before anything can be written to it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from fooocus_lite.errors import BadValue
from fooocus_lite.model_files import ModelFile
from fooocus_lite.offers import Kind, Offer
from fooocus_lite.recipe import shown
from fooocus_lite.settings import Settings

#: Endings of files that hold weights; a model whose path ends so is that one file.
WEIGHT_SUFFIXES = (".safetensors", ".gguf")
#: What Windows cannot have in a name, or takes for a device.
_NO_NAME = re.compile(r"[<>:\"|?*\\\x00-\x1f]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_MAX_FILES = 200


class _FileRow(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    repo: str = Field(default="", pattern=r"^(\w[\w.-]*/\w[\w.-]*)?$", max_length=200)
    revision: str = Field(default="main", pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", max_length=200)
    path: str = Field(default="", max_length=400)
    url: str = Field(default="", pattern=r"^(https?://[^\s/]+/\S*)?$", max_length=2000)
    to: str = Field(default="", max_length=400)
    size: int | None = Field(default=None, ge=1)
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


class OfferRow(BaseModel):
    """What entries of every kind have in common."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: str = Field(min_length=1, max_length=200)
    label: str | None = None
    description: str = ""
    kind: Kind = "checkpoint"
    path: str = Field(min_length=1)
    files: list[_FileRow] = Field(default=[], max_length=_MAX_FILES)
    licence: str = Field(default="", max_length=200)
    licence_url: str = Field(default="", pattern=r"^(https?://\S+)?$", max_length=2000)
    gated: bool = False
    memory_gb: Annotated[float, Field(gt=0, le=10_000, strict=False)] | None = None

    @property
    def memory_bytes(self) -> int | None:
        """``memory_gb`` in bytes."""
        return None if self.memory_gb is None else round(self.memory_gb * 10**9)


def make_offer(row: OfferRow, settings: Settings) -> Offer:
    """What the entry offers.

    Raises:
        BadValue: a file says not where it is, or its place is none below the models folder.
    """
    return Offer(
        name=row.name,
        label=row.label or row.name,
        kind=row.kind,
        description=row.description,
        files=_model_files(row, settings),
        licence=row.licence,
        licence_url=row.licence_url,
        is_gated=row.gated,
        memory_bytes=row.memory_bytes,
    )


def model_path(text: str, settings: Settings) -> Path:
    """Where something of a catalog is, or would be: the person's models folder first, then the one that ships."""
    places = [settings.models_dir / text, settings.root / "models" / text]
    return next((place for place in places if place.exists()), places[0])


def _model_files(row: OfferRow, settings: Settings) -> tuple[ModelFile, ...]:
    if not row.files:
        return ()
    _check_place(row.path)
    home = model_path(row.path, settings)
    is_one_file = row.path.lower().endswith(WEIGHT_SUFFIXES)
    if is_one_file and (len(row.files) > 1 or row.files[0].to):
        raise BadValue(f"{row.path} is one file, and has no places for others.", "Name one file, and leave its to out.")
    files = tuple(_model_file(file, home, is_one_file=is_one_file) for file in row.files)
    if len({file.path.casefold() for file in files}) < len(files):  # on many disks A and a are one
        raise BadValue("Two of its files would lie in the same place.", "Say where each goes in its to.")
    return files


def _model_file(row: _FileRow, home: Path, *, is_one_file: bool) -> ModelFile:
    if bool(row.url) == bool(row.repo) or bool(row.repo) != bool(row.path):
        raise BadValue("A file has repo and path, or url.", "Give it one of the two.")
    if row.repo:
        _check_place(row.path)
    place = row.to or row.path or unquote(urlsplit(row.url).path.rpartition("/")[2])
    if not is_one_file:
        _check_place(place)
    return ModelFile(
        path=str(home if is_one_file else home / place),
        repo=row.repo,
        revision=row.revision,
        path_in_repo=row.path,
        url=row.url,
        size_bytes=row.size,
        sha256=row.sha256,
    )


def _check_place(place: str) -> None:
    """Let pass what stays below the folder that it is seen from, on every system.

    Raises:
        BadValue: it may lead elsewhere.
    """
    parts = place.split("/")
    if not place or any(part in ("", ".", "..") or _NO_NAME.search(part) for part in parts):
        raise BadValue(
            f"{shown(place)} is no place below the models folder.",
            "Write names of folders and a file with / between them.",
        )
