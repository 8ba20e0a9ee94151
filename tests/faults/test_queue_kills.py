"""``kill -9`` of the server in the middle of repeats, moves and imports: what was told is kept, the rest is whole."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

from fooocus_lite.store import open_store
from tests.app.light import LightProcess
from tests.deeds.conftest import until

ROUNDS = 40


def test_no_kill_repeats_or_loses_a_round(tmp_path: Path) -> None:
    rng = random.Random(1)
    server = LightProcess(tmp_path)
    wish = {"recipe": {"prompt": "a star", "seed": 1000, "count": 3, "steps": 2}, "times": ROUNDS}
    status, repeat = server.ask("POST", "/v1/repeats", wish)
    assert status == 201, repeat

    def unended() -> set[str]:
        answers = [server.ask("GET", f"/v1/tasks?state={state}")[1]["tasks"] for state in ("waiting", "running")]
        return {task["id"] for tasks in answers for task in tasks}

    for _ in range(8):
        there = unended()
        # Who was being drawn at the last kill too would fail at this one, as it should, and end the repeat.
        until(lambda: not there & unended(), "the end of what was there")  # noqa: B023
        time.sleep(rng.uniform(0.0, 0.1))
        server.kill()
        server = LightProcess(tmp_path)
    until(lambda: not server.ask("GET", "/v1/repeats")[1]["repeats"], "the end of the last round")
    server.kill()
    store = open_store(tmp_path / "data")
    try:
        rows = store.database.read("SELECT id, state, json_extract(recipe, '$.seed') AS seed, attempt FROM tasks")
        row = store.database.read("SELECT state, rounds, error FROM repeats")[0]
        assert (row["state"], row["rounds"], row["error"]) == ("ended", ROUNDS, None)
        assert all(task["state"] == "finished" for task in rows)
        seeds = sorted(task["seed"] for task in rows)
        assert seeds == list(range(1000, 1000 + 3 * row["rounds"])), "each round once"
        assert store.database.read("SELECT count(*) FROM rounds")[0][0] == row["rounds"]
        assert sum(task["attempt"] == 2 for task in rows) > 0, "some kill hit a picture that was being drawn"
    finally:
        store.close()


def test_a_killed_server_has_moved_all_of_a_set_or_nothing(tmp_path: Path) -> None:
    rng = random.Random(2)
    server = LightProcess(tmp_path)
    server.ask("POST", "/v1/queue/pause")
    status, answer = server.ask("POST", "/v1/tasks", {"prompt": "a star", "count": 40, "seed": 1})
    assert status == 201
    order: list[str] = answer["ids"]
    for _ in range(4):
        may_end = threading.Event()
        threading.Thread(target=lambda dying=server, end=may_end: (end.wait(), dying.kill())).start()
        for number in range(1000):
            if number == rng.randrange(5, 30):
                may_end.set()
            some = rng.sample(order, 6)
            rest = [one for one in order if one not in some[:5]]
            at = rest.index(some[5])
            then = [*rest[:at], *some[:5], *rest[at:]]
            if server.ask("POST", "/v1/queue/move", {"ids": some[:5], "before": some[5]})[0] != 200:
                break
            order = then
        may_end.set()
        server = LightProcess(tmp_path)
        status, page = server.ask("GET", f"/v1/queue/batches/{answer['ids'][0]}?limit=200")
        there = [row["id"] for row in page["tasks"]]
        assert there in (order, then), "as it was told last, or one whole move further"
        order = there
        assert server.ask("GET", "/v1/queue")[1]["paused"], "a pause outlives a kill"
    server.kill()


def test_a_killed_server_has_taken_in_all_of_a_file_or_nothing(tmp_path: Path) -> None:
    rng = random.Random(3)
    server = LightProcess(tmp_path)
    server.ask("POST", "/v1/queue/pause")
    told = 0
    for number in range(6):
        text = "\n".join(f"file {number} prompt {line}" for line in range(1500))
        killer = threading.Timer(rng.uniform(0.05, 0.9), server.kill)
        killer.start()
        status, answer = server.ask("POST", "/v1/queue/import", {"text": text})
        told += status == 201 and len(answer["ids"]) == 1500
        killer.join()
        server = LightProcess(tmp_path)
    server.kill()
    store = open_store(tmp_path / "data")
    try:
        prompts = [row[0] for row in store.database.read("SELECT json_extract(recipe, '$.prompt') FROM tasks")]
        sizes = Counter(prompt.split()[1] for prompt in prompts).values()  # by file
        assert all(size == 1500 for size in sizes) and len(sizes) >= told
        facts = store.database.read("SELECT count(*) FROM events WHERE kind = 'queued'")[0][0]
        assert facts == sum(sizes), "a row and the facts about it are one write"
    finally:
        store.close()
