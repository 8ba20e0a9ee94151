"""What a hostile page or program can send, byte by byte: refused at every door, nothing queued and nothing written."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fooocus_lite.web.bodies import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS
from tests.app.raw import Said, port_of, request, send
from tests.faults.server import DEADLINE_S, Server

JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "multipart/form-data; boundary=x")
PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="evil.txt"\r\n\r\nevil\r\n--x--\r\n'
SOCKET = [
    ("Upgrade", "websocket"), ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]  # fmt: skip
#: Method, path, headers of its own, body: every way in.
DOORS: list[tuple[str, str, list[tuple[str, str]], bytes]] = [
    ("POST", "/v1/tasks", [JSON], b'{"prompt": "evil", "steps": 2}'),
    ("POST", "/v1/images/generations", [JSON], b'{"prompt": "evil"}'),
    ("POST", "/sdapi/v1/txt2img", [JSON], b'{"prompt": "evil", "steps": 2}'),
    ("POST", "/sdapi/v1/options", [JSON], b'{"sd_model_checkpoint": "starter"}'),
    ("POST", "/v1/clear", [], b""),
    ("POST", "/v1/read", [("Content-Type", "image/png")], b"evil"),
    ("POST", "/gradio_api/upload", [FORM], PART),
    ("POST", "/gradio_api/queue/join", [JSON], b'{"data": [], "fn_index": 0, "session_hash": "evil"}'),
    ("PUT", "/v1/favourites", [JSON], b'{"styles": ["Neon"]}'),
    ("GET", "/v1/menu", [], b""),
    ("GET", "/v1/events", [], b""),
    ("GET", "/v1/ws", SOCKET, b""),
    ("GET", "/config", [], b""),
    ("GET", "/openapi.json", [], b""),
    ("GET", "/ui/main.js", [], b""),
]
#: What a request comes with → its Host and other headers; {port} is the server's.
ATTACKS: dict[str, list[tuple[str, str]]] = {
    "a page of another website": [("Host", "127.0.0.1:{port}"), ("Origin", "https://evil.example")],
    "a name of theirs that points here": [("Host", "evil.example:{port}"), ("Origin", "http://evil.example:{port}")],
    "that name, without an origin": [("Host", "evil.example:{port}")],
    "a name that begins as ours": [("Host", "127.0.0.1.evil.example:{port}")],
    "a name that ends as ours": [("Host", "evil.localhost:{port}")],
    "another number of this machine": [("Host", "127.0.0.2:{port}"), ("Origin", "https://evil.example")],
    "the same, as its own page": [("Host", "127.0.0.2:{port}"), ("Origin", "http://127.0.0.2:{port}")],
    "localhost with a dot": [("Host", "localhost.:{port}"), ("Origin", "https://evil.example")],
    "localhost with a dot, as its own page": [("Host", "localhost.:{port}"), ("Origin", "http://localhost.:{port}")],
    "IPv6, from another website": [("Host", "[::1]:{port}"), ("Origin", "https://evil.example")],
    "IPv4 in IPv6": [("Host", "[::ffff:127.0.0.1]:{port}"), ("Origin", "http://[::ffff:127.0.0.1]:{port}")],
    "no address at all": [("Host", "0.0.0.0:{port}"), ("Origin", "http://0.0.0.0:{port}")],
    "no address, from another website": [("Host", "0.0.0.0:{port}"), ("Origin", "https://evil.example")],
    "decimal": [("Host", "2130706433:{port}"), ("Origin", "http://2130706433:{port}")],
    "hexadecimal": [("Host", "0x7f000001:{port}"), ("Origin", "https://evil.example")],
    "octal": [("Host", "0177.0.0.1:{port}"), ("Origin", "http://0177.0.0.1:{port}")],
    "short": [("Host", "127.1:{port}"), ("Origin", "http://127.1:{port}")],
    "what containers call this machine": [("Host", "host.docker.internal:{port}")],
    "a sandboxed page": [("Host", "127.0.0.1:{port}"), ("Origin", "null")],
    "a page that is a file": [("Host", "127.0.0.1:{port}"), ("Origin", "file://")],
    "another port": [("Host", "localhost:{port}"), ("Origin", "http://localhost:3000")],
    "another name of ours": [("Host", "localhost:{port}"), ("Origin", "http://127.0.0.1:{port}")],
    "a longer origin": [("Host", "127.0.0.1:{port}"), ("Origin", "http://127.0.0.1:{port}.evil.example")],
    "an origin that is no website": [("Host", "127.0.0.1:{port}"), ("Origin", "ftp://127.0.0.1:{port}")],
    "two origins in one": [("Host", "127.0.0.1:{port}"), ("Origin", "http://127.0.0.1:{port} https://evil.example")],
    "an image tag": [("Host", "127.0.0.1:{port}"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
    "an image tag on another port": [("Host", "127.0.0.1:{port}"), ("Sec-Fetch-Site", "same-site")],
    "a link": [("Host", "127.0.0.1:{port}"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")],
    "two hosts": [("Host", "127.0.0.1:{port}"), ("Host", "evil.example")],
    "two hosts, turned": [("Host", "evil.example"), ("Host", "127.0.0.1:{port}")],
    "two origins": [("Host", "127.0.0.1:{port}"), ("Origin", "http://127.0.0.1:{port}"), ("Origin", "https://evil.example")],
    "a proxy's word": [("Host", "evil.example"), ("X-Forwarded-Host", "127.0.0.1:{port}")],
    "a proxy's other word": [("Host", "evil.example"), ("Forwarded", "host=127.0.0.1")],
    "an empty host": [("Host", "")],
    "a person at a host": [("Host", "evil@127.0.0.1:{port}")],
    "a host with a path": [("Host", "127.0.0.1:{port}/evil.example")],
    "a port that is none": [("Host", "127.0.0.1:evil")],
    "a cut address": [("Host", "[::1")],
}  # fmt: skip


@pytest.fixture
def untouched(quiet_server: Server) -> Iterator[Server]:
    """Afterwards the server has the tasks, choices and files that it had."""
    (stays,) = quiet_server.submit("a star that stays", steps=200)
    before = _state(quiet_server)
    yield quiet_server
    assert _state(quiet_server) == before
    assert quiet_server.task(stays)["state"] in ("waiting", "running")


def _state(server: Server) -> object:
    newest = [task["id"] for task in server.get("/v1/tasks?limit=1")[1]["tasks"]]
    files = {path for folder in (server.data, server.outputs) for path in folder.rglob("*") if _is_kept(path)}
    return newest, server.get("/sdapi/v1/options")[1], server.get("/v1/menu")[1]["favourites"], files


def _is_kept(path: Path) -> bool:
    return path.suffix not in (".db-wal", ".db-shm")


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_at_every_door(untouched: Server, name: str) -> None:
    port = port_of(untouched.address)
    headers = [(key, value.format(port=port)) for key, value in ATTACKS[name]]
    for method, path, own, body in DOORS:
        said = send(untouched.address, request(method, path, headers + own, body))
        assert said.status in (400, 403), (method, path, said)
        assert_tells_nothing(said)


def assert_tells_nothing(said: Said) -> None:
    assert not [name for name in said.headers if name.startswith("access-control-")]
    assert "set-cookie" not in said.headers and len(said.body) < 500
    assert b"evil\r" not in said.body and b"<" not in said.body


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "TEXT/PLAIN;x=y"]
)
def test_forms_of_browsers_that_say_no_origin(untouched: Server, kind: str) -> None:
    for method, path, _, _ in DOORS:
        if method == "GET" or path.startswith(("/v1/read", "/v1/images/")):
            continue  # those take files in any dress, and keep none
        headers = [("Host", f"127.0.0.1:{port_of(untouched.address)}"), ("Content-Type", kind)]
        said = send(untouched.address, request(method, path, headers, b'{"prompt": "evil", "styles": ["="]}'))
        assert said.status == 403, (path, said)
    headers = [("Host", f"127.0.0.1:{port_of(untouched.address)}"), ("Content-Type", kind)]
    said = send(untouched.address, request("POST", "/v1/images/generations", headers, b'{"prompt": "evil"}'))
    assert said.status in (400, 422)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:{port}"])
def test_nobody_is_told_that_they_may(web_server: Server, origin: str) -> None:
    """A browser asks before it sends JSON to another website; without a yes it sends nothing."""
    port = port_of(web_server.address)
    wish = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")]
    wish.append(("Access-Control-Request-Private-Network", "true"))
    for _, path, _, _ in DOORS:
        headers = [("Host", f"127.0.0.1:{port}"), ("Origin", origin.format(port=port)), *wish]
        said = send(web_server.address, request("OPTIONS", path, headers))
        assert said.status == 403 or port_of(web_server.address) == int(origin.format(port=port).rpartition(":")[2])
        assert not [name for name in said.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        ("GET http://evil.example/v1/menu HTTP/1.1", (400,)),
        ("GET http://127.0.0.1:{port}/v1/menu HTTP/1.1", (400,)),
        ("POST http://127.0.0.1:{port}/v1/clear HTTP/1.1", (400,)),
        ("OPTIONS * HTTP/1.1", (400,)),
        ("CONNECT evil.example:443 HTTP/1.1", (400,)),
        ("GET v1/menu HTTP/1.1", (400,)),
        ("GET /v1/menu%00 HTTP/1.1", (400,)),
        ("GET /v1/menu%0d%0aSet-Cookie:evil HTTP/1.1", (400,)),
        ("GET //evil.example/v1/menu HTTP/1.1", (404,)),
        ("GET /v1/menu evil HTTP/1.1", (400,)),
        ("TRACE /v1/menu HTTP/1.1", (404,)),
    ],
    ids=str,
)
def test_a_request_that_asks_for_no_path(untouched: Server, line: str, statuses: tuple[int, ...]) -> None:
    port = port_of(untouched.address)
    head = f"{line}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".replace("{port}", str(port))
    said = send(untouched.address, head.encode())
    assert said.status in statuses
    assert_tells_nothing(said)
    assert "evil" not in said.headers.get("location", "")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /v1/menu HTTP/1.0\r\n\r\n", 403),
        ("GET /v1/menu HTTP/1.0\r\nX-Forwarded-Host: 127.0.0.1\r\n\r\n", 403),
        ("GET /v1/menu HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        ("POST /v1/clear HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        ("POST /v1/clear HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /v1/clear HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: evil\r\n\r\n", 501),
        ("GET /v1/menu HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n", 400),
        ("GET /v1/menu HTTP/1.1\r\nHost: 127.0.0.1\r\n\x00: x\r\n\r\n", 400),
        ("\x16\x03\x01\x00\xa5\x01\x00", 400),
    ],
    ids=["old", "old, by proxy", "no host", "two lengths", "below nothing", "coding", "space", "NUL", "TLS"],
)
def test_a_head_that_is_none(untouched: Server, head: str, status: int) -> None:
    # h11 says 400 also where 501 would be the word for it
    said = send(untouched.address, head.encode("latin-1") + (b"" if "\r\n\r\n" in head else b"\r\n\r\n"))
    assert said.status in (status, 400)


def test_websockets_of_other_websites_are_never_opened(web_server: Server) -> None:
    where = web_server.address.replace("http", "ws", 1) + "/v1/ws"
    for origin in ("https://evil.example", "null", "http://localhost:3000"):
        with pytest.raises(InvalidStatus) as refused, connect(where, origin=origin):  # type: ignore[arg-type]
            pass
        assert refused.value.response.status_code == 403
    with connect(where, origin=web_server.address) as ours:  # type: ignore[arg-type]
        assert json.loads(ours.recv())["type"] == "snapshot"
    with connect(where) as program:
        assert json.loads(program.recv())["type"] == "snapshot"


def test_a_link_leads_to_the_page_and_nowhere_else(web_server: Server) -> None:
    host = ("Host", f"127.0.0.1:{port_of(web_server.address)}")
    link = [host, ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
    frame = [*link[:3], ("Sec-Fetch-Dest", "iframe")]
    assert send(web_server.address, request("GET", "/", link)).status == 200
    assert send(web_server.address, request("GET", "/docs", link)).status == 200
    assert send(web_server.address, request("GET", "/", frame)).status == 403
    assert send(web_server.address, request("GET", "/v1/menu", link)).status == 403
    assert send(web_server.address, request("POST", "/", [*link, ("Origin", "null")])).status == 403


def test_a_proxy_cannot_make_the_page_another_website_s(web_server: Server) -> None:
    headers = [("Host", f"127.0.0.1:{port_of(web_server.address)}"), ("X-Forwarded-Host", "evil.example")]
    for path in ("/", "/config", "/v1/menu", "/openapi.json"):
        said = send(web_server.address, request("GET", path, headers))
        assert said.status == 200 and b"evil.example" not in said.body


def test_too_many_headers(web_server: Server) -> None:
    host = ("Host", f"127.0.0.1:{port_of(web_server.address)}")
    many = [(f"X-{number}", "y") for number in range(MAX_HEADERS)]
    assert send(web_server.address, request("GET", "/v1/menu", [host, *many])).status == 413
    long = ("X-Long", "y" * MAX_HEADER_BYTES)
    assert send(web_server.address, request("GET", "/v1/menu", [host, long])).status in (400, 413)
    assert send(web_server.address, request("GET", "/v1/menu", [host, *many[:50]])).status == 200


@pytest.mark.parametrize("path", ["/v1/tasks", "/sdapi/v1/txt2img", "/v1/images/generations", "/gradio_api/queue/join"])
def test_a_length_that_is_too_large_is_refused_before_the_body_comes(untouched: Server, path: str) -> None:
    host = ("Host", f"127.0.0.1:{port_of(untouched.address)}")
    for length in ("900000000", "99999999999999999999"):
        head = request("POST", path, [host, JSON, ("Content-Length", length)])
        said = send(untouched.address, head)
        assert said.status in (400, 413)
        assert b"8 MB" in said.body or said.status == 400
    chunked = request("POST", path, [host, JSON, ("Transfer-Encoding", "chunked")])
    piece = b"x" * 100_000
    data = (
        chunked + (f"{len(piece):x}\r\n".encode() + piece + b"\r\n") * (MAX_BODY_BYTES // len(piece) + 2) + b"0\r\n\r\n"
    )
    assert send(untouched.address, data).status == 413


@pytest.mark.parametrize("asked", ["POST /v1/plan", "GET /healthz"])
def test_a_length_that_is_said_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    untouched: Server, asked: str
) -> None:
    """A proxy that goes by the one would take the second request for a body, and hand on what it would have refused."""
    host = f"Host: 127.0.0.1:{port_of(untouched.address)}\r\n"
    smuggled = f"POST /v1/clear HTTP/1.1\r\n{host}\r\n"
    head = f"{asked} HTTP/1.1\r\n{host}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    body = f"2\r\n{{}}\r\n0\r\n\r\n{smuggled}"
    data = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    with socket.create_connection(("127.0.0.1", port_of(untouched.address)), timeout=DEADLINE_S) as connection:
        connection.sendall(data)
        told = b""
        while piece := connection.recv(65_536):
            told += piece
    assert told.startswith(b"HTTP/1.1 400 ") and told.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in told.lower()
