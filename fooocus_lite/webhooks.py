"""Tells other programs when a task has ended: a row a message, written with the task, gone when it was taken.

The database itself makes a message due in the transaction that ends its task, so no kill loses one; one that was being
sent at a kill is sent again under the same id. Everything here happens in a thread of its own with its own event loop:
a target that hangs is waited for there, and by nobody else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx

from fooocus_lite import __version__
from fooocus_lite.daemon_thread import in_daemon_thread
from fooocus_lite.database import Database
from fooocus_lite.errors import FooocusError
from fooocus_lite.settings import Settings
from fooocus_lite.webhook_rules import (
    Address,
    ensure_allowed,
    may_lead_to,
    parse_address,
    parse_allowed,
    parse_secret,
    sign,
)

logger = logging.getLogger(__name__)
SECRET_ENV, SECRET_FILE = "FOOOCUS_WEBHOOK_SECRET", "webhook_secret"
#: Seconds from one try to the next; after the last one the message is given up.
RETRY_S = (5, 30, 120, 600, 1800, 7200, 21_600, 43_200)
#: A whole try, from looking up the name to the answer's first line.
TRY_S = 15.0
#: Targets that are talked to at once; one that hangs takes one place.
MAX_AT_ONCE = 16
#: How often the table is looked at while anything is in it.
LOOK_S = 0.5
JOIN_S = 2.0
GONE = 410
#: What a message says of a task, by its id: (kind of the end, data); ``None`` if there is no such task.
Describe = Callable[[str], "tuple[str, dict[str, Any]] | None"]


@dataclass(frozen=True)
class _Message:
    id: str
    task_id: str
    url: str
    target: str
    attempt: int


class NotTaken(Exception):
    """A try that failed; says why, for the log."""


class Webhooks:
    """Runs from `start` to `close`; `check` and `ask` may be called from any thread.

    Raises:
        BadValue: a secret or an allowed address that cannot be used.
    """

    def __init__(self, database: Database, settings: Settings, describe: Describe) -> None:
        self._database = database
        self._allowed = parse_allowed(settings.webhooks)
        self._key = read_secret(settings.data_dir)
        self._describe = describe
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._is_closing = False
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._lookups = threading.Semaphore(MAX_AT_ONCE)  # a name server may hang, too
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Go on with what is due since before."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what was not taken is sent after the next start."""
        self._is_closing = True
        self._wake()
        self._thread.join(JOIN_S)

    def check(self, url: str) -> Address:
        """The address, if messages may be sent there.

        Raises:
            BadValue: it is none.
            FooocusError: it is not allowed.
        """
        address = parse_address(url)
        ensure_allowed(address, self._allowed)
        return address

    def ask(self, task_ids: Sequence[str], url: str, *, is_again: bool = False) -> None:
        """Send a message to ``url`` for each task once it has ended; it is on disk when this returns.

        Args:
            is_again: The tasks were asked for before, and so perhaps told of: only those that go on are meant.

        Raises:
            FooocusError: as `check`, or the disk is full.
        """
        address = self.check(url)
        ended = "state IN ('finished', 'failed', 'cancelled')"
        condition = f" AND NOT {ended}" if is_again else ""
        with self._database.write() as transaction:
            for task_id in task_ids:
                transaction.execute(
                    "INSERT OR IGNORE INTO webhooks (id, task_id, url, target, due_at)"
                    f" SELECT ?, id, ?, ?, CASE WHEN {ended} THEN finished_at END FROM tasks WHERE id = ?{condition}",
                    (f"msg_{secrets.token_hex(12)}", url, address.target, task_id),
                )
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._news.set)

    # What follows runs in the thread alone.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._work())
        finally:
            self._loop.close()

    async def _work(self) -> None:
        while not self._is_closing:
            self._news.clear()
            try:
                has_any = self._send_due()
            except (FooocusError, sqlite3.Error) as exc:  # a locked file, say: look again
                logger.warning("webhooks: %s", exc)
                has_any = True
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_S if has_any else None)
        for task in self._busy.values():
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def _send_due(self) -> bool:
        """Begin to send what is due, one message a target at a time; whether there is anything in the table."""
        now = time.time()
        latest = now + 2 * RETRY_S[-1]  # later than that only because the clock was put back
        while len(self._busy) < MAX_AT_ONCE:
            marks = ", ".join("?" * len(self._busy))
            rows = self._database.read(
                "SELECT id, task_id, url, target, attempt FROM webhooks WHERE due_at IS NOT NULL"
                f" AND (due_at <= ? OR due_at > ?) AND target NOT IN ({marks}) ORDER BY due_at LIMIT 1",
                (now, latest, *self._busy),
            )
            if not rows:
                break
            message = _Message(**dict(rows[0]))
            task = self._loop.create_task(self._send(message))
            self._busy[message.target] = task
            task.add_done_callback(lambda _, target=message.target: self._free(target))
        return bool(self._busy or self._database.read("SELECT 1 FROM webhooks LIMIT 1"))

    def _free(self, target: str) -> None:
        del self._busy[target]
        self._news.set()

    async def _send(self, message: _Message) -> None:
        """One try, and what becomes of the message."""
        try:
            await asyncio.wait_for(self._post(message), TRY_S)
            problem = ""
        except asyncio.TimeoutError:
            problem = f"no answer in {TRY_S:.0f} s"
        except (FooocusError, NotTaken) as exc:
            problem = str(exc)
        except Exception as exc:  # noqa: BLE001 - whatever breaks: this message must not be tried without a pause
            problem = type(exc).__name__  # its words may hold the address
        try:
            self._record(message, problem)
        except FooocusError as exc:
            logger.warning("webhooks: %s", exc)
            await asyncio.sleep(RETRY_S[0])  # it will be sent again, under the same id

    def _record(self, message: _Message, problem: str) -> None:
        is_over = not problem or message.attempt >= len(RETRY_S)
        with self._database.write() as transaction:
            if is_over:
                transaction.execute("DELETE FROM webhooks WHERE id = ?", (message.id,))
            else:
                wait_s = RETRY_S[message.attempt] * random.uniform(1.0, 1.2)  # not all at once
                transaction.execute(
                    "UPDATE webhooks SET attempt = attempt + 1, due_at = ? WHERE id = ?",
                    (time.time() + wait_s, message.id),
                )
        if problem:
            what = "given up" if is_over else "will be tried again"
            logger.warning("webhook of task %s to %s %s: %s", message.task_id, message.target, what, problem)

    async def _post(self, message: _Message) -> None:
        """Send a message; no redirect is followed, and the name is looked up here once and for all.

        Raises:
            NotTaken: the target did not say that it took it.
        """
        address = self.check(message.url)  # the setting may have changed meanwhile
        told = self._describe(message.task_id)
        if told is None:
            return
        kind, data = told
        now = time.time()
        stamp = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="milliseconds")
        body = json.dumps({"type": f"task.{kind}", "timestamp": stamp, "data": data}).encode()
        headers = {
            "Host": address.host_header,
            "Content-Type": "application/json",
            "User-Agent": f"fooocus-lite/{__version__}",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now)),
        }
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, message.id, int(now), body)
        status = await _post(address, await self._find(address), body, headers)
        if status == GONE:
            logger.info("webhook of task %s: %s wants no more", message.task_id, message.target)
        elif not 200 <= status < 300:
            raise NotTaken(f"answered with status {status}")

    async def _find(self, address: Address) -> list[str]:
        """The numbers at which the address is found.

        Raises:
            NotTaken: one of them is none that the name may lead to, or the name server hangs.
        """
        if not self._lookups.acquire(blocking=False):
            raise NotTaken("the name server does not answer")

        def look_up() -> list[tuple[Any, ...]]:
            try:
                return list(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
            finally:
                self._lookups.release()

        found = await in_daemon_thread(look_up, "webhook name")
        ips = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not all(may_lead_to(address.host, ip) for ip in ips):
            raise NotTaken("that name leads into a private network; allow the machine by its number")
        return ips


async def _post(address: Address, ips: Sequence[str], body: bytes, headers: dict[str, str]) -> int:
    """The status with which the first of ``ips`` that can be reached answers.

    No proxy, which would look the name up again; no connection is kept, which another name could be given.
    """
    context = httpx.create_ssl_context() if address.scheme == "https" else False
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=TRY_S, follow_redirects=False) as client:
        for ip in ips:
            sni = {"sni_hostname": address.host}
            request = client.build_request("POST", address.at(ip), content=body, headers=headers, extensions=sni)
            try:
                answer = await client.send(request, stream=True)
            except httpx.ConnectError:
                if ip == ips[-1]:
                    raise
                continue
            await answer.aclose()
            return answer.status_code
    raise NotTaken("that name leads nowhere")


def read_secret(data_dir: Path) -> bytes | None:
    """The key that messages are signed with, from the environment or the data folder; ``None`` if there is none.

    Raises:
        BadValue: it cannot be used.
    """
    if text := os.environ.get(SECRET_ENV, ""):
        return parse_secret(text, SECRET_ENV)
    with suppress(FileNotFoundError):
        return parse_secret((data_dir / SECRET_FILE).read_text("utf-8", "replace"), SECRET_FILE)
    return None
