"""What was found in the folders of models: a list in the data folder, so that each head is read once.

`fooocus_lite.model_scan` writes it, the library reads it. A broken list counts as empty and is written anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from fooocus_lite.fooocus_folder import fooocus_in_place
from fooocus_lite.model_folders import SCANNED, fooocus_models
from fooocus_lite.model_headers import FileFacts
from fooocus_lite.settings import Settings

#: Another number is written when facts change their meaning; a list with an older one counts as empty.
VERSION = 1
MAX_INDEX_BYTES = 64_000_000
#: Further kinds of folders that are looked through in a Fooocus in use. Those of LoRAs and embeddings are listed by
#: their names.
_OF_FOOOCUS_IN_PLACE = ("path_controlnet", "path_upscale_models")


@dataclass(frozen=True)
class Found:
    """A file, or a folder in the layout of diffusers, and what it is.

    Attributes:
        path: Absolute, as it is reached; a link stays one.
        stamp: (size in bytes, time of change in ns) when it was looked at; of a folder, that of its index.
        facts: What its head said then.
        sha256: In hexadecimal; empty unless another file looked the same.
        is_pickle: Needs converting before it may be opened; nothing of it was read.
    """

    path: str
    stamp: tuple[int, int]
    facts: FileFacts
    sha256: str = ""
    is_pickle: bool = False


@dataclass(frozen=True)
class ModelIndex:
    """Everything found, in the order of the folders, and one sentence for each that cannot be looked into."""

    found: Mapping[str, Found]
    notes: tuple[str, ...] = ()


def index_path(settings: Settings) -> Path:
    """Where the list is kept."""
    return settings.data_dir / "model_index.json"


def read_index(settings: Settings) -> ModelIndex:
    """The list, or an empty one if it is not there, broken, or of another version."""
    path = index_path(settings)
    try:
        if os.path.getsize(path) > MAX_INDEX_BYTES:
            return ModelIndex({})
        data = cast("dict[str, Any]", json.loads(path.read_bytes()))
        if data["version"] != VERSION:
            return ModelIndex({})
        rows = [
            Found(**row | {"stamp": tuple(row["stamp"]), "facts": FileFacts(**row["facts"])}) for row in data["found"]
        ]
        return ModelIndex({str(row.path): row for row in rows}, tuple(str(note) for note in data["notes"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ModelIndex({})


def dump_index(found: Iterable[Found], notes: Iterable[str]) -> bytes:
    """The list as its file holds it."""
    data = {"version": VERSION, "notes": list(notes), "found": [asdict(row) for row in found]}
    # A name that is no UTF-8 stands there as the escapes that Python reads back.
    return json.dumps(data, separators=(",", ":")).encode("ascii")


def scanned_folders(settings: Settings) -> tuple[Path, ...]:
    """The folders that are looked through: the person's models, those of a Fooocus, the extra ones."""
    fooocus = fooocus_in_place(settings)
    of_fooocus = [folder for kind in SCANNED for folder in fooocus_models(settings, kind)]
    of_fooocus += [folder for kind in _OF_FOOOCUS_IN_PLACE for folder in fooocus.models[kind]] if fooocus else []
    return tuple(dict.fromkeys((settings.models_dir, *of_fooocus, *settings.extra_model_folders)))


def listed_elsewhere(settings: Settings) -> tuple[Path, ...]:
    """Folders below those that are not looked through: what ships, and what is listed by its names."""
    ours = [settings.root / "models" / name for name in ("starter", "expansion", "adapters", "families")]
    ours += [
        settings.models_dir / name for name in ("expansion", "families")
    ]  # whoever moves the folder copies them too
    return (*ours, settings.loras_dir, settings.embeddings_dir, *settings.adapters_dirs)
