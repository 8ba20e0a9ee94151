"""Where the program itself breaks: still an answer in its door's shape, with the headers that every answer has."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from fooocus_lite.web.border import INTERNAL_ERROR, RESPONSE_HEADERS, say_errors
from tests.app.client import ask
from tests.app.light import LightServer
from tests.app.raw import port_of, request, send
from tests.faults.server import Server

COOP = "cross-origin-opener-policy"


class Broken(RuntimeError):
    """What nobody has thought of."""


async def breaks(request: Request) -> Response:
    raise Broken


async def breaks_before(socket: WebSocket) -> None:
    raise Broken


async def breaks_within(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("so far")
    raise Broken


async def hangs_up(socket: WebSocket) -> None:
    await socket.accept()
    await socket.receive_text()
    await socket.receive_text()  # the client has gone


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LightServer]:
    made = LightServer(tmp_path)
    routes = [Route(path, breaks) for path in ("/v1/breaks", "/sdapi/v1/breaks", "/v1/images/breaks")]
    sockets = {"/v1/before": breaks_before, "/v1/within": breaks_within, "/v1/gone": hangs_up}
    made.app.router.routes[:0] = [*routes, *(WebSocketRoute(path, route) for path, route in sockets.items())]
    yield made
    made.close()


def assert_has_headers(headers: dict[str, str]) -> None:
    assert {name.lower() for name in RESPONSE_HEADERS} <= {name.lower() for name in headers}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/breaks", lambda body: body["code"]),
        ("/sdapi/v1/breaks", lambda body: body["error"]),
        ("/v1/images/breaks", lambda body: body["error"]["code"]),
    ],
    ids=["ours", "A1111", "OpenAI"],
)
def test_an_error_of_the_program_has_its_door_s_shape(server: LightServer, path: str, code: object) -> None:
    status, headers, body = ask(server.address, "GET", path)
    assert status == 500
    assert_has_headers(headers)
    assert callable(code) and code(json.loads(body)) == "internal"
    assert b"Broken" not in body and b"Traceback" not in body


def test_a_websocket_that_breaks_before_it_is_one(server: LightServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(server.address.replace("http", "ws") + "/v1/before").close()
    response = refused.value.response
    assert response.status_code == 500
    assert_has_headers(dict(response.headers.raw_items()))
    assert json.loads(response.body or b"")["code"] == "internal"
    assert "Broken" in caplog.text


def test_a_websocket_that_breaks_says_so(server: LightServer, caplog: pytest.LogCaptureFixture) -> None:
    with connect(server.address.replace("http", "ws") + "/v1/within") as socket:
        assert socket.recv() == "so far"
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv()
    assert closed.value.rcvd and closed.value.rcvd.code == INTERNAL_ERROR
    assert "Broken" in caplog.text


def test_a_client_that_goes_is_no_error(server: LightServer, caplog: pytest.LogCaptureFixture) -> None:
    with connect(server.address.replace("http", "ws") + "/v1/gone") as socket:
        socket.send("hello")
    assert server.ask("GET", "/healthz")[0] == 200
    server.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_the_page_s_own_application_says_it_likewise(tmp_path: Path) -> None:
    page = FastAPI(openapi_url=None)
    with gr.Blocks() as blocks:
        gr.Button("press")
    gr.mount_gradio_app(page, blocks, path="/")
    (mounted,) = (route for route in page.routes if isinstance(route, Mount))
    assert isinstance(mounted.app, FastAPI)
    mounted.app.router.routes.insert(0, Route("/breaks", breaks))
    say_errors(page)
    server = LightServer(tmp_path)
    server.app.router.routes.insert(0, Mount("/", page))
    try:
        status, headers, body = ask(server.address, "GET", "/breaks")
        assert (status, json.loads(body)["code"]) == (500, "internal")
        assert_has_headers(headers)
    finally:
        server.close()


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/reset", "/gradio_api/cancel"])
def test_half_a_character_breaks_nothing_in_the_page_s_part(web_server: Server, path: str) -> None:
    status, headers, body = ask(web_server.address, "POST", path, b'"\\ud800"', {"Content-Type": "application/json"})
    assert (status, json.loads(body)["code"]) == (422, "bad_value")
    assert_has_headers(headers)


@pytest.mark.parametrize("method, path", [("GET", "/v1/tasks"), ("POST", "/v1/tasks"), ("GET", "/sdapi/v1/options")])
def test_without_its_guard_the_server_serves_nobody(tmp_path: Path, method: str, path: str) -> None:
    server = LightServer(tmp_path)
    server.app.user_middleware.clear()
    try:
        status, body = server.ask(method, path, {"prompt": "a star"} if method == "POST" else None)
        assert status == 500 and "tasks" not in body
        with connect(server.address.replace("http", "ws") + "/v1/ws") as socket, pytest.raises(ConnectionClosedError):
            socket.recv()
        assert server.line() == []
    finally:
        server.close()


def test_browsers_get_no_header_that_they_would_only_complain_of(web_server: Server) -> None:
    """Chromium prints an error for a Cross-Origin-Opener-Policy on a page that came by plain http from the network."""
    port = port_of(web_server.address)
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert send(web_server.address, request("GET", "/", [("Host", host)])).headers[COOP] == "same-origin"
    tunnel = [("Host", f"127.0.0.1:{port}"), ("X-Forwarded-Proto", "https")]
    assert COOP in send(web_server.address, request("GET", "/", tunnel)).headers
    foreign = send(web_server.address, request("GET", "/", [("Host", f"192.0.2.7:{port}")]))
    assert COOP not in foreign.headers and foreign.status == 403
    assert_has_headers(foreign.headers)


def test_a_stream_that_breaks_closes_its_websocket_and_is_logged(
    server: LightServer, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(server.address.replace("http", "ws") + "/v1/ws") as socket:
        assert json.loads(socket.recv())["type"] == "snapshot"
        with server.store.database.write() as transaction:  # as a damaged file would
            transaction.execute("ALTER TABLE tasks RENAME TO gone")
        server.store.queue.pause()
        with pytest.raises(ConnectionClosedError) as closed:
            while True:
                socket.recv()
        with server.store.database.write() as transaction:
            transaction.execute("ALTER TABLE gone RENAME TO tasks")
    assert closed.value.rcvd and closed.value.rcvd.code == INTERNAL_ERROR
    assert "/v1/ws broke" in caplog.text
