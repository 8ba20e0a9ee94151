"""Writing files so that they are whole or not there, and saying in words why a disk said no."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from fooocus_lite.errors import DiskProblem

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_disk_full(exc: OSError) -> bool:
    """Whether the system says that there is no room, or no more for us."""
    return exc.errno in _FULL


def nearest_folder(folder: Path) -> Path | None:
    """``folder``, or the nearest one around it that is there; ``None`` where not even its drive is."""
    return next((place for place in (folder, *folder.parents) if os.path.isdir(place)), None)


def free_bytes(folder: Path) -> int | None:
    """What is left on a folder's disk, also of one that is yet to be made; ``None`` where nobody can say."""
    return disk_bytes(folder)[0]


def disk_bytes(folder: Path) -> tuple[int | None, int | None]:
    """(what is left, what it holds in all) of a folder's disk; as `free_bytes`."""
    place = nearest_folder(folder)
    try:
        usage = None if place is None else shutil.disk_usage(place)
    except OSError:
        usage = None
    return (None, None) if usage is None else (usage.free, usage.total)


def disk_problem(exc: OSError, folder: Path, setting: str) -> DiskProblem:
    """What the system said about ``folder``, with what to do; ``setting`` is the variable that moves it."""
    if is_disk_full(exc):
        return DiskProblem(
            f"The disk that holds {folder} is full.", f"Free some space, or choose another with {setting}."
        )
    return DiskProblem(
        f"The folder {folder} cannot be written to ({exc.strerror or exc}).",
        f"Make it writable, or choose another with {setting}.",
        code="not_writable",
    )


def write_atomic(path: Path, data: bytes, *, replace: bool = False, is_secret: bool = False) -> None:
    """``data`` at ``path``, flushed to the disk; a crash leaves a ``.part`` file or nothing, never half a file.

    Args:
        replace: Write anew what is there.
        is_secret: Nobody else on this machine may read it, at no moment.

    Raises:
        FileExistsError: ``path`` is taken; it is left alone, unless ``replace`` allows to write anew.
        OSError: the disk said no; the part file is removed.
    """
    if path.exists() and not replace:
        raise FileExistsError(errno.EEXIST, "already there", str(path))
    part = path.with_name(path.name + ".part")
    try:
        if is_secret:  # one that a crash left may be open to others
            part.unlink(missing_ok=True)
        with open(part, "wb", opener=_open_secret if is_secret else None) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _open_secret(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o600)
