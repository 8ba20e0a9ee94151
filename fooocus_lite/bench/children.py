"""The processes that `bench` compares: the real server with its HTTP interface, and the bare loop."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from fooocus_lite.plan import Plan
from fooocus_lite.settings import Settings
from fooocus_lite.worker_process import patient_threads
from fooocus_lite.workers import first_device

DEADLINE_S = 600.0


class Died(Exception):
    """A child ended before its time; the words are its last ones."""


def child_environment(threads: int) -> dict[str, str]:
    """This environment with number and manners of the computing threads fixed, the same for all that is compared."""
    fixed = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOOCUS_")}
    return clean | patient_threads(clean) | fixed | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


class AppServer:
    """``fooocus-lite serve`` in its own folders."""

    def __init__(
        self, settings: Settings, folder: Path, *, threads: int, more: Mapping[str, str] | None = None
    ) -> None:
        options = {"data_dir": folder / "data", "output_dir": folder / "outputs", "models_dir": settings.models_dir}
        options |= {"device": first_device(settings.device), "dtype": settings.dtype, "preset": settings.preset}
        env = child_environment(threads) | {f"FOOOCUS_{name.upper()}": str(value) for name, value in options.items()}
        env |= more or {}
        command = [sys.executable, "-m", "fooocus_lite", "serve", "--no-browser", "--port", "17865"]
        self.log = folder / "server.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.perf_counter()
        self.first_answer_s = 0.0
        self.page_at_first_answer = ""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        self.address = ""

    def __enter__(self) -> AppServer:
        while not (found := re.search(r"is at http://(\S+)", self._said())):
            self._check()
        self.address = found.group(1)
        while (state := self._page()) is None:
            self._check()
        self.first_answer_s, self.page_at_first_answer = time.perf_counter() - self.started, state
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _check(self) -> None:
        if self.process.poll() is not None or time.perf_counter() - self.started > DEADLINE_S:
            raise Died(self._said()[-500:])
        time.sleep(0.01)

    def _page(self) -> str | None:
        try:
            return str(json.loads(self.ask("GET", "/healthz")).get("page"))
        except (OSError, http.client.HTTPException):
            return None

    def wait_for_page(self) -> float:
        """Seconds from the start of the process until the page is there."""
        while self._page() == "starting":
            self._check()
        self.ask("GET", "/")
        return time.perf_counter() - self.started

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """The bytes of an answer; anything but 2xx is an error."""
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_S)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise Died(f"{method} {path} answered {answer.status}: {content[:300].decode('utf-8', 'replace')}")
        return content

    def submit(self, recipe: dict[str, Any]) -> str:
        """Ask for one picture; its id."""
        return json.loads(self.ask("POST", "/v1/tasks", recipe))["ids"][0]

    def draw(self, recipe: dict[str, Any]) -> float:
        """Seconds from the request for one picture until it is told to be on the disk."""
        started = time.perf_counter()
        task = self.submit(recipe)
        with self.following(f"/v1/tasks/{task}/events") as messages:
            for name, data in messages:
                if name == "finished":
                    return time.perf_counter() - started
                if name in ("failed", "cancelled"):
                    raise RuntimeError(data.decode())
        raise RuntimeError("the stream ended before the picture")

    @contextmanager
    def following(self, path: str) -> Generator[Iterator[tuple[str, bytes]]]:
        """(event name, data) of a stream of Server-Sent Events."""
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            yield _messages(answer)
        finally:
            connection.close()


def _messages(answer: http.client.HTTPResponse) -> Iterator[tuple[str, bytes]]:
    name = ""
    for line in iter(answer.readline, b""):
        key, _, value = line.strip().partition(b": ")
        if key == b"event":
            name = value.decode()
        elif key == b"data":
            yield name, value
            name = ""


class BareLoop:
    """`fooocus_lite.engine.bare` in a process of its own."""

    def __init__(self, settings: Settings, plan: Plan, *, threads: int) -> None:
        command = [sys.executable, "-m", "fooocus_lite.engine.bare"]
        env = child_environment(threads)
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._send({"plan": asdict(plan), "device": first_device(settings.device), "dtype": settings.dtype})
        self._answer()

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, order: str, value: Any = None) -> Any:
        """The answer to one order."""
        self._send([order, value])
        return self._answer()

    def _send(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Died(f"the bare loop ended with code {self.process.wait()}")
        return json.loads(line)
