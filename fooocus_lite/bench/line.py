"""The queue over HTTP: what a request costs beside ten and beside a hundred thousand pictures that wait."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from typing import Any

import psutil

from fooocus_lite.bench.base import REST_S, ROUNDS, Bench, ratio_row
from fooocus_lite.bench.children import AppServer
from fooocus_lite.bench.report import Row
from fooocus_lite.recipe import Recipe
from fooocus_lite.store import open_store

SHORT, LONG = 10, 100_000
BATCH = 100
ASKED = 60
MAX_PAGE_BYTES = 20_000
SUBMISSIONS = 400
#: Several hundred a second.
MAX_SUBMISSION_MS = 3.3
FOLLOWERS = 200


class Client:
    """One connection that is kept, as programs keep it."""

    def __init__(self, address: str) -> None:
        self._connection = HTTPConnection(address, timeout=600)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """The bytes of an answer."""
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        answer = self._connection.getresponse()
        content = answer.read()
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{method} {path} answered {answer.status}: {content[:300]!r}")
        return content

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def measure_line(bench: Bench) -> Iterator[Row]:
    """Submit, list and status with few and with many in line, in turns; nothing is drawn meanwhile."""
    with ExitStack() as ends:
        sides = {size: ends.enter_context(_paused_server(bench, size)) for size in (SHORT, LONG)}
        clients = {size: ends.enter_context(_client(server)) for size, server in sides.items()}
        lasts = {
            size: json.loads(client.ask("GET", "/v1/tasks?limit=1"))["tasks"][0]["id"]
            for size, client in clients.items()
        }
        asked = bench.recipe(seed=1)

        def submit(size: int) -> None:
            (task_id,) = json.loads(clients[size].ask("POST", "/v1/tasks", asked))["ids"]
            clients[size].ask("DELETE", f"/v1/tasks/{task_id}")  # so that few stay few

        requests: dict[str, Callable[[int], object]] = {
            "submit and cancel": submit,
            "GET /v1/queue?limit=10": lambda size: clients[size].ask("GET", "/v1/queue?limit=10"),
            "GET /v1/tasks?limit=10": lambda size: clients[size].ask("GET", "/v1/tasks?limit=10"),
            "status of the last in line": lambda size: clients[size].ask("GET", f"/v1/tasks/{lasts[size]}"),
        }
        for name, request in requests.items():
            seconds = _in_turns(request)
            what = f"{name} over HTTP: {LONG:,} ÷ {SHORT} in line"
            yield ratio_row(what, 1.5, seconds[LONG], seconds[SHORT], f"one kept connection, {ASKED} in turns")
        size_bytes = len(clients[LONG].ask("GET", "/v1/queue?limit=200"))
        yield Row(
            "a page of the queue", size_bytes, MAX_PAGE_BYTES, f"{LONG:,} in line, as many rows as it gives", "bytes"
        )
        yield _submission(sides[LONG], clients[LONG], asked)


def _in_turns(request: Callable[[int], object]) -> dict[int, list[float]]:
    seconds: dict[int, list[float]] = {SHORT: [], LONG: []}
    for number in range(ASKED + 5):
        for size, taken in seconds.items():
            started = time.perf_counter()
            request(size)
            if number >= 5:  # the first ones fill caches
                taken.append(time.perf_counter() - started)
    return seconds


def _submission(server: AppServer, client: Client, asked: dict[str, Any]) -> Row:
    """What a submission costs one core of the server: its processor time, whatever else the machine does."""
    process = psutil.Process(server.process.pid)
    before = process.cpu_times()
    for seed in range(SUBMISSIONS):
        client.ask("POST", "/v1/tasks", asked | {"seed": seed})
    after = process.cpu_times()
    each = (after.user + after.system - before.user - before.system) / SUBMISSIONS
    how = f"of a core, over HTTP, on disk when it answers: {1 / each:,.0f} a second; {LONG:,} in line"
    return Row("one submission", each * 1000, MAX_SUBMISSION_MS, how, "ms")


@contextmanager
def _paused_server(bench: Bench, size: int) -> Generator[AppServer]:
    folder = bench.folder / f"line-{size}"
    bench.say(f"  {size:,} in line")
    store = open_store(folder / "data")
    store.queue.pause()
    recipe = Recipe.model_validate(bench.recipe() | {"seed": 1})
    step = 1 if size == SHORT else BATCH  # so that a page of either has its ten rows
    for first in range(0, size, step):
        count = min(step, size - first)
        store.queue.submit([recipe.model_copy(update={"seed": first + number}) for number in range(count)])
    store.close()
    with AppServer(bench.settings, folder, threads=bench.threads) as server:
        server.wait_for_page()
        yield server


@contextmanager
def _client(server: AppServer) -> Generator[Client]:
    client = Client(server.address)
    try:
        yield client
    finally:
        client.close()


def measure_followers(bench: Bench) -> Iterator[Row]:
    """A picture while nobody watches, and while two hundred pages do, in turns."""
    alone: list[float] = []
    watched: list[float] = []
    with AppServer(bench.settings, bench.folder / "followers", threads=bench.threads) as server:
        server.wait_for_page()
        for number in range(ROUNDS + 1):
            time.sleep(REST_S)
            alone.append(server.draw(bench.recipe(seed=number)))
            with _crowd(server.address):
                time.sleep(REST_S)
                watched.append(server.draw(bench.recipe(seed=number + 1000)))
            bench.say(f"  round {number} of {ROUNDS}: {watched[-1]:.2f} s and {alone[-1]:.2f} s")
    del alone[0], watched[0]  # the first ones load the model
    what = "HTTP request → file on disk; they read on the same machine"
    yield ratio_row(f"picture: {FOLLOWERS} event followers ÷ none", 1.03, watched, alone, what)


@contextmanager
def _crowd(address: str) -> Generator[None]:
    """Two hundred connections that follow everything, in a thread of their own."""
    host, _, port = address.partition(":")
    loop = asyncio.new_event_loop()
    there = threading.Event()

    async def listen() -> None:
        writers: list[asyncio.StreamWriter] = []
        readers: list[asyncio.Task[None]] = []
        for _ in range(FOLLOWERS):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            await reader.readuntil(b'"type":"snapshot"')
            writers.append(writer)
            readers.append(asyncio.create_task(_drop(reader)))
        there.set()
        await asyncio.gather(*readers, return_exceptions=True)
        for writer in writers:
            writer.close()

    task = loop.create_task(listen())
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([task]),), daemon=True)
    thread.start()
    there.wait()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


async def _drop(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass
