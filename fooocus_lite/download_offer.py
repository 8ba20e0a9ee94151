"""`fetch_offer`: all files of an offer, one after the other, told as one download."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from fooocus_lite.disk import nearest_folder
from fooocus_lite.download_file import FileProgress, Tries, check_place, fetch_file, no_room
from fooocus_lite.download_state import Download, DownloadState
from fooocus_lite.http_streams import Broken, Halt, Patience
from fooocus_lite.hub import HubFile, ask_paths, check_online, check_repo_path
from fooocus_lite.model_files import ModelFile
from fooocus_lite.offers import Offer
from fooocus_lite.part_file import part_bytes
from fooocus_lite.settings import Settings

_WINDOW_S = 5.0  # of this long is the speed that people are told


def fetch_offer(
    offer: Offer, settings: Settings, halt: Halt, observe: Callable[[Download], None], patience: Patience | None = None
) -> Download:
    """Fetch what is missing of ``offer``; how it ended.

    Args:
        observe: Told of every step, some times a second.

    Raises: as `fooocus_lite.download_file.fetch_file`; the files that are whole by then stay.
    """
    tally = Tally(offer)
    patience = patience or Patience()
    if offer.missing:
        check_online(settings)
        known = ask_hub(offer.missing, settings, Tries(halt, patience, lambda at: observe(tally.moment(note=at.note))))
        for (repo, revision, path), row in known.items():
            tally.learn(repo, revision, path, row.size_bytes)
        _check_room(tally, settings)
        for file in offer.missing:
            tries = Tries(halt, patience, lambda at, file=file: observe(tally.at(file, at)))
            fetch_file(file, settings, tries, known)
            tally.finish(file)
    return tally.moment("finished")


def ask_hub(files: Iterable[ModelFile], settings: Settings, tries: Tries) -> dict[tuple[str, str, str], HubFile]:
    """What the hub says of the files that the catalog does not say enough of: one question a repository.

    Raises: as `fooocus_lite.hub.ask_paths`, without Broken.
    """
    wanted: dict[tuple[str, str], list[str]] = {}
    for file in files:
        if file.repo and not (file.sha256 and file.size_bytes is not None):
            check_repo_path(file.repo, file.path_in_repo)
            wanted.setdefault((file.repo, file.revision), []).append(file.path_in_repo)
    known: dict[tuple[str, str, str], HubFile] = {}
    while wanted:
        (repo, revision), paths = next(iter(wanted.items()))
        try:
            rows = ask_paths(repo, revision, paths, settings, tries.halt, tries.patience)
        except Broken as exc:
            tries.wait(exc, 0, None)
        else:
            known |= {(repo, revision, path): row for path, row in rows.items()}
            del wanted[repo, revision]
    return known


def _check_room(tally: Tally, settings: Settings) -> None:
    """Raises `DiskProblem` if what is to come does not fit, before the first byte of it comes."""
    needed: dict[int, tuple[Path, int]] = {}
    for file, size in tally.sizes.items():
        if size is None or file.is_there():
            continue
        place = check_place(Path(file.path), settings)
        folder = nearest_folder(place.parent)
        if folder is None:  # not even its drive is there, which is told when it is to be made
            continue
        first, so_far = needed.get(folder.stat().st_dev, (folder, 0))
        needed[folder.stat().st_dev] = first, so_far + max(size - part_bytes(place), 0)
    for folder, size in needed.values():
        free = shutil.disk_usage(folder).free
        if free < size:
            raise no_room(folder, size, free)


class Tally:
    """The files of one offer as one download, with its speed."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.sizes: dict[ModelFile, int | None] = {file: _size(file) for file in offer.files}
        self._done = {file: arrived_bytes([file]) for file in offer.files}
        self._seen: deque[tuple[float, int]] = deque()

    def learn(self, repo: str, revision: str, path: str, size_bytes: int) -> None:
        """The hub has said how long a file is."""
        for file, size in self.sizes.items():
            if size is None and (file.repo, file.revision, file.path_in_repo) == (repo, revision, path):
                self.sizes[file] = size_bytes

    def at(self, file: ModelFile, progress: FileProgress) -> Download:
        """The download while ``file`` is fetched."""
        if progress.total_bytes is not None:
            self.sizes[file] = progress.total_bytes
        came = progress.done_bytes - self._done[file]
        self._done[file] = progress.done_bytes
        if progress.state == "checking" or came < 0:
            self._seen.clear()
        else:
            self._seen.append((time.monotonic(), self.done_bytes))
        return self.moment(progress.state, progress.note)

    def finish(self, file: ModelFile) -> None:
        """``file`` is in its place."""
        self.sizes[file] = self._done[file] = _size(file) or self._done[file]

    @property
    def done_bytes(self) -> int:
        """Of all files."""
        return sum(self._done.values())

    @property
    def total_bytes(self) -> int | None:
        """Of all files; ``None`` until each length is known."""
        sizes = list(self.sizes.values())
        return None if None in sizes else sum(size or 0 for size in sizes)

    def moment(self, state: DownloadState = "running", note: str = "") -> Download:
        """The download as it is now; ``state`` is running, checking or finished."""
        speed = self._speed() if state == "running" else None
        total, done = self.total_bytes, self.done_bytes
        seconds_left = max(total - done, 0) / speed if speed and total is not None else None
        return Download(self.offer.name, self.offer.label, state, done, total, speed, seconds_left, problem=note)

    def _speed(self) -> float | None:
        now = time.monotonic()
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        if len(self._seen) < 2:
            return None
        (since, first), (_, last) = self._seen[0], self._seen[-1]
        return (last - first) / max(now - since, 1e-3) or None


def _size(file: ModelFile) -> int | None:
    if file.size_bytes is None and file.is_there():
        return Path(file.path).stat().st_size
    return file.size_bytes


def arrived_bytes(files: Iterable[ModelFile]) -> int:
    """How much of ``files`` is on this disk, parts included; a look per file."""
    return sum((_size(file) or 0) if file.is_there() else part_bytes(Path(file.path)) for file in files)
