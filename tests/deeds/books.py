"""What the queue says of itself in several places, held against its rows."""

from __future__ import annotations

from fooocus_lite.store import Store


def line(store: Store) -> list[str]:
    return [task.id for task in store.queue.in_line()]


def check_books(store: Store) -> None:
    """What triggers keep is what the rows say."""
    rows = store.database.read(
        "SELECT batch_id AS id, min(owner) AS owner, count(*) AS size, sum(state = 'waiting') AS waiting,"
        " sum(state = 'waiting' AND waits_for IS NOT NULL) AS held, sum(iif(state = 'waiting', work, 0)) AS work,"
        " coalesce(min(iif(state = 'waiting' AND waits_for IS NULL, position, NULL)),"
        " min(iif(state = 'waiting', position, NULL))) AS position,"
        " sum(state = 'waiting') > 0 AND sum(state = 'waiting' AND waits_for IS NULL) = 0 AS is_held"
        " FROM tasks GROUP BY batch_id"
    )
    kept = store.database.read("SELECT id, owner, size, waiting, held, work, position, is_held FROM batches")
    assert {tuple(row)[:7] for row in rows} == {tuple(row)[:7] for row in kept}
    assert {row["id"] for row in rows if row["is_held"]} == {
        row["id"] for row in kept if row["is_held"] and row["waiting"]
    }
    totals = {
        (row["state"], row["owner"]): (row["tasks"], row["work"]) for row in store.database.read("SELECT * FROM totals")
    }
    by_state = store.database.read("SELECT state, owner, count(*), sum(work) FROM tasks GROUP BY state, owner")
    held = store.database.read(
        "SELECT 'held', owner, count(*), sum(work) FROM tasks WHERE waits_for IS NOT NULL GROUP BY owner"
    )
    batches = store.database.read("SELECT 'batches', owner, count(*), 0 FROM batches WHERE waiting > 0 GROUP BY owner")
    counted = {(state, owner): (tasks, work) for state, owner, tasks, work in (*by_state, *held, *batches)}
    assert counted == {key: value for key, value in totals.items() if value != (0, 0)}
