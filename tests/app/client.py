"""Asking the server the way any program would."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

Answer = tuple[int, dict[str, str], bytes]


def ask(
    address: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """Status, headers (lower case) and body of one request."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=600)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def ask_json(address: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and parsed body; ``body`` goes out as JSON."""
    data = None if body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"} if data is not None else {}
    status, _, text = ask(
        address, method, path, data, kind | {key.replace("_", "-"): value for key, value in headers.items()}
    )
    return status, json.loads(text) if text else None


def follow(address: str, path: str, **headers: str) -> Generator[dict[str, str]]:
    """Server-Sent Events as dicts with ``data`` and, where sent, ``id`` and ``event``."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    try:
        connection.request("GET", path, headers={key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert answer.getheader("content-type", "").startswith("text/event-stream")
        event: dict[str, str] = {}
        while line := answer.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                event[name] = value
            elif "data" in event:
                yield event
                event = {}
            else:
                event = {}
    finally:
        connection.close()
