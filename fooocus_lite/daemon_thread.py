"""Work in a thread of its own that holds up nobody's end, unlike the threads of asyncio's and other pools."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_daemon_thread(work: Callable[[], T], name: str) -> T:
    """The result of ``work``, or what it raises. Python joins the threads of a pool before it ends; this one dies.

    Args:
        name: The thread's.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(settle: Callable[[], None]) -> None:
        if not done.done():  # nobody waits for it any more
            settle()

    def run() -> None:
        try:
            result = work()
        except Exception as exc:  # noqa: BLE001 - it goes on in the other thread
            problem = exc
            settle = lambda: done.set_exception(problem)  # noqa: E731
        else:
            settle = lambda: done.set_result(result)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, settle)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
