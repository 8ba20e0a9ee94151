"""One server at a time, kills, damaged files, locked files and full disks."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fooocus_lite.database import ADDED, SCHEMA, Database
from fooocus_lite.errors import DiskProblem, FooocusError
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Failed
from fooocus_lite.store import Store, open_store
from fooocus_lite.taskqueue import TaskQueue
from tests.deeds.conftest import a_recipe

DIED = Failed(code="worker_died", problem="It died.", hint="Press Retry.")


def test_a_second_server_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.lock.tell("http://127.0.0.1:7865")
    with pytest.raises(FooocusError) as caught:
        open_store(tmp_path)
    assert caught.value.code == "conflict"
    assert f"process {os.getpid()}" in caught.value.problem
    assert "http://127.0.0.1:7865" in caught.value.hint
    store.close()
    open_store(tmp_path).close()


HOLDER = """
import sys, time
from pathlib import Path
from fooocus_lite.store import open_store
store = open_store(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_the_lock_of_a_killed_server_is_free(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline().strip() == b"held"
    with pytest.raises(FooocusError, match="already uses"):
        open_store(tmp_path)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    open_store(tmp_path).close()


SUBMITTER = """
import sys
from pathlib import Path
from fooocus_lite.recipe import Recipe
from fooocus_lite.store import open_store
store = open_store(Path(sys.argv[1]))
while True:
    print(*store.queue.submit([Recipe(prompt="x" * 500), Recipe(prompt="y")]), flush=True)
    store.queue.claim("w")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_whatever_was_answered_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SUBMITTER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    answered = [task_id for _ in range(40) for task_id in process.stdout.readline().split()]
    process.kill()
    answered += [task_id for line in process.stdout.read().splitlines()[:-1] for task_id in line.split()]
    process.wait()
    process.stdout.close()

    store = open_store(tmp_path)
    rows = store.database.read("SELECT id, state FROM tasks ORDER BY id")
    assert set(answered) <= {row["id"] for row in rows}
    assert store.database.read("PRAGMA integrity_check")[0][0] == "ok"
    assert {row["state"] for row in rows} == {"waiting"}  # each was claimed once at most, so all are back in line
    assert [task.id for task in store.queue.waiting(limit=10)] == [row["id"] for row in rows[:10]]
    store.close()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "middle", "empty-header"])
def test_a_damaged_file_is_moved_aside_and_the_queue_goes_on(tmp_path: Path, damage: str) -> None:
    store = open_store(tmp_path)
    store.queue.submit([a_recipe("x" * 3000)] * 50)
    store.close()
    path = tmp_path / "queue.db"
    data = path.read_bytes()
    path.write_bytes(
        {
            "garbage": b"not a database" * 1000,
            "truncated": data[: len(data) // 2],
            "middle": data[:4096] + os.urandom(8192) + data[12288:],
            "empty-header": bytes(100) + data[100:],
        }[damage]
    )
    store = open_store(tmp_path)
    assert len(store.warnings) == 1
    assert "queue.db.damaged-" in store.warnings[0]
    assert list(tmp_path.glob("queue.db.damaged-*"))
    (task_id,) = store.queue.submit([a_recipe()])
    task = store.queue.claim("w")
    assert task and task.id == task_id
    store.close()
    store = open_store(tmp_path)
    assert store.warnings == ()
    store.close()


def test_a_file_without_measured_memory_is_brought_up_to_date(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "queue.db") as connection:
        connection.executescript(f"{SCHEMA} {ADDED[0]} PRAGMA user_version=2;")
        connection.execute(
            "INSERT INTO tasks (id, batch_id, position, recipe, created_at) VALUES ('0a', '0a', 1, '{}', 1)"
        )
    connection.close()
    store = open_store(tmp_path)
    assert store.warnings == ()
    store.speeds.record(a_recipe(), 1.0, 7_000_000)
    assert store.queue.get("0a").state == "waiting"
    store.close()
    store = open_store(tmp_path)
    assert store.speeds.picture_bytes(a_recipe()) == 7_000_000
    store.close()


def test_what_was_too_much_is_remembered_while_there_is_no_more_memory(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.speeds.first_rung(a_recipe(), 10_000) == ""
    store.speeds.record_too_much(a_recipe(), "offload", 10_000)
    store.close()
    store = open_store(tmp_path)
    assert store.speeds.first_rung(a_recipe(), 9_000) == "offload"
    assert store.speeds.first_rung(a_recipe(), 11_000) == "offload"
    assert store.speeds.first_rung(a_recipe(), None) == "offload"
    assert store.speeds.first_rung(a_recipe(), 12_000) == "", "another program has ended, or the card is another"
    assert store.speeds.first_rung(a_recipe(width=64), 9_000) == ""
    store.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / "queue.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FooocusError, match="newer version"):
        open_store(tmp_path)
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_locked_file_is_a_sentence_and_then_works_again(tmp_path: Path) -> None:
    database = Database(tmp_path / "queue.db", busy_timeout_s=0.05)
    queue = TaskQueue(database, EventLog(database))
    other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(FooocusError, match="locked") as caught:
        queue.submit([a_recipe()])
    assert caught.value.code == "conflict"
    assert queue.counts()["waiting"] == 0  # reading goes on
    other.execute("ROLLBACK")
    assert len(queue.submit([a_recipe()])) == 1
    other.close()
    database.close()


def test_a_full_disk_is_a_sentence_and_nothing_is_half_queued(store: Store) -> None:
    with store.database.write() as transaction:  # SQLite's own limit takes the same road as a full disk
        pages = transaction.execute("PRAGMA page_count")[0][0]
        transaction.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskProblem, match="full"):
        store.queue.submit([a_recipe("x" * 10_000)] * 50)
    assert store.queue.counts()["waiting"] == 0
    assert store.log.facts() == []
    with store.database.write() as transaction:
        transaction.execute("PRAGMA max_page_count = 1000000")
    assert len(store.queue.submit([a_recipe("x" * 10_000)] * 50)) == 50


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DiskProblem, match="cannot be written"):
            open_store(tmp_path / "data")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(DiskProblem, match="cannot be written"):
        open_store(tmp_path / "data")
