"""Looking after files that were fetched: reading them all through against their published hashes, and removing them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fooocus_lite.disk import disk_problem
from fooocus_lite.download_file import Tries
from fooocus_lite.download_offer import ask_hub
from fooocus_lite.errors import DownloadFailed, FooocusError
from fooocus_lite.http_streams import Halt, Patience
from fooocus_lite.hub import HubFile
from fooocus_lite.model_files import ModelFile
from fooocus_lite.model_headers import check_head
from fooocus_lite.model_scan import hash_file
from fooocus_lite.offers import Offer
from fooocus_lite.part_file import InUse, part_path, remove_part
from fooocus_lite.settings import Settings
from fooocus_lite.weight_header import NotWeights

DAMAGED = ".damaged"


@dataclass(frozen=True)
class FileCheck:
    """What was found out about a file; ``why`` ends the sentence that begins with its name."""

    file: ModelFile
    state: Literal["whole", "damaged", "missing", "unknown"]
    why: str = ""


def check_offer(offer: Offer, settings: Settings) -> list[FileCheck]:
    """Every file of ``offer``, read through; the hub is asked for hashes that the catalog does not say."""
    known: Mapping[tuple[str, str, str], HubFile] = {}
    if not settings.offline:
        with suppress(DownloadFailed):  # then those files are unknown
            tries = Tries(Halt(), Patience(tries=2), lambda _: None)
            known = ask_hub([file for file in offer.files if Path(file.path).exists()], settings, tries)
    return [_check(file, known.get((file.repo, file.revision, file.path_in_repo))) for file in offer.files]


def _check(file: ModelFile, said: HubFile | None) -> FileCheck:
    try:
        size = Path(file.path).stat().st_size
    except OSError:
        return FileCheck(file, "missing", "is not there")
    wanted = file.size_bytes if file.size_bytes is not None or said is None else said.size_bytes
    if wanted is not None and size != wanted:
        return FileCheck(file, "damaged", f"has {size:,} bytes instead of {wanted:,}")
    sha256 = file.sha256 or (said.sha256 if said else "")
    if sha256:
        is_right = hash_file(file.path) == sha256
    elif said is not None:
        is_right = git_sha1(Path(file.path)) == said.git_sha1
    else:
        return _check_head(file)
    return FileCheck(file, "whole") if is_right else FileCheck(file, "damaged", "is not what was published")


def _check_head(file: ModelFile) -> FileCheck:
    try:
        check_head(file.path, file.path)
    except NotWeights as exc:
        return FileCheck(file, "damaged", f"cannot be used: {exc}")
    return FileCheck(file, "unknown", "has no published hash to compare it with")


def git_sha1(path: Path) -> str:
    """What git calls the content of the file."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def set_aside(file: ModelFile) -> Path:
    """Move a damaged file out of its place, so that it is fetched again; where it is now.

    Raises:
        DiskProblem: the folder cannot be written to.
    """
    path = Path(file.path)
    aside = path.with_name(path.name + DAMAGED)
    try:
        os.replace(path, aside)
    except OSError as exc:
        raise disk_problem(exc, path.parent, "FOOOCUS_MODELS_DIR") from exc
    return aside


@dataclass(frozen=True)
class Removal:
    """What can go, and what stays for which reason."""

    paths: tuple[Path, ...]
    size_bytes: int
    kept: tuple[tuple[Path, str], ...]


def plan_removal(offer: Offer, others: Iterable[Offer], settings: Settings) -> Removal:
    """What removing ``offer`` would take away: what lies in the models folder and belongs to nothing else."""
    shared = {file.path: other.name for other in others if other.name != offer.name for file in other.files}
    going: list[Path] = []
    kept: list[tuple[Path, str]] = []
    for file in offer.files:
        path = Path(file.path)
        if not path.is_file() and not path.is_symlink() and not part_path(path).exists():
            continue
        if file.path in shared:
            kept.append((path, f"{shared[file.path]} needs it too"))
        elif not _is_inside(path.parent, settings.models_dir):
            kept.append((path, f"it lies outside {settings.models_dir}"))
        else:
            going.append(path)
    size = sum(one.lstat().st_size for path in going for one in (path, part_path(path)) if os.path.lexists(one))
    return Removal(tuple(going), size, tuple(kept))


def remove(removal: Removal, settings: Settings) -> None:
    """Remove what was planned, and the folders that are empty then.

    Raises:
        DiskProblem: the folder cannot be written to.
        FooocusError: a program is downloading one of them.
    """
    for path in removal.paths:
        try:
            remove_part(path)
            path.unlink(missing_ok=True)
        except InUse as exc:
            problem = f"{path.name} is being downloaded by another program."
            raise FooocusError(problem, "Cancel the download there first.", code="conflict") from exc
        except OSError as exc:
            raise disk_problem(exc, path.parent, "FOOOCUS_MODELS_DIR") from exc
        for folder in path.parents:
            if folder == settings.models_dir or settings.models_dir not in folder.parents:
                break
            try:
                folder.rmdir()
            except OSError:  # something else is in it
                break


def _is_inside(folder: Path, root: Path) -> bool:
    """Whether ``folder``, with all links followed, lies in ``root``."""
    try:
        return folder.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False
