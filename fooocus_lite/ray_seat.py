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
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from fooocus_lite import __version__
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Cancelled, Event, Failed
from fooocus_lite.http_streams import Halt, Halted
from fooocus_lite.node_files import NodeFiles, ServerFolders
from fooocus_lite.offers import Offer
from fooocus_lite.ray_wire import Kind
from fooocus_lite.settings import load_settings
from fooocus_lite.supply import downloading
from fooocus_lite.wire import join_frame, read_raw_frame, split_frame
from fooocus_lite.worker_process import Process, start_process

logger = logging.getLogger(__name__)
PARENT_S = 1.0
#: What a step makes a worker say, of each picture of a batch, comes within milliseconds. Ray takes as long for one
#: message as for all of them, so we wait this long for more.
GATHER_S = 0.005
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
        threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
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

    def answers(self) -> Iterator[list[tuple[int, int, bytes]]]:
        """(kind, number of the process, data) of whatever is said, as it is said; never ends by itself."""
        while True:
            said = [self._said.get()]
            time.sleep(GATHER_S)
            while not self._said.empty():
                said.append(self._said.get())
            yield said

    def orders(self, kind: int, number: int, data: bytes) -> None:
        """Obey one message from the server; returns at once."""
        files = self._files
        if files is None:
            return
        if kind == Kind.OFFERS:
            files.learn(json.loads(data))
        elif kind == Kind.OPEN:
            self._open(number, files)
        elif (worker := self._workers.get(number)) is not None:
            worker.obey(Kind(kind), data)

    def _open(self, number: int, files: NodeFiles) -> None:
        try:
            self._workers[number] = _Worker(number, files, self._say)
        except OSError as exc:  # no memory, say, or too many processes
            problem = f"The machine {socket.gethostname()} cannot start what draws: {exc}"
            said = {"problem": problem, "hint": "Close other programs there, then press Retry.", "is_away": False}
            self._say(Kind.ENDED, number, json.dumps(said).encode("ascii"))

    def _say(self, kind: Kind, number: int, data: bytes) -> None:
        self._said.put((int(kind), number, data))
        if kind == Kind.ENDED:
            self._workers.pop(number, None)


class _Worker:
    """One life of a worker process, and the downloads that its pictures wait for."""

    def __init__(self, number: int, files: NodeFiles, say: Say) -> None:
        self._number, self._files, self._say_to = number, files, say
        self._fetches: dict[int, _Fetch] = {}  # by the number of the run that waits
        self._lock = threading.Lock()
        self._process: Process = start_process()
        threading.Thread(target=self._read_answers, name="worker answers", daemon=True).start()
        self._log = threading.Thread(target=self._read_log, name="worker log", daemon=True)
        self._log.start()

    def obey(self, kind: Kind, data: bytes) -> None:
        """One message from the server."""
        if kind == Kind.DATA:
            self._take(data)
            return
        for fetch in list(self._fetches.values()):
            fetch.halt.set()
        if kind == Kind.KILL:
            self._process.kill()
        elif kind == Kind.CLOSE:
            with self._lock:
                self._process.stdin.close()

    def _take(self, frame: bytes) -> None:
        (kind, number, value), _ = split_frame(frame)
        value = self._files.localized(value)
        if kind == "warm_up":
            value = self._without_files(value)
        elif kind == "stop" and (fetch := self._fetches.get(number)) is not None:
            fetch.stop(value)
        if kind == "run" and not self._has_files(number, value):
            return
        self._pass_on(join_frame([kind, number, value]))

    def _without_files(self, plan: Any) -> Any:
        """A plan to warm up with, or None where that would need a download that nobody asked for."""
        try:
            return None if plan is None or self._files.needed_offers(plan) else plan
        except FooocusError:
            return None

    def _has_files(self, number: int, plans: list[Any]) -> bool:
        """Whether a run can be passed on now; else it is told why not, or waits for its files."""
        try:
            offers = self._files.needed_offers(plans)
        except FooocusError as exc:
            self._tell(number, range(len(plans)), _failed(exc))
            return False
        if offers:
            fetch = self._fetches[number] = _Fetch(offers, Halt(), set(range(len(plans))))
            threading.Thread(target=self._fetch, args=(number, plans, fetch), name="fetch", daemon=True).start()
        return not offers

    def _fetch(self, number: int, plans: list[Any], fetch: _Fetch) -> None:
        """Fetch what pictures need, tell how far that is, and let them be drawn."""
        places = range(len(plans))
        try:
            self._files.fetch(fetch.offers, fetch.halt, lambda at: self._tell(number, places, downloading(at)))
            self._pass_on(join_frame(["run", number, plans]))
        except Halted:
            self._tell(number, places, Cancelled())
        except FooocusError as exc:
            self._tell(number, places, _failed(exc))
        except Exception as exc:  # the thread's border: without it the pictures would wait for ever
            logger.exception("a download: something that should not happen")
            problem = f"A download ended with something unexpected ({type(exc).__name__})."
            hint = "Press Try again; if it happens again, please report it."
            self._tell(number, places, Failed(problem=problem, hint=hint))
        finally:
            self._fetches.pop(number, None)

    def _tell(self, number: int, places: Iterable[int], event: Event) -> None:
        for place in places:
            self._say_to(Kind.DATA, self._number, join_frame(["event", number, [place, event.to_dict()]]))

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


def _end_with(parent: int) -> None:
    """End when Ray's process on this machine is gone: an actor that outlives it would keep the GPU's memory."""
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    os._exit(0)


@dataclass(frozen=True)
class _Fetch:
    """What pictures wait for; ``wanted`` are the places in their run of those that somebody still wants."""

    offers: list[Offer]
    halt: Halt
    wanted: set[int]

    def stop(self, place: int) -> None:
        """One picture less; the last one ends the download."""
        self.wanted.discard(place)
        if not self.wanted:
            self.halt.set()


def _failed(exc: FooocusError) -> Failed:
    return Failed(code=exc.code, problem=exc.problem, hint=exc.hint, field_name=exc.field)
