"""``--listen``: nobody gets in without a password, at any door; with one, everywhere."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from fooocus_lite.passwords import hash_key, hash_password, new_key
from fooocus_lite.users_file import KeyRow, UserRow, UsersFile, change_users
from fooocus_lite.web.credentials import REFILL_S, TRIES_PER_ADDRESS
from tests.app.client import Answer, ask, ask_json, follow
from tests.app.closed import basic, listening, log_in, minted, session
from tests.app.raw import answer, port_of, request
from tests.app.test_guard import DOORS
from tests.faults.server import DEADLINE_S, Server, until

SHAPES = {"/v1/images/": {"error"}, "/sdapi/": {"error", "detail", "body", "errors"}}
ANA, KEY = "ana and her long password", new_key()


@pytest.fixture(scope="module")
def closed(web_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on all addresses that has no users."""
    with listening(tmp_path_factory.mktemp("closed"), web_models) as server:
        yield server


def peopled_folder(folder: Path) -> Path:
    """A folder of a server that has users: ana, who is none, and root, who is an admin."""
    key = KeyRow(name="phone", sha256=hash_key(KEY), created_at=0.0)
    rows = (
        UserRow(name="ana", password=hash_password(ANA), created_at=0.0, keys=(key,)),
        UserRow(name="root", password=hash_password("root and its password"), created_at=0.0, is_admin=True),
    )
    change_users(folder / "data" / "users.json", lambda old: old.model_copy(update={"users": rows}))
    return folder


