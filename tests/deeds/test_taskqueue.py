"""Nothing is lost and nothing happens twice, with real threads and real processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fooocus_lite.database import Database
from fooocus_lite.errors import NotFound
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import TERMINAL, Cancelled, Failed, Finished, ImageSaved, fold
from fooocus_lite.recipe import Recipe
from fooocus_lite.store import Store, open_store
from fooocus_lite.taskqueue import TaskQueue
from tests.deeds.conftest import a_recipe, until

DIED = Failed(code="worker_died", problem="It died.", hint="Press Retry.")


def kinds(store: Store, task_id: str) -> list[str]:
    return [event.kind for event in store.log.facts(task_id)]


def test_tasks_are_claimed_in_order_with_the_settings_of_the_click(store: Store) -> None:
    recipes = [a_recipe(f"star {n} ★ 😀", seed=n, styles=["Watercolor"]) for n in range(5)]
    ids = store.queue.submit(recipes)
    assert ids == sorted(ids)
    assert all(len(task_id) == 12 for task_id in ids)
    claimed = [store.queue.claim("w") for _ in range(6)]
    assert [task and task.id for task in claimed] == [*ids, None]
    assert [task.recipe for task in claimed if task] == recipes
    assert {task.batch_id for task in claimed if task} == {ids[0]}


def test_every_task_is_claimed_exactly_once_by_racing_threads(store: Store) -> None:
    ids = [task_id for _ in range(30) for task_id in store.queue.submit([a_recipe()] * 10)]
    start = threading.Barrier(8)

    def grab(name: str) -> list[str]:
        start.wait()
        mine: list[str] = []
        while (task := store.queue.claim(name)) is not None:
            mine.append(task.id)
        return mine

    with ThreadPoolExecutor(8) as pool:
        grabbed = [task_id for part in pool.map(grab, map(str, range(8))) for task_id in part]
    assert sorted(grabbed) == ids


def test_submitting_while_others_claim_loses_nothing(store: Store) -> None:
    done = threading.Event()

    def submit(number: int) -> list[str]:
        return [task_id for n in range(25) for task_id in store.queue.submit([a_recipe(seed=number * 100 + n)] * 2)]

    def claim(_: int) -> list[str]:
        mine: list[str] = []
        while True:
            finishing = done.is_set()
            task = store.queue.claim("w")
            if task is not None:
                mine.append(task.id)
            elif finishing:
                return mine

    with ThreadPoolExecutor(8) as pool:
        claims = [pool.submit(claim, n) for n in range(4)]
        submitted = [task_id for part in pool.map(submit, range(4)) for task_id in part]
        done.set()
        claimed = [task_id for part in claims for task_id in part.result()]
    assert len(set(submitted)) == 200
    assert sorted(claimed) == sorted(submitted)


def _claim_everything(path: Path, names: multiprocessing.Queue[str]) -> None:
    database = Database(path)
    queue = TaskQueue(database, EventLog(database))
    while (task := queue.claim(str(os.getpid()))) is not None:
        names.put(task.id)
    names.put("done")


def test_a_claim_is_exclusive_between_processes_too(store: Store) -> None:
    ids = store.queue.submit([a_recipe()] * 60)
    context = multiprocessing.get_context("spawn")
    names = context.Queue()
    children = [context.Process(target=_claim_everything, args=(store.database.path, names)) for _ in range(3)]
    for child in children:
        child.start()
    got: list[str] = []
    while got.count("done") < 3:
        got.append(names.get(timeout=60))
    for child in children:
        child.join(60)
    assert sorted(name for name in got if name != "done") == ids


def test_the_end_comes_once(store: Store) -> None:
    (task_id,) = store.queue.submit([a_recipe()])
    store.queue.claim("w")
    saved = ImageSaved(path="/somewhere/a.png", width=32, height=16, size_bytes=9)
    assert store.queue.finish(task_id, saved, Finished(seconds=1.5), {"device": "cpu"})
    assert not store.queue.end(task_id, Cancelled())
    assert not store.queue.finish(task_id, saved, Finished(), {})
    assert not store.queue.cancel(task_id)
    task = store.queue.get(task_id)
    assert (task.state, task.image_path, task.width, task.facts) == ("finished", saved.path, 32, {"device": "cpu"})
    assert kinds(store, task_id) == ["queued", "started", "image_saved", "finished"]
    assert fold(store.log.facts(task_id)).state == "finished"


def test_cancelling_a_waiting_task_ends_it_and_a_running_one_is_asked(store: Store) -> None:
    running, waiting = store.queue.submit([a_recipe(), a_recipe()])
    store.queue.claim("w")
    assert store.queue.cancel(waiting)
    assert store.queue.cancel(running)
    assert store.queue.get(waiting).state == "cancelled"
    assert store.queue.get(running).state == "running"
    assert store.queue.get(running).cancel_requested
    assert store.queue.stop_asked(running)
    assert not store.queue.stop_asked(waiting)
    assert store.queue.end(running, Cancelled())
    assert not store.queue.stop_asked(running)
    assert store.queue.claim("w") is None
    with pytest.raises(NotFound):
        store.queue.cancel("nobody")


def test_a_batch_and_the_line_can_be_cancelled(store: Store) -> None:
    first = store.queue.submit([a_recipe()] * 3)
    second = store.queue.submit([a_recipe()] * 2)
    store.queue.claim("w")
    assert store.queue.cancel_batch(first[0]) == 3
    assert store.queue.counts()["waiting"] == 2
    assert store.queue.clear_waiting() == 2
    assert store.queue.counts() == {"waiting": 0, "running": 1, "finished": 0, "failed": 0, "cancelled": 4}
    assert [kinds(store, task_id)[-1] for task_id in second] == ["cancelled", "cancelled"]


def test_retry_asks_for_the_same_again(store: Store) -> None:
    (task_id,) = store.queue.submit([a_recipe("again", seed=7)])
    store.queue.claim("w")
    store.queue.end(task_id, DIED)
    again = store.queue.get(store.queue.retry(task_id))
    assert again.id != task_id
    assert again.recipe == a_recipe("again", seed=7)
    assert (again.state, again.attempt, again.position) == ("waiting", 0, 1)


def test_what_a_dead_server_left_is_put_back_once_in_its_old_place(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ids = store.queue.submit([a_recipe(seed=n) for n in range(4)])
    first, second = store.queue.claim("w"), store.queue.claim("w")
    assert first and second
    store.queue.cancel(second.id)
    store.close()

    store = open_store(tmp_path)  # recovers
    assert [task.id for task in store.queue.waiting()] == [ids[0], ids[2], ids[3]]
    assert store.queue.get(ids[1]).state == "cancelled"
    again = store.queue.claim("w")
    assert again
    assert (again.id, again.attempt) == (ids[0], 2)
    store.close()

    store = open_store(tmp_path)
    task = store.queue.get(ids[0])
    assert task.state == "failed"
    assert task.error and task.error["code"] == "worker_died" and "Try again" in task.error["hint"]
    assert kinds(store, ids[0]) == ["queued", "started", "queued", "started", "failed"]
    assert [task.id for task in store.queue.waiting()] == ids[2:]
    store.close()


def test_a_dead_worker_costs_one_attempt_and_a_shutdown_none(store: Store) -> None:
    (task_id,) = store.queue.submit([a_recipe()])
    store.queue.claim("w")
    for _ in range(3):
        store.queue.put_back(task_id, None)
        assert store.queue.claim("w")
    assert store.queue.get(task_id).attempt == 1
    store.queue.put_back(task_id, DIED)
    task = store.queue.claim("w")
    assert task and task.attempt == 2
    store.queue.put_back(task_id, DIED)
    assert store.queue.get(task_id).error == {"code": "worker_died", "problem": "It died.", "hint": "Press Retry.",
                                              "field": None}  # fmt: skip


def test_pages_positions_and_counts(store: Store) -> None:
    ids = store.queue.submit([a_recipe(seed=n) for n in range(7)])
    assert [store.queue.position(task_id) for task_id in ids] == [1, 2, 3, 4, 5, 6, 7]
    assert [task.position for task in store.queue.waiting(limit=3, offset=2)] == [3, 4, 5]
    page = store.queue.page(limit=3)
    rest = store.queue.page(limit=10, before=page[-1].id)
    assert [task.id for task in (*page, *rest)] == ids[::-1]
    for task_id in ids[:3]:
        store.queue.claim("w")
        store.queue.finish(task_id, ImageSaved(path=f"{task_id}.png", width=1, height=1), Finished(), {})
    assert store.queue.position(ids[3]) == 1
    assert store.queue.position(ids[0]) is None
    assert [task.id for task in store.queue.page("finished")] == ids[2::-1]
    newest = store.queue.pictures(limit=2)
    assert [task.id for task in newest] == [ids[2], ids[1]]
    assert [task.id for task in store.queue.pictures(before=newest[-1].id)] == [ids[0]]
    assert store.queue.pictures(since=newest[0].finished_at + 1) == []  # type: ignore[operator]
    assert store.queue.counts() == {"waiting": 4, "running": 0, "finished": 3, "failed": 0, "cancelled": 0}


def test_totals_agree_with_the_rows(store: Store) -> None:
    ids = store.queue.submit([a_recipe(steps=n + 1) for n in range(10)])
    for task_id in ids[:6]:
        store.queue.claim("w")
        if task_id != ids[5]:
            store.queue.end(task_id, DIED)
    store.queue.put_back(ids[5], DIED)
    store.queue.cancel(ids[9])
    rows = store.database.read("SELECT state, owner, count(*), sum(work) FROM tasks GROUP BY state, owner")
    kept = store.database.read("SELECT * FROM totals WHERE tasks > 0 AND state <> 'batches'")
    assert {tuple(row) for row in rows} == {tuple(row) for row in kept}
    assert store.queue.waiting_work() == 32 * 16 * (6 + 7 + 8 + 9)


def test_no_question_reads_the_history(store: Store) -> None:
    """Ask SQLite how it answers everything that queue and log really ask."""
    queue, log = store.queue, store.log
    ids = queue.submit([a_recipe()] * 3)
    asked: set[str] = set()
    store.database._reader.set_trace_callback(asked.add)  # pyright: ignore[reportPrivateUsage]
    store.database._writer.set_trace_callback(asked.add)  # pyright: ignore[reportPrivateUsage]
    queue.submit([a_recipe()])
    queue.claim("w")
    queue.put_back(ids[0], DIED)
    queue.cancel(ids[1])
    queue.claim("w")
    queue.finish(ids[0], ImageSaved(path="a.png"), Finished(), {})
    for state in queue.counts():
        queue.page(state, before="f")
    queue.page(), queue.waiting(), queue.running(), queue.get(ids[2]), queue.batch(ids[0]), queue.recover()
    queue.pictures(), queue.pictures(before=ids[0]), queue.waiting_work()
    log.facts(ids[0], after=3), log.facts(after=3), next(log.follow(ids[0]))
    statements = [sql for sql in asked if sql.split()[0] in ("SELECT", "UPDATE")]
    assert len(statements) > 20
    for sql in statements:
        plan = [row["detail"] for row in store.database.read(f"EXPLAIN QUERY PLAN {sql}")]
        slow = [line for line in plan if line.startswith("SCAN") and "totals" not in line and "USING" not in line]
        assert not slow and not any("TEMP B-TREE" in line for line in plan), (sql, plan)


def test_a_recipe_of_another_version_keeps_its_words(store: Store) -> None:
    (task_id,) = store.queue.submit([a_recipe("words", seed=3)])
    with store.database.write() as transaction:
        transaction.execute('UPDATE tasks SET recipe = \'{"prompt": "words", "seed": 3, "teleport": true}\'')
    assert store.queue.get(task_id).recipe == Recipe(prompt="words", seed=3)


def test_waiting_for_work_ends_when_work_comes(store: Store) -> None:
    got: list[object] = []
    version = store.queue.work_version()

    def work() -> None:
        store.queue.wait_for_work(version)
        got.append(store.queue.claim("w"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    store.queue.submit([a_recipe()])
    until(lambda: got, "the claim")
    assert got[0] is not None


def test_work_that_came_before_the_wait_is_not_slept_through(store: Store) -> None:
    version = store.queue.work_version()
    assert store.queue.claim("w") is None
    store.queue.submit([a_recipe()])
    store.queue.wait_for_work(version)
    assert store.queue.claim("w") is not None
    version = store.queue.work_version()
    store.queue.wake()  # a server that stops
    store.queue.wait_for_work(version)


def test_every_terminal_kind_is_a_state(store: Store) -> None:
    assert set(TERMINAL.values()) | {"waiting", "running"} == set(store.queue.counts())
