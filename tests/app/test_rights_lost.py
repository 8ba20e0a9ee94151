"""Who is no longer a user, or another one, hears nothing more."""

from __future__ import annotations

import json
from pathlib import Path

from websockets.sync.client import connect

from fooocus_lite.sessions import Sessions
from fooocus_lite.users import Users
from fooocus_lite.users_edit import remove_user
from fooocus_lite.users_file import LimitsRow
from fooocus_lite.web.credentials import Credentials
from tests.app.client import ask, follow
from tests.app.light import LightServer, make_settings
from tests.app.people import Client, people


def test_a_stream_ends_with_the_rights_of_whoever_reads_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    people(tmp_path / "data")
    server = LightServer(tmp_path)
    try:
        ben = Client(server, "ben")
        messages = follow(server.address, "/v1/events", **ben.headers)
        assert json.loads(next(messages)["data"])["type"] == "snapshot"
        path = tmp_path / "data" / "users.json"
        path.write_text(path.read_text().replace('"ben"', '"bob"'))
        Client(server, "ana").submit()
        assert list(messages) == []
    finally:
        server.close()


def test_a_stream_ends_when_its_reader_logs_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    people(tmp_path / "data")
    users = Users(make_settings(tmp_path))
    sessions, ben = Sessions(tmp_path / "data", users), users.find("ben")
    assert ben
    cookie = f"{Credentials(users, sessions, tmp_path / 'data').cookie}={sessions.open(ben)}"
    server = LightServer(tmp_path)
    try:
        messages = follow(server.address, "/v1/events", Cookie=cookie)
        socket = connect(f"ws{server.address.removeprefix('http')}/v1/ws", additional_headers={"Cookie": cookie})
        assert json.loads(next(messages)["data"])["user"] == json.loads(socket.recv())["user"]
        assert ask(server.address, "POST", "/logout", headers={"Cookie": cookie, "Origin": server.address})[0] == 204
        Client(server, "ana").submit()
        assert list(messages) == list(socket) == []
    finally:
        server.close()


def test_what_somebody_repeats_ends_with_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    people(tmp_path / "data", ben=LimitsRow(pictures_a_day=5))
    server = LightServer(tmp_path)
    try:
        for name in ("ana", "ben"):
            assert Client(server, name).ask("POST", "/v1/repeats", {"recipe": {"prompt": name}})[0] == 201
        assert len(server.line()) == 2
        remove_user(tmp_path / "data" / "users.json", "ben")
        server.repeats.look()
        repeats = Client(server, "root").ask("GET", "/v1/repeats")[1]["repeats"]
        assert [(one["words"], one["error"] and one["error"]["problem"]) for one in repeats] == [
            ("ana", None), ("ben", "'ben' is no user any more."),
        ]  # fmt: skip
        assert [server.store.queue.get(task_id).owner for task_id in server.line()] == ["ana"]
    finally:
        server.close()
