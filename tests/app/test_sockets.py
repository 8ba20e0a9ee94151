"""The event streams as WebSockets, heard by a real client and by some that behave badly."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.app.client import follow
from tests.faults.server import DEADLINE_S, Server, until


@contextmanager
def listening(server: Server, path: str, **headers: str) -> Iterator[ClientConnection]:
    where = server.address.replace("http", "ws", 1) + path
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with connect(where, additional_headers=sent, open_timeout=DEADLINE_S, max_size=None) as connection:
        yield connection


def heard(connection: ClientConnection) -> Iterator[dict[str, Any]]:
    """Messages until the server closes."""
    for text in connection:
        yield json.loads(text)


def facts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["kind"] not in ("progress", "preview", "downloading")]


def test_one_task_to_its_end(quiet_server: Server) -> None:
    (task_id,) = quiet_server.submit("a red circle", steps=30)
    with listening(quiet_server, f"/v1/tasks/{task_id}/ws") as connection:
        messages = list(heard(connection))
    assert messages[0]["kind"] == "queued" and messages[-1]["kind"] == "finished"
    assert {"progress", "preview", "image_saved"} <= {message["kind"] for message in messages}
    told = [json.loads(event["data"]) for event in follow(quiet_server.address, f"/v1/tasks/{task_id}/events")]
    assert facts(messages) == told, "word for word what the event stream says"
    assert connection.close_code == 1000


def test_it_goes_on_where_it_was(quiet_server: Server) -> None:
    (task_id,) = quiet_server.submit("a red circle", steps=2)
    quiet_server.wait(task_id)
    with listening(quiet_server, f"/v1/tasks/{task_id}/ws") as connection:
        everything = list(heard(connection))
    with listening(quiet_server, f"/v1/tasks/{task_id}/ws?after={everything[1]['seq']}") as connection:
        assert list(heard(connection)) == everything[2:]


def test_everything(quiet_server: Server) -> None:
    with listening(quiet_server, "/v1/ws") as connection:
        messages = heard(connection)
        assert next(messages)["type"] == "snapshot"
        (task_id,) = quiet_server.submit("a red circle", steps=2)
        about_it = (message for message in messages if message["type"] == "task" and message["task"]["id"] == task_id)
        ends = next(message for message in about_it if message["task"]["state"] == "finished")
    assert ends["picture"]["id"] == task_id and ends["waiting"] == 0


@pytest.mark.parametrize("path", ["/v1/ws", "/v1/tasks/{task}/ws", "/nowhere"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}], ids=str
)
def test_other_websites_hear_nothing(quiet_server: Server, path: str, headers: dict[str, str]) -> None:
    (task_id,) = quiet_server.submit("a red circle", steps=2)
    with pytest.raises(InvalidStatus) as caught, listening(quiet_server, path.format(task=task_id), **headers):
        pass
    assert caught.value.response.status_code == 403
    assert json.loads(caught.value.response.body)["code"] == "forbidden"


def test_another_name_hears_nothing(quiet_server: Server) -> None:
    assert b" 403 " in answered(quiet_server, "/v1/ws", "Host: evil.example")


def test_the_page_s_own_origin_is_fine(quiet_server: Server) -> None:
    with listening(quiet_server, "/v1/ws", Origin=quiet_server.address) as connection:
        assert json.loads(connection.recv())["type"] == "snapshot"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/tasks/nope/ws", 404, "not_found"),
        ("/v1/tasks/nope/ws?after=soon", 422, "bad_value"),
        ("/v1/tasks", 404, "not_found"),
        ("/", 404, "not_found"),
    ],
)
def test_what_is_not_there_is_said(quiet_server: Server, path: str, status: int, code: str) -> None:
    with pytest.raises(InvalidStatus) as caught, listening(quiet_server, path):
        pass
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body)["code"] == code


def test_what_a_client_says_is_bounded(quiet_server: Server) -> None:
    with listening(quiet_server, "/v1/ws") as connection:
        for _ in range(100):
            connection.send("hello?")  # nobody minds
        assert json.loads(connection.recv())["type"] == "snapshot"
        connection.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            for _ in heard(connection):
                pass
            raise connection.protocol.close_exc
        assert connection.close_code == 1009


def test_a_client_that_does_not_read_is_let_go(quiet_server: Server) -> None:
    """It never answers a ping, either; meanwhile everybody else is told as ever."""
    connection = handshake(quiet_server, "/v1/ws", f"Host: {urlsplit(quiet_server.address).netloc}")
    quiet_server.submit("a red circle", count=3, steps=2)
    connection.settimeout(DEADLINE_S)
    until(lambda: peeked_end(connection), "the end of the connection")
    connection.close()
    quiet_server.gives_a_red_circle()


def peeked_end(connection: socket.socket) -> bool:
    """Whether the server has closed: takes what there is, and answers nothing."""
    return connection.recv(1 << 16) == b""


def handshake(server: Server, path: str, host: str) -> socket.socket:
    parts = urlsplit(server.address)
    connection = socket.create_connection((parts.hostname or "", parts.port or 0))
    lines = [f"GET {path} HTTP/1.1", host, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def answered(server: Server, path: str, host: str) -> bytes:
    with handshake(server, path, host) as connection:
        return connection.recv(1 << 12)


def test_a_server_that_ends_says_so(web_models: Any, tmp_path: Any) -> None:
    server = Server(tmp_path, web_models).start()
    with listening(server, "/v1/ws") as connection:
        assert next(heard(connection))["type"] == "snapshot"
        assert server.end() == 0
        with pytest.raises(ConnectionClosed):
            while True:
                connection.recv()
    assert connection.close_code in (1001, 1012)
