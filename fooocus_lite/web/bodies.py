"""How much a request may hold, and how long it may take to come: nothing waits for who stalls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from fooocus_lite.errors import FooocusError
from fooocus_lite.recipe import MAX_PROMPT_CHARS

MAX_BODY_BYTES = 8_000_000  # far above the largest Recipe: what is merely too long hears of its field and range
#: So much of a body that is too long is still taken in and dropped: a client that is cut off hears no answer.
MAX_DRAINED_BYTES = 16_000_000
#: Paths whose routes take their bodies in by themselves (`fooocus_lite.web.uploads`), with a bound of their own.
STREAMED = frozenset({"/v1/read", "/v1/queue/import"})
MAX_HEADERS, MAX_HEADER_BYTES = 100, 32_000
#: A body may take this long, and longer by what has come at this rate: less than the slowest phone's.
BODY_GRACE_S, MIN_BYTES_A_S = 30.0, 4_000
#: Of these, none can be true beside another one.
_ONCE = (b"host", b"origin", b"authorization", b"x-api-key", b"content-length", b"content-type", b"sec-fetch-site")


def too_large(max_bytes: int) -> FooocusError:
    """The answer to a body of more than ``max_bytes``."""
    hint = f"Send a shorter one: a prompt has at most {MAX_PROMPT_CHARS:,} characters."
    return FooocusError(f"The request has more than {max_bytes // 1_000_000} MB.", hint, code="too_large")


def check_head(scope: Scope) -> None:
    """Look at a request before anything of it means something.

    Raises:
        FooocusError: it is longer than any client's, says a thing twice, or asks for what is no path.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        raise FooocusError("The request has too many headers.", "Send fewer and shorter ones.", code="too_large")
    names = [name for name, _ in headers]
    twice = next((name.decode() for name in _ONCE if names.count(name) > 1), None)
    if twice:
        raise FooocusError(f"The request has two headers {twice}.", "Send it once.", code="bad_request")
    if b"content-length" in names and b"transfer-encoding" in names:  # a proxy may go by the one, and we by the other
        problem = "The request says in two ways how long it is."
        raise FooocusError(problem, "Send Content-Length or Transfer-Encoding.", code="bad_request")
    if not scope["path"].startswith("/") or any(sign < " " or sign == "\x7f" for sign in scope["path"]):
        raise FooocusError("The request asks for no path of this server.", "See /docs.", code="bad_request")


async def bounded(scope: Scope, receive: Receive, keep: Callable[[int], None] = lambda size: None) -> Receive:
    """A ``receive`` that has the whole body already, or gives it out piece by piece where a route takes it so.

    Args:
        keep: Told of so many more bytes that are kept; raises if those are too many.

    Raises:
        FooocusError: it is too long, or does not come whole.
    """
    headers = Headers(scope=scope)
    if scope["type"] != "http" or ("content-length" not in headers and "transfer-encoding" not in headers):
        return receive
    paced = _paced(receive)
    if scope["path"] in STREAMED:
        return paced
    body = await _read(headers, paced, keep)
    if body is None:
        raise too_large(MAX_BODY_BYTES)
    return _replay(body, receive)


async def read_small(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The body of a form.

    Raises:
        FooocusError: it is longer than ``max_bytes``, or does not come.
    """
    paced, body, more = _paced(receive), b"", True
    while more and len(body) <= max_bytes:
        message = await paced()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    if len(body) > max_bytes:
        raise FooocusError("The form is too long.", "Send a shorter one.", code="too_large")
    return body


async def _read(headers: Headers, receive: Receive, keep: Callable[[int], None]) -> bytes | None:
    """The whole body, or None when it is longer than allowed."""
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > MAX_DRAINED_BYTES:
        return None
    pieces, size, more = list[bytes](), 0, True
    while more and size <= MAX_DRAINED_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            raise FooocusError("The request was broken off.", "Send it again.", code="bad_request")
        piece = message.get("body", b"")
        size += len(piece)
        more = message.get("more_body", False)
        if size <= MAX_BODY_BYTES:
            keep(len(piece))
            pieces.append(piece)
    return b"".join(pieces) if size <= MAX_BODY_BYTES else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once; afterwards only the news that the client went away."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _paced(receive: Receive) -> Receive:
    """As ``receive``, but it does not wait for a body that hardly moves."""
    start, size, is_whole = time.monotonic(), 0, False

    async def paced() -> Message:
        nonlocal size, is_whole
        if is_whole:
            return await receive()
        left_s = start + BODY_GRACE_S + size / MIN_BYTES_A_S - time.monotonic()
        try:
            message = await asyncio.wait_for(receive(), max(left_s, 0.0))
        except asyncio.TimeoutError:
            raise FooocusError("The request did not come to its end.", "Send it again.", code="too_slow") from None
        size += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        return message

    return paced
