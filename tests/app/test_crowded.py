"""More connections than one may have: refused in a sentence, while everybody else is answered as before."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fooocus_lite.crowd import (
    MAX_CONNECTIONS,
    MAX_HELD_BYTES,
    MAX_PER_ADDRESS,
    MAX_PER_USER,
    OWN_FILES,
    TOLD,
    Crowd,
    Crowded,
    excess,
)
from fooocus_lite.patience import PatientProtocol
from fooocus_lite.user import LOCAL, User
from tests.app.closed import basic, listening, minted
from tests.app.people import KEYS, people
from tests.app.raw import Said, answer, port_of, send
from tests.app.serving import serving
from tests.faults.server import DEADLINE_S, ROOT, Server, until

#: Addresses of documentation (RFC 5737), as a proxy on this computer would name them.
NEAR, FAR = "192.0.2.7", "198.51.100.7"


def stream(server: Server, headers: dict[str, str]) -> socket.socket:
    """Asks for the event stream."""
    lines = [f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{port_of(server.address)}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    connection = socket.create_connection(("127.0.0.1", port_of(server.address)), timeout=DEADLINE_S)
    connection.sendall(("".join(lines) + "\r\n").encode())
    return connection


def status_of(connection: socket.socket) -> int:
    """Of an answer that goes on: its first line."""
    data = b""
    while b"\r\n" not in data and (piece := connection.recv(1)):
        data += piece
    return int(data.split()[1])


def open_streams(server: Server, count: int, headers: dict[str, str], held: ExitStack) -> list[socket.socket]:
    made = [held.enter_context(stream(server, headers)) for _ in range(count)]
    assert [status_of(one) for one in made] == [200] * count
    return made


def assert_refused(said: Said, code: str, status: int) -> None:
    assert said.status == status, said
    assert int(said.headers["retry-after"]) > 0
    body = json.loads(said.body)
    assert body["code"] == code and body["problem"].endswith(".") and body["hint"]


@pytest.fixture(scope="module")
def closed(web_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``--listen`` with Ana and Root, and behind a proxy on this computer."""
    folder = tmp_path_factory.mktemp("crowded")
    (folder / "data").mkdir()
    people(folder / "data")
    with listening(folder, web_models, host="127.0.0.1") as server:
        yield server


def key_of(name: str, address: str = "") -> dict[str, str]:
    return {"X-API-Key": KEYS[name]} | ({"X-Forwarded-For": address} if address else {})


def test_one_address_cannot_take_everybody_s_place(closed: Server) -> None:
    with ExitStack() as held:
        made = open_streams(closed, MAX_PER_ADDRESS, key_of("root", NEAR), held)
        assert_refused(answer(held.enter_context(stream(closed, key_of("root", NEAR)))), "too_many_connections", 429)
        host = f"Host: 127.0.0.1:{port_of(closed.address)}"
        stranger = f"GET /v1/menu HTTP/1.1\r\n{host}\r\nX-Forwarded-For: {NEAR}\r\nConnection: close\r\n\r\n"
        assert send(closed.address, stranger.encode()).status == 429, "before it is asked who they are"
        with pytest.raises(InvalidStatus) as refused:
            connect(closed.address.replace("http", "ws") + "/v1/ws", additional_headers=key_of("ana", NEAR)).close()
        assert refused.value.response.status_code == 429
        open_streams(closed, 1, key_of("ana", FAR), held)
        open_streams(closed, MAX_PER_ADDRESS + 1, key_of("root"), held)  # the person at this computer
        made[0].close()
        until(lambda: status_of(held.enter_context(stream(closed, key_of("root", NEAR)))) == 200, "the place again")


