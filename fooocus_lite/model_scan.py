"""Looks through the folders of models and reads the heads of what is new, in a thread of its own.

The page never waits for it: the library shows what the list of the last time says, and sees when it changes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fooocus_lite.disk import write_atomic
from fooocus_lite.library_json import readable
from fooocus_lite.model_files import PICKLES
from fooocus_lite.model_headers import FileFacts, identify
from fooocus_lite.model_index import (
    Found,
    ModelIndex,
    dump_index,
    index_path,
    listed_elsewhere,
    read_index,
    scanned_folders,
)
from fooocus_lite.settings import Settings

log = logging.getLogger(__name__)
WEIGHTS = (".safetensors", ".gguf")
#: A pickle that is smaller is no checkpoint, but an upscaler, an embedding or a setting.
MIN_PICKLE_BYTES = 1_000_000_000
MAX_FILES, MAX_FOLDERS, MAX_DEPTH = 50_000, 10_000, 12
#: New heads after which the list is written, so that a first look shows something soon.
BATCH = 100
PAUSE_S = 2.0
_FAREWELL_S = 5.0
_SAMPLE = 65_536
_SKIPPED = {
    "__pycache__",
    "node_modules",
    "venv",
    "site-packages",
    "outputs",
    "output",
    "cache",
    "tmp",
    "blobs",
    "refs",
}
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
Stop = Callable[[], bool]
#: (path, stamp) → `_sample` of the file as it was then.
Samples = dict[tuple[str, tuple[int, int]], bytes]


class ModelScan:
    """A thread that looks when it is woken, and not oftener than every `PAUSE_S`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._samples: Samples = {}
        self._thread = threading.Thread(target=self._run, name="model-scan", daemon=True)

    def start(self) -> None:
        """Begin, with a first look."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """Somebody asks what there is: look again soon. Costs nothing."""
        self._woken.set()

    def close(self) -> None:
        """End, also in the middle of a look."""
        self._closed.set()
        self._woken.set()
        self._thread.join(_FAREWELL_S)  # a disk of a network that answers no more must not keep the program

    def _run(self) -> None:
        while not self._closed.is_set():
            self._woken.wait()
            self._woken.clear()
            if not self._closed.is_set():
                self._look()
            self._closed.wait(PAUSE_S)

    def _look(self) -> None:
        try:
            scan_models(self._settings, should_stop=self._closed.is_set, samples=self._samples)
        except Exception:  # the thread's border: one strange file must not hide all that come later
            log.exception("The folders of models could not be looked through")


def scan_models(settings: Settings, *, should_stop: Stop = lambda: False, samples: Samples | None = None) -> None:
    """Bring the list up to date; what it knows, and is as it was, is not opened.

    Args:
        samples: Also hash the files that look the same, which reads them whole. What was looked into is kept here for
            the next time.
    """
    known = read_index(settings)
    notes: list[str] = []
    stamps: dict[str, tuple[int, int]] = {}
    for path, stamp in _walk(scanned_folders(settings), set(map(_real, listed_elsewhere(settings))), notes):
        if should_stop():
            return
        stamps[path] = stamp
    found: dict[str, Found] = {}
    new = 0
    for path, stamp in stamps.items():
        if should_stop():
            return
        old = known.found.get(path)
        found[path] = old if old is not None and old.stamp == stamp else _look(path, stamp)
        new += found[path] is not old
        if new and new % BATCH == 0 and found[path] is not old:
            _write(settings, ModelIndex({**known.found, **found}, known.notes), known)
    latest = ModelIndex(found, tuple(notes))
    if latest != known:
        _write(settings, latest, known)
    for one in _doubles(found.values(), samples, should_stop) if samples is not None else ():
        found[one.path] = one
        _write(settings, ModelIndex(found, tuple(notes)), known)


def _look(path: str, stamp: tuple[int, int]) -> Found:
    if path.lower().endswith(PICKLES):
        return Found(path, stamp, FileFacts("other"), is_pickle=True)
    return Found(path, stamp, identify(path))


def _write(settings: Settings, index: ModelIndex, before: ModelIndex) -> None:
    if not index.found and not before.found and not index.notes and not before.notes:
        return  # nothing was ever found: leave no file behind
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        write_atomic(index_path(settings), dump_index(index.found.values(), index.notes), replace=True)
    except OSError as exc:  # models are found again next time; drawing does not need the list
        log.warning("The list of models cannot be kept: %s", exc)


def _walk(roots: Iterable[Path], left_out: set[str], notes: list[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """(path, stamp) of every weights file and diffusers folder; a folder that is reached twice counts once."""
    seen: set[str] = set(left_out)
    count = 0
    for root in roots:
        todo = [(os.path.abspath(root), 0)]
        while todo:
            folder, depth = todo.pop(0)
            real = _real(folder)
            if real in seen or len(seen) > MAX_FOLDERS:
                continue
            seen.add(real)
            files, folders, problem = _entries(folder)
            if problem and depth == 0 and os.path.lexists(folder):
                notes.append(f"The folder {readable(folder)} cannot be looked into ({problem}).")
            index = next((entry for entry in files if entry.name == "model_index.json"), None)
            for entry in [index] if index else files:
                stamp = _stamp(entry)
                if stamp is None or (index is None and not _is_weights(entry.name, stamp[0])):
                    continue
                if (real_file := _real(entry.path)) in seen:
                    continue  # two links to one file, as the hub's cache has them
                seen.add(real_file)
                if (count := count + 1) > MAX_FILES:
                    notes.append(f"Only the first {MAX_FILES:,} files in the folders of models are looked at.")
                    return
                yield folder if index else entry.path, stamp
            if index is None and depth < MAX_DEPTH:
                todo += [(entry.path, depth + 1) for entry in folders]


def _entries(folder: str) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]], str]:
    """(files, folders, why it cannot be looked into) by name; hidden ones and what no model lies in are left out."""
    files: list[os.DirEntry[str]] = []
    folders: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.name.lower() in _SKIPPED:
                    continue
                try:
                    (folders if entry.is_dir() else files).append(entry)
                except OSError:  # a link to itself
                    continue
    except OSError as exc:
        return files, folders, exc.strerror or str(exc)
    return files, folders, ""


def _is_weights(name: str, size: int) -> bool:
    lower = name.lower()
    if lower.endswith(WEIGHTS):
        return not _SHARD.search(lower)
    return lower.endswith(PICKLES) and size >= MIN_PICKLE_BYTES


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    try:
        status = entry.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _real(path: str | Path) -> str:
    return os.path.realpath(path)


def _doubles(found: Iterable[Found], samples: Samples, should_stop: Stop) -> Iterator[Found]:
    """Those of one size that begin, go on and end alike, with their hash: whole files are read for these alone."""
    by_size: Mapping[int, list[Found]] = defaultdict(list)
    for one in found:
        if one.facts.kind in ("checkpoint", "network", "lora") and not os.path.isdir(one.path):
            by_size[one.stamp[0]].append(one)
    for size, same in by_size.items():
        by_sample: Mapping[bytes, list[Found]] = defaultdict(list)
        for one in same if len(same) > 1 else ():
            if should_stop():
                return
            if (one.path, one.stamp) not in samples:
                samples[one.path, one.stamp] = _sample(one.path, size)
            by_sample[samples[one.path, one.stamp]].append(one)
        for alike in by_sample.values():
            for one in (one for one in alike if len(alike) > 1 and not one.sha256):
                sha256 = hash_file(one.path, should_stop)
                if should_stop():
                    return
                if sha256:
                    yield replace(one, sha256=sha256)


def _sample(path: str, size: int) -> bytes:
    """The beginning, the middle and the end; another value for each file that cannot be read."""
    try:
        with open(path, "rb") as file:
            parts: list[bytes] = []
            for place in (0, size // 2, max(size - _SAMPLE, 0)):
                file.seek(place)
                parts.append(file.read(_SAMPLE))
            return hashlib.sha256(b"".join(parts)).digest()
    except OSError:
        return path.encode(errors="surrogateescape")


def hash_file(path: str, should_stop: Stop = lambda: False) -> str:
    """SHA-256 in hexadecimal; empty if the file cannot be read or it is time to stop."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while not should_stop() and (block := file.read(2**20)):
                digest.update(block)
    except OSError:
        return ""
    return "" if should_stop() else digest.hexdigest()
