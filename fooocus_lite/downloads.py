"""`Downloads`: what was asked for, fetched one after the other by one thread, over restarts."""

from __future__ import annotations

import difflib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fooocus_lite.disk import write_atomic
from fooocus_lite.download_offer import arrived_bytes, fetch_offer
from fooocus_lite.download_state import Download, DownloadState
from fooocus_lite.errors import DownloadFailed, FooocusError, NotFound, UnknownName
from fooocus_lite.http_streams import Halt, Halted, Patience
from fooocus_lite.library import Library
from fooocus_lite.offers import Offer
from fooocus_lite.part_file import InUse, remove_part
from fooocus_lite.settings import Settings

FILE_NAME = "downloads.json"
_TELL_S = 0.25
_FAREWELL_S = 2.0
_KEPT: tuple[DownloadState, ...] = ("waiting", "running", "checking", "paused", "failed")

logger = logging.getLogger(__name__)


def find_offer(library: Library, name: str) -> Offer:
    """What is offered under ``name``.

    Raises:
        UnknownName: nothing is; names the nearest.
    """
    offers = library.downloadable
    if name in offers:
        return offers[name]
    if (entry := library.models.get(name)) and entry.available:
        raise UnknownName(f"{entry.label} is here, but not from a download.", f"It lies at {entry.path}.", field="name")
    near = difflib.get_close_matches(name[:80], offers, n=1)
    hint = f"Did you mean {near[0]}?" if near else "`fooocus-lite models list` shows what there is."
    raise UnknownName(f"There is nothing to download called {name[:60]!r}.", hint, field="name")