def test_one_user_cannot_take_everybody_s_place(closed: Server) -> None:
    with ExitStack() as held:
        for number in range(MAX_PER_USER // 50):
            open_streams(closed, 50, key_of("ana", f"198.51.100.{number + 20}"), held)
        assert_refused(answer(held.enter_context(stream(closed, key_of("ana", FAR)))), "too_many_connections", 429)
        assert_refused(answer(held.enter_context(stream(closed, key_of("ana")))), "too_many_connections", 429)
        open_streams(closed, 1, key_of("root", FAR), held)
        open_streams(closed, 1, key_of("root"), held)


def test_other_doors_say_it_in_their_words(closed: Server) -> None:
    with ExitStack() as held:
        open_streams(closed, MAX_PER_ADDRESS, key_of("root", NEAR), held)
        host = f"Host: 127.0.0.1:{port_of(closed.address)}\r\nX-Forwarded-For: {NEAR}\r\nConnection: close"
        said = send(closed.address, f"GET /v1/models/x HTTP/1.1\r\n{host}\r\n\r\n".encode())
        assert json.loads(said.body)["error"]["code"] == "too_many_connections"
        assert said.headers["x-should-retry"] == "true"
        said = send(closed.address, f"GET /sdapi/v1/options HTTP/1.1\r\n{host}\r\n\r\n".encode())
        assert json.loads(said.body)["error"] == "too_many_connections"


def own_address() -> str:
    """This computer's, in the network it is in; empty if it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((FAR, 9))  # sends nothing
        except OSError:
            return ""
        return probe.getsockname()[0]


@pytest.mark.skipif(own_address().startswith(("127.", "0.")) or not own_address(), reason="no network")
def test_who_says_nothing_holds_only_so_much(web_models: Path, tmp_path: Path) -> None:
    with listening(tmp_path, web_models) as server, ExitStack() as held:
        where = (own_address(), port_of(server.address))
        silent = [held.enter_context(socket.create_connection(where)) for _ in range(MAX_PER_ADDRESS)]
        until(lambda: _sockets_of(server) >= MAX_PER_ADDRESS, "the connections")
        with socket.create_connection(where, timeout=DEADLINE_S) as one_more:
            one_more.sendall(f"GET /healthz HTTP/1.1\r\nHost: {where[0]}\r\n\r\n".encode())
            assert_refused(answer(one_more), "too_many_connections", 429)
        more = [held.enter_context(socket.create_connection(where)) for _ in range(3 * TOLD)]
        cut = [one for one in more if _is_cut(one)]
        assert len(cut) >= 2 * TOLD, "what is far too much is not even told so"
        home = f"http://127.0.0.1:{where[1]}"
        said = send(home, f"GET /v1/menu HTTP/1.1\r\nHost: 127.0.0.1:{where[1]}\r\n{_head(server)}\r\n\r\n".encode())
        assert said.status == 200
        assert len(silent) == MAX_PER_ADDRESS


def _head(server: Server) -> str:
    return f"Authorization: {basic('admin', minted(server))['Authorization']}\r\nConnection: close"


def _sockets_of(server: Server) -> int:
    assert server.process
    files = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return sum(_leads_to(file).startswith("socket:") for file in files)


def _leads_to(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""


def _is_cut(connection: socket.socket) -> bool:
    connection.settimeout(0.5)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@contextmanager
def small(most: int) -> Generator[int]:
    """A server for so many, whose only route answers at once."""

    class Small(PatientProtocol):
        max_connections = most

    async def hello(request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    with serving(Starlette(routes=[Route("/", hello)]), Small) as port:
        yield port


def test_a_full_server_says_so_and_answers_again() -> None:
    hello = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with small(5) as port, ExitStack() as held:
        made = [held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5)]
        for one in made:
            one.sendall(hello)
            assert answer(one).status == 200
        with socket.create_connection(("127.0.0.1", port)) as one_more:
            one_more.sendall(hello)
            assert_refused(answer(one_more), "too_many_in_all", 503)
        made[0].close()

        def answers() -> bool:
            with socket.create_connection(("127.0.0.1", port)) as one:
                one.sendall(hello)
                return answer(one).status == 200

        until(answers, "a free place")


def test_half_of_the_places_are_this_computer_s() -> None:
    others = [f"198.51.100.{number}" for number in range(50)]
    assert excess(others[-1], others, most=100)[0] == 0
    assert excess("203.0.113.1", [*others, "203.0.113.1"], most=100)[0] == 1
    assert excess("::ffff:127.0.0.1", [*others, "::ffff:127.0.0.1"], most=100)[0] == 0
    assert excess("127.0.0.1", [*others, *["127.0.0.1"] * 51], most=100)[0] == 1
    assert excess("127.0.0.1", ["127.0.0.1"] * 100, most=100)[0] == 0


def test_of_ipv6_one_person_has_one_network() -> None:
    mine = [f"2001:db8::{number:x}" for number in range(1, MAX_PER_ADDRESS + 2)]
    too_many, why = excess(mine[-1], mine, most=MAX_CONNECTIONS)
    assert (too_many, why.code) == (1, "too_many_connections")


def test_nothing_is_kept_of_who_has_gone() -> None:
    crowd = Crowd()
    ana = User("ana", is_admin=False)
    for _ in range(3):
        with ExitStack() as held:
            for _ in range(MAX_PER_ADDRESS):
                held.enter_context(crowd.from_address(NEAR))
            with pytest.raises(Crowded), crowd.from_address(NEAR):
                pass
            for _ in range(MAX_PER_USER):
                held.enter_context(crowd.of_user(ana, NEAR))
            with pytest.raises(Crowded), crowd.of_user(ana, "127.0.0.1"):
                pass
            for _ in range(MAX_PER_USER + 1):
                held.enter_context(crowd.of_user(LOCAL, NEAR))
    assert not vars(crowd)["_counts"]


def test_bodies_fill_the_memory_so_far_and_no_further(closed: Server) -> None:
    """Each of so many requests keeps nearly 8 MB here and sends its last byte only when it is told to."""
    body, count = b" " * 7_900_000, MAX_HELD_BYTES // 7_900_000
    assert closed.process
    process = psutil.Process(closed.process.pid)
    before = process.memory_info().rss
    with ExitStack() as held:
        for number in range(count + 20):
            held.enter_context(_half_sent(closed, key_of("root", f"198.51.100.{number % 5}"), body))
        refused = until(lambda: "Too many are connected to this server" in closed.log, "the refusal")
        assert refused and process.memory_info().rss - before < 2 * MAX_HELD_BYTES
        with _half_sent(closed, key_of("root", FAR), body) as one_more:
            assert_refused(answer(one_more), "too_many_in_all", 503)
        with _half_sent(closed, key_of("root"), body) as mine:
            mine.sendall(b" ")
            assert answer(mine).status in (400, 422)  # at this computer it is read, and is no JSON
        with ExitStack() as small:
            open_streams(closed, 1, key_of("root", FAR), small)  # what has no body


def _half_sent(server: Server, headers: dict[str, str], body: bytes) -> socket.socket:
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    head = f"POST /v1/plan HTTP/1.1\r\nHost: 127.0.0.1:{port_of(server.address)}\r\nContent-Length: {len(body) + 1}\r\n"
    connection = socket.create_connection(("127.0.0.1", port_of(server.address)), timeout=DEADLINE_S)
    connection.sendall((head + "".join(lines) + "Content-Type: application/json\r\nConnection: close\r\n\r\n").encode())
    with suppress(ConnectionError):  # refused meanwhile
        connection.sendall(body)
    return connection


@pytest.mark.parametrize(
    ("soft", "hard", "room", "then"),
    [
        (1024, 4096, MAX_CONNECTIONS, MAX_CONNECTIONS + OWN_FILES),
        (1024, 1024, 1024 - OWN_FILES, 1024),
        (256, 256, 64, 256),
        (4096, 4096, MAX_CONNECTIONS, 4096),
    ],
)
def test_room_for_them_is_made_where_the_system_gives_it(soft: int, hard: int, room: int, then: int) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("this system gives fewer files")
    program = (
        "import resource as r; from fooocus_lite.crowd import make_room; "
        f"r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard})); print(make_room(), r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(room), str(then)]
