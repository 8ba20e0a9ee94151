"""What every answer has on its way out, whoever made it: the security headers, and a shape where the program broke.

Around everything, Starlette's own handling of errors and the guard included: what is put in farther inside does not
reach the answers that are made when something inside breaks.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.web.origins import is_trustworthy
from fooocus_lite.web.shapes import problem_at

logger = logging.getLogger(__name__)
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)  # Gradio compiles its event scripts, so 'unsafe-inline' and 'unsafe-eval' have to stay; nothing leaves this host.
_UNUSED = ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "usb")
RESPONSE_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send forms of our own pages as from nowhere
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{name}=()" for name in _UNUSED),
}
#: Only where browsers heed it; on other pages they print an error for each.
TRUSTWORTHY_HEADERS = {"Cross-Origin-Opener-Policy": "same-origin"}
_ANSWERS = ("http.response.start", "websocket.http.response.start")
#: RFC 6455, 7.4.1: the server met something unexpected.
INTERNAL_ERROR = 1011


class Border:
    """Puts the headers on, and ends in order a WebSocket whose route broke; of a request, Starlette takes care."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, _with_headers(scope, send))
        elif scope["type"] == "websocket":
            await self._listen(scope, receive, _with_headers(scope, send))
        else:
            await self._app(scope, receive, send)

    async def _listen(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = ""

        async def told(message: Message) -> None:
            nonlocal said
            await send(message)
            said = message["type"]  # only now: an answer in the shape of HTTP is refused where the WebSocket is open

        try:
            await self._app(scope, receive, told)
        except (ClientDisconnected, WebSocketDisconnect):
            pass  # the client has gone
        except Exception:  # the border of the program: nobody else would end the WebSocket in order
            logger.exception("the WebSocket %s broke", scope["path"])
            if not said:
                await send_answer(problem_at(scope["path"])(internal_error()), scope, receive, send)
            elif said in ("websocket.accept", "websocket.send"):
                await send({"type": "websocket.close", "code": INTERNAL_ERROR})


def internal_error() -> FooocusError:
    """What a client hears where the program broke; the log has the rest."""
    return FooocusError("Something went wrong in the program.", "The log has the details; please report them.")


async def send_answer(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send it; a WebSocket is refused before it is one, with the same status where the server can say that."""
    if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008})  # said as 403
    else:
        await answer(scope, receive, send)


async def unexpected(request: Request, exc: Exception) -> Response:
    """Starlette's handler of what nobody has thought of; the exception itself goes on into the log."""
    return problem_at(request.url.path)(internal_error())


async def _invalid(request: Request, exc: Exception) -> Response:
    # FastAPI's own repeats what was sent, and breaks where that holds half a character.
    return problem_at(request.url.path)(BadValue("The request is not what this path takes.", "See /docs."))


def say_errors(app: FastAPI) -> None:
    """Let somebody else's application, and those that are mounted in it, say their errors in our shapes."""
    app.add_exception_handler(Exception, unexpected)
    app.add_exception_handler(RequestValidationError, _invalid)
    for route in app.routes:
        inner: Any = route.app if isinstance(route, Mount) else None
        if isinstance(inner, FastAPI):
            say_errors(inner)


def _with_headers(scope: Scope, send: Send) -> Send:
    own = RESPONSE_HEADERS | (TRUSTWORTHY_HEADERS if is_trustworthy(scope) else {})

    async def wrapped(message: Message) -> None:
        if message["type"] in _ANSWERS:
            headers = MutableHeaders(scope=message)
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]  # no page of another origin may read anything, whatever Gradio thinks of it
            for name, value in own.items():
                headers.setdefault(name, value)
        await send(message)

    return wrapped
