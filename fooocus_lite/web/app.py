"""The server's application: the interface at once, the page as soon as Gradio is loaded.

``/healthz`` and ``/v1`` answer before Gradio is imported. Until the page is built, ``/`` shows a
light one that reloads itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fooocus_lite import __version__
from fooocus_lite.daemon_thread import in_daemon_thread
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import BadFile, FooocusError, NotFound
from fooocus_lite.library import Library
from fooocus_lite.repeats import Repeats
from fooocus_lite.settings import Settings
from fooocus_lite.store import Store
from fooocus_lite.supply import Supply
from fooocus_lite.users import Users
from fooocus_lite.web.a1111_api import make_a1111_router
from fooocus_lite.web.api import Parts, make_router
from fooocus_lite.web.border import Border, say_errors, unexpected
from fooocus_lite.web.examples import add_examples
from fooocus_lite.web.guard import Guard
from fooocus_lite.web.invalid import as_our_error
from fooocus_lite.web.mcp_door import PATHS as MCP_PATHS
from fooocus_lite.web.mcp_door import McpDoor
from fooocus_lite.web.mcp_tools import Tools
from fooocus_lite.web.openai_api import make_openai_router
from fooocus_lite.web.orders import submitter
from fooocus_lite.web.reference import make_reference
from fooocus_lite.web.schemas import Health, problem_response
from fooocus_lite.web.shapes import problem_at
from fooocus_lite.web.webhook_messages import describer
from fooocus_lite.web.who import SCOPE_KEY
from fooocus_lite.webhooks import Webhooks

logger = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
#: What is no part of the page, and so is not found by it.
API_PATHS = ("/v1", "/sdapi", "/mcp", "/healthz", "/docs", "/ui")
ABOUT = """Words in, pictures out. Every error is `{"code", "problem", "hint", "field"}`.

`POST /v1/tasks` with a Recipe, follow `/v1/tasks/{id}/events`, fetch `/v1/tasks/{id}/image`.

The event streams are WebSockets, too: `/v1/ws` and `/v1/tasks/{id}/ws`. With a header `Webhook-Url`, a task tells by
itself that it has ended.

