"""What is turned away before any route sees it: foreign hosts, other websites, bodies without end.

Pure ASGI, so that streams stay streams. The server listens on this machine only by default; these
checks keep other websites, which run in the same browser, from talking to it.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fooocus_lite.errors import FooocusError
from fooocus_lite.recipe import MAX_PROMPT_CHARS
from fooocus_lite.web.shapes import problem_at

MAX_BODY_BYTES = 8_000_000  # far above the largest Recipe: what is merely too long hears of its field and range
#: So much of a body that is too long is still taken in and dropped: a client that is cut off hears no answer.
MAX_DRAINED_BYTES = 16_000_000
#: Paths whose routes take their bodies in by themselves (`fooocus_lite.web.uploads`), with a bound of their own.
STREAMED = frozenset({"/v1/read", "/v1/queue/import"})
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
ALL_ADDRESSES = frozenset({"0.0.0.0", "::", ""})
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)  # Gradio compiles its event scripts, so 'unsafe-inline' and 'unsafe-eval' have to stay; nothing leaves this host.
RESPONSE_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Checks Host, Origin and body size; adds the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._host = host.casefold()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None and scope["type"] == "http" and _is_bounded_here(scope["path"]):
            body = await _read_body(scope, receive)
            if body is None:
                refusal = too_large(MAX_BODY_BYTES)
            else:
                receive = _replay(body, receive)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        else:
            await problem_at(scope["path"])(refusal)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> FooocusError | None:
        headers = Headers(scope=scope)
        if scope["path"] == "/healthz" and scope.get("method") == "GET":
            return None
        host = headers.get("host", "")
        if not self._is_ours(host):
            return FooocusError(
                f"This program does not answer to the name '{host[:80]}'.",
                "Open it as http://127.0.0.1 with its port, or set `host`.",
                code="forbidden",
            )
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.casefold() != host.casefold()
        if foreign or (headers.get("sec-fetch-site") == "cross-site" and not _is_visit(scope, headers)):
            return FooocusError("Another website may not use this program.", "Open its own page.", code="forbidden")
        return None

    def _is_ours(self, host: str) -> bool:
        name = (urlsplit(f"//{host}").hostname or "").casefold() if _is_plain(host) else ""
        if name in LOCAL_NAMES or (name and name == self._host):
            return True
        # Listening on every address: numbers are fine, a name could be another website's that points here.
        return self._host in ALL_ADDRESSES and _is_address(name)


def _is_plain(host: str) -> bool:
    return bool(host) and not any(sign in host for sign in "/@?# ")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """A person followed a link to a page of ours: nothing happens by that, and nobody else can read it."""
    is_page = scope["path"] in ("/", "/docs") and scope.get("method") == "GET"
    return is_page and headers.get("sec-fetch-mode") == "navigate"


def _is_bounded_here(path: str) -> bool:
    return path.startswith(("/v1/", "/sdapi/")) and path not in STREAMED


def too_large(max_bytes: int) -> FooocusError:
    """The answer to a body of more than ``max_bytes``."""
    hint = f"Send a shorter one: a prompt has at most {MAX_PROMPT_CHARS:,} characters."
    return FooocusError(f"The request has more than {max_bytes // 1_000_000} MB.", hint, code="too_large")


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, or None when it is longer than allowed."""
    declared = Headers(scope=scope).get("content-length", "0")
    if not declared.isdecimal() or int(declared) > MAX_DRAINED_BYTES:
        return None
    pieces, size, more = list[bytes](), 0, True
    while more and size <= MAX_DRAINED_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            break
        piece = message.get("body", b"")
        size += len(piece)
        more = message.get("more_body", False)
        if size <= MAX_BODY_BYTES:
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


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in RESPONSE_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return wrapped
