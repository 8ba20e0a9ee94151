"""``/mcp``, for assistants: nothing of its package is loaded before the first of them comes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from fooocus_lite.errors import FooocusError, Unsupported
from fooocus_lite.web.mcp_tools import Tools
from fooocus_lite.web.shapes import problem_at

logger = logging.getLogger(__name__)
#: Its own, and the one at which Gradio's servers have it.
PATHS = ("/mcp", "/mcp/", "/gradio_api/mcp", "/gradio_api/mcp/")
PACKAGE = "mcp"
#: The oldest that has what is used of it.
NEEDED = (2, 3)
INSTALL = (
    '`pip install "fooocus-lite[mcp]"`, or beside launch.py `.venv/bin/python -m pip install -c constraints.txt mcp`'
)


class Manager(Protocol):
    """What `fooocus_lite.web.mcp_server` makes."""

    asgi_app: ASGIApp

    def run(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Answers while it is entered."""
        ...


class McpDoor:
    """An ASGI application; answers while `open` is entered."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._starting = asyncio.Lock()
        self._closing = asyncio.Event()
        self._manager: Manager | None = None
        self._task: asyncio.Task[None] | None = None
        #: Why there will be none before the next start.
        self._problem: FooocusError | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Ends every session when the body is done."""
        try:
            yield
        finally:
            self._closing.set()
            if self._task is not None:
                await self._task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if importlib.util.find_spec(PACKAGE) is None:
            missing = Unsupported("The package for assistants (MCP) is not installed.", INSTALL)
            await problem_at(scope["path"])(missing)(scope, receive, send)
            return
        try:
            manager = await self._ready()
        except FooocusError as exc:
            await problem_at(scope["path"])(exc)(scope, receive, send)
            return
        await manager.asgi_app(scope, receive, send)

    async def _ready(self) -> Manager:
        async with self._starting:
            if self._problem is not None:
                raise self._problem
            if self._manager is None:
                try:
                    self._manager = await self._start()
                except Exception as exc:  # the border to a package that may be of any age
                    self._problem = _not_working(exc)
                    logger.warning("assistants (MCP) get no answer: %s", self._problem, exc_info=exc)
                    raise self._problem from exc
            return self._manager

    async def _start(self) -> Manager:
        module: Any = await asyncio.to_thread(importlib.import_module, "fooocus_lite.web.mcp_server")
        manager: Manager = module.make_manager(self._tools)
        is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(manager, is_open))
        await is_open
        return manager

    async def _run(self, manager: Manager, is_open: asyncio.Future[None]) -> None:
        # Entered and left by the same task, as its task group wants it.
        try:
            async with manager.run():
                is_open.set_result(None)
                await self._closing.wait()
        except Exception as exc:  # the same border; nobody else waits for this task before the server ends
            if not is_open.done():
                is_open.set_exception(exc)
                return
            logger.exception("what answers assistants (MCP) broke; the next one that asks starts it anew")
        self._manager = None


def _not_working(exc: Exception) -> FooocusError:
    """What to tell where the package is there and cannot be used."""
    try:
        found = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        found = "of no known version"
    needed = ".".join(map(str, NEEDED))
    if _numbers(found) < NEEDED:
        problem = f"The package for assistants (MCP) is {found}, and {needed} or newer is needed."
    else:
        problem = f"The package for assistants (MCP), {found}, did not start ({type(exc).__name__})."
    return FooocusError(problem, f"{INSTALL}, then start the server again.", code="not_working")


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[: len(NEEDED)]
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)
