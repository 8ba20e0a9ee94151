"""``kill -9`` of everything that can be killed, while pictures are drawn."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from fooocus_lite.images import read_picture
from tests.faults.server import Server, is_alive, until

pytestmark = pytest.mark.slow
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
    ids += server.submit("a yellow ring", seed=9, steps=3, sampler="euler")
    server.wait_until_drawing(ids[0])
    workers = server.workers()
    assert server.end() == 0  # a polite end mid-picture costs no attempt
    assert not any(is_alive(pid) for pid in workers)
    assert "Traceback" not in server.log

    server = start(server.data.parent)
    server.wait(ids[0])
    server.wait_until_drawing(ids[1])
    ids += server.submit("asked just before the end", seed=11, steps=3, sampler="euler")
    workers = server.workers()
    assert workers
    server.kill()
    until(lambda: not any(is_alive(pid) for pid in workers), "the end of the orphaned worker")

    server = start(server.data.parent)
    tasks = server.wait(*ids)
    assert [task["state"] for task in tasks] == ["finished"] * 5
    assert [task["attempt"] for task in tasks] == [1, 2, 1, 1, 1]
    ends = [task["finished_at"] for task in tasks]
    assert ends == sorted(ends)  # in the order in which they were asked for
    for task in tasks:
        assert read_picture(server.picture(task["id"])).recipe.seed == task["recipe"]["seed"]  # one file each
    assert len(list(server.outputs.rglob("*.png"))) == 5
    server.gives_a_red_circle()


def test_a_worker_killed_between_pictures_is_replaced(server: Server) -> None:
    server.gives_a_red_circle()
    (pid,) = server.workers()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid), "its end")
    server.gives_a_red_circle()
