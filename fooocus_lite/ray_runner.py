"""Workers on other machines: the server's side of a Ray cluster.

A worker there is a `LocalRunner` whose process is elsewhere: stops, timeouts and last words are the same. This process
imports no Ray: `fooocus_lite.ray_bridge` does, in a child that is started anew when it ends.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO, Protocol, cast

from fooocus_lite import __version__
from fooocus_lite.errors import FooocusError, WorkerAway, WorkerDied
from fooocus_lite.library import Library
from fooocus_lite.node_files import offers_to_tell, server_folders
from fooocus_lite.ray_wire import Channel, Kind, Seat
from fooocus_lite.runner import END_S, ENGINE, LocalRunner, Runner
from fooocus_lite.settings import Settings

logger = logging.getLogger(__name__)
RESTART_S = 2.0
TELL_S, POLL_S = 5.0, 0.2
#: So long a machine that went away is still shown, and its place kept for it.
KEPT_S = 600.0
_CONNECTING = FooocusError("Connecting to the Ray cluster.", "The queue waits until the first machine is there.")
_NOBODY = FooocusError(
    "No machine that draws is in the Ray cluster; the queue waits.",
    "Start Ray on one: ray start --address=… (docs/machines.md); it is found within seconds.",
)


class Staff(Protocol):
    """Who gives work to runners."""

    def staff(self, runners: Sequence[Runner], nobody: FooocusError | None = None) -> None:
        """From now on these draw; ``nobody`` says why none of them is here."""
        ...


class RayRunner(LocalRunner):
    """A `Runner` at a seat of the cluster; it keeps its place while its machine is away.

    Args:
        open_process: Starts a worker's process at the seat with this key.
    """

    def __init__(
        self, seat: Seat, open_process: Callable[[str, str], RemoteProcess], engine: str, options: Mapping[str, Any]
    ) -> None:
        super().__init__(engine, options, start=self._start_there)
        self._open_process = open_process
        self.seat: Seat | None = seat
        self.place = (seat.machine, seat.address)
        self.left_at = 0.0

    @property
    def is_here(self) -> bool:
        """Whether its machine is in the cluster, and can draw."""
        return self.seat is not None and not self.seat.problem

    @property
    def about(self) -> Mapping[str, Any]:
        """What the engine said, and where it is."""
        machine, address = self.place
        problem = {"problem": self.seat.problem} if self.seat is not None and self.seat.problem else {}
        said = super().about if self.is_here else {}
        return {**said, "machine": machine, "address": address, **problem}

    def leave(self) -> None:
        """Its machine is gone."""
        self.seat, self.left_at = None, time.monotonic()

    def _start_there(self) -> RemoteProcess:
        seat = self.seat
        if seat is None or seat.problem:
            raise self._away()
        process = self._open_process(seat.key, seat.machine)
        if process.reason is not None:  # who speaks to Ray has just ended, and nobody was told yet
            raise self._away()
        return process

    def _away(self) -> WorkerAway:
        return WorkerAway(f"The machine {self.place[0]} is away.", "It is drawn on another one, or once it is back.")


class RayFleet:
    """Every worker of a cluster, as machines come and go.

    Args:
        library: Gives the newest snapshot; what it offers is fetched by each machine for itself.
        options, engine: As of a `LocalRunner`; the device ``cpu`` leaves GPUs alone.
    """

    def __init__(
        self, settings: Settings, library: Callable[[], Library], options: Mapping[str, Any], *, engine: str = ENGINE
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise FooocusError(
                "Ray is not installed, and the setting engine asks for it.",
                f'Install it: "{sys.executable}" -m pip install "fooocus-lite[ray]" (docs/machines.md).',
                field="engine",
            )
        self._library, self._engine, self._options = library, engine, options
        seat = {"version": __version__, **asdict(server_folders(settings))}
        self._order = {"address": settings.ray_address, "use_gpu": options["device"] != "cpu", "seat": seat}
        self._numbers = itertools.count(1)
        self._processes: dict[int, RemoteProcess] = {}
        self._runners: list[RayRunner] = []
        self._nobody = _CONNECTING
        self._staff: Staff | None = None
        self._closing = threading.Event()
        self._bridge: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._live, "ray"), (self._tell_offers, "ray offers"))
        ]

    @property
    def runners(self) -> Sequence[Runner]:
        """Those that are known; none before `start`."""
        return list(self._runners)

    @property
    def bridge_pid(self) -> int | None:
        """Of the process that speaks to Ray."""
        return self._bridge.pid if self._bridge is not None else None

    def start(self, staff: Staff) -> None:
        """Find the machines, and tell ``staff`` of each as it comes or goes."""
        self._staff = staff
        staff.staff([], self._nobody)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Leave the cluster; what still draws there ends."""
        self._closing.set()
        self._end_bridge()

    # One bridge after the other.

    def _live(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow(self._start_bridge())
            except OSError as exc:
                logger.error("the process that speaks to Ray does not start: %s", exc)
            self._end_bridge()  # two of them would give every GPU two workers
            if not self._closing.is_set():
                logger.warning("the process that speaks to Ray ended; it is started again")
            self._closing.wait(RESTART_S)

    def _start_bridge(self) -> Channel:
        own = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUTF8": "1"}
        # Ray asks its makers' server whether it may count its use, unless it is told not to.
        own |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
        if not self._order["address"] and "RAY_AUTH_MODE" not in os.environ:
            # A cluster of our own listens on every address of the machine: nobody else shall know its token.
            own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        bridge = subprocess.Popen(
            [sys.executable, "-m", "fooocus_lite.ray_bridge", json.dumps(self._order)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | own,
            start_new_session=True, creationflags=flags,
        )  # fmt: skip
        self._bridge = bridge
        incoming, outgoing = cast("tuple[BinaryIO, BinaryIO]", (bridge.stdout, bridge.stdin))
        threading.Thread(target=_log_lines, args=(bridge.stderr,), name="ray log", daemon=True).start()
        self._channel = Channel(incoming, outgoing)
        return self._channel

    def _end_bridge(self) -> None:
        bridge = self._bridge
        if bridge is None or bridge.stdin is None:
            return
        with suppress(OSError):
            bridge.stdin.close()
        try:
            bridge.wait(2 * END_S)
        except subprocess.TimeoutExpired:
            bridge.kill()
            bridge.wait()

    def _follow(self, channel: Channel) -> None:
        """Until it ends, or says what nobody can make anything of."""
        try:
            while (message := channel.read()) is not None:
                self._hear(*message)
        except (OSError, ValueError, TypeError, KeyError):
            logger.exception("what the process that speaks to Ray said went wrong")
        self._channel = None
        self._settle([])  # first: what is drawn again must not be given to who is gone
        while self._processes:  # one by one: another thread may open one just now, and it must not go unheard
            self._processes.popitem()[1].lose("The process that speaks to Ray ended.")

    def _hear(self, kind: Kind, number: int, data: bytes) -> None:
        if kind == Kind.SEATS:
            self._settle([Seat(**seat) for seat in json.loads(data)])
        elif kind == Kind.TROUBLE:
            said = json.loads(data)
            self._nobody = FooocusError(said["problem"], said["hint"]) if said else _NOBODY
            self._tell_staff()
        elif (process := self._processes.get(number)) is not None:
            process.hear(kind, data)
            if kind == Kind.ENDED:
                del self._processes[number]

    # Who is there.

    def _settle(self, seats: Sequence[Seat]) -> None:
        """These seats and no others are there now."""
        if seats:
            self._nobody = _NOBODY
        keys = {seat.key: seat for seat in seats}
        for runner in self._runners:
            key = runner.seat.key if runner.seat is not None else ""
            if key in keys:
                runner.seat = keys.pop(key)
            elif key:
                logger.warning("the machine %s is away", runner.place[0])
                runner.leave()
        for seat in keys.values():
            logger.info("the machine %s (%s) is there", seat.machine, seat.address)
            back = (one for one in self._runners if one.seat is None and one.place == (seat.machine, seat.address))
            if (known := next(back, None)) is not None:
                known.seat = seat
            else:
                self._runners.append(RayRunner(seat, self._open, self._engine, self._options))
        self._tell_staff()

    def _tell_staff(self) -> None:
        now = time.monotonic()
        self._runners = [one for one in self._runners if one.seat is not None or now - one.left_at < KEPT_S]
        if self._staff is not None and not self._closing.is_set():
            self._staff.staff(self.runners, self._nobody)

    def _open(self, key: str, machine: str) -> RemoteProcess:
        number = next(self._numbers)
        process = self._processes[number] = RemoteProcess(number, self._send, machine)
        self._send(Kind.OPEN, number, json.dumps({"seat": key}).encode("ascii"))
        return process

    def _send(self, kind: Kind, number: int, data: bytes = b"") -> None:
        channel, process = self._channel, self._processes.get(number)
        try:
            if channel is None:
                raise BrokenPipeError
            channel.send(kind, number, data)
        except (OSError, ValueError):
            if process is not None:
                process.lose("The process that speaks to Ray ended.")

    # What can be downloaded.

    def _tell_offers(self) -> None:
        """Tell the machines what they can fetch, again when that changed."""
        told: tuple[Channel | None, bytes] = (None, b"")
        while not self._closing.wait(TELL_S if told[0] else POLL_S):
            channel = self._channel
            try:
                rows = offers_to_tell(list(self._library().downloadable.values()))
            except FooocusError as exc:
                logger.warning("%s", exc)
                continue
            now = channel, json.dumps(rows).encode("ascii")
            if channel is not None and now != told:
                told = now
                self._send(Kind.OFFERS, 0, now[1])


class RemoteProcess:
    """A worker's process on another machine, as `fooocus_lite.runner.Process` shows one."""

    def __init__(self, number: int, send: Callable[[Kind, int, bytes], None], machine: str) -> None:
        self._send, self._machine = send, machine
        self._code: int | None = None
        self._ended = threading.Event()
        self.pid = number
        self.reason: WorkerDied | None = None
        self.stdin = _Orders(lambda kind, data: send(kind, number, data))
        self.stdout = _Answers()
        self.stderr = _Lines()

    def hear(self, kind: Kind, data: bytes) -> None:
        """What came of it from over there."""
        if kind == Kind.DATA:
            self.stdout.feed(data)
        elif kind == Kind.LOG:
            self.stderr.feed(data)
        elif kind == Kind.ENDED:
            said = json.loads(data)
            if "problem" in said:
                self.reason = (WorkerAway if said["is_away"] else WorkerDied)(said["problem"], said["hint"])
            self._end(said.get("code", -1))

    def lose(self, problem: str) -> None:
        """Nobody will ever say how it ended."""
        self.reason = WorkerDied(problem, "It is drawn again as soon as a machine is there.")
        self._end(-1)

    def _end(self, code: int) -> None:
        self._code = code
        self._ended.set()
        self.stdout.feed(None)
        self.stderr.feed(None)

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code.

        Raises:
            TimeoutExpired: it still runs.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"worker on {self._machine}", timeout or 0)
        return self._code if self._code is not None else -1

    def kill(self) -> None:
        """End it, there."""
        self._send(Kind.KILL, self.pid, b"")


class _Orders:
    """What is written to a process; each flush is one message."""

    def __init__(self, send: Callable[[Kind, bytes], None]) -> None:
        self._send, self._written = send, bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        data, self._written = bytes(self._written), bytearray()
        self._send(Kind.DATA, data)

    def close(self) -> None:
        self._send(Kind.CLOSE, b"")


class _Lines:
    """What a process writes for people, line by line."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def feed(self, line: bytes | None) -> None:
        self._lines.put(line)

    def __iter__(self) -> Iterator[bytes]:
        while (line := self._lines.get()) is not None:
            yield line


class _Answers:
    """What a process answers, as a stream to read from."""

    def __init__(self) -> None:
        self._chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._left = b""
        self._is_over = False

    def feed(self, chunk: bytes | None) -> None:
        self._chunks.put(chunk)

    def read(self, size: int) -> bytes:
        while len(self._left) < size and not self._is_over:
            chunk = self._chunks.get()
            self._is_over = chunk is None
            self._left = self._left + chunk if self._left and chunk else (chunk or self._left)
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def _log_lines(lines: Any) -> None:
    for line in lines:
        logger.info("ray: %s", line.decode("utf-8", "replace").rstrip())
