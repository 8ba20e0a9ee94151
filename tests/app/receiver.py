"""Another program that is told by webhook: a real HTTP server that keeps what it hears."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Heard:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Listens until `close`.

    Args:
        answer: What to say to the request with this number, from 1: a status, or a status and an address to go on to.
            It may wait, and so be a program that hangs.
    """

    def __init__(self, answer: Callable[[int], int | tuple[int, str]] = lambda number: 204, port: int = 0) -> None:
        self.heard: list[Heard] = []
        self._asked: list[socket.socket] = []  # by those who have no answer yet
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver._asked.append(self.connection)
                receiver.heard.append(Heard(self.path, headers, body))
                told = answer(len(receiver.heard))
                receiver._asked.remove(self.connection)
                status, there = told if isinstance(told, tuple) else (told, "")
                self.send_response(status)
                if there:
                    self.send_header("Location", there)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def waited_for(self) -> int:
        """Requests that have no answer yet and that somebody still wants one to."""
        return sum(not _has_hung_up(connection) for connection in tuple(self._asked))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _has_hung_up(connection: socket.socket) -> bool:
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
