"""What runs in the child process: loads the engine, draws plans, and ends when its server is gone.

The server speaks through the child's standard input, the child through its standard output, both in the frames
of `fooocus_lite.wire`. Whatever libraries print goes to standard error.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol, cast

from fooocus_lite.errors import FooocusError
from fooocus_lite.events import TERMINAL, Event, Failed
from fooocus_lite.expansion import Expansion
from fooocus_lite.plan import Plan
from fooocus_lite.wire import Message, read_frame, send_frame


class Engine(Protocol):
    """What ``"module:attr"`` must name; ``warm_up(plan)`` and ``describe()`` are optional."""

    def run_together(
        self, plans: Sequence[Plan], should_stop: Callable[[int], bool]
    ) -> Iterator[tuple[int, Event]]: ...

    def expand(self, wish: Expansion) -> str: ...


class Worker:
    """The child's side of the conversation."""

    def __init__(self, orders: BinaryIO, answers: BinaryIO) -> None:
        self._orders = orders
        self._answers = answers
        self._send_lock = threading.Lock()
        self._load_lock = threading.Lock()
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._wishes: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stopped: set[tuple[int, int]] = set()  # (run, place in it)
        self._engine: Engine | None = None
        first = read_frame(orders)
        self._wanted: dict[str, Any] = first[2] if first is not None else {"name": "", "options": {}}

    def serve(self) -> None:
        """Work until the server is gone."""
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        threading.Thread(target=self._answer_wishes, name="words", daemon=True).start()
        while True:
            kind, number, value = self._inbox.get()
            if kind == "warm_up":
                self._warm_up(value)
            else:
                self._run(number, value)

    def _listen(self) -> None:
        try:
            while (message := read_frame(self._orders)) is not None:
                if message[0] == "stop":
                    self._stopped.add((message[1], message[2]))
                else:
                    (self._wishes if message[0] == "expand" else self._inbox).put(message)
        finally:
            os._exit(0)  # the server closed the pipe or died; the main thread may be deep inside a kernel

    def _answer_wishes(self) -> None:
        """Words for prompts, in a thread of their own: nobody waits for a picture to be done."""
        while True:
            _, number, value = self._wishes.get()
            try:
                answer = {"words": self._load().expand(Expansion(**value))}
            except Exception as exc:  # noqa: BLE001 - the process border, as in `_run`
                answer = {"problem": _failed(exc).to_dict()}
            self._send("words", number, answer)

    def _warm_up(self, plan: Plan | None) -> None:
        try:
            engine = self._load()
            warm_up = getattr(engine, "warm_up", None)
            if plan is not None and warm_up is not None:
                warm_up(plan)
        except Exception:  # the process border: the first task tells a person, this is only for the log
            logging.getLogger(__name__).warning("Warming up did not work", exc_info=True)
        self._tell_about()

    def _run(self, number: int, plans: Sequence[Plan]) -> None:
        """Draw; the next run may be in the inbox by the time this one ends, so the device need not wait for it."""
        places = set(range(len(plans)))
        try:
            for place, event in self._load().run_together(plans, lambda place: (number, place) in self._stopped):
                places -= {place} if event.kind in TERMINAL else set()
                self._send("event", number, (place, event))
        except Exception as exc:  # noqa: BLE001 - the process border: an engine that cannot even start
            for place in places:
                self._send("event", number, (place, _failed(exc)))
        for stop in [stop for stop in tuple(self._stopped) if stop[0] <= number]:
            self._stopped.discard(stop)
        self._tell_about()

    def _load(self) -> Engine:
        with self._load_lock:
            if self._engine is None:
                module, _, attribute = self._wanted["name"].partition(":")
                self._engine = getattr(importlib.import_module(module), attribute)(**self._wanted["options"])
                self._tell_about()  # at once: the page names the device while the first picture forms
        return cast(Engine, self._engine)

    def _tell_about(self) -> None:
        describe = getattr(self._engine, "describe", None)
        about = describe() if describe is not None else {}
        self._send("about", 0, about)

    def _send(self, kind: str, number: int, value: Any) -> None:
        try:
            with self._send_lock:
                send_frame(self._answers, (kind, number, value))
        except BrokenPipeError:
            os._exit(0)


def _failed(exc: Exception) -> Failed:
    details = traceback.format_exc()
    if isinstance(exc, FooocusError):
        return Failed(code=exc.code, problem=exc.problem, hint=exc.hint, field_name=exc.field, details=details)
    return Failed(
        code="device_error",
        problem=f"The drawing engine cannot start: {type(exc).__name__}: {exc}.",
        hint="Run `fooocus-lite doctor`; starting with `python3 launch.py` again repairs an incomplete set-up.",
        details=details,
    )


def take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes for us alone; from here on, printing goes to standard error and reading finds nothing."""
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (0, 1):
            msvcrt.setmode(descriptor, os.O_BINARY)
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return orders, answers


def main() -> None:
    """Entry of ``python -m fooocus_lite.worker``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes our pipe
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    Worker(*take_over_pipes()).serve()


if __name__ == "__main__":
    main()
