"""The story of a soak: a person who asks, cancels, edits and moves at random, while everything is killed at random.

What was answered is written down as a promise; `tests.soak_checks` compares the promises with what is on the disk.
A request whose answer was cut off by a kill is a doubt: either outcome is fine, as long as it is one of the two.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.app.client import ask, follow
from tests.faults.server import Server, is_alive, until

STEPS = 2
LINE = 24  # so many wait at most; more would only be more of the same
#: How often each thing is done, next to the others.
HABITS = {"cancel": 2, "edit": 4, "move": 5, "duplicate": 2, "pause": 1, "retry": 1, "nothing": 25}


@dataclass
class Promises:
    """What the server has answered."""

    asked: list[str] = field(default_factory=list[str])
    cancelled: set[str] = field(default_factory=set[str])
    moved: set[str] = field(default_factory=set[str])
    words: dict[str, set[str]] = field(default_factory=dict[str, set[str]])  # task id → prompts that it may have
    again: set[str] = field(default_factory=set[str])  # failed, because they were killed twice: a person presses Retry
    doubts: Counter[str] = field(default_factory=Counter[str])
    done: Counter[str] = field(default_factory=Counter[str])


class Follower(threading.Thread):
    """A page: follows the stream, is reloaded now and then, and attaches again after every kill."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        super().__init__(name="page", daemon=True)
        self._server, self._rng = server, rng
        self._is_over = threading.Event()
        self.connections = 0
        self.told_twice: list[str] = []
        self.without_snapshot = 0

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                self._look(self._rng.randint(5, 120))
            except (OSError, AssertionError, ValueError, http.client.HTTPException):
                time.sleep(0.2)  # the server is away

    def _look(self, messages: int) -> None:
        ended: set[str] = set()
        for number, event in enumerate(follow(self._server.address, "/v1/events")):
            message = json.loads(event["data"])
            if number == 0:
                self.connections += 1
                self.without_snapshot += message["type"] != "snapshot"
            if message["type"] == "task" and message["task"]["state"] == "finished":
                if message["task"]["id"] in ended:
                    self.told_twice.append(message["task"]["id"])
                ended.add(message["task"]["id"])
            if number > messages or self._is_over.is_set():
                return  # the page is reloaded

    def end(self) -> None:
        """No more."""
        self._is_over.set()


