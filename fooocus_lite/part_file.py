"""`PartFile`: what has arrived of a file, beside the place where it belongs, with what it takes to go on later.

``model.safetensors.part`` holds the bytes, ``model.safetensors.part.json`` what the source said of the file they are
of. A program that is killed leaves both, and the next one goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from fooocus_lite import locks
from fooocus_lite.disk import write_atomic

BLOCK_BYTES = 1 << 20
_QUEUE_BLOCKS = 16


@dataclass(frozen=True)
class PartNote:
    """What the source said of the file that the part is of.

    Attributes:
        address: As the catalog or the hub gives it; where it led to changes with every request.
        validator: Strong ETag or Last-Modified of what was sent, for If-Range; empty where there was none.
        total_bytes: Length of the whole file; ``None`` where the source did not say.
    """

    address: str
    validator: str = ""
    total_bytes: int | None = None


class PartFile:
    """The part of one file; open until `close`.

    Args:
        place: Where the whole file belongs. Its folder is there.
        git_size_bytes: Length of the whole file where git's own hash is wanted, which begins with it.

    Raises:
        OSError: the disk said no.
    """

    def __init__(self, place: Path, *, git_size_bytes: int | None = None) -> None:
        self.place = place
        self.path = part_path(place)
        self._git_size_bytes = git_size_bytes
        self._note_path = note_path(place)
        self._file = self.path.open("ab", buffering=0)
        self.size_bytes = self._file.seek(0, os.SEEK_END)
        self.note = _read_note(self._note_path) if self.size_bytes else None
        self.was_resumed = False
        self._hasher = _Hasher(self._hashes())

    def _hashes(self) -> dict[str, Hash]:
        hashes: dict[str, Hash] = {"sha256": hashlib.sha256()}
        if self._git_size_bytes is not None:  # git hash-object: a header, then the content
            hashes["git_sha1"] = hashlib.sha1(b"blob %d\0" % self._git_size_bytes, usedforsecurity=False)
        return hashes

    def start_over(self) -> None:
        """Forget what has arrived."""
        self._file.truncate(0)
        self._file.seek(0)
        self.size_bytes, self.note, self.was_resumed = 0, None, False
        self._note_path.unlink(missing_ok=True)
        self._hasher.end()
        self._hasher = _Hasher(self._hashes())

    def remember(self, note: PartNote) -> None:
        """Write down what the part is of, before its first byte."""
        if note != self.note:
            write_atomic(self._note_path, json.dumps(asdict(note)).encode(), replace=True)
            self.note = note

    def hash_what_is_there(self, observe: Callable[[], None]) -> None:
        """Read the part that an earlier program left, once; ``observe`` is called after each block and may raise."""
        self.was_resumed = self.size_bytes > 0
        with self.path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                self._hasher.add(block)
                observe()

    def write(self, data: bytes) -> None:
        """Add to the part. Its hash is computed by another thread meanwhile."""
        rest = memoryview(data)
        while rest:  # a disk that becomes full takes a piece first
            written = self._file.write(rest)
            self.size_bytes += written
            rest = rest[written:]
        self._hasher.add(data)

    def digests(self) -> dict[str, str]:
        """``sha256``, and ``git_sha1`` where it was wanted, of all that has arrived."""
        return self._hasher.result()

    def install(self) -> None:
        """Put the whole file into its place, in one step and safe from a power cut."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, self.place)
        self._note_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the part as it is."""
        self._hasher.end()
        self._file.close()


def part_path(place: Path) -> Path:
    """Where the part of the file at ``place`` lies."""
    return place.with_name(f"{place.name}.part")


def note_path(place: Path) -> Path:
    """Where it is written what the part is of."""
    return place.with_name(f"{place.name}.part.json")


def part_bytes(place: Path) -> int:
    """How much of the file at ``place`` has arrived; one look."""
    try:
        return part_path(place).stat().st_size
    except OSError:
        return 0


def lock_path(place: Path) -> Path:
    """Held by the program that fetches the file at ``place``; see `fooocus_lite.locks.held`."""
    return place.with_name(f"{place.name}.part.lock")


class InUse(Exception):
    """Another program is fetching the file."""


def remove_part(place: Path) -> None:
    """Forget what has arrived of the file at ``place``; what cannot be removed stays.

    Raises:
        InUse: a program is fetching it, which goes on.
    """
    if not place.parent.is_dir():
        return
    with suppress(OSError), locks.held(lock_path(place), _give_up):
        for path in (part_path(place), note_path(place)):
            path.unlink(missing_ok=True)


def _give_up(_seconds: float) -> None:
    raise InUse


def _read_note(path: Path) -> PartNote | None:
    """``None`` for a note that is not there or not ours."""
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        total = said["total_bytes"]
        return PartNote(str(said["address"]), str(said["validator"]), None if total is None else int(total))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Hash(Protocol):
    """Of hashlib."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Hasher:
    """Hashes in a thread of its own: hashlib lets go of Python meanwhile, so the network is read at the same time."""

    def __init__(self, hashes: dict[str, Hash]) -> None:
        self._hashes = hashes
        self._pieces: list[bytes] = []  # of the network; threads that pass each of them on would do little else
        self._size = 0
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_QUEUE_BLOCKS)
        self._thread: threading.Thread | None = None

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= BLOCK_BYTES:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
            self._thread.start()
        self._blocks.put(b"".join(self._pieces))
        self._pieces, self._size = [], 0

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            for hashing in self._hashes.values():
                hashing.update(block)

    def end(self) -> None:
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def result(self) -> dict[str, str]:
        if self._pieces:
            self._pass_on()
        self.end()
        return {name: hashing.hexdigest() for name, hashing in self._hashes.items()}
