"""`fetch_file`: one file from its source into its place, whole and verified, or a sentence that says why not."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from fooocus_lite import locks
from fooocus_lite.disk import disk_problem, is_disk_full
from fooocus_lite.download_state import size_text
from fooocus_lite.errors import BadValue, CorruptModel, DiskProblem, DownloadFailed
from fooocus_lite.http_streams import Broken, Halt, Patience, open_stream
from fooocus_lite.hub import Known, Source, check_allowed, check_online, find_source
from fooocus_lite.model_files import ModelFile
from fooocus_lite.model_headers import check_head
from fooocus_lite.part_file import PartFile, PartNote, lock_path, part_bytes
from fooocus_lite.settings import Settings
from fooocus_lite.weight_header import NotWeights

_TELL_S = 0.1
_CHANGES = 3  # so often may a file change while it is fetched
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PLACE_HINT = "Mend the entry of the catalog: its files must lie below the models folder."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileProgress:
    """One moment of fetching a file; ``note`` says what it waits for."""

    done_bytes: int
    total_bytes: int | None
    state: Literal["running", "checking"] = "running"
    note: str = ""


Observer = Callable[[FileProgress], None]


def fetch_file(file: ModelFile, settings: Settings, tries: Tries, known: Known | None = None) -> None:
    """Fetch ``file`` unless it is there; go on with what an earlier try left.

    Args:
        known: What the hub has already said of it and others.

    Raises:
        DownloadFailed, CorruptModel: the source does not have it, or not what was published.
        DiskProblem: it does not fit, or the folder cannot be written to. What arrived is kept.
        BadValue: its place or address is one that nobody should use.
        Halted: stopped by another thread; what arrived is kept.
    """
    place = check_place(Path(file.path), settings)
    check_online(settings)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(lock_path(place), _waiting(file, tries)):
            if not file.is_there():
                _fetch(find_source_patiently(file, settings, tries, known), place, tries)
    except OSError as exc:
        if is_disk_full(exc):
            raise _full(place, file.size_bytes) from exc
        raise disk_problem(exc, place.parent, "FOOOCUS_MODELS_DIR") from exc


def check_place(place: Path, settings: Settings) -> Path:
    """``place`` if it lies below a models folder. Links that a person made there are followed.

    Raises:
        BadValue: it does not.
    """
    if not is_below_models(place, settings) or not place.name.isprintable():
        raise BadValue(f"The file {place.name[:80]!r} would lie outside the models folder.", _PLACE_HINT, field="path")
    return Path(os.path.abspath(place))


def is_below_models(place: Path, settings: Settings) -> bool:
    """Whether it lies below a folder of models that is ours, links not followed."""
    folders = [Path(os.path.abspath(folder)) for folder in (settings.models_dir, settings.root / "models")]
    return any(folder in Path(os.path.abspath(place)).parents for folder in folders)


def _waiting(file: ModelFile, tries: Tries) -> Callable[[float], None]:
    def wait(seconds: float) -> None:
        arrived = part_bytes(Path(file.path))
        tries.observe(FileProgress(arrived, file.size_bytes, note="Another program is downloading the same file."))
        tries.halt.wait(seconds)

    return wait


class Tries:
    """Who may stop the fetching of a file, how much patience is left for its source, and who is told."""

    def __init__(self, halt: Halt, patience: Patience, observe: Observer) -> None:
        self.halt, self.patience, self.observe = halt, patience, observe
        self._failed = 0

    def worked(self) -> None:
        """Something arrived: all patience is back."""
        self._failed = 0

    def wait(self, exc: Broken, done_bytes: int, total_bytes: int | None) -> None:
        """Sleep before the next try.

        Raises:
            DownloadFailed: that was the last one, or the source asks for more patience than there is.
            Halted: stopped meanwhile.
        """
        self._failed += 1
        patience = self.patience
        seconds = min(patience.first_wait_s * 2 ** (self._failed - 1), patience.longest_wait_s)
        if exc.wait_s is not None:
            if exc.wait_s > patience.longest_order_s:
                minutes = exc.wait_s / 60
                hint = "Try again then; what has arrived is kept."
                raise DownloadFailed(f"{exc} It asks to be left alone for {minutes:,.0f} minutes.", hint) from exc
            seconds = max(exc.wait_s, seconds)
        if self._failed >= patience.tries:
            hint = "Check the connection, then try again; what has arrived is kept."
            raise DownloadFailed(f"{exc} It was tried {patience.tries} times in a row.", hint) from exc
        logger.info("%s trying again in %.0f s", exc, seconds)
        self.observe(FileProgress(done_bytes, total_bytes, note=f"{exc} Trying again in {max(seconds, 1):.0f} s."))
        self.halt.wait(seconds)


def _fetch(source: Source, place: Path, tries: Tries) -> None:
    part = PartFile(place, git_size_bytes=source.size_bytes if source.git_sha1 else None)
    try:
        _take_up(part, source, tries)
        _check_room(place, source.size_bytes, part.size_bytes)
        _receive_all(part, source, tries)
        if not _is_right(part, source, tries.observe) and part.was_resumed:
            note = "What was left of an earlier try is damaged: starting over."
            logger.info("%s: %s", place.name, note)
            tries.observe(FileProgress(0, source.size_bytes, note=note))
            part.start_over()
            _receive_all(part, source, tries)
        if not _is_right(part, source, tries.observe):
            part.start_over()
            hint = "Try again later; if it stays so, the catalog's hash or the source is wrong."
            raise CorruptModel(f"What {source.host} sends as {place.name} is not what was published.", hint)
        _check_kind(part, source)
        part.install()
    finally:
        part.close()
    if not source.size_bytes:
        tries.observe(FileProgress(place.stat().st_size, place.stat().st_size))


def find_source_patiently(file: ModelFile, settings: Settings, tries: Tries, known: Known | None = None) -> Source:
    """`fooocus_lite.hub.find_source`, as often as patience allows."""
    while True:
        try:
            return find_source(file, settings, tries.halt, tries.patience, known)
        except Broken as exc:
            tries.wait(exc, part_bytes(Path(file.path)), file.size_bytes)


def _take_up(part: PartFile, source: Source, tries: Tries) -> None:
    """Go on with what is there, if it is of this source; else start over."""
    note, is_longer = part.note, source.size_bytes is not None and part.size_bytes > source.size_bytes
    can_go_on = note is not None and (note.validator or source.sha256 or source.git_sha1)
    if note is None or not can_go_on or note.address != source.address or is_longer:
        if part.size_bytes:
            part.start_over()
        return

    def told() -> None:
        tries.halt.check()
        tries.observe(FileProgress(part.size_bytes, source.size_bytes or note.total_bytes, "checking"))

    part.hash_what_is_there(told)


def _check_room(place: Path, size_bytes: int | None, arrived_bytes: int) -> None:
    free = shutil.disk_usage(place.parent).free
    if size_bytes is not None and free < size_bytes - arrived_bytes:
        raise no_room(place.parent, size_bytes - arrived_bytes, free)


def no_room(folder: Path, needed_bytes: int, free_bytes: int) -> DiskProblem:
    """How much is missing, and where."""
    return DiskProblem(
        f"{size_text(needed_bytes)} are to come, and the disk that holds {folder} has {size_text(free_bytes)} left.",
        f"Free {size_text(needed_bytes - free_bytes)} there, or choose another disk with FOOOCUS_MODELS_DIR.",
    )


def _full(place: Path, size_bytes: int | None) -> DiskProblem:
    arrived = part_bytes(place)
    of_all = "" if size_bytes is None else f" of {size_text(size_bytes)}"
    more = "some space" if size_bytes is None else size_text(max(size_bytes - arrived, 1))
    return DiskProblem(
        f"The disk that holds {place.parent} is full; {size_text(arrived)}{of_all} have arrived and are kept.",
        f"Free {more} there, then go on.",
    )


class _Changed(Exception):
    """What the source has now is another file than the one that the part is of."""


def _receive_all(part: PartFile, source: Source, tries: Tries) -> None:
    """Receive until the part is as long as the file; connections may break meanwhile."""
    changes = 0
    while True:
        before = part.size_bytes
        try:
            _receive(part, source, tries)
            return
        except Broken as exc:
            if part.size_bytes > before:
                tries.worked()
            total = part.note.total_bytes if part.note else None
            tries.wait(exc, part.size_bytes, source.size_bytes or total)
        except _Changed as exc:
            changes += 1
            if changes > _CHANGES:
                hint = "Try again later."
                raise DownloadFailed(f"{source.host} sends another file every time it is asked.", hint) from exc
            part.start_over()
            note = "The file changed at its source: starting over."
            logger.info("%s: %s", part.place.name, note)
            tries.observe(FileProgress(0, source.size_bytes, note=note))


def _receive(part: PartFile, source: Source, tries: Tries) -> None:
    """One connection's worth.

    Raises:
        Broken: it ended too early.
        _Changed: the source has another file now.
    """
    if part.size_bytes and part.size_bytes == source.size_bytes:
        return
    headers = dict(source.headers)
    if part.size_bytes:
        headers["Range"] = f"bytes={part.size_bytes}-"
        if part.note and part.note.validator:
            headers["If-Range"] = part.note.validator
    request = httpx.Request("GET", source.address, headers=headers)
    with open_stream(request, tries.halt, tries.patience, allowed=(401, 403, 404, 416)) as response:
        check_allowed(response, source.repo)
        if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{part.size_bytes}":
            return  # an earlier try was ended between its last byte and the end
        total = _total_bytes(response, part)
        _check_answer(response, source, total)
        _check_room(part.place, total, part.size_bytes)
        part.was_resumed |= response.status_code == 206
        part.remember(PartNote(source.address, _validator(response), total))
        _copy(response, part, source.size_bytes or total, tries)
    if total is not None and part.size_bytes < total:
        raise Broken(f"The connection to {source.host} broke.")


def _total_bytes(response: httpx.Response, part: PartFile) -> int | None:
    """Length of the whole file as this answer says it.

    Raises:
        _Changed: the answer does not go on where the part ends.
    """
    if response.status_code == 200:
        if part.size_bytes:
            raise _Changed
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or found is None or int(found[1]) != part.size_bytes:
        raise _Changed
    if part.note and part.note.validator and _validator(response) not in ("", part.note.validator):
        raise _Changed  # a server that does not look at If-Range
    total = None if found[3] == "*" else int(found[3])
    if part.note and part.note.total_bytes is not None and total not in (None, part.note.total_bytes):
        raise _Changed
    return total


def _validator(response: httpx.Response) -> str:
    """What If-Range can name (RFC 9110, section 13.1.5): a strong ETag, else the date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _check_answer(response: httpx.Response, source: Source, total: int | None) -> None:
    """Raises `DownloadFailed` for what cannot be the file, before it is received."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        hint = "Open the address in a browser: it may want a login, or the network one."
        raise DownloadFailed(f"{response.url.host} sends a web page instead of the file.", hint)
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise DownloadFailed(f"{response.url.host} sends the file packed, which was not asked for.", "Try again later.")
    if total is not None and source.size_bytes is not None and total != source.size_bytes:
        problem = f"{source.host} has {total:,} bytes of this file; {source.size_bytes:,} were published."
        raise DownloadFailed(problem, "Try again later; if it stays so, the catalog or the source is wrong.")


def _copy(response: httpx.Response, part: PartFile, total: int | None, tries: Tries) -> None:
    """The body to the disk, each piece as it comes."""
    told = time.monotonic()
    for chunk in response.iter_raw():
        part.write(chunk)
        tries.halt.check()
        if time.monotonic() - told >= _TELL_S:
            told = time.monotonic()
            tries.observe(FileProgress(part.size_bytes, total))
    tries.halt.check()  # a connection that we ended looks like one that came to its end
    tries.observe(FileProgress(part.size_bytes, total))


def _is_right(part: PartFile, source: Source, observe: Observer) -> bool:
    """Whether all that has arrived has the length and the hash that were published."""
    observe(FileProgress(part.size_bytes, source.size_bytes or part.size_bytes, "checking"))
    digests = part.digests()
    if source.size_bytes is not None and part.size_bytes != source.size_bytes:
        return False
    if source.sha256:
        return digests["sha256"] == source.sha256.lower()
    return not source.git_sha1 or digests["git_sha1"] == source.git_sha1


def _check_kind(part: PartFile, source: Source) -> None:
    """Where nobody has published a hash: whether the file is what its name says, as far as its head tells."""
    if source.sha256 or source.git_sha1:
        return
    try:
        check_head(part.path, part.place.name)
    except NotWeights as exc:
        part.start_over()
        problem = f"What {source.host} sends as {part.place.name} cannot be used: {exc}."
        raise CorruptModel(problem, "Open the address in a browser and see what it says.") from exc