Clients of OpenAI's images take `/v1` as their address, clients of A1111 take `/sdapi/v1`; errors there are theirs.
Assistants (MCP, streamable HTTP) take `/mcp`."""


def create_app(
    settings: Settings,
    library: Callable[[], Library],
    store: Store,
    dispatcher: Dispatcher,
    supply: Supply,
    users: Users,
) -> FastAPI:
    """The application. ``library`` gives what can be chosen now; the caller starts and closes the rest."""
    page = LatePage(lambda: _build_page(settings, library), then=dispatcher.warm_up)
    repeats = Repeats(store, supply, library, users.may_go_on)
    webhooks = Webhooks(store.database, settings, describer(store))
    assistants = McpDoor(Tools(library, store.queue, store.log, supply))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        repeats.start()
        webhooks.start()
        try:
            async with page.building(), assistants.open():
                yield
        finally:
            await asyncio.to_thread(repeats.close)
            await asyncio.to_thread(webhooks.close)

    app = _App(
        title="Fooocus Lite", version=__version__, description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.page = page
    app.add_middleware(Guard, settings=settings, users=users)
    _add_error_handlers(app, library)

    @app.get("/healthz", tags=["server"], summary="Is it there?")
    async def healthz(request: Request) -> Health:
        """Answers as soon as the server runs, long before the page is built; who is not logged in hears the least."""
        if SCOPE_KEY not in request.scope:
            return Health(page=page.state)
        return Health(version=__version__, page=page.state, problem=page.problem)

    @app.get("/docs", include_in_schema=False)
    async def reference() -> HTMLResponse:
        return HTMLResponse(make_reference(app.openapi()))

    plain = app.openapi
    app.openapi = lambda: add_examples(plain())

    parts = Parts(settings, library, store.queue, store.log, dispatcher, supply, repeats, webhooks)
    app.include_router(make_router(parts))
    for make_door in (make_openai_router, make_a1111_router):
        app.include_router(make_door(library, store.queue, store.log, submitter(library, supply)))
    for path in MCP_PATHS:
        app.router.routes.append(Route(path, assistants))
    app.mount("/ui", _Static(directory=STATIC))
    app.mount("/", page)
    return app


class _App(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        """As Starlette, which would put a middleware inside its own handling of errors; the border is outside."""
        return Border(super().build_middleware_stack())


class LatePage:
    """Gradio's application once it is built; until then a page that waits for it.

    Args:
        build: Makes it; takes its time.
        then: Called when it is there, or never will be: now other things may have the processor.
    """

    def __init__(self, build: Callable[[], FastAPI], *, then: Callable[[], None] = lambda: None) -> None:
        self._build = build
        self._then = then
        self._app: ASGIApp | None = None
        self.state = "starting"
        self.problem: str | None = None
        #: Whether a thread is still building a page that nobody waits for any more.
        self.is_abandoned = False

    @contextlib.asynccontextmanager
    async def building(self) -> AsyncGenerator[None]:
        """Build in a thread while the body runs; Gradio's own start-up and shutdown included."""
        closing = asyncio.Event()
        task = asyncio.create_task(self._live(closing))
        try:
            yield
        finally:
            closing.set()
            if self.state == "starting":  # nothing can end an import, and nobody should wait for it
                self.is_abandoned = True
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _live(self, closing: asyncio.Event) -> None:
        try:
            app = await in_daemon_thread(self._build, "page builder")
        except Exception as exc:  # whatever breaks in Gradio, the interface must go on
            logger.exception("the page could not be built")
            self.state, self.problem = "failed", f"{type(exc).__name__}: {exc}"
            self._then()
            return
        async with app.router.lifespan_context(app):
            self._app, self.state = app, "ready"
            self._then()
            await closing.wait()
            self._app = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(API_PATHS):
            there = NotFound(f"There is no {scope['method']} {scope['path'][:80]}.", "See /docs.")
            await problem_at(scope["path"])(there)(scope, receive, send)
        elif scope["type"] == "websocket":
            there = NotFound(f"There is no WebSocket {scope['path'][:80]}.", "There is /v1/ws; see /docs.")
            await problem_at(scope["path"])(there)(scope, receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await FileResponse(STATIC / "starting.html", headers={"Cache-Control": "no-store"})(scope, receive, send)


class _Static(StaticFiles):
    """Our scripts and styles: kept by the browser, but asked for again, so that an update shows at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _build_page(settings: Settings, library: Callable[[], Library]) -> FastAPI:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    ui = importlib.import_module("fooocus_lite.web.ui")
    page: FastAPI = ui.make_page(settings, library())
    _close_uploads(page)
    say_errors(page)
    return page


def _close_uploads(page: FastAPI) -> None:
    """Gradio stores files that anybody sends, wanted or not: no longer, unless a widget of the page takes files."""
    inner = [route.app for route in page.routes if isinstance(route, Mount)]
    widgets = [widget for app in inner for widget in getattr(getattr(app, "blocks", None), "blocks", {}).values()]
    if any(getattr(widget, "data_model", None) is not None for widget in widgets):  # its value is more than JSON
        return

    async def refuse(request: Request) -> Response:
        return problem_response(NotFound("This page takes no files.", "See /docs."))

    page.router.routes.insert(0, Route("/gradio_api/upload", refuse, methods=["POST"]))


def _add_error_handlers(app: FastAPI, library: Callable[[], Library]) -> None:
    @app.exception_handler(FooocusError)
    async def ours(request: Request, exc: FooocusError) -> Response:
        return problem_response(exc)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> Response:
        return problem_response(as_our_error(exc, request.url.path, library))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, exc: HTTPException) -> Response:
        if exc.status_code == 400:
            return problem_response(BadFile("The body is not readable JSON.", "Send a JSON object in UTF-8."))
        if exc.status_code in (404, 405):
            return problem_response(NotFound(f"There is no {request.method} {request.url.path}.", "See /docs."))
        return problem_response(FooocusError(str(exc.detail), "See /docs."))

    app.add_exception_handler(Exception, unexpected)
