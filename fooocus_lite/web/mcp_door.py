"""``/mcp``, for assistants: nothing of its package is loaded before the first of them comes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import logging
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from fooocus_lite.errors import Unsupported
from fooocus_lite.web.mcp_tools import Tools
from fooocus_lite.web.shapes import problem_at

logger = logging.getLogger(__name__)
#: Its own, and the one at which Gradio's servers have it.
PATHS = ("/mcp", "/mcp/", "/gradio_api/mcp", "/gradio_api/mcp/")
PACKAGE = "mcp"
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
        manager = await self._ready()
        await manager.asgi_app(scope, receive, send)

    async def _ready(self) -> Manager:
        async with self._starting:
            if self._manager is None:
                module: Any = await asyncio.to_thread(importlib.import_module, "fooocus_lite.web.mcp_server")
                manager: Manager = module.make_manager(self._tools)
                is_open = asyncio.Event()
                self._task = asyncio.create_task(self._run(manager, is_open))
                await is_open.wait()
                self._manager = manager
            return self._manager

    async def _run(self, manager: Manager, is_open: asyncio.Event) -> None:
        # Entered and left by the same task, as its task group wants it.
        async with manager.run():
            is_open.set()
            await self._closing.wait()
