"""Who is no longer a user, or another one, hears nothing more."""

from __future__ import annotations

import json
from pathlib import Path

from tests.app.client import follow
from tests.app.light import LightServer
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
