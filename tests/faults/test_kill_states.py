"""``kill -9`` in every state that a task can be in: nothing is lost, nothing is drawn twice, the order is kept.

No hooks in the program: a test looks at what everybody can see (the task, its files, its worker) and kills then. What
is too short to be seen is made long from outside, or met by chance at many random moments.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fooocus_lite.store import open_store
from tests.big_model import put_big_model, write_offer
from tests.fake_hub import FakeHub, Slow
from tests.faults.server import ROOT, STARTER, Server, is_shipped, until
from tests.soak_checks import FILE

pytestmark = pytest.mark.slow


def is_running(server: Server, task_id: str) -> bool:
    return server.task(task_id)["state"] == "running"


def until_waiting(server: Server, task_id: str) -> None:
    assert server.task(task_id)["state"] == "waiting"


def until_claimed(server: Server, task_id: str) -> None:
    until(lambda: is_running(server, task_id), "the claim")


def until_loading(server: Server, task_id: str) -> None:
    until(lambda: is_running(server, task_id) and server.workers(), "a worker")


def until_decoding(server: Server, task_id: str) -> None:
    def is_at_last_step() -> bool:
        progress = server.task(task_id)["progress"]
        return bool(progress) and progress["step"] == progress["steps"]

    until(lambda: is_at_last_step() or not is_running(server, task_id), "the last step")


def until_recorded(server: Server, task_id: str) -> None:
    until(lambda: server.task(task_id)["state"] == "finished", "the end")


STATES: dict[str, Callable[[Server, str], None]] = {
    "waiting": until_waiting,
    "claimed": until_claimed,
    "loading": until_loading,
    "drawing": lambda server, task_id: server.wait_until_drawing(task_id),
    "decoded": until_decoding,
    "recorded": until_recorded,
}


def kill_workers(server: Server) -> None:
    """Kill them and see them dead: what is given to one that is just dying loses an attempt."""
    pids = server.workers()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(map(is_dead, pids)), "their end")


def is_dead(pid: int) -> bool:
    """Whether its parent can know it: no thread is left that still gives memory back."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "Z" and len(os.listdir(f"/proc/{pid}/task")) == 1
    except OSError:
        return True


def check_all_once(server: Server, ids: list[str]) -> None:
    tasks = server.wait(*ids)
    assert [task["state"] for task in tasks] == ["finished"] * len(ids), [task["error"] for task in tasks]
    ends = [task["finished_at"] for task in tasks]
    assert ends == sorted(ends), "in the order in which they were asked for"
    assert all(server.picture(task_id).stat().st_size for task_id in ids)  # one file each
    assert len(list(server.outputs.rglob("*.png"))) == len(ids)


@pytest.mark.parametrize("victim", ["server", "worker"])
def test_a_kill_in_every_state_loses_nothing_and_draws_nothing_twice(start: Callable[..., Server], victim: str) -> None:
    server = start()
    ids: list[str] = []
    for state, reach in STATES.items():
        long = {"steps": 80, "sampler": "euler"} if state == "drawing" else {"steps": 12}
        if state == "waiting":
            server.post("/v1/queue/pause")
        if state in ("claimed", "loading"):  # a warm one has nothing to load
            kill_workers(server)
        ids += server.submit(f"a red circle, killed while {state}", count=2, **long)
        reach(server, ids[-2])
        if victim == "worker":
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
        else:
            server.kill()
            server = start(server.data.parent)
        if state == "waiting":
            assert server.get("/v1/queue")[1]["paused"], "a pause outlives a kill"
            assert [server.task(task_id)["state"] for task_id in ids] == ["waiting"] * 2
            server.post("/v1/queue/resume")
        server.wait(*ids)
    check_all_once(server, ids)


