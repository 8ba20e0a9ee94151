"""A client for programs: asks a running Fooocus Lite for pictures, here or on another machine. No torch, no queue.

client = Client()
for picture in client.draw("a red star on a blue background", count=2):
    picture.save(f"{picture.id}.png")
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import secrets
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fooocus_lite.client_queue import QueueCalls, error_of
from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.events import KINDS, TERMINAL, Event, State, event_from_dict
from fooocus_lite.recipe import Recipe, parse_recipe

HOME = "http://127.0.0.1:7865"
#: Between two tries to ask, or to follow a task whose connection broke.
RETRY_S = 1.0
TRIES = 3
_BROKEN = (OSError, http.client.HTTPException)


class Unreachable(FooocusError):
    """No server answers at the address."""

    code = "unreachable"


@dataclass(frozen=True)
class RemoteTask:
    """One picture that was asked for, and where it stands.

    Attributes:
        recipe: Every field decided; the same recipe draws the same picture again.
        position: Place in line, 1 = next; ``None`` unless it waits.
        seconds: From start to end; ``None`` before that.
        error: Why it failed.
        revision: How often it was edited while it waited; `Client.edit` needs it.
    """

    id: str
    state: State
    recipe: Recipe
    position: int | None = None
    seconds: float | None = None
    error: FooocusError | None = None
    revision: int = 0


@dataclass(frozen=True)
class Picture:
    """A picture as it was saved, its recipe inside."""

    id: str
    recipe: Recipe
    data: bytes

    def save(self, path: str | Path) -> None:
        """Write the file."""
        Path(path).write_bytes(self.data)


class Client(QueueCalls):
    """Talks to one server; every call opens a connection of its own, so threads may share a client.

    Args:
        address: Of the server, as it says it when it starts.
        timeout_s: How long a server may be silent. While a task is followed it says something every 15 seconds.

    Every method raises `Unreachable`, or the server's own error as a `FooocusError`.
    """

    def __init__(self, address: str = HOME, *, timeout_s: float = 60.0) -> None:
        parts = urlsplit(address if "//" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadValue(f"The address cannot be {address[:80]!r}.", f"Write it as {HOME}.", field="address")
        self._parts = parts
        self._timeout_s = timeout_s

    def submit(self, prompt: str = "", *, webhook: str = "", **fields: Any) -> list[str]:
        """Ask for pictures and return at once; the tasks' ids, one per picture. Never twice, if a connection breaks.

        Args:
            prompt: What they show.
            webhook: Where the server sends a message when one has ended; its setting `webhooks` must allow that.
            fields: Any other field of `Recipe`, such as ``count=4`` or ``styles=["Watercolor"]``.
        """
        headers = {"Webhook-Url": webhook} if webhook else {}
        return self._post_once("/v1/tasks", {"prompt": prompt} | fields, headers)["ids"]

    def task(self, task_id: str) -> RemoteTask:
        """Where a task stands."""
        said = self._json("GET", f"/v1/tasks/{quote(task_id, safe='')}")
        recipe = {name: value for name, value in said["recipe"].items() if name in Recipe.model_fields}
        return RemoteTask(
            id=said["id"],
            state=said["state"],
            recipe=parse_recipe(recipe),
            position=said["position"],
            seconds=said["seconds"],
            error=error_of(said["error"]) if said["error"] else None,
            revision=said.get("revision", 0),
        )

    def events(self, task_id: str) -> Iterator[Event]:
        """Everything that happens to a task, from its first event to its last, previews included.

        A connection that breaks is taken up again where it was, also after a restart of the server.
        """
        seen, quiet_since = 0, time.monotonic()
        while True:
            try:
                for event in self._follow(task_id, seen):
                    seen, quiet_since = event.seq if event.is_fact else seen, time.monotonic()
                    yield event
                    if event.kind in TERMINAL:
                        return
            except Unreachable:
                if time.monotonic() - quiet_since > self._timeout_s:
                    raise
            time.sleep(RETRY_S)

    def wait(self, task_ids: Iterable[str]) -> list[RemoteTask]:
        """The tasks once all of them have ended."""
        tasks: list[RemoteTask] = []
        for task_id in task_ids:
            for _ in self.events(task_id):
                pass
            tasks.append(self.task(task_id))
        return tasks

    def picture(self, task_id: str) -> Picture:
        """The picture of a finished task."""
        recipe = self.task(task_id).recipe
        with self._ask("GET", f"/v1/tasks/{quote(task_id, safe='')}/image") as answer:
            return Picture(task_id, recipe, answer.read())

    def draw(self, prompt: str = "", **fields: Any) -> list[Picture]:
        """Ask for pictures, wait for them, and fetch them; arguments as for `submit`.

        Raises:
            FooocusError: one of them failed or was cancelled.
        """
        tasks = self.wait(self.submit(prompt, **fields))
        for task in tasks:
            if task.state != "finished":
                raise task.error or FooocusError("The picture was cancelled.", "Ask again.", code="conflict")
        return [self.picture(task.id) for task in tasks]

    def cancel(self, task_id: str) -> None:
        """End a task: at once while it waits, else at its next step."""
        self._json("DELETE", f"/v1/tasks/{quote(task_id, safe='')}")

    def retry(self, task_id: str) -> str:
        """Ask for the same picture again; the new task's id."""
        return self._json("POST", f"/v1/tasks/{quote(task_id, safe='')}/retry")["ids"][0]

    def menu(self) -> dict[str, Any]:
        """Everything that can be chosen: styles, presets, models, samplers and the range of every field."""
        return self._json("GET", "/v1/menu")

    def _follow(self, task_id: str, seen: int) -> Iterator[Event]:
        path, headers = f"/v1/tasks/{quote(task_id, safe='')}/events", {"Last-Event-ID": str(seen)}
        with self._ask("GET", path, headers=headers) as answer:
            while line := answer.readline():
                if line.startswith(b"data: "):
                    said = json.loads(line[6:])
                    if said["kind"] in KINDS:  # a newer server may tell more
                        yield event_from_dict(said, base64.b64decode(said.get("jpeg", "")))

    def _post_once(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
        keyed = {"Idempotency-Key": secrets.token_hex(16)} | dict(headers or {})  # so that it may be sent again
        for _ in range(TRIES - 1):
            with contextlib.suppress(Unreachable):
                return self._json("POST", path, body, keyed)
            time.sleep(RETRY_S)
        return self._json("POST", path, body, keyed)

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        with self._ask(method, path, body=body, headers=headers) as answer:
            return json.loads(answer.read())

    @contextlib.contextmanager
    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[http.client.HTTPResponse]:
        """An answer that says that all is well; the connection ends with the block."""
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.netloc, timeout=self._timeout_s)
        try:
            data = None if body is None else json.dumps(body).encode()
            own = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, path, data, own | dict(headers or {}))
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _refusal(answer.status, answer.read())
            yield answer
        except _BROKEN as exc:
            problem = f"Fooocus Lite does not answer at {self._parts.scheme}://{self._parts.netloc} ({exc})."
            raise Unreachable(problem, "Start it, or give the address that it says when it starts.") from exc
        finally:
            connection.close()


def _refusal(status: int, body: bytes) -> FooocusError:
    try:
        return error_of(json.loads(body))
    except (ValueError, KeyError, TypeError):
        return FooocusError(f"The server answered with status {status}.", "Is it Fooocus Lite that answers there?")
