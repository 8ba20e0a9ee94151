"""A wire between a client and the server that a test can cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit


class Wire:
    """Passes bytes between its own port and the server's, each connection with two threads.

    Args:
        on_answer: Called before the first bytes of each answer go back, with the connection's number from 1; true
            cuts it there.
    """

    def __init__(self, address: str, on_answer: Callable[[int], bool] = lambda number: False) -> None:
        parts = urlsplit(address)
        self._target = (parts.hostname or "", parts.port or 80)
        self._on_answer = on_answer
        self._ends: list[socket.socket] = []
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection there is; new ones are taken."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                self._ends += [client, server]
                self.connections += 1
                threading.Thread(target=self._pass, args=(client, server, 0), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, self.connections), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, number: int) -> None:
        is_first = True
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if number and is_first and self._on_answer(number):
                    break
                is_first = False
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
