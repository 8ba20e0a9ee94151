"""Where plans are drawn: a child process that is kept warm, and replaced when it dies.

The server never imports torch: a fault of the device, an out-of-memory kill or ``kill -9`` costs one
attempt at one picture.
"""

from __future__ import annotations

import collections
import itertools
import logging
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Protocol, cast

from fooocus_lite.errors import FooocusError, WorkerDied
from fooocus_lite.events import TERMINAL, Cancelled, Event
from fooocus_lite.expansion import Expansion
from fooocus_lite.plan import Plan
from fooocus_lite.wire import Message, read_frame, send_frame
from fooocus_lite.worker_process import Process, start_process

logger = logging.getLogger(__name__)
#: What draws, unless a test wants something else.
ENGINE = "fooocus_lite.engine.run:Engine"
POLL_S = 0.1
END_S = 5.0
LAST_WORDS = 3
#: What a worker tells of a run before it draws, while it may load for minutes without hearing a stop.
_BEFORE_DRAWING = frozenset({"started", "downloading"})
#: Most time for the words of an expansion: the first ones wait until torch and the language model are loaded.
WORDS_S = 180.0


class Runner(Protocol):
    """One device that draws: one plan, or several that are alike at once."""

    @property
    def is_here(self) -> bool:
        """Whether it can be given work; another machine may be away."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What the engine says about itself: device, dtype, memory; empty until it is loaded."""
        ...

    def warm_up(self, plan: Plan | None = None) -> None:
        """Begin to load what ``plan`` will need; returns at once."""
        ...

    def run(self, plan: Plan, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Events up to and including the terminal one: `run_together` with one plan.

        Raises:
            WorkerDied: it ended without one.
        """
        ...

    def run_together(self, plans: Sequence[Plan], should_stop: Callable[[int], bool]) -> Iterator[tuple[int, Event]]:
        """(number of the plan, event) up to and including the last plan's terminal one.

        The call itself passes the plans on: while another run is read, they are drawn when that one has ended.

        Args:
            should_stop: Whether the picture with this number is unwanted; the others go on.

        Raises:
            WorkerDied: it ended before all had ended.
        """
        ...

    def expand(self, wish: Expansion) -> str:
        """Words to add to a prompt, also while `run` draws in another thread.

        Raises:
            FooocusError: why there are none.
        """
        ...

    def close(self) -> None:
        """Stop drawing and let the device go; `run` in another thread raises `WorkerDied`."""
        ...


class LocalRunner:
    """A `Runner` by a process that is ours, on this machine unless ``start`` says where.

    Args:
        engine: ``"module:attr"``, loaded in the child only.
        options: Keyword arguments for it.
        start: Gives a new child.
        stop_timeout_s: How long a stop may be ignored while drawing before the child is killed.
        load_timeout_s: How long the child may say nothing while loading before a stop kills it.
    """

    def __init__(
        self, engine: str = ENGINE, options: Mapping[str, Any] | None = None, *,
        stop_timeout_s: float = 10.0, load_timeout_s: float = 300.0, start: Callable[[], Process] | None = None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._start = start or start_process
        self._options = dict(options or {})
        self._stop_timeout_s = stop_timeout_s
        self._load_timeout_s = load_timeout_s
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._closed = False
        self._open: list[_Run] = []

    @property
    def is_here(self) -> bool:
        """A child can always be had."""
        return True

    @property
    def about(self) -> Mapping[str, Any]:
        """What the engine said about itself last."""
        child = self._child
        return child.about if child is not None else {}

    @property
    def pid(self) -> int | None:
        """The child's process id, or None while there is none."""
        child = self._child
        return child.process.pid if child is not None and child.alive else None

    def warm_up(self, plan: Plan | None = None) -> None:
        """Start the child and let it load the engine and ``plan``'s model."""
        self._ensure_child().send(("warm_up", 0, plan))

    def run(self, plan: Plan, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """See `Runner.run`."""
        with closing(self.run_together([plan], lambda _: should_stop())) as told:
            for _, event in told:
                yield event

    def run_together(self, plans: Sequence[Plan], should_stop: Callable[[int], bool]) -> Generator[tuple[int, Event]]:
        """See `Runner.run_together`; a stop that is ignored for too long ends with a killed child and `Cancelled`.

        While the child still loads, a stop ends a picture at once, and the child goes on loading for the next one.
        """
        run = _Run(self._ensure_child(), next(self._numbers), set(range(len(plans))), should_stop)
        run.child.open(run.number)
        run.child.send(("run", run.number, list(plans)))
        self._open.append(run)
        return self._events(run)

    def _events(self, run: _Run) -> Generator[tuple[int, Event]]:
        child, is_drawing = run.child, False
        for place in run.asked:  # in vain while it was not its turn
            run.asked[place] = time.monotonic()
        try:
            while run.left:
                for each in self._open:  # also those that this one keeps waiting
                    each.pass_on_stops()
                asked = [place for place in sorted(run.left) if place in run.asked]
                if asked and time.monotonic() > min(run.asked[place] for place in asked) + self._stop_timeout_s:
                    logger.warning("The worker ignored a stop for %.0f s and is replaced", self._stop_timeout_s)
                    child.kill()
                elif (told := child.next_event(run.number)) is not None:
                    place, event = told
                    is_drawing = is_drawing or event.kind not in _BEFORE_DRAWING
                    if place in run.left:
                        run.left -= {place} if event.kind in TERMINAL else set()
                        yield told
                    continue
                elif not asked or is_drawing:
                    continue
                else:  # it loads, and nobody has to wait for that
                    self._replace_if_silent(child)
                run.left -= set(asked)
                for place in asked:
                    yield place, Cancelled()
        finally:
            self._open.remove(run)
            for place in run.left:
                child.send(("stop", run.number, place))
            child.forget(run.number)

    def _replace_if_silent(self, child: _Child) -> None:
        if time.monotonic() - child.heard_at > self._load_timeout_s:
            logger.warning("The worker said nothing for %.0f s and is replaced", self._load_timeout_s)
            child.kill()

    def expand(self, wish: Expansion) -> str:
        """See `Runner.expand`."""
        return self._ensure_child().expand(next(self._numbers), wish)

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._closed = True
            child = self._child
        if child is not None:
            child.close()

    def _ensure_child(self) -> _Child:
        with self._lock:
            if self._closed:
                raise _shutting_down()
            if self._child is None or not self._child.alive:
                self._child = _Child(self._start(), self._engine, self._options)
            return self._child


@dataclass
class _Run:
    """Plans that were sent to a child; places ``left`` that have not ended, and when each was ``asked`` to stop."""

    child: _Child
    number: int
    left: set[int]
    should_stop: Callable[[int], bool]
    asked: dict[int, float] = field(default_factory=dict[int, float])

    def pass_on_stops(self) -> None:
        for place in self.left - self.asked.keys():
            if self.should_stop(place):
                self.child.send(("stop", self.number, place))
                self.asked[place] = time.monotonic()


class _Child:
    """One life of the worker process."""

    def __init__(self, process: Process, engine: str, options: dict[str, Any]) -> None:
        self.about: dict[str, Any] = {}
        self.heard_at = time.monotonic()
        self._inboxes: dict[int, queue.SimpleQueue[tuple[int, Event] | None]] = {}
        self._words: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._last_lines: collections.deque[str] = collections.deque(maxlen=20)
        self._send_lock = threading.Lock()
        self._broken = False
        self._is_closed = False
        self.process = process
        streams = (self.process.stdin, self.process.stdout, self.process.stderr)
        self._stdin, self._stdout, self._stderr = cast("tuple[BinaryIO, BinaryIO, BinaryIO]", streams)
        threading.Thread(target=self._read_answers, name="worker answers", daemon=True).start()
        self._log_thread = threading.Thread(target=self._read_log, name="worker log", daemon=True)
        self._log_thread.start()
        self.send(("engine", 0, {"name": engine, "options": options}))

    @property
    def alive(self) -> bool:
        return not self._broken and self.process.poll() is None

    def send(self, message: Message) -> None:
        """Pass it on; to a dead child, do nothing (its end shows in `next_event`)."""
        with self._send_lock:
            try:
                send_frame(self._stdin, message)
            except (OSError, ValueError):
                self._broken = True

    def open(self, number: int) -> None:
        """Keep what comes for a run, until `forget`."""
        inbox = self._inboxes[number] = queue.SimpleQueue()
        if self._broken:
            inbox.put(None)

    def forget(self, number: int) -> None:
        """Nobody reads this run any more."""
        self._inboxes.pop(number, None)

    def next_event(self, number: int) -> tuple[int, Event] | None:
        """(place of the plan, the run's next event), or None after a moment of silence.

        Raises:
            WorkerDied: there will be none.
        """
        inbox = self._inboxes[number]
        try:
            answer = inbox.get(timeout=POLL_S)
        except queue.Empty:
            return None
        if answer is None:
            inbox.put(None)
            raise self._obituary()
        return answer

    def expand(self, number: int, wish: Expansion) -> str:
        """The words that the child chooses.

        Raises:
            FooocusError: why there are none.
            WorkerDied: it ended before it answered.
        """
        answers = self._words[number] = queue.SimpleQueue()
        try:
            self.send(("expand", number, asdict(wish)))
            answer = answers.get(timeout=0 if self._broken else WORDS_S)
        except queue.Empty:
            if self._broken:
                raise self._obituary() from None
            raise FooocusError("The words for the prompt take too long.", "Try again in a moment.") from None
        finally:
            del self._words[number]
        if answer is None:
            raise self._obituary()
        if "problem" in answer:
            told = answer["problem"]
            raise FooocusError(told["problem"], told["hint"], code=told["code"])
        return str(answer["words"])

    def kill(self) -> None:
        self._broken = True
        self.process.kill()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:  # the system has it in a call that cannot be interrupted
            logger.warning("The worker process %d does not end", self.process.pid)

    def close(self) -> None:
        """Close the pipe, which ends the child; if it does not listen, kill it."""
        self._broken = self._is_closed = True
        try:
            self._stdin.close()
            self.process.wait(END_S)
        except (OSError, subprocess.TimeoutExpired):
            self.kill()

    def _read_answers(self) -> None:
        while True:
            try:
                message = read_frame(self._stdout)
            except (OSError, ValueError, EOFError):
                message = None
            if message is None:
                self._broken = True
                for waiting in (*list(self._inboxes.values()), *list(self._words.values())):
                    waiting.put(None)
                return
            self.heard_at = time.monotonic()
            kind, number, value = message
            if kind == "about":
                self.about = value
                continue
            # Asked for once: another thread may forget it just now, and this one must not end for that.
            asker = self._words.get(number) if kind == "words" else self._inboxes.get(number)
            if asker is not None:  # else nobody waits for it any more
                asker.put(value)

    def _read_log(self) -> None:
        for line in self._stderr:
            text = line.decode("utf-8", "replace").rstrip()
            self._last_lines.append(text)
            logger.info("worker: %s", text)

    def _obituary(self) -> WorkerDied:
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:  # it closed its pipe and hangs
            self.kill()
            code = -9
        self._log_thread.join(END_S)
        if self._is_closed:
            return _shutting_down()
        if self.process.reason is not None:
            return self.process.reason
        logger.error("The worker process ended with %s; its last words: %s", code, last_words(self._last_lines))
        if code == -getattr(signal, "SIGKILL", 9) or code == 137:
            return WorkerDied(
                "The process that draws was killed, probably because memory ran out.",
                "Close other programs or choose a smaller size, then press Try again.",
            )
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return WorkerDied(
            f"The process that draws ended {how}.", "Press Try again; if it happens again, run `fooocus-lite doctor`."
        )


def last_words(lines: Iterable[str]) -> str:
    """What a worker said last, in one line of the log; its diary only when it said nothing else."""
    said = [line for line in lines if line.strip()]
    told = [line for line in said if not line.startswith(("INFO ", "DEBUG "))] or said
    return " | ".join(line if len(line) <= 200 else line[:199] + "…" for line in told[-LAST_WORDS:]) or "none"


def _shutting_down() -> WorkerDied:
    return WorkerDied("Fooocus Lite is shutting down.", "Start it again; the queue is kept.")
