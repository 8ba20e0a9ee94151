"""Requests that stay open until their pictures are drawn, as the APIs of other programs want it.

What a broken connection leaves behind is kept for a while, so that a client that tries again finds the pictures
that are being drawn for it; what nobody comes back for is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from fooocus_lite.errors import FooocusError
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import TERMINAL
from fooocus_lite.library import Library
from fooocus_lite.recipe import Recipe
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task
from fooocus_lite.user import User
from fooocus_lite.web.once import hashed, id_of_key
from fooocus_lite.web.who import user_of

logger = logging.getLogger(__name__)
#: Puts resolved recipes in line as a batch, whose id may be given, for the user of that name; returns the tasks' ids.
Submit = Callable[[Sequence[Recipe], str | None, str], list[str]]
#: How long pictures are still drawn for nobody. Clients wait up to eight seconds before they try again.
GRACE_S = 15.0
#: Clients without an answer to their request are gone; no standard has a number for it, this is nginx's.
CLIENT_GONE = 499
#: How a request ended: with pictures, with an error, or because its connection broke.
End = Literal["answered", "refused", "gone"]
_RETRY_COUNT = "x-stainless-retry-count"  # how OpenAI's clients number their tries


class HungUp(Exception):
    """Whoever asked is gone; nobody reads an answer."""


@dataclass(eq=False)
class Order:
    """The pictures of one request.

    Attributes:
        fingerprint: The same for the same request from the same client.
        owner: Name of the user who asked.
        readers: Open connections that wait for it.
        tries: How often it was asked for.
    """

    ids: list[str]
    fingerprint: str
    owner: str = ""
    readers: int = 0
    tries: int = 0


class Orders:
    """The requests that are open at one door.

    Args:
        submit: Puts pictures in line.
        grace_s: How long after the last connection broke the pictures are still drawn.
    """

    def __init__(self, queue: TaskQueue, log: EventLog, submit: Submit, *, grace_s: float = GRACE_S) -> None:
        self._queue = queue
        self._log = log
        self._submit = submit
        self._grace_s = grace_s
        self._placing = asyncio.Lock()
        self._pending: set[asyncio.Task[None]] = set()
        self._answered: list[Order] = []  # a moment ago: the answer may have been lost on its way
        #: Those that are not answered yet, oldest first.
        self.open: list[Order] = []

    async def place(self, recipes: Sequence[Recipe], request: Request) -> Order:
        """Put pictures in line for a request, or find those that it asked for before; then `leave` is due.

        The same ``Idempotency-Key`` with the same body is the same request for good. Without one, the same body
        from the same client is the same request while its connection is broken and its pictures are not cancelled;
        and if the client itself says that it tries again, until a while after it was answered.
        """
        body = await request.body()
        async with self._placing:
            key = request.headers.get("idempotency-key")
            user = user_of(request)
            batch_id = id_of_key(key, user, request.url.path, body) if key else None  # from wherever it comes again
            fingerprint = batch_id or _fingerprint(request, user, body)
            order = self._standing(fingerprint, is_again=bool(key) or _is_retry(request))
            if order is None:
                ids = await run_in_threadpool(self._put_in_line, recipes, batch_id, user.name)
                order = Order(ids, fingerprint, user.name)
                self.open.append(order)
            order.readers += 1
            order.tries += 1
            return order

    def _standing(self, fingerprint: str, *, is_again: bool) -> Order | None:
        """The newest of the same request; one that somebody else reads, or has read, only if it comes again."""
        known = reversed([*self._answered, *self.open] if is_again else self.open)
        same = (order for order in known if order.fingerprint == fingerprint)
        return next((order for order in same if is_again or not order.readers), None)

    def _put_in_line(self, recipes: Sequence[Recipe], batch_id: str | None, owner: str) -> list[str]:
        before = self._queue.batch(batch_id) if batch_id else []
        if batch_id is None or not before:
            return self._submit(recipes, batch_id, owner)
        tasks = _newest([self._queue.get(task_id) for task_id in before], len(recipes))
        again = [task.recipe for task in tasks if _is_dropped(task)]  # nobody waited for them any more
        new = iter(self._submit(again, batch_id, owner) if again else ())
        return [next(new) if _is_dropped(task) else task.id for task in tasks]

    async def drawn(self, order: Order, request: Request) -> list[Task]:
        """Its tasks when all have ended.

        Raises:
            HungUp: the client is gone.
        """
        ends = asyncio.ensure_future(self._ends(order))
        gone = asyncio.ensure_future(_hangs_up(request))
        try:
            await asyncio.wait((ends, gone), return_when=asyncio.FIRST_COMPLETED)
            if not ends.done():
                raise HungUp
            return await run_in_threadpool(lambda: [self._queue.get(task_id) for task_id in order.ids])
        finally:
            ends.cancel()
            gone.cancel()
            await asyncio.gather(ends, gone, return_exceptions=True)

    async def _ends(self, order: Order) -> None:
        for task_id in order.ids:
            async for _ in self._log.afollow(task_id):
                pass

    def leave(self, order: Order, end: End) -> None:
        """One connection less that waits for it, and how it ended."""
        order.readers -= 1
        if order in self.open and end != "gone":
            self.open.remove(order)
            if end == "answered":  # what was refused is tried anew when it is asked for again
                self._answered.append(order)
                self._later(self._forget(order))
        elif order in self.open and not order.readers:
            self._later(self._let_go(order, order.tries))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._pending.add(task)  # asyncio itself would let it be collected
        task.add_done_callback(self._pending.discard)

    async def _forget(self, order: Order) -> None:
        await asyncio.sleep(self._grace_s)
        self._answered.remove(order)

    async def _let_go(self, order: Order, tries: int) -> None:
        await asyncio.sleep(self._grace_s)
        async with self._placing:  # whoever comes back now finds them cancelled, and not about to be
            if order.tries == tries and order in self.open:  # nobody came back
                self.open.remove(order)
                await self._cancel(order)

    async def _cancel(self, order: Order) -> None:
        try:
            cancelled = await run_in_threadpool(lambda: [self._queue.cancel(task_id) for task_id in order.ids])
            logger.info("%d pictures were cancelled: whoever asked for them is gone", sum(cancelled))
        except FooocusError as exc:  # then they are drawn; nothing is lost
            logger.warning("pictures that nobody waits for could not be cancelled: %s", exc)


def submitter(library: Callable[[], Library], supply: Supply) -> Submit:
    """Puts pictures in line; what they lack is being fetched then, and whoever asked waits for that, too."""

    def submit(recipes: Sequence[Recipe], batch_id: str | None, owner: str) -> list[str]:
        return supply.submit(recipes, library(), batch_id=batch_id, owner=owner)

    return submit


def pictures_of(tasks: Sequence[Task]) -> list[Task]:
    """Those that have a picture.

    Raises:
        FooocusError: none has; says why the first has not.
    """
    drawn = [task for task in tasks if task.state == "finished" and task.image_path]
    if drawn or not tasks:
        return drawn
    first = tasks[0]
    if first.error:
        error = first.error
        raise FooocusError(error["problem"], error.get("hint", ""), code=error["code"], field=error.get("field"))
    if first.state in TERMINAL.values():
        raise FooocusError("The picture was cancelled.", "Ask again.", code="conflict")
    raise FooocusError("Fooocus Lite is being closed.", "The picture is drawn at its next start.", code="conflict")


def _newest(tasks: Sequence[Task], count: int) -> list[Task]:
    """The tasks of a request for ``count`` pictures, each cancelled one replaced by the one asked for instead of it."""
    newest = list(tasks[:count])
    for task in tasks[count:]:
        same = (place for place, old in enumerate(newest) if old.cancel_requested or old.state == "cancelled")
        at = next((place for place in same if _picture_of(newest[place]) == _picture_of(task)), None)
        if at is not None:
            newest[at] = task
    return newest


def _picture_of(task: Task) -> tuple[object, ...]:
    """What tells the pictures of one request apart; the rest may still be decided while they are drawn."""
    return task.recipe.prompt, task.recipe.seed, task.recipe.index


def _is_dropped(task: Task) -> bool:
    """Whether there will be no picture, because somebody wanted none."""
    return task.state == "cancelled" or (task.state == "running" and task.cancel_requested)


def _is_retry(request: Request) -> bool:
    count = request.headers.get(_RETRY_COUNT, "0")
    return count.isdecimal() and int(count) > 0


def _fingerprint(request: Request, user: User, body: bytes) -> str:
    login = request.headers.get("authorization", "")
    return hashed(request.url.path, request.client.host if request.client else "", login, user.name, body)


async def _hangs_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
