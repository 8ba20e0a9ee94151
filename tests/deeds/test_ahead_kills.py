"""``kill -9`` of the server while a picture was only sent ahead to the worker, and while it is begun."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.endings import MAX_ATTEMPTS
from fooocus_lite.library import Library
from fooocus_lite.line import Spot
from fooocus_lite.store import Store, open_store
from fooocus_lite.taskqueue import MOST_AHEAD
from fooocus_lite.tasks import Task
from tests.deeds.conftest import a_recipe, make_library, until

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
#: (sql, task's id) → the one value that it asks the queue file for.
Ask = Callable[[str, str], Any]
ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import sys, threading
from pathlib import Path
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import open_store
from tests.deeds.conftest import FAKE
from tests.deeds.test_ahead_kills import two_models
folder = Path(sys.argv[1])
store = open_store(folder / "data", output_dir=folder / "outputs")
library = two_models(folder)
Dispatcher(store, [LocalRunner(FAKE)], library=lambda: library, output_dir=folder / "outputs").start()
threading.Event().wait()
"""


def two_models(folder: Path) -> Library:
    one = make_library(folder)
    return replace(one, models={**one.models, "other": replace(one.models["fake"], name="other")})


@pytest.fixture
def killed_when(tmp_path: Path) -> Iterator[Callable[[Callable[[Ask], bool]], None]]:
    """Runs a server, and kills it once its queue file says something."""
    with ExitStack() as ends:

        def run(is_time: Callable[[Ask], bool]) -> None:
            process = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], cwd=ROOT)
            ends.callback(process.wait)
            ends.callback(process.kill)
            file = sqlite3.connect(f"file:{tmp_path / 'data' / 'queue.db'}?mode=ro", uri=True)
            until(lambda: is_time(lambda sql, task_id: file.execute(sql, (task_id,)).fetchone()[0]), "the time")
            file.close()
            assert process.poll() is None
            process.kill()
            process.wait()

        yield run


def is_finished(ask: Ask, task_id: str) -> bool:
    return ask("SELECT state FROM tasks WHERE id = ?", task_id) == "finished"


def starts(ask: Ask, task_id: str) -> int:
    """How often it was told that a worker has the task: at a claim, and when it began to load the model."""
    return ask("SELECT count(*) FROM events WHERE task_id = ? AND kind = 'started'", task_id)


def in_line(store: Store) -> list[tuple[str, int]]:
    return [(task.id, task.attempt) for task in store.queue.waiting()]


def test_two_kills_of_the_server_cost_what_was_only_sent_ahead_nothing(
    tmp_path: Path, killed_when: Callable[..., None]
) -> None:
    store = open_store(tmp_path / "data")
    recipes = [a_recipe(f"decode {tmp_path}/never"), a_recipe("ahead", 2), a_recipe("last", 3)]
    first, ahead, last = store.queue.submit(recipes)
    store.close()
    for times in (1, 2):
        killed_when(lambda ask, times=times: starts(ask, ahead) == times)
    store = open_store(tmp_path / "data")
    killer = store.queue.get(first)
    assert (killer.state, killer.attempt) == ("failed", 2), "it was being drawn at both"
    assert in_line(store) == [(ahead, 0), (last, 0)]
    store.close()
    killed_when(lambda ask: is_finished(ask, last))
    store = open_store(tmp_path / "data")
    assert [(task.state, task.attempt) for task in map(store.queue.get, (ahead, last))] == [("finished", 1)] * 2
    store.close()


def test_a_kill_while_its_model_is_loaded_counts_also_for_what_was_sent_ahead(
    tmp_path: Path, killed_when: Callable[..., None]
) -> None:
    store = open_store(tmp_path / "data")
    first, second = store.queue.submit([a_recipe(), a_recipe(f"load {tmp_path}/never", model="other")])
    store.close()
    killed_when(lambda ask: is_finished(ask, first) and starts(ask, second) == 2)
    store = open_store(tmp_path / "data")
    assert in_line(store) == [(second, 1)]
    store.close()
    killed_when(lambda ask: starts(ask, second) == 3)
    store = open_store(tmp_path / "data")
    assert store.queue.get(second).state == "failed"
    store.close()


def test_until_the_next_fact_of_what_is_ahead_no_end_of_the_server_counts(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ids = store.queue.submit([a_recipe(seed=n) for n in range(3)])

    def claimed() -> Task:
        task = store.queue.claim("w", is_ahead=True)
        assert task is not None and task.attempt == 1
        return task

    for _ in range(3):
        more = store.queue.claim_more(claimed(), "w", 2, is_ahead=True)
        assert [task.id for task in more] == ids[1:]
        store.close()
        store = open_store(tmp_path)
        assert in_line(store) == [(task_id, 0) for task_id in ids]
    store.close()


def test_who_kills_before_it_is_begun_ends_though_others_take_turns_with_it(
    tmp_path: Path, killed_when: Callable[..., None]
) -> None:
    """After every kill it is another user's turn, so it could be sent ahead each time."""
    store = open_store(tmp_path / "data")
    bobs = store.queue.submit([a_recipe(seed=n) for n in range(8)], owner="bob")
    (killer,) = store.queue.submit([a_recipe(f"load {tmp_path}/never")], owner="zoe")
    store.close()
    for times, bob in enumerate(bobs[: MOST_AHEAD + MAX_ATTEMPTS], start=1):
        killed_when(lambda ask, n=times, bob=bob: is_finished(ask, bob) and starts(ask, killer) == n)
    store = open_store(tmp_path / "data")
    task = store.queue.get(killer)
    assert (task.state, task.attempt) == ("failed", MAX_ATTEMPTS)
    store.close()
    killed_when(lambda ask: is_finished(ask, bobs[-1]))
    store = open_store(tmp_path / "data")
    assert [(task.state, task.attempt) for task in map(store.queue.get, bobs)] == [("finished", 1)] * 8
    store.close()


def test_what_was_sent_ahead_so_often_is_drawn_neither_ahead_nor_with_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first, second, third = store.queue.submit([a_recipe(seed=n) for n in range(3)])
    for _ in range(MOST_AHEAD):
        task = store.queue.claim("w", is_ahead=True)
        assert task is not None and task.id == first
        store.queue.put_back(first, None)
    assert store.queue.claim("w", is_ahead=True) is None, "nor is another one that stands behind it"
    task = store.queue.claim("w")
    assert task is not None and (task.id, task.attempt) == (first, 1)
    assert store.queue.claim_more(task, "w", 2) == []
    store.queue.put_back(first, None)
    store.queue.move([first], Spot("after", of=second))
    task = store.queue.claim("w")
    assert task is not None and task.id == second
    assert store.queue.claim_more(task, "w", 2) == [], "nor with those before it"
    assert in_line(store) == [(first, 0), (third, 0)]
    store.close()