class Story:
    """Runs until so many pictures were asked for and nothing waits.

    Args:
        pictures: How many to ask for, those that are cancelled again not counted.
        calm_from: From this part of the pictures on the server itself is left alone, so that its memory can be told.
        server_kills, worker_kills: How many, spread over the run.
    """

    def __init__(
        self, server: Server, *, pictures: int, seed: int, server_kills: int, worker_kills: int, calm_from: float = 0.6
    ) -> None:
        self.server, self.rng = server, random.Random(seed)
        self.promises = Promises()
        self.samples: list[tuple[int, int, int]] = []  # (life of the server, pictures asked for, resident bytes)
        self.life = 0
        self.tracebacks = 0
        self._pictures, self._number = pictures, 0
        self._paused_until: float | None = None
        self._killed_at = -1
        until_calm = max(1, int(pictures * calm_from))
        self._kills = sorted(
            [(self.rng.randint(1, until_calm), "server") for _ in range(server_kills)]
            + [(self.rng.randint(1, pictures), "worker") for _ in range(worker_kills)]
        )
        paths = json.loads(ask(server.address, "GET", "/openapi.json")[2])["paths"]
        need = {"move": "/v1/queue/move", "duplicate": "/v1/tasks/{task_id}/duplicate", "pause": "/v1/queue/pause"}
        self._habits = {name: often for name, often in HABITS.items() if need.get(name, "/v1/tasks") in paths}
        if "patch" not in paths["/v1/tasks/{task_id}"]:
            self._habits.pop("edit")

    def run(self) -> None:
        """To the end."""
        while True:
            waiting, drawn = self._counts()
            self.samples.append((self.life, drawn, self._memory()))
            if self._kills and drawn >= max(self._kills[0][0], self._killed_at + 2):
                self._killed_at = drawn
                self._kill(self._kills.pop(0)[1])
            elif self._wanted() > 0 and waiting < LINE:
                self._submit()
            elif waiting:
                self._act()
            elif self._has_ended() and not self._try_again():
                return
            self._resume_if_due()
            time.sleep(self.rng.uniform(0.0, 0.25))

    # What a person does.

    def _submit(self) -> None:
        count = min(self.rng.randint(1, 8), self._wanted())
        self._number += 1
        words = f"a red circle, number {self._number}"
        body = json.dumps({"prompt": words, "seed": self._number * 1000, "count": count, "steps": STEPS}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"soak {self._number}"}
        while True:  # the same key until there is an answer, however often the server dies meanwhile
            try:
                status, _, text = ask(self.server.address, "POST", "/v1/tasks", body, headers)
                break
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
        assert status == 201, text
        ids = json.loads(text)["ids"]
        assert len(ids) == count, ids
        self.promises.asked += ids
        self.promises.words |= {task_id: {words} for task_id in ids}
        self.promises.done["submit"] += 1

    def _act(self) -> None:
        habit = self.rng.choices(list(self._habits), list(self._habits.values()))[0]
        ids = self._ids("waiting")
        if ids and habit != "nothing":
            getattr(self, f"_{habit}")(ids)

    def _cancel(self, ids: list[str]) -> None:
        task_id = self.rng.choice(ids + self._ids("running"))
        self.promises.cancelled.add(task_id)  # whatever the answer is, nobody wants it any more
        self._tell("cancel", "DELETE", f"/v1/tasks/{task_id}")

    def _edit(self, ids: list[str]) -> None:
        task_id = self.rng.choice(ids)
        status, task = self.server.get(f"/v1/tasks/{task_id}")
        if status != 200:
            return
        words = f"a blue square, edit {self.promises.done['edit']} of {task_id}"
        before = self.promises.words.setdefault(task_id, {task["recipe"]["prompt"]})
        change = {"recipe": {"prompt": words}, "revision": task["revision"]}
        status = self._tell("edit", "PATCH", f"/v1/tasks/{task_id}", change)
        self.promises.words[task_id] = {words} if status == 200 else before if status else before | {words}

    def _move(self, ids: list[str]) -> None:
        task_id = self.rng.choice(ids)
        others = [other for other in ids if other != task_id]
        where: dict[str, Any] = {"to": self.rng.choice(["first", "last"])}
        if others and self.rng.random() < 0.6:
            where = {self.rng.choice(["before", "after"]): self.rng.choice(others)}
        self.promises.moved.add(task_id)
        self._tell("move", "POST", "/v1/queue/move", {"ids": [task_id]} | where)

    def _duplicate(self, ids: list[str]) -> None:
        task_id = self.rng.choice(ids)
        self._more("duplicate", f"/v1/tasks/{task_id}/duplicate", {"new_seed": True}, task_id)

    def _retry(self, ids: list[str]) -> None:
        again = sorted(self.promises.cancelled)
        if again:
            task_id = self.rng.choice(again)
            self._more("retry", f"/v1/tasks/{task_id}/retry", None, task_id)

    def _more(self, what: str, path: str, body: Any, task_id: str) -> None:
        status, answer = self._send("POST", path, body)
        if status == 0:
            self.promises.doubts[what] += 1
        if status == 201:
            ids = answer.get("ids") or [answer["id"]]
            self.promises.done[what] += 1
            self.promises.asked += ids
            self.promises.moved |= set(ids)  # a duplicate stands behind its original, not at the end
            for one in ids:
                self.promises.words[one] = self.promises.words.get(task_id, set())

    def _try_again(self) -> bool:
        """Press Retry on what failed because it was killed twice."""
        failed = [task_id for task_id in self._ids("failed") if task_id not in self.promises.again]
        for task_id in failed:
            error = self.server.task(task_id)["error"]
            assert error["code"] == "worker_died", error
            self.promises.again.add(task_id)
            self._more("retry", f"/v1/tasks/{task_id}/retry", None, task_id)
        return bool(failed)

    def _pause(self, ids: list[str]) -> None:
        if self._tell("pause", "POST", "/v1/queue/pause") is not None:
            self._paused_until = time.monotonic() + self.rng.uniform(0.2, 2.0)

    def _resume_if_due(self) -> None:
        is_due = self._paused_until is not None and time.monotonic() >= self._paused_until
        if is_due and self._tell("resume", "POST", "/v1/queue/resume") == 200:
            self._paused_until = None

    def _tell(self, what: str, method: str, path: str, body: Any = None) -> int:
        status, answer = self._send(method, path, body)
        assert status in (0, 200, 201, 404, 409, 422), (what, status, answer)
        if status == 0:
            self.promises.doubts[what] += 1
        elif status < 300:
            self.promises.done[what] += 1
        return status

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        try:
            headers = {"Content-Type": "application/json"} if data else {}
            status, _, text = ask(self.server.address, method, path, data, headers)
            return status, json.loads(text) if text else None
        except (OSError, ValueError, http.client.HTTPException):
            return 0, None

    # What befalls the program.

    def _kill(self, what: str) -> None:
        time.sleep(self.rng.uniform(0.0, 0.6))
        self.promises.done[f"kill {what}"] += 1
        if what == "worker":
            for pid in self.server.workers():
                os.kill(pid, signal.SIGKILL)
            return
        workers = self.server.workers()
        if self._number % 2:  # asked for at the very moment of the kill
            killer = threading.Timer(self.rng.uniform(0.0, 0.02), self.server.kill)
            killer.start()
            self._cancel(self._ids("waiting") or ["none"])
            killer.join()
        else:
            self.server.kill()
        self._look_at_log()
        until(lambda: not any(is_alive(pid) for pid in workers), "the end of the orphaned workers")
        self.server.start()
        self.life += 1

    def end(self) -> None:
        """Ctrl-C."""
        assert self.server.end() == 0
        self._look_at_log()

    def _look_at_log(self) -> None:
        self.tracebacks += self.server.log.count("Traceback")

    # What there is.

    def _counts(self) -> tuple[int, int]:
        """(what waits, what has ended)."""
        status, answer = self.server.get("/v1/queue")
        waiting = answer["waiting"] if status == 200 else LINE
        return waiting, len(self.promises.asked) - waiting

    def _ids(self, state: str) -> list[str]:
        status, answer = self.server.get(f"/v1/tasks?state={state}&limit=100")
        return [task["id"] for task in answer["tasks"]] if status == 200 else []

    def _has_ended(self) -> bool:
        return not (self._ids("running") or self._ids("waiting"))

    def _wanted(self) -> int:
        """How many pictures are still to be asked for."""
        return self._pictures - (len(self.promises.asked) - len(self.promises.cancelled))

    def _memory(self) -> int:
        assert self.server.process
        return psutil.Process(self.server.process.pid).memory_info().rss
