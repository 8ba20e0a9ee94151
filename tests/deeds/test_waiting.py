"""Tasks that wait for files: passed by others, counted apart, let go in their old place."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fooocus_lite.database import ADDED, SCHEMA
from fooocus_lite.events import Downloading, Failed, Finished, Queued, fold
from fooocus_lite.store import Store, open_store
from tests.deeds.conftest import a_recipe

GONE = Failed(code="download_failed", problem="The hub does not answer.", hint="Press Retry.")


def submit(store: Store, *waits_for: str | None) -> list[str]:
    return store.queue.submit([a_recipe(seed=n) for n in range(len(waits_for))], waits_for=waits_for)


def claimed(store: Store) -> list[str]:
    """Everything that can be claimed now, in order; it ends at once."""
    ids: list[str] = []
    while (task := store.queue.claim("w")) is not None:
        store.queue.end(task.id, Finished())
        ids.append(task.id)
    return ids


def held_by_rows(store: Store) -> tuple[int, int]:
    row = store.database.read(
        "SELECT count(*) AS tasks, coalesce(sum(work), 0) AS work FROM tasks WHERE waits_for IS NOT NULL"
    )[0]
    return row["tasks"], row["work"]


def held_by_totals(store: Store) -> tuple[int, int]:
    row = store.database.read("SELECT tasks, work FROM totals WHERE state = 'held'")[0]
    return row["tasks"], row["work"]


def test_others_pass_a_task_that_waits_for_files(store: Store) -> None:
    ids = submit(store, "big", None, "big", "small", None)
    assert [(task.id, task.position) for task in store.queue.waiting()] == [
        (ids[1], 1), (ids[4], 2), (ids[0], None), (ids[2], None), (ids[3], None)
    ]  # fmt: skip
    assert [store.queue.position(task_id) for task_id in ids] == [None, 1, None, None, 2]
    assert (store.queue.counts()["waiting"], store.queue.held_count(), store.queue.held()) == (5, 3, ["big", "small"])
    work = store.queue.waiting_work()
    assert claimed(store) == [ids[1], ids[4]]
    assert work == 2 * 32 * 16 * 2 and store.queue.waiting_work() == 0
    assert held_by_rows(store) == held_by_totals(store) == (3, 3 * 32 * 16 * 2)


def test_files_that_are_there_let_tasks_go_in_their_old_place(store: Store) -> None:
    ids = submit(store, "big", None, "small", None)
    before = store.queue.work_version()
    assert store.queue.release("nobody waits for this") == []
    assert store.queue.work_version() == before
    assert store.queue.release("big") == [ids[0]]
    assert store.queue.work_version() != before
    assert fold(store.log.facts(ids[0])).waits_for == ""
    assert fold(store.log.facts(ids[2])).waits_for == "small"
    assert claimed(store) == [ids[0], ids[1], ids[3]]
    assert store.queue.held_by("small") == [ids[2]]


def test_a_claimed_task_is_put_back_to_wait_and_no_attempt_is_counted(store: Store) -> None:
    (task_id,) = submit(store, None)
    for _ in range(5):
        task = store.queue.claim("w")
        assert task is not None and task.attempt == 1
        store.queue.put_back(task_id, None, waits_for="big")
        assert store.queue.claim("w") is None
        assert store.queue.get(task_id).waits_for == "big"
        store.queue.release("big")
    store.queue.claim("w")
    store.queue.cancel(task_id)  # while it was looked at
    store.queue.put_back(task_id, None, waits_for="big")
    assert store.queue.get(task_id).state == "cancelled"
    assert held_by_rows(store) == held_by_totals(store) == (0, 0)


def test_files_that_will_not_come_end_their_tasks_with_the_reason(store: Store) -> None:
    ids = submit(store, "big", None, "big", "small")
    store.queue.cancel(ids[2])
    assert store.queue.fail_held("big", GONE) == [ids[0]]
    failed = store.queue.get(ids[0])
    assert (failed.state, failed.waits_for, failed.error) == (
        "failed", None, {"code": GONE.code, "problem": GONE.problem, "hint": GONE.hint, "field": None}
    )  # fmt: skip
    assert [store.queue.get(task_id).state for task_id in ids] == ["failed", "waiting", "cancelled", "waiting"]
    assert held_by_rows(store) == held_by_totals(store) == (1, 32 * 16 * 2)
    store.queue.clear_waiting()
    assert held_by_rows(store) == held_by_totals(store) == (0, 0)


def test_what_waits_is_known_after_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    ids = submit(store, "big", None)
    store.close()
    store = open_store(tmp_path / "data")
    assert [store.queue.get(task_id).waits_for for task_id in ids] == ["big", None]
    assert store.queue.held() == ["big"]
    store.close()


def test_a_queue_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    before = len(ADDED) - next(n for n, text in enumerate(ADDED) if "waits_for" in text)
    old = sqlite3.connect(tmp_path / "data" / "queue.db")
    old.executescript("".join((SCHEMA, *ADDED[: len(ADDED) - before])))
    old.execute(f"PRAGMA user_version={1 + len(ADDED) - before}")
    old.execute("INSERT INTO tasks (id, batch_id, position, recipe, created_at) VALUES ('0a', '0a', 10, '{}', 1)")
    old.commit()
    old.close()
    store = open_store(tmp_path / "data")
    assert store.queue.get("0a").waits_for is None
    assert claimed(store) == ["0a"]
    store.close()


def test_no_question_about_them_reads_the_history(store: Store) -> None:
    asked: set[str] = set()
    submit(store, "big", None)
    store.database._reader.set_trace_callback(asked.add)  # pyright: ignore[reportPrivateUsage]
    store.database._writer.set_trace_callback(asked.add)  # pyright: ignore[reportPrivateUsage]
    store.queue.held(), store.queue.held_by("big"), store.queue.held_count(), store.queue.waiting()
    store.queue.release("big"), store.queue.fail_held("big", GONE), store.queue.position("x")
    for sql in [sql for sql in asked if sql.split()[0] in ("SELECT", "UPDATE")]:
        plan = [row["detail"] for row in store.database.read(f"EXPLAIN QUERY PLAN {sql}")]
        slow = [line for line in plan if line.startswith("SCAN") and "totals" not in line]
        assert not slow and not any("TEMP B-TREE" in line for line in plan), (sql, plan)


def test_the_fold_says_what_a_task_waits_for_and_how_far_it_is() -> None:
    coming = Downloading(name="big", label="Big", state="running", words="2.1 of 6.9 GB, 4 min left")
    result = fold([Queued(waits_for="big"), coming])
    assert (result.waits_for, result.download) == ("big", coming)
    assert coming.sentence == "waits for Big: 2.1 of 6.9 GB, 4 min left"
    assert fold([Queued(waits_for="big"), coming, Queued()]).download is None
