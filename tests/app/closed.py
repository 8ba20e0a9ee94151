"""A server that lets nobody in without a password, and somebody who has one."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.app.client import Answer, ask
from tests.faults.server import Server, until


@contextmanager
def listening(folder: Path, models: Path, **settings: object) -> Iterator[Server]:
    """``serve --listen``, there as soon as its interface is."""
    server = Server(folder, models, **({"listen": True} | settings)).start()
    try:
        yield server
    finally:
        server.end()


def minted(server: Server) -> str:
    """The password that the server made up, as it says it to whoever started it."""
    found = until(lambda: re.search(r"with the password  (\S+)", server.log), "the password")
    return found.group(1)


def basic(name: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def log_in(address: str, name: str, password: str, **fields: str) -> Answer:
    """What the login page sends."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": address}
    body = urlencode({"name": name, "password": password} | fields).encode()
    return ask(address, "POST", "/login", body, headers)


def session(address: str, name: str, password: str) -> dict[str, str]:
    """The header of a browser that has logged in."""
    status, headers, _ = log_in(address, name, password)
    assert status == 303, headers
    return {"Cookie": headers["set-cookie"].partition(";")[0]}
