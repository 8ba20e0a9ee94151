"""Where the server listens, how it stops, and when the browser opens."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from fooocus_lite.crowd import make_room
from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.patience import PatientProtocol

TRIED_PORTS = 50
PAGE_TIMEOUT_S = 300.0
GOODBYE_S = 3
#: WebSockets are for listening: whatever a client says there is short.
MAX_SOCKET_BYTES = 4096
#: So often is asked whether a WebSocket's client is still there, and so long is waited for its answer.
PING_S = 20.0
#: What uvicorn says of every WebSocket that was refused with an answer, though that is how it is done. It says the same
#: of a route that returns without any; ours all answer (`fooocus_lite.web.sockets`).
_REFUSED = "ASGI callable returned without completing handshake."


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket on ``port``, or on the next free one after it.

    Raises:
        BadValue: this machine has no such address, or nobody may listen there.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as exc:
        raise BadValue(f"host cannot be '{host}': there is no such address.", "Use 127.0.0.1.", field="host") from exc
    last = min(port + TRIED_PORTS, 65536)
    for candidate in range(port, last):
        # Named: asyncio lets answers of several parts go out at once only where it knows that this is TCP. Else
        # the second part waits for the system's delayed acknowledgement, 40 ms with every request.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            _keep_for_us(listening)
            listening.bind((address[0], candidate, *address[2:]))
            listening.listen(socket.SOMAXCONN)
            return listening
        except OSError as exc:
            listening.close()
            if exc.errno in (errno.EADDRINUSE, errno.EACCES) and candidate + 1 < last and _is_taken(exc, candidate):
                continue
            raise _cannot_listen(host, candidate, exc) from exc
    raise BadValue(f"The ports {port} to {last - 1} are all taken.", "Choose another with --port.", field="port")


def _keep_for_us(listening: socket.socket) -> None:
    if sys.platform == "win32":  # there, SO_REUSEADDR would let two servers share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _is_taken(exc: OSError, port: int) -> bool:
    # Windows answers "access denied" for a port that somebody else holds exclusively.
    return exc.errno == errno.EADDRINUSE or (sys.platform == "win32" and port >= 1024)


def _cannot_listen(host: str, port: int, exc: OSError) -> FooocusError:
    if exc.errno == errno.EADDRINUSE:
        return BadValue(f"Port {port} is taken.", "Choose another with --port.", field="port")
    if exc.errno == errno.EACCES:
        return BadValue(f"port cannot be {port}: the system reserves it.", "Choose one above 1023.", field="port")
    return BadValue(f"host cannot be '{host}': {exc.strerror}.", "Use 127.0.0.1.", field="host")


def address_of(listening: socket.socket) -> str:
    """What a person types into the browser of this machine."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def serve_until_stopped(app: FastAPI, listening: socket.socket, *, say_goodbye: Callable[[], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; ``say_goodbye`` ends what would keep connections open."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GOODBYE_S,
        http=type("Patient", (PatientProtocol,), {"max_connections": make_room()}),
        server_header=False,
        forwarded_allow_ips="127.0.0.1,::1",  # of whom the words X-Forwarded-For and -Proto are taken
        ws="websockets-sansio",
        ws_max_size=MAX_SOCKET_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,  # pictures do not shrink; on this machine nothing has to
    )
    _Server(config, say_goodbye).run(sockets=[listening])


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != _REFUSED


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, say_goodbye: Callable[[], None]) -> None:
        super().__init__(config)
        self._say_goodbye = say_goodbye

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(self._say_goodbye)
        await super().shutdown(sockets)


def open_browser_when_ready(address: str) -> None:
    """Open the page as soon as it answers; never opens a text browser over the log."""
    if _has_screen():
        threading.Thread(target=_open_browser, args=(address,), name="browser", daemon=True).start()


def _has_screen() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER"))


def _open_browser(address: str) -> None:
    until = time.monotonic() + PAGE_TIMEOUT_S
    while time.monotonic() < until:
        if page_state(address) in ("ready", "failed"):
            webbrowser.open(address)
            return
        time.sleep(0.2)


def page_state(address: str) -> str:
    """``starting``, ``ready`` or ``failed``; ``""`` while nobody answers."""
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5) as reply:
            return str(json.load(reply).get("page", ""))
    except (OSError, ValueError):
        return ""
