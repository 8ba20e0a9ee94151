"""``kill -9`` of everything that can be killed, while pictures are drawn."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable

from fooocus_lite.images import read_picture
from tests.faults.server import Server, is_alive, until

LONG = {"steps": 150, "sampler": "euler"}


def test_a_killed_worker_costs_one_attempt_and_nothing_else(server: Server) -> None:
    ids = server.submit("a blue star", count=2, **LONG)
    server.wait_until_drawing(ids[0])
    (pid,) = server.workers()
    os.kill(pid, signal.SIGKILL)
    first, second = server.wait(*ids)
    assert (first["state"], first["attempt"]) == ("finished", 2)
    assert (second["state"], second["attempt"]) == ("finished", 1)
    assert first["finished_at"] <= second["finished_at"]
    assert server.workers() != [pid]
    server.gives_a_red_circle()


def test_a_killed_server_loses_nothing_and_draws_nothing_twice(start: Callable[..., Server]) -> None:
    server = start()
    ids = server.submit("a green heart", count=3, **LONG)
    cancelled, later = server.submit("nobody wants this", **LONG), server.submit("a yellow ring", seed=9)
    assert server.get("/healthz")[0] == 200
    server.wait(ids[0])
    server.wait_until_drawing(ids[1])
    status, _ = server.post("/v1/tasks", {"prompt": "asked just before the end", "seed": 11})
    assert status == 201
    with sqlite3.connect(server.data / "queue.db") as connection:
        asked = [row[0] for row in connection.execute("SELECT id FROM tasks ORDER BY id")]
    connection.close()
    workers = server.workers()
    assert workers
    server.kill()
    until(lambda: not any(is_alive(pid) for pid in workers), "the end of the orphaned worker")

    again = start(server.data.parent)
    tasks = again.wait(*asked)
    assert [task["state"] for task in tasks] == ["finished"] * 6
    assert [task["attempt"] for task in tasks] == [1, 2, 1, 1, 1, 1]
    ends = [task["finished_at"] for task in tasks]
    assert ends == sorted(ends)  # in the order in which they were asked for
    for task in tasks:
        assert read_picture(again.picture(task["id"])).recipe.seed == task["recipe"]["seed"]  # one file each
    assert {*ids, *cancelled, *later} < set(asked)
    assert len(list(again.outputs.rglob("*.png"))) == 6
    again.gives_a_red_circle()


def test_a_polite_end_mid_picture_costs_no_attempt(start: Callable[..., Server]) -> None:
    server = start()
    (task_id,) = server.submit("a purple diamond", **LONG)
    server.wait_until_drawing(task_id)
    workers = server.workers()
    assert server.end() == 0
    assert not any(is_alive(pid) for pid in workers)
    assert "Traceback" not in server.log
    again = start(server.data.parent)
    (task,) = again.wait(task_id)
    assert (task["state"], task["attempt"]) == ("finished", 1)
    again.gives_a_red_circle()


def test_a_worker_killed_between_pictures_is_replaced(server: Server) -> None:
    server.gives_a_red_circle()
    (pid,) = server.workers()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid), "its end")
    server.gives_a_red_circle()
