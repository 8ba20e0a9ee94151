"""Hundreds who follow, and some who stop reading: everybody gets every fact once, and nothing is kept for anybody."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from fooocus_lite.patience import PatientProtocol
from tests.app.client import ask, ask_json
from tests.app.serving import serving
from tests.aside import run_aside
from tests.faults.server import Server, until

CROWD = 500


async def _facts(address: str, path: str, begun: asyncio.Semaphore) -> list[int]:
    """Numbers of the facts of one stream, to its end."""
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
    numbers: list[int] = []
    while (line := await reader.readline()) != b"0\r\n":  # the last chunk of the answer
        assert line, "the stream broke off"
        if line.startswith(b"id: "):
            if not numbers:
                begun.release()
            numbers.append(int(line[4:]))
    writer.close()
    return numbers


def test_five_hundred_followers_of_one_task_get_every_fact_once_and_in_order(quiet_server: Server) -> None:
    blocker = quiet_server.submit("a blue square", steps=200)[0]
    (task_id,) = quiet_server.submit("a yellow star", steps=3)
    path = f"/v1/tasks/{task_id}/events"
    assert quiet_server.process
    process = psutil.Process(quiet_server.process.pid)

    async def crowd() -> tuple[list[list[int]], int]:
        begun = asyncio.Semaphore(0)
        following = [asyncio.create_task(_facts(quiet_server.address, path, begun)) for _ in range(CROWD)]
        for _ in following:
            await begun.acquire()
        during = process.memory_info().rss
        await asyncio.to_thread(quiet_server.cancel, blocker)
        return await asyncio.gather(*following), during

    before = process.memory_info().rss
    told, during = run_aside(crowd())
    whole = told[0]
    assert len(whole) >= 5 and whole == sorted(set(whole))
    assert all(one == whole for one in told)
    # Of each connection the program keeps its stream's state and uvicorn's 64 KB at most; a copy of what was told to
    # each of them would be more with every fact.
    assert during - before < CROWD * 200_000
    until(lambda: process.num_fds() < CROWD, "the end of the connections")
    status, answer = ask_json(quiet_server.address, "GET", f"/v1/tasks/{task_id}")
    assert (status, answer["state"]) == (200, "finished")


def test_who_stops_reading_holds_up_nobody_and_nothing_is_kept_for_it(quiet_server: Server) -> None:
    where = urlsplit(quiet_server.address)
    assert quiet_server.process
    process = psutil.Process(quiet_server.process.pid)
    deaf: list[socket.socket] = []
    for _ in range(20):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((where.hostname, where.port))
        connection.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        deaf.append(connection)
    before = process.memory_info().rss
    words = "x" * 900
    for _ in range(40):  # each of these is a message of a hundred rows to every page that listens
        ids = quiet_server.submit(words, count=40, steps=200)
        assert len(ids) == 40
        quiet_server.post("/v1/clear")
    quiet_server.post("/v1/stop")
    (task,) = quiet_server.wait(*quiet_server.submit("a red circle", steps=2))
    assert task["state"] == "finished"
    assert process.memory_info().rss - before < 40_000_000
    for connection in deaf:
        connection.close()


class Hasty(PatientProtocol):
    read_timeout_s = 0.3


@contextmanager
def streaming(made: Counter[str]) -> Iterator[int]:
    """A server whose stream never ends; ``made`` counts its pieces by what is asked for."""

    async def pieces(name: str) -> AsyncIterator[bytes]:
        try:
            while True:
                made[name] += 1
                yield b"x" * 10_000
                await asyncio.sleep(0.001)
        finally:
            made[f"{name} ended"] += 1

    async def stream(request: Any) -> StreamingResponse:
        return StreamingResponse(pieces(request.path_params["name"]))

    with serving(Starlette(routes=[Route("/{name}", stream)]), Hasty) as port:
        yield port


def test_who_does_not_read_is_let_go_and_who_reads_slowly_is_not() -> None:
    made: Counter[str] = Counter()
    with streaming(made) as port:
        deaf, slow = (socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(2))
        deaf.sendall(b"GET /deaf HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        taken = 0
        while not made["deaf ended"]:
            taken += len(slow.recv(200_000))
            time.sleep(0.01)
        assert made["deaf"] * 10_000 < 20_000_000, "no more was made than the system's own buffers hold"
        assert not made["slow ended"] and taken > 1_000_000
        assert slow.recv(1)
        while deaf.recv(1_000_000):  # what was on its way, then the end
            pass
        deaf.close()
        slow.close()
        until(lambda: made["slow ended"], "the end of the other")


def test_answers_leave_at_once() -> None:
    """The system's own delay of small packets would add 40 ms to every answer on a connection that is kept."""
    delayed: list[int] = []

    class Told(PatientProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            own = transport.get_extra_info("socket")
            delayed.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with serving(Starlette(), Told) as port:
        assert ask(f"http://127.0.0.1:{port}", "GET", "/nothing")[0] == 404
    assert delayed and all(delayed)


def test_the_same_request_many_times_at_once_is_one(quiet_server: Server) -> None:
    quiet_server.submit("a blue square", steps=200)
    body = json.dumps({"prompt": "a star", "count": 3, "steps": 2}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": "twenty at once"}
    answers: list[tuple[int, bytes]] = []

    def send() -> None:
        status, _, text = ask(quiet_server.address, "POST", "/v1/tasks", body, headers)
        answers.append((status, text))

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20 and len(set(answers)) == 1 and answers[0][0] == 201
    quiet_server.post("/v1/skip")
    tasks = quiet_server.wait(*json.loads(answers[0][1])["ids"])
    assert [task["state"] for task in tasks] == ["finished"] * 3
