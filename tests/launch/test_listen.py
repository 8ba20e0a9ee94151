"""Ports, and the server's beginning and end as a person sees them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fooocus_lite.errors import FooocusError
from fooocus_lite.listen import address_of, open_socket

ROOT = Path(__file__).resolve().parents[2]
#: A server of two WebSockets: one refuses everybody, and one is broken.
SOCKETS = """
import logging
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from fooocus_lite.listen import address_of, open_socket, serve_until_stopped

async def refuse(socket):
    await socket.send_denial_response(PlainTextResponse("No.", status_code=403))

async def break_down(socket):
    raise OSError("the broken one")

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
listening = open_socket("127.0.0.1", 0)
print(address_of(listening), flush=True)
routes = [WebSocketRoute("/refused", refuse), WebSocketRoute("/broken", break_down)]
serve_until_stopped(Starlette(routes=routes), listening, say_goodbye=lambda: None)
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port in use that has free ones behind it."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        yield busy.getsockname()[1]


def test_a_free_port_is_used(taken: int) -> None:
    with open_socket("127.0.0.1", taken + 1) as listening:
        assert address_of(listening).startswith("http://127.0.0.1:")


def test_a_taken_port_moves_on(taken: int) -> None:
    with open_socket("127.0.0.1", taken) as listening:
        assert taken < listening.getsockname()[1] <= taken + 50


def test_an_address_that_is_not_ours_is_one_sentence() -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(FooocusError) as error:
            open_socket(host, 7865)
        assert error.value.field == "host" and host in error.value.problem


def test_every_interface_is_shown_as_an_address_one_can_open() -> None:
    with open_socket("0.0.0.0", 47865) as listening:
        assert address_of(listening).startswith("http://127.0.0.1:4")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_server_says_where_it_is_and_ends_politely(taken: int, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("FOOOCUS_")}
    env |= {"FOOOCUS_DATA_DIR": str(tmp_path / "data"), "FOOOCUS_OUTPUT_DIR": str(tmp_path / "out")}
    command = [sys.executable, "-m", "fooocus_lite", "--no-browser", "--port", str(taken)]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        first, second = server.stdout.readline(), server.stdout.readline()
        assert first.startswith(f"Port {taken} is taken; using ")
        assert second.startswith("Fooocus Lite is at http://127.0.0.1:")
        other = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert other.returncode == 2 and "already uses the queue" in other.stderr
        assert second.split()[4] in other.stderr, "it names the first one's address"
        server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=300)
    assert server.returncode == 0 and "what was waiting is kept" in rest and "Traceback" not in rest


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_the_log_has_nothing_of_a_refused_websocket_and_all_of_a_broken_one() -> None:
    command = [sys.executable, "-c", SOCKETS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip().replace("http", "ws", 1)
        for path, status in (("/refused", 403), ("/broken", 500)):
            with pytest.raises(InvalidStatus) as caught, connect(address + path, open_timeout=300):
                pass
            assert caught.value.response.status_code == status
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=300)
    errors = [line for line in log.splitlines() if line.startswith("ERROR")]
    assert [line for line in errors if "completing handshake" in line] == []
    assert errors == ["ERROR uvicorn.error: Exception in ASGI application"] and "OSError: the broken one" in log