def test_a_picture_that_was_saved_and_not_recorded_is_not_drawn_again(start: Callable[..., Server]) -> None:
    server = start()
    first, second = server.submit("a red circle", count=2, steps=60)
    server.wait_until_drawing(first)
    other = sqlite3.connect(server.data / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # now nothing can be recorded, and it is tried again and again
    (file,) = until(lambda: list(server.outputs.glob(f"*/*_{first}.png")), "the file")
    saved_at = file.stat().st_mtime_ns
    server.kill()
    other.execute("ROLLBACK")
    other.close()
    server = start(server.data.parent)
    assert server.task(first)["state"] == "finished"
    check_all_once(server, [first, second])
    assert file.stat().st_mtime_ns == saved_at
    assert server.task(first)["attempt"] == 1


@pytest.mark.skipif(not is_shipped(), reason="needs the trained starter")
def test_a_task_that_waits_for_a_download_waits_on_after_a_kill(
    start: Callable[..., Server], models: Path, tmp_path: Path
) -> None:
    with FakeHub() as hub:
        put_big_model(hub, STARTER)
        hub.always = Slow(1000.0)
        (tmp_path / "data").mkdir()
        write_offer(hub, tmp_path / "data")
        server = start(hub_endpoint=hub.address)
        held = server.submit("a red circle", model="big", count=2, steps=2)
        until(lambda: all(server.task(task_id)["waits_for"] for task_id in held), "the wait")
        (passing,) = server.submit("a blue square", steps=2)
        server.wait(passing)
        server.kill()
        server = start(tmp_path, hub_endpoint=hub.address)
        assert [server.task(task_id)["state"] for task_id in held] == ["waiting"] * 2
        until(lambda: all(server.task(task_id)["waits_for"] for task_id in held), "the wait")
        server.kill()
        hub.always = None
        server = start(tmp_path, hub_endpoint=hub.address)
        tasks = server.wait(*held)
        assert [task["state"] for task in tasks] == ["finished"] * 2, [task["error"] for task in tasks]
        check_all_once(server, [passing, *held])
    shutil.rmtree(models / "big")


DRAWER = """
import sys, threading
from pathlib import Path
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import open_store
from tests.deeds.conftest import FAKE, make_library
folder = Path(sys.argv[1])
store = open_store(folder / "data", output_dir=folder / "outputs")
library = make_library(folder)
dispatcher = Dispatcher(store, [LocalRunner(FAKE)], library=lambda: library, output_dir=folder / "outputs")
dispatcher.start()
print("ready", flush=True)
for line in sys.stdin:
    break
dispatcher.close()
store.close()
"""


def test_kills_at_random_moments_leave_every_picture_once(tmp_path: Path) -> None:
    """Saving takes most of the time here, so most of these meet a picture between its last step and its record."""
    from tests.deeds.conftest import a_recipe

    rng = random.Random(11)
    store = open_store(tmp_path / "data")
    ids = store.queue.submit([a_recipe(seed=n, width=768, height=768) for n in range(60)])
    store.close()

    def launch() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", DRAWER, str(tmp_path)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout and process.stdout.readline() == b"ready\n"
        return process

    for _ in range(12):
        process = launch()
        time.sleep(rng.uniform(0.0, 0.9))
        process.kill()
        process.communicate()
    process = launch()

    def states() -> Counter[str]:
        connection = sqlite3.connect(f"file:{tmp_path / 'data' / 'queue.db'}?mode=ro", uri=True)
        try:
            return Counter(row[0] for row in connection.execute("SELECT state FROM tasks"))
        finally:
            connection.close()

    until(lambda: not {"waiting", "running"} & states().keys(), "the end of the line")
    process.communicate(b"end\n")

    store = open_store(tmp_path / "data")
    tasks = [store.queue.get(task_id) for task_id in ids]
    files = Counter(found[1] for path in tmp_path.glob("outputs/*/*") if (found := FILE.fullmatch(path.name)))
    facts = store.log.facts(limit=10_000)
    ends = Counter(fact.task_id for fact in facts if fact.kind in ("finished", "failed", "cancelled"))
    finished = [task.id for task in tasks if task.state == "finished"]
    assert [ends[task_id] for task_id in ids] == [1] * len(ids)
    assert files == Counter(finished), "each that finished has one file, and nothing else has any"
    assert all(task.state == "finished" or task.attempt == 2 for task in tasks), "what failed was killed twice"
    assert [fact.task_id for fact in facts if fact.kind == "finished"] == finished, "in order"
    store.close()
