"""What sits on each machine of a Ray cluster: an actor that keeps a worker process and speaks for it.

The process is the same that the server has on its own machine, `fooocus_lite.worker`, in the same frames. So a fault
of the device, or a stop that is ignored, ends that process and nothing else, there as here. Neither Ray nor torch is
imported here; only plain values and bytes pass.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from fooocus_lite import __version__
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Cancelled, Event, Failed
from fooocus_lite.http_streams import Halt, Halted
from fooocus_lite.node_files import NodeFiles, ServerFolders
from fooocus_lite.offers import Offer
from fooocus_lite.ray_wire import Kind
from fooocus_lite.runner import Process, start_process
from fooocus_lite.settings import load_settings
from fooocus_lite.supply import downloading
from fooocus_lite.wire import join_frame, read_raw_frame, split_frame

logger = logging.getLogger(__name__)
#: Messages that are no picture to draw, and need no files.
_WITHOUT_FILES = ("engine", "stop", "expand")
Say = Callable[[Kind, int, bytes], None]


class RaySeat:
    """The actor. Ray calls `orders` in the order in which the bridge did, and `answers` once, beside it.

    Args:
        order: ``version`` of the server, its ``folders`` and ``is_windows``; ``threads`` that a worker may compute
            with here, 0 = as many as it likes.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._said: queue.SimpleQueue[tuple[int, int, bytes]] = queue.SimpleQueue()
        self._workers: dict[int, _Worker] = {}
        self._offers: list[dict[str, Any]] = []
        self._files: NodeFiles | None = None
        self._say(Kind.HELLO, 0, json.dumps(self._set_up(order)).encode("ascii"))

    def _set_up(self, order: dict[str, Any]) -> dict[str, str]:
        """Why nobody can draw here; empty when all is well."""
        machine = socket.gethostname()
        if order["version"] != __version__:
            problem = f"The machine {machine} has Fooocus Lite {__version__}, and the server has {order['version']}."
            return {"problem": problem, "hint": "Install the same version on both."}
        try:
            server = ServerFolders(tuple(order["folders"]), order["is_windows"])
            self._files = NodeFiles(load_settings(), server, machine)
        except FooocusError as exc:
            return {"problem": f"The machine {machine}: {exc.problem}", "hint": exc.hint}
        if order["threads"]:
            # Ray gives every process one thread unless it is told otherwise; the worker inherits this.
            os.environ["OMP_NUM_THREADS"] = str(order["threads"])
        return {}

    def answers(self) -> Iterator[tuple[int, int, bytes]]:
        """(kind, number of the process, data) of whatever is said, as it is said; never ends by itself."""
        while True:
            yield self._said.get()

    def orders(self, kind: int, number: int, data: bytes) -> None:
        """Obey one message from the server; returns at once."""
        files = self._files
        if files is None:
            return
        if kind == Kind.OFFERS:
            files.learn(json.loads(data))
        elif kind == Kind.OPEN:
            self._workers[number] = _Worker(number, files, self._say)
        elif number in self._workers:
            self._workers[number].obey(Kind(kind), data)
            if kind == Kind.KILL:
                del self._workers[number]

    def _say(self, kind: Kind, number: int, data: bytes) -> None:
        self._said.put((int(kind), number, data))


class _Worker:
    """One life of a worker process, and the downloads that its pictures wait for."""

    def __init__(self, number: int, files: NodeFiles, say: Say) -> None:
        self._number, self._files, self._say_to = number, files, say
        self._fetching: dict[int, Halt] = {}
        self._lock = threading.Lock()
        self._process: Process = start_process()
        threading.Thread(target=self._read_answers, name="worker answers", daemon=True).start()
        self._log = threading.Thread(target=self._read_log, name="worker log", daemon=True)
        self._log.start()

    def obey(self, kind: Kind, data: bytes) -> None:
        if kind == Kind.DATA:
            self._take(data)
            return
        for halt in list(self._fetching.values()):
            halt.set()
        if kind == Kind.KILL:
            self._process.kill()
        elif kind == Kind.CLOSE:
            with self._lock:
                self._process.stdin.close()

    def _take(self, frame: bytes) -> None:
        (kind, number, value), picture = split_frame(frame)
        value = self._files.localized(value)
        frame = join_frame([kind, number, value], picture)
        if kind == "stop" and (halt := self._fetching.get(number)) is not None:
            halt.set()
        if kind in _WITHOUT_FILES:
            self._pass_on(frame)
            return
        try:
            offers = self._files.needed_offers(value)
        except FooocusError as exc:
            offers, problem = [], exc
        else:
            problem = None
        if kind == "warm_up":  # nobody asked for these files yet, so it only loads what it can
            self._pass_on(frame if problem is None and not offers else join_frame([kind, number, None]))
        elif problem is not None:
            self._tell(number, _failed(problem))
        elif offers:
            halt = self._fetching[number] = Halt()
            fetching = threading.Thread(target=self._fetch, args=(number, frame, offers, halt), daemon=True)
            fetching.start()
        else:
            self._pass_on(frame)

    def _fetch(self, number: int, frame: bytes, offers: list[Offer], halt: Halt) -> None:
        """Fetch what a picture needs, tell how far that is, and let it be drawn."""
        try:
            self._files.fetch(offers, halt, lambda at: self._tell(number, downloading(at)))
            self._pass_on(frame)
        except Halted:
            self._tell(number, Cancelled())
        except FooocusError as exc:
            self._tell(number, _failed(exc))
        except Exception as exc:  # the thread's border: without it the picture would wait for ever
            logger.exception("a download: something that should not happen")
            problem = f"A download ended with something unexpected ({type(exc).__name__})."
            self._tell(number, Failed(problem=problem, hint="Press Retry; if it happens again, please report it."))
        finally:
            self._fetching.pop(number, None)

    def _tell(self, number: int, event: Event) -> None:
        self._say_to(Kind.DATA, self._number, join_frame(["event", number, event.to_dict()]))

    def _pass_on(self, frame: bytes) -> None:
        with self._lock:
            try:
                self._process.stdin.write(frame)
                self._process.stdin.flush()
            except (OSError, ValueError):
                pass  # it has ended, which is told where its answers end

    def _read_answers(self) -> None:
        try:
            while (frame := read_raw_frame(cast("BinaryIO", self._process.stdout))) is not None:
                self._say_to(Kind.DATA, self._number, frame)
        except OSError:
            pass
        code = self._process.wait()
        self._log.join()
        self._say_to(Kind.ENDED, self._number, json.dumps({"code": code}).encode("ascii"))

    def _read_log(self) -> None:
        for line in self._process.stderr:
            self._say_to(Kind.LOG, self._number, line)


def _failed(exc: FooocusError) -> Failed:
    return Failed(code=exc.code, problem=exc.problem, hint=exc.hint, field_name=exc.field)
