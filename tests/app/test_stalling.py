"""Clients that begin and never end: nothing waits for them, and others do not notice them."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import AbstractContextManager
from typing import Any

import pytest
from starlette.types import Message

from fooocus_lite.errors import FooocusError
from fooocus_lite.patience import PatientProtocol
from fooocus_lite.web import bodies
from tests.app.raw import answer, request
from tests.app.serving import serving


class Hasty(PatientProtocol):
    head_timeout_s = 0.3


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with its path; ``/slow`` only after a while longer than the clock of `Hasty`, ``/all`` with the body."""
    size, more = 0, scope["path"] == "/all"
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(1.0)
    text = f"{scope['path']} {size}".encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def echoing(keep_alive_s: int = 60) -> AbstractContextManager[int]:
    return serving(_echo, Hasty, timeout_keep_alive=keep_alive_s)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


HOST = [("Host", "x")]


def test_the_server_hangs_up_on_heads_that_do_not_end() -> None:
    with echoing() as port:
        for begun in (b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nX-A: b"):
            with connected(port) as stalls:
                stalls.sendall(begun)
                assert stalls.recv(1) == b""


def test_a_byte_now_and_then_does_not_help() -> None:
    with echoing() as port, connected(port) as drips, pytest.raises(OSError):
        for _ in range(10_000):
            drips.sendall(b"GET / HTTP/1.1\r\nX-A: b"[:1])
            threading.Event().wait(0.02)


def test_a_body_that_nobody_waits_for_any_more() -> None:
    with echoing() as port, connected(port) as stalls:
        stalls.sendall(request("POST", "/early", HOST, b"x" * 100)[:-50].replace(b"Connection: close\r\n", b""))
        assert answer(stalls).body == b"/early 0"
        with pytest.raises(OSError):
            for _ in range(49):  # it keeps on, a byte at a time, and never ends
                stalls.sendall(b"x")
                threading.Event().wait(0.05)


def test_what_is_being_answered_is_left_in_peace() -> None:
    with echoing() as port, connected(port) as client:
        for _ in range(2):  # the second on the same connection
            client.sendall(request("GET", "/slow", HOST).replace(b"Connection: close\r\n", b""))
            assert answer(client).body == b"/slow 0"
        client.sendall(request("POST", "/all", HOST, b"x" * 1000)[:-1].replace(b"Connection: close\r\n", b""))
        threading.Event().wait(1.0)  # the body's time is the application's
        client.sendall(b"x")
        assert answer(client).body == b"/all 1000"


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_GRACE_S", 0.1)
    scope = {"type": "http", "path": "/v1/tasks", "headers": [(b"content-length", b"1000000")]}

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def drips() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    for receive in (never, drips):
        with pytest.raises(FooocusError) as error:
            asyncio.run(bodies.bounded(scope, receive))
        assert error.value.code == "too_slow" and error.value.http_status == 408


def test_half_a_body_is_none() -> None:
    scope = {"type": "http", "path": "/v1/tasks", "headers": [(b"content-length", b"500")]}
    coming: list[Message] = [
        {"type": "http.request", "body": b'{"prompt": "whole by itself"}', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return coming.pop(0)

    with pytest.raises(FooocusError, match="broken off"):
        asyncio.run(bodies.bounded(scope, receive))


def test_a_body_that_comes_slowly_but_does_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_GRACE_S", 0.2)
    scope = {"type": "http", "path": "/v1/tasks", "headers": [(b"content-length", b"5000")]}
    left = [b"x" * 500 for _ in range(10)]  # 0.6 s in all; 500 bytes buy 0.125 s

    async def slowly() -> Message:
        await asyncio.sleep(0.06)
        return {"type": "http.request", "body": left.pop(), "more_body": bool(left)}

    async def read() -> Message:
        return await (await bodies.bounded(scope, slowly))()

    assert len(asyncio.run(read())["body"]) == 5000
