"""Places in line are told without counting the line, and are those that counting it would give."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from fooocus_lite.database import ADDED, SCHEMA
from fooocus_lite.events import Finished
from fooocus_lite.line import Spot
from fooocus_lite.line_ranks import RANK_SCHEMA
from fooocus_lite.store import Store, open_store
from tests.deeds.conftest import a_recipe


def check(store: Store) -> None:
    line = store.database.read(
        "SELECT id FROM tasks WHERE state = 'waiting' AND waits_for IS NULL AND owner = '' ORDER BY position"
    )
    assert [store.queue.position(row["id"]) for row in line] == list(range(1, len(line) + 1))
    for row in store.database.read("SELECT id FROM tasks WHERE state <> 'waiting' OR waits_for IS NOT NULL LIMIT 20"):
        assert store.queue.position(row["id"]) is None
    kept = store.database.read("SELECT shift, sum(tasks) AS tasks, min(tasks) AS least FROM ranks GROUP BY shift")
    assert all(row["tasks"] == len(line) and row["least"] > 0 for row in kept)


def test_places_are_right_whatever_happens_to_the_line(store: Store) -> None:
    rng = random.Random(5)
    ids: list[str] = []
    for turn in range(150):
        waiting = [task.id for task in store.queue.waiting(limit=500)]
        deed = rng.randrange(7)
        if deed < 2 or len(waiting) < 5:
            offers = [rng.choice([None, None, None, "big"]) for _ in range(rng.randint(1, 12))]
            ids += store.queue.submit([a_recipe(seed=n) for n in range(len(offers))], waits_for=offers)
        elif deed == 2:
            store.queue.cancel(rng.choice(waiting))
        elif deed == 3:
            task = store.queue.claim("w")
            assert task is not None
            if rng.random() < 0.5:
                store.queue.put_back(task.id, None)
            else:
                store.queue.end(task.id, Finished())
        elif deed == 4:
            store.queue.release("big")
        else:
            moved = rng.sample(waiting, rng.randint(1, 4))
            of = next(task_id for task_id in waiting if task_id not in moved)
            place = rng.choice(["first", "last", "before", "after"])
            store.queue.move(moved, Spot(place, of=of if place in ("before", "after") else None))
        if turn % 10 == 9:
            check(store)
    check(store)
    store.queue.clear_waiting()
    assert store.database.read("SELECT * FROM ranks") == []


def test_a_long_line_is_not_counted(store: Store) -> None:
    """Steps of SQLite's own machine, not seconds: the same for the last of few and of many."""

    def steps(task_id: str) -> int:
        seen = [0]
        connection = sqlite3.connect(store.database.path)

        def count() -> int:
            seen[0] += 1
            return 0

        from fooocus_lite.line_ranks import RANK_OF

        connection.set_progress_handler(count, 10)
        connection.execute(RANK_OF, (task_id,)).fetchall()
        connection.close()
        return seen[0]

    few = store.queue.submit([a_recipe(seed=n) for n in range(2000)])[-1]
    before = steps(few)
    many = store.queue.submit([a_recipe(seed=n) for n in range(20_000)])[-1]
    assert steps(many) < before + 1000, "counting twenty thousand takes ten thousand of these"
    assert store.queue.position(many) == 22_000


def test_a_line_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    number = ADDED.index(RANK_SCHEMA)
    old = sqlite3.connect(tmp_path / "queue.db")
    old.executescript("".join((SCHEMA, *ADDED[:number])))
    old.execute(f"PRAGMA user_version={1 + number}")
    for position in (5, 700, 700_000, 10**9, 10**13):
        old.execute(
            "INSERT INTO tasks (id, batch_id, position, recipe, created_at) VALUES (?, 'b', ?, '{}', 1)",
            (f"{position:012x}", position),
        )
    old.commit()
    old.close()
    store = open_store(tmp_path)
    check(store)
    assert len(store.queue.waiting()) == 5
    store.close()