class Downloads:
    """What is being fetched, was, and shall be; safe from every thread.

    Args:
        settings: Says where files belong, where the hub is, and whether the network may be used.
        library: The newest library; asked again for every download.
        on_change: Called without a lock held, from any thread: at every change of a state, and some times a second
            while bytes arrive.
        patience: How long a source is waited for.
    """

    def __init__(
        self,
        settings: Settings,
        library: Callable[[], Library],
        *,
        on_change: Callable[[], None] = lambda: None,
        patience: Patience | None = None,
    ) -> None:
        self._settings, self._library, self._on_change = settings, library, on_change
        self._patience = patience or Patience()
        self._path = settings.data_dir / FILE_NAME
        self._changed = threading.Condition()
        self._all: dict[str, Download] = {}
        self._running: tuple[str, Halt] | None = None
        self._unwanted: set[str] = set()  # cancelled while it ran: its thread removes what is left of it
        self._is_closed = self._is_read = False
        self._told = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Go on with what an earlier start was asked for."""
        with self._changed:
            if self._thread is not None:
                return
            self._read_once()
            self._thread = threading.Thread(target=self._work, name="downloads", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop at once, also in the middle of a read that waits; what was asked for is kept."""
        with self._changed:
            self._is_closed = True
            self._halt_running()
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_FAREWELL_S)  # one that looks a name up cannot be woken; it ends by itself

    def find(self, name: str) -> Download | None:
        """The download called so, if it was asked for."""
        with self._changed:
            return self._all.get(name)

    def all(self) -> list[Download]:
        """All that were asked for, in order; finished ones of this start, too."""
        with self._changed:
            return list(self._all.values())

    def request(self, name: str) -> Download:
        """Fetch the offer called so; asking again changes nothing while it is on its way, and else tries again.

        Raises:
            UnknownName: nobody offers it.
        """
        offer = self._offer(name)
        with self._changed:
            self._read_once()
            known = self._all.get(offer.name)
            if known is not None and known.state in ("waiting", "running", "checking"):
                return known
            self._all.pop(offer.name, None)  # at the end of the line
            made = self._put(Download(offer.name, offer.label, "waiting", arrived_bytes(offer.files), offer.size_bytes))
        self._tell()
        return made

    def pause(self, name: str) -> Download:
        """Stop it for now; what has arrived is kept. One that is over stays as it is.

        Raises:
            NotFound: it was not asked for.
        """
        return self._switch(name, "paused")

    def resume(self, name: str) -> Download:
        """Go on with a paused one, or try a failed one again, in its place in the line.

        Raises:
            NotFound: it was not asked for.
        """
        return self._switch(name, "waiting")

    def cancel(self, name: str) -> None:
        """Forget it, and remove the parts of files that have arrived; whole files stay.

        Raises:
            NotFound: it was not asked for.
        """
        with self._changed:
            self._find(name)
            del self._all[name]
            self._save()
            is_running = self._running is not None and self._running[0] == name
            if is_running:
                self._unwanted.add(name)
                self._halt_running()
        if not is_running:
            self._remove_parts(name)
        self._tell()

    def _switch(self, name: str, state: DownloadState) -> Download:
        with self._changed:
            known = self._find(name)
            changeable = ("paused", "failed") if state == "waiting" else ("waiting", "running", "checking")
            if known.state not in changeable:
                return known
            if self._running is not None and self._running[0] == name:
                self._halt_running()
            cleared = replace(known, bytes_per_s=None, seconds_left=None, problem="", hint="", code="")
            made = self._put(replace(cleared, state=state))
        self._tell()
        return made

    def _find(self, name: str) -> Download:
        if name not in self._all:
            raise NotFound(f"Nobody asked for a download of {name[:60]!r}.", "Ask for it first.")
        return self._all[name]

    def _offer(self, name: str) -> Offer:
        return find_offer(self._library(), name)

    def _put(self, download: Download) -> Download:
        """Under the lock: as it is now, on the disk, too."""
        self._all[download.name] = download
        self._save()
        self._changed.notify_all()
        return download

    def _halt_running(self) -> None:
        if self._running is not None:
            self._running[1].set()

    def _tell(self) -> None:
        self._told = time.monotonic()
        self._on_change()

    # What the thread does.

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            name, halt = taken
            try:
                self._end(name, halt, self._ended(name, halt))
            except Exception:  # the thread's border: whatever it is, the others must go on
                logger.exception("download %s: something that should not happen", name)

    def _ended(self, name: str, halt: Halt) -> Download | None:
        """How the download ended; ``None`` if somebody stopped it."""
        try:
            return self._fetch(name, halt)
        except Halted:
            return None
        except FooocusError as exc:
            return self._failed(name, exc)
        except Exception as exc:  # as above; a source may answer what nobody has thought of
            logger.exception("download %s: something that should not happen", name)
            problem = f"The download ended with something unexpected ({type(exc).__name__})."
            return self._failed(name, DownloadFailed(problem, "Try again; if it happens again, please report it."))

    def _take(self) -> tuple[str, Halt] | None:
        """The next one in line, as soon as there is one; ``None`` at the end."""
        with self._changed:
            while not self._is_closed:
                name = next((name for name, row in self._all.items() if row.state == "waiting"), None)
                if name is not None:
                    self._running = name, Halt()
                    return self._running
                self._changed.wait()
        return None

    def _fetch(self, name: str, halt: Halt) -> Download:
        started = time.monotonic()
        offer = self._offer(name)
        logger.info("download %s starts", name)
        ended = fetch_offer(offer, self._settings, halt, lambda at: self._observe(at, halt), self._patience)
        logger.info("download %s done: %s bytes, %.1f s", name, f"{ended.done_bytes:,}", time.monotonic() - started)
        return ended

    def _observe(self, download: Download, halt: Halt) -> None:
        with self._changed:
            halt.check()
            known = self._all[download.name]
            self._all[download.name] = download  # not on the disk: for a restart, running is as good as waiting
        is_news = (known.state, known.problem) != (download.state, download.problem)
        if is_news or time.monotonic() - self._told >= _TELL_S:
            self._tell()

    def _failed(self, name: str, exc: FooocusError) -> Download:
        logger.warning("download %s failed: %s", name, exc)
        known = self.find(name)
        return (known or Download(name, name, "failed")).failed(exc)

    def _end(self, name: str, halt: Halt, ended: Download | None) -> None:
        with self._changed:
            self._running = None
            is_unwanted = name in self._unwanted
            self._unwanted.discard(name)
            if ended is not None and not is_unwanted and name in self._all and not halt.is_set():
                self._put(ended)
        if is_unwanted:
            self._remove_parts(name)
        if not self._is_closed:
            self._tell()

    def _remove_parts(self, name: str) -> None:
        """Of files that no other download still wants."""
        offers = self._library().downloadable
        with self._changed:
            wanted = {file.path for other in self._all if other in offers for file in offers[other].files}
        for file in offers[name].files if name in offers else ():
            if file.path not in wanted:
                with suppress(InUse):
                    remove_part(Path(file.path))

    # What survives a restart.

    def _save(self) -> None:
        rows = [
            {"name": row.name, "label": row.label, "state": row.state}
            | ({"problem": row.problem, "hint": row.hint, "code": row.code} if row.state == "failed" else {})
            for row in self._all.values()
            if row.state in _KEPT
        ]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(rows, ensure_ascii=False, indent=1).encode(), replace=True)
        except OSError as exc:  # a full disk: the downloads go on, only a restart would not know of them
            logger.warning("%s cannot be written: %s", self._path, exc)

    def _read_once(self) -> None:
        """Under the lock: what an earlier start left, before anything is written over it."""
        if not self._is_read:
            self._is_read = True
            self._all |= {row.name: row for row in self._read()}

    def _read(self) -> list[Download]:
        try:
            rows: Any = json.loads(self._path.read_text(encoding="utf-8"))
            return [self._read_row(row) for row in rows]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
            logger.warning("%s cannot be read (%s); what it asked for is forgotten", self._path, exc)
            return []

    def _read_row(self, row: Mapping[str, Any]) -> Download:
        name, offers = str(row["name"]), self._library().downloadable
        state: DownloadState = row["state"] if row["state"] in ("paused", "failed") else "waiting"
        problem, hint, code = (str(row.get(key, "")) for key in ("problem", "hint", "code"))
        made = Download(name, str(row.get("label", name)), state, problem=problem, hint=hint, code=code)
        if name not in offers:
            return made
        return replace(made, done_bytes=arrived_bytes(offers[name].files), total_bytes=offers[name].size_bytes)
