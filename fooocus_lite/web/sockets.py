"""The event streams as WebSockets: the same messages, one to a frame, for programs that rather listen that way.

Nothing is kept for a client that reads slowly: the next message is made when the one before is on its way, so it hears
of the newest progress and misses no fact; one that has stopped reading is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.events import TERMINAL
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.web.live import Live
from fooocus_lite.web.schemas import problem_response
from fooocus_lite.web.who import still_of, user_of

logger = logging.getLogger(__name__)
#: How long one message may stay unsent because its reader does not read.
SEND_S = 30.0
DATA = "data: "
#: Close codes of RFC 6455, 7.4.1.
DONE, GOING_AWAY = 1000, 1001


def add_sockets(router: APIRouter, queue: TaskQueue, live: Live) -> None:
    """Add ``/ws`` and ``/tasks/{id}/ws`` to the router of ``/v1``."""

    @router.websocket("/ws")
    async def everything(socket: WebSocket) -> None:
        await socket.accept()
        await _tell(socket, live.page_messages(user_of(socket), still_of(socket)))
        await _close(socket, GOING_AWAY)

    @router.websocket("/tasks/{task_id}/ws")
    async def one_task(socket: WebSocket, task_id: str) -> None:
        try:
            after = event_number(socket.query_params.get("after"), "after")
            await run_in_threadpool(queue.get, task_id, owner=user_of(socket).sees)
        except FooocusError as exc:
            await socket.send_denial_response(problem_response(exc))
            return
        await socket.accept()
        await _tell(socket, live.task_events(task_id, after, still_of(socket)))
        has_ended = (await run_in_threadpool(queue.get, task_id)).state in TERMINAL.values()
        await _close(socket, DONE if has_ended else GOING_AWAY)


def event_number(text: str | None, name: str) -> int:
    """The number of the last event that a client has seen, as it sent it under ``name``; 0 if it sent none.

    Raises:
        BadValue: it is none.
    """
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 18:
        raise BadValue(f"{name} is not a number.", "Send the number of the last event you saw.", field=name)
    return int(text)


async def _tell(socket: WebSocket, stream: AsyncGenerator[str]) -> None:
    """Send every message of an event stream until it ends or the client is gone; what breaks it is raised."""
    telling = asyncio.ensure_future(_send_all(socket, stream))
    listening = asyncio.ensure_future(_until_gone(socket))
    try:
        await asyncio.wait((telling, listening), return_when=asyncio.FIRST_COMPLETED)
    finally:
        telling.cancel()
        listening.cancel()
        broke, _ = await asyncio.gather(telling, listening, return_exceptions=True)
    if isinstance(broke, Exception):  # and not that the client has gone, for which it is cancelled
        raise broke


async def _send_all(socket: WebSocket, stream: AsyncGenerator[str]) -> None:
    async with contextlib.aclosing(stream):
        async for told in stream:
            for line in told.splitlines():
                if line.startswith(DATA):  # comments and names are for event streams only
                    try:
                        await asyncio.wait_for(socket.send_text(line.removeprefix(DATA)), SEND_S)
                    except asyncio.TimeoutError:  # another class than TimeoutError in Python 3.10
                        logger.info("a WebSocket was closed: its client has not read for %.0f s", SEND_S)
                        return


async def _until_gone(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass  # clients have nothing to say here


async def _close(socket: WebSocket, code: int) -> None:
    """Say goodbye, unless the client has gone or does not listen."""
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
        await asyncio.wait_for(socket.close(code), 1.0)