@pytest.fixture(scope="module")
def peopled(web_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this machine alone that has users."""
    with listening(peopled_folder(tmp_path_factory.mktemp("peopled")), web_models, listen=False) as server:
        yield server


def test_a_stranger_hears_nothing_at_any_door(closed: Server) -> None:
    until(lambda: json.loads(ask(closed.address, "GET", "/healthz")[2])["page"] == "ready", "the page")
    before = _files(closed)
    for method, path, headers, body in DOORS:
        status, answered, text = ask(closed.address, method, path, body, dict(headers) | {"Origin": closed.address})
        assert status == 401, path
        shape = next((keys for door, keys in SHAPES.items() if path.startswith(door)), None)
        assert set(json.loads(text)) == (shape or {"code", "problem", "hint", "field"})
        assert answered["www-authenticate"].startswith("Basic" if path.startswith("/sdapi/") else "Bearer")
    for path in ("/", "/docs"):
        status, answered, text = ask(closed.address, "GET", path)
        assert status == 401 and b"<form" in text and b"gradio" not in text
    for path in ("/v1/tasks/x/image", "/ui/main.js", "/theme.css", "/gradio_api/mcp/", "/mcp", "/anything", "/mcp/sse"):
        assert ask(closed.address, "GET", path)[0] == 401, path
    assert _files(closed) == before


def _files(server: Server) -> set[Path]:
    return {path for folder in (server.data, server.outputs) for path in folder.rglob("*") if ".db" not in path.name}


def test_a_stranger_opens_no_websocket(closed: Server) -> None:
    where = closed.address.replace("http", "ws", 1) + "/v1/ws"
    with pytest.raises(InvalidStatus) as refused, connect(where):
        pass
    assert refused.value.response.status_code == 401
    headers = session(closed.address, "admin", minted(closed))
    with connect(where, additional_headers=headers, origin=Origin(closed.address)) as ours:
        assert json.loads(ours.recv())["type"] == "snapshot"
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(where, additional_headers=headers, origin=Origin("https://evil.example")),
    ):
        pass
    assert refused.value.response.status_code == 403, "the browser would send the cookie along"


def test_health_is_open_and_tells_nothing(closed: Server) -> None:
    status, said = ask_json(closed.address, "GET", "/healthz")
    assert status == 200 and said["page"] in ("starting", "ready")
    assert said == {"status": "ok", "version": "", "page": said["page"], "problem": None}
    assert ask_json(closed.address, "GET", "/healthz", **session(closed.address, "admin", minted(closed)))[1]["version"]


def test_a_stranger_holds_nothing_with_what_health_does_not_read(closed: Server) -> None:
    """The answer comes without the body, which would be kept in memory as long as it takes to come."""
    port = port_of(closed.address)
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        connection.sendall(request("GET", "/healthz", [("Host", f"127.0.0.1:{port}"), ("Content-Length", "8000000")]))
        assert answer(connection).status == 200


def test_the_password_that_was_made_up_opens_everything(closed: Server) -> None:
    password = minted(closed)
    assert len(password) >= 24 and closed.log.count(password) == 1
    headers = session(closed.address, "admin", password)
    assert ask_json(closed.address, "GET", "/v1/me", **headers) == (200, {"name": "admin", "is_admin": True})
    for way in (headers, basic("admin", password), basic("ADMIN", password)):
        assert ask(closed.address, "GET", "/v1/menu", headers=way)[0] == 200
        assert ask(closed.address, "GET", "/sdapi/v1/options", headers=way)[0] == 200
    snapshot = next(follow(closed.address, "/v1/events", **headers))
    assert json.loads(snapshot["data"])["type"] == "snapshot"


def test_a_browser_logs_in_and_out(closed: Server) -> None:
    status, headers, _ = log_in(closed.address, "admin", minted(closed), wanted="/docs")
    assert (status, headers["location"]) == (303, "/docs")
    cookie = headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; ")) and "Secure" not in cookie
    ours = {"Cookie": cookie.partition(";")[0]}
    assert ask(closed.address, "GET", "/v1/menu", headers=ours)[0] == 200
    status, headers, _ = ask(closed.address, "POST", "/logout", headers=ours | {"Origin": closed.address})
    assert status == 204 and "Max-Age=0" in headers["set-cookie"]
    assert ask(closed.address, "GET", "/v1/menu", headers=ours)[0] == 401, "not the cookie alone is gone"


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "/v1/menu", "javascript:1"]
)
def test_logging_in_leads_nowhere_else(closed: Server, wanted: str) -> None:
    assert log_in(closed.address, "admin", minted(closed), wanted=wanted)[1]["location"] == "/"


@pytest.mark.parametrize(
    "origin", [None, "https://evil.example", "null", "http://127.0.0.1:1"], ids=["none", "evil", "null", "other port"]
)
def test_nobody_can_log_somebody_in(closed: Server, origin: str | None) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | ({"Origin": origin} if origin else {})
    status, answered, _ = ask(
        closed.address, "POST", "/login", f"name=admin&password={minted(closed)}".encode(), headers
    )
    assert status == 403 and "set-cookie" not in answered


def test_over_https_the_cookie_is_for_https_alone(closed: Server) -> None:
    for extra in ({"Origin": closed.address.replace("http", "https")}, {"X-Forwarded-Proto": "https"}):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": closed.address} | extra
        body = f"name=admin&password={minted(closed)}".encode()
        assert "; Secure" in ask(closed.address, "POST", "/login", body, headers)[1]["set-cookie"]


def test_a_cookie_that_was_made_up(closed: Server) -> None:
    name = session(closed.address, "admin", minted(closed))["Cookie"].partition("=")[0]
    for value in ("", "x", "x" * 5000, '"', "\x80", "; ;=", "admin"):
        assert ask(closed.address, "GET", "/v1/menu", headers={"Cookie": f"{name}={value}"})[0] == 401


def test_an_empty_header_is_none(closed: Server, peopled: Server) -> None:
    for empty in ("", "Bearer", "Bearer ", "Basic ", "Basic Og=="):
        status, said = ask_json(closed.address, "GET", "/v1/menu", Authorization=empty)
        assert (status, said["problem"]) == (401, "You are not logged in.")
        ours = session(peopled.address, "ana", ANA)
        assert ask_json(peopled.address, "GET", "/v1/me", Authorization=empty, **ours)[0] == 200


def test_keys(peopled: Server) -> None:
    for way in (
        {"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}, {"X-API-Key": KEY, "Authorization": ""},
        basic("ana", KEY), {"Authorization": f"bearer  {KEY}"},
    ):  # fmt: skip
        assert ask_json(peopled.address, "GET", "/v1/me", **way) == (200, {"name": "ana", "is_admin": False})
    for wrong in (
        {"X-API-Key": KEY[:-1]},
        {"Authorization": f"Bearer {ANA}"},
        basic("root", KEY),
        {"X-API-Key": "\xff"},
    ):
        assert ask(peopled.address, "GET", "/v1/me", headers=wrong)[0] == 401


def test_users_are_asked_at_home_too(peopled: Server) -> None:
    assert ask(peopled.address, "GET", "/v1/menu")[0] == 401
    assert "Everybody logs in" in peopled.log and "password" not in peopled.log


def first_refused(attempt: Callable[[int], Answer]) -> tuple[dict[str, str], bytes]:
    """The first answer that is not 401; on a slow machine a try comes back now and then meanwhile."""
    for number in range(4 * TRIES_PER_ADDRESS):
        status, headers, text = attempt(number)
        if status != 401:
            assert status == 429
            return headers, text
    raise AssertionError("one may try for ever")


def test_wrong_passwords_are_answered_alike_and_not_for_ever(web_models: Path, tmp_path: Path) -> None:
    with listening(tmp_path, web_models) as server:
        right, answers = minted(server), []
        for name in ("admin", "nobody", "<script>"):
            status, headers, text = log_in(server.address, name, "wrong")
            assert status == 401 and "set-cookie" not in headers and b"<script>" not in text
            answers.append(text.replace(name.encode(), b"").replace(b"&lt;script&gt;", b""))
        assert len(set(answers)) == 1, "nobody learns which names there are"
        for _ in range(3 * TRIES_PER_ADDRESS):  # a program that has an old password asks and asks: that is one try
            assert ask(server.address, "GET", "/v1/menu", headers=basic("admin", "wrong"))[0] == 401
        ours = session(server.address, "admin", right)
        headers, text = first_refused(lambda number: log_in(server.address, "admin", f"wrong {number}"))
        assert 1 <= int(headers["retry-after"]) <= REFILL_S
        assert f"Try again in {headers['retry-after']} second".encode() in text
        options = (server.address, "GET", "/sdapi/v1/options")
        headers, _ = first_refused(lambda number: ask(*options, headers=basic("admin", f"anew {number}")))
        assert 1 <= int(headers["retry-after"]) <= REFILL_S
        assert ask(server.address, "GET", "/v1/menu", headers=ours)[0] == 200, "who is in stays in"
        assert ask(server.address, "GET", "/v1/menu", headers=basic("admin", right))[0] == 200, "or was lately"
        other = {"X-Forwarded-For": "203.0.113.9"}  # a proxy on this machine tells of somebody else
        assert ask(server.address, "GET", "/v1/menu", headers=basic("admin", "wrong") | other)[0] == 401


def test_sessions_outlive_the_server_and_end_with_the_password(web_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / "users.json"

    def with_password(password: str) -> UsersFile:
        row = UserRow(name="ana", password=hash_password(password), created_at=0.0)
        return change_users(path, lambda old: old.model_copy(update={"users": (row,)}))

    with_password(ANA)
    with listening(tmp_path, web_models) as server:
        ours = session(server.address, "ana", ANA)
        kept = (tmp_path / "data" / "sessions.json").read_text()
        assert ours["Cookie"].partition("=")[2] not in kept, "the file lets nobody in"
        if os.name == "posix":
            assert (tmp_path / "data" / "sessions.json").stat().st_mode & 0o777 == 0o600
    with listening(tmp_path, web_models) as server:
        assert ask(server.address, "GET", "/v1/menu", headers=ours)[0] == 200
        with_password("another long password")
        assert ask(server.address, "GET", "/v1/menu", headers=ours)[0] == 401


def test_names_and_numbers_of_a_network(closed: Server) -> None:
    """With a password before everything a name wins nothing; a name that is not known is still not answered to."""
    port = closed.address.rpartition(":")[2]
    for name in ("127.0.0.1", "192.168.1.20", "host.docker.internal", "[fd00::1]"):
        assert ask(closed.address, "GET", "/v1/menu", headers={"Host": f"{name}:{port}"})[0] == 401, name
    for name in ("evil.example", "0.0.0.0", "[::]", "2130706433"):
        assert ask(closed.address, "GET", "/v1/menu", headers={"Host": f"{name}:{port}"})[0] == 403, name
