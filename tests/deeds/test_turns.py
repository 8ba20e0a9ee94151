"""Several users: nobody waits for more pictures of others than there are others, and places say the truth."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fooocus_lite.affinity import Taste
from fooocus_lite.database import ADDED, SCHEMA
from fooocus_lite.events import Failed, Finished
from fooocus_lite.store import Store, open_store
from fooocus_lite.turns import Turn, drawn_before, next_ones, place
from tests.deeds.conftest import a_recipe

OWNERS = ("ana", "ben", "cleo", "")
TURNS = [Turn("ana", 3), Turn("ben", 1), Turn("cleo", 2)]


def claimed(store: Store, count: int = 100, taste: Taste | None = None) -> list[str]:
    """Who is served, in order."""
    served: list[str] = []
    while len(served) < count and (task := store.queue.claim("worker", taste=taste)):
        served.append(task.owner)
        store.queue.end(task.id, Finished())
    return served


def test_places_are_what_a_round_robin_gives() -> None:
    line = next_ones(TURNS, 0, 10)
    assert line == [("ana", 1), ("ben", 1), ("cleo", 1), ("ana", 2), ("cleo", 2), ("ana", 3)]
    assert [place(TURNS, owner, rank) for owner, rank in line] == [1, 2, 3, 4, 5, 6]
    assert next_ones(TURNS, 2, 3) == line[2:5] and next_ones(TURNS, 6, 3) == next_ones([], 0, 3) == []
    assert drawn_before(TURNS, "cleo", 2) == {"ana": 2, "ben": 1, "cleo": 1}


def test_one_user_has_the_line_as_it_stands(store: Store) -> None:
    ids = store.queue.submit([a_recipe()] * 5, owner="ana")
    assert [task.id for task in store.queue.waiting()] == ids
    assert store.queue.places() == {}
    taken = [store.queue.claim("worker") for _ in ids]
    assert [task and task.id for task in taken] == ids


def test_a_thousand_pictures_of_one_do_not_keep_another_waiting(store: Store) -> None:
    store.queue.submit([a_recipe()] * 1000, owner="ana")
    assert claimed(store, 3) == ["ana"] * 3
    (late,) = store.queue.submit([a_recipe()], owner="ben")
    assert store.queue.position(late) == 1 and store.queue.ahead("ben") == 0
    assert claimed(store, 2) == ["ben", "ana"]


def test_turns_are_kept_over_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for owner in ("ana", "ben", "cleo"):
        store.queue.submit([a_recipe()] * 4, owner=owner)
    assert claimed(store, 4) == ["ana", "ben", "cleo", "ana"]
    store.close()
    store = open_store(tmp_path)
    assert claimed(store, 4) == ["ben", "cleo", "ana", "ben"]
    store.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(OWNERS), st.integers(1, 4)),
        st.tuples(st.just("draw"), st.sampled_from(["", "x", "y"]), st.just(0)),
        st.tuples(st.just("die"), st.just(""), st.just(0)),
        st.tuples(st.just("cancel"), st.sampled_from(OWNERS), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_nobody_waits_for_more_pictures_than_there_are_others(tmp_path_factory, steps) -> None:  # type: ignore[no-untyped-def]
    store = open_store(tmp_path_factory.mktemp("turns"))
    passed: dict[str, int] = {}  # pictures of others since a user began to wait or was served last
    try:
        for what, value, count in steps:
            if what == "ask":
                store.queue.submit([a_recipe(model="xy"[n % 2]) for n in range(count)], owner=value)
            elif what == "cancel":
                for task in store.queue.waiting():
                    if task.owner == value:
                        store.queue.cancel(task.id)
            else:
                expected = store.queue.waiting(limit=1)
                taste = Taste(has={value}) if value else None
                task = store.queue.claim("worker", taste=taste)
                assert bool(task) == bool(expected)
                if task is None:
                    continue
                assert task.owner == expected[0].owner
                assert taste or task.id == expected[0].id
                waiting = {one.owner for one in store.queue.waiting()} | {task.owner}
                for owner in waiting - {task.owner}:
                    passed[owner] = passed.get(owner, 0) + 1
                    assert passed[owner] <= len(OWNERS) - 1
                passed[task.owner] = 0
                if what == "die":
                    store.queue.put_back(task.id, Failed(code="worker_died", problem="It died.", hint=""))
                else:
                    store.queue.end(task.id, Finished())
            still = {one.owner for one in store.queue.waiting()}
            passed = {owner: number for owner, number in passed.items() if owner in still}
            line = store.queue.waiting()
            assert [task.position for task in line] == list(range(1, len(line) + 1))
            assert [store.queue.position(task.id) for task in line] == list(range(1, len(line) + 1))
            places = store.queue.places(limit=500)
            assert places in ({}, {task.id: task.position for task in line})
    finally:
        store.close()


def test_a_page_of_the_line_is_a_part_of_it(store: Store) -> None:
    for owner, count in (("ana", 7), ("ben", 2), ("cleo", 4)):
        store.queue.submit([a_recipe()] * count, owner=owner, waits_for=[None] * (count - 1) + ["big"])
    whole = [task.id for task in store.queue.waiting()]
    assert len(whole) == len(set(whole)) == 13
    assert [task.id for n in range(0, 15, 4) for task in store.queue.waiting(limit=4, offset=n)] == whole
    theirs = store.queue.waiting(owner="cleo")
    assert [task.id for task in theirs] == [task_id for task_id in whole if store.queue.owner_of(task_id) == "cleo"]
    assert [task.position for task in theirs] == [3, 5, 7, None]


def test_a_user_who_has_no_turn_yet_has_nobody_ahead(store: Store) -> None:
    store.queue.submit([a_recipe(steps=2)] * 3, owner="ana")
    assert (store.queue.ahead("ben"), store.queue.waiting_work(owner="ben")) == (0, 0)
    store.queue.submit([a_recipe(steps=4)], owner="ben")
    assert store.queue.ahead("ben") == 1
    assert store.queue.waiting_work(owner="ben") == 32 * 16 * (2 + 4)
    assert store.queue.waiting_work(owner="ana") == store.queue.waiting_work() == 32 * 16 * (3 * 2 + 4)


def test_what_nobody_owned_is_counted_when_users_come(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    before = next(n for n, text in enumerate(ADDED) if "CREATE TABLE turns" in text)
    old = sqlite3.connect(tmp_path / "data" / "queue.db")
    old.executescript("".join((SCHEMA, *ADDED[:before])))
    old.execute(f"PRAGMA user_version={1 + before}")
    for n, owner in enumerate(("", "", "ana")):
        values = (f"0{n}", f"0{n}", n, owner)
        columns = "id, batch_id, position, owner, recipe, created_at, work"
        old.execute(f"INSERT INTO tasks ({columns}) VALUES (?, ?, ?, ?, '{{}}', 1, 5)", values)
    old.execute("UPDATE tasks SET waits_for = 'big' WHERE id = '01'")
    old.commit()
    old.close()
    store = open_store(tmp_path / "data")
    assert (store.queue.counts()["waiting"], store.queue.held_count(), store.queue.waiting_work()) == (3, 1, 10)
    assert store.queue.counts(owner="ana")["waiting"] == 1
    assert claimed(store) == ["", "ana"]
    store.close()


def test_what_is_drawn_for_others_now_comes_before_ones_own(store: Store) -> None:
    (hers, *_) = store.queue.submit([a_recipe()] * 2, owner="ana")
    assert store.queue.claim("worker") is not None
    (his, *_) = store.queue.submit([a_recipe()] * 2, owner="ben")
    assert (store.queue.position(his), store.queue.ahead("ben")) == (1, 1), "his is next, and hers is drawn now"
    assert (store.queue.ahead("ana"), store.queue.ahead("cleo")) == (1, 0), "her own is none of others"
    store.queue.end(hers, Finished())
    assert store.queue.ahead("ben") == 0
    assert store.queue.claim("worker") is not None
    assert (store.queue.ahead("ben"), store.queue.ahead("ana")) == (1, 1)


@pytest.mark.parametrize("owner", [None, "ana"])
def test_no_question_of_a_user_reads_the_history(store: Store, owner: str | None) -> None:
    for name in ("ana", "ben"):
        ids = store.queue.submit([a_recipe()] * 3, owner=name)
    asked: set[str] = set()
    store.database._reader.set_trace_callback(asked.add)  # pyright: ignore[reportPrivateUsage]
    store.database._writer.set_trace_callback(asked.add)  # pyright: ignore[reportPrivateUsage]
    queue = store.queue
    for state in queue.counts(owner=owner):
        queue.page(state, before="f", owner=owner)
    queue.page(owner=owner), queue.waiting(owner=owner), queue.running(owner=owner), queue.get(ids[2])
    queue.pictures(owner=owner), queue.pictures(before=ids[0], owner=owner), queue.sheets(owner=owner)
    queue.last_failure(owner=owner), queue.in_style("Neon", owner=owner), queue.places(owner=owner)
    queue.claim("w"), queue.claim("w", taste=Taste(has={"x"})), queue.ahead("ana"), queue.waiting_work(owner=owner)
    statements = [sql for sql in asked if sql.split()[0] in ("SELECT", "UPDATE")]
    assert len(statements) > 15
    for sql in statements:
        plan = [row["detail"] for row in store.database.read(f"EXPLAIN QUERY PLAN {sql}")]
        fine = ("totals", "turns", "(subquery", "USING")
        slow = [line for line in plan if line.startswith("SCAN") and not any(word in line for word in fine)]
        sorts = [line for line in plan if "TEMP B-TREE" in line and "DISTINCT" not in line and "position" not in sql]
        assert not slow and not sorts, (sql, plan)
