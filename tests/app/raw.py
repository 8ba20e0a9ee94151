"""HTTP as bytes on a socket: what no library would send."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.faults.server import DEADLINE_S


@dataclass(frozen=True)
class Said:
    """An answer. ``status`` is 0 where the server hung up without one."""

    status: int
    headers: dict[str, str]
    body: bytes


def port_of(address: str) -> int:
    return urlsplit(address).port or 80


def send(address: str, data: bytes) -> Said:
    """The answer to exactly these bytes; the server is told to hang up behind it."""
    with socket.create_connection(("127.0.0.1", port_of(address)), timeout=DEADLINE_S) as connection:
        connection.sendall(data)
        return answer(connection)


def answer(connection: socket.socket) -> Said:
    """One answer, read to its end: its length where it says one, else until the server hangs up."""
    data = b""
    try:
        while b"\r\n\r\n" not in data and (piece := connection.recv(65_536)):
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", 1 << 40))
        while len(body) < length and (piece := connection.recv(65_536)):
            body += piece
    except ConnectionError:
        return Said(0, {}, data)
    return Said(int(lines[0].split()[1]) if data else 0, headers, body)


def request(method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"", version: str = "1.1") -> bytes:
    """A request with these headers and no others, in this order, but the length of its body."""
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in headers)]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join(lines).encode("latin-1") + b"\r\nConnection: close\r\n\r\n" + body
