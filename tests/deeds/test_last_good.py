"""The queue file's last good copy: made while the queue works, checked, and put back when the file is damaged."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from fooocus_lite import database_copy
from fooocus_lite.database import Database
from fooocus_lite.database_copy import Copier, copy_path, make_copy
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import ImageReady, fold
from fooocus_lite.images import save_image
from fooocus_lite.picture_text import PictureInfo
from fooocus_lite.recipe import Recipe
from fooocus_lite.store import Store, open_store
from fooocus_lite.taskqueue import TaskQueue
from tests.deeds.conftest import a_recipe, until

GARBAGE = b"not a database" * 1000


def copied(store: Store) -> Path:
    """The queue file of a store, after a copy of it was made."""
    path = store.database.path
    connection = sqlite3.connect(path, isolation_level=None)
    assert make_copy(path, connection)
    connection.close()
    return path


def drawn(outputs: Path, task_id: str, recipe: Recipe, at: datetime | None = None) -> Path:
    """The file of a picture that was drawn for a task."""
    info = PictureInfo(recipe=recipe, texts=(), negative_texts=(), model="fake", app="Fooocus Lite", facts={})
    image = ImageReady(width=32, height=16, rgb=bytes(32 * 16 * 3))
    return Path(save_image(image, info, task_id=task_id, output_dir=outputs, at=at).path)


def test_a_damaged_file_goes_back_to_the_copy_and_says_how_old_it_is(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    kept = store.queue.submit([a_recipe(seed=n) for n in range(3)])
    store.speeds.record(a_recipe(), 2.0)
    path = copied(store)
    lost = store.queue.submit([a_recipe()])
    store.close()
    os.utime(copy_path(path), (time.time() - 7300,) * 2)
    path.write_bytes(GARBAGE)

    store = open_store(tmp_path)
    (said,) = store.warnings
    assert "was damaged" in said and "its last good copy, 2 hours old, was put back" in said
    assert [task.id for task in store.queue.waiting()] == kept
    assert store.queue.find(lost[0]) is None
    assert store.speeds.picture_seconds(a_recipe()) == 2.0
    assert store.queue.submit([a_recipe()])[0] > lost[0] > kept[-1]
    store.close()
    assert copy_path(path).exists(), "it is kept until a newer one is there"
    store = open_store(tmp_path)
    assert store.warnings == () and len(store.queue.waiting()) == 4
    store.close()


def test_a_copy_that_is_damaged_too_is_not_put_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.queue.submit([a_recipe()])
    path = copied(store)
    store.close()
    path.write_bytes(GARBAGE)
    copy_path(path).write_bytes(copy_path(path).read_bytes()[:5000])
    store = open_store(tmp_path)
    assert "a new one was begun" in store.warnings[0]
    assert store.queue.counts()["waiting"] == 0
    store.close()


def test_pictures_that_came_after_the_copy_are_found_and_not_drawn_again(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    store = open_store(tmp_path)
    ids = store.queue.submit([a_recipe(seed=n) for n in range(4)], waits_for=["big", None, None, None])
    drawn(outputs, ids[3], a_recipe(seed=3), datetime(2024, 2, 3))  # long before: no matter what it says
    store.queue.claim("w")
    path = copied(store)
    (later,) = store.queue.submit([a_recipe(seed=9)])
    store.close()
    path.write_bytes(GARBAGE)
    files = {task_id: drawn(outputs, task_id, a_recipe(seed=n)) for n, task_id in ((0, ids[0]), (1, ids[1]))}
    files[later] = drawn(outputs, later, a_recipe(seed=9))
    (files[ids[1]].parent / f"10-11-12_1_{ids[2]}.png").write_bytes(b"half a picture")
    (files[ids[1]].parent / "holiday.png").write_bytes(b"none of ours")

    store = open_store(tmp_path, output_dir=outputs)
    assert len(store.warnings) == 2 and store.warnings[1].startswith(
        "3 pictures that were drawn after that copy: found again in"
    )
    for task_id, file in files.items():
        task = store.queue.get(task_id)
        assert (task.state, task.image_path, task.waits_for) == ("finished", str(file), None)
        assert fold(store.log.facts(task_id)).state == "finished"
    assert store.queue.get(later).recipe.seed == 9
    assert [task.id for task in store.queue.waiting()] == ids[2:]
    assert (store.queue.counts()["finished"], store.queue.held_count()) == (3, 0)
    assert store.queue.submit([a_recipe()])[0] > later
    store.close()
    store = open_store(tmp_path, output_dir=outputs)
    assert store.warnings == () and store.queue.counts()["finished"] == 3
    store.close()


def test_a_picture_that_was_saved_but_not_recorded_is_finished_even_after_a_second_kill(tmp_path: Path) -> None:
    """And one that somebody had asked to stop too late: the picture is there."""
    outputs = tmp_path / "outputs"
    store = open_store(tmp_path)
    ids = store.queue.submit([a_recipe(seed=n) for n in range(3)])
    for _ in range(2):
        assert [store.queue.claim("w") for _ in ids]
        store.close()
        store = open_store(tmp_path, output_dir=outputs)
        assert [task.id for task in store.queue.waiting()] == ids[: len(store.queue.waiting())]
        if store.queue.waiting():
            assert [store.queue.claim("w") for _ in ids]
            files = [drawn(outputs, ids[n], a_recipe(seed=n)) for n in range(2)]
            store.queue.cancel(ids[1])
    assert [store.queue.get(task_id).state for task_id in ids] == ["finished", "finished", "failed"]
    assert [store.queue.get(task_id).image_path for task_id in ids[:2]] == [str(file) for file in files]
    assert [fold(store.log.facts(task_id)).state for task_id in ids] == ["finished", "finished", "failed"]
    store.close()


RESTORER = """
import os, signal, sys
from pathlib import Path
from fooocus_lite import {module}
def die(*args, **kwargs): os.kill(os.getpid(), signal.SIGKILL)
setattr({module}, "{name}", die)
from fooocus_lite.store import open_store
open_store(Path(sys.argv[1]), output_dir=Path(sys.argv[1]) / "outputs")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
@pytest.mark.parametrize(
    "module, name", [("database", "_move_aside"), ("database", "finish_restore"), ("found_pictures", "read_recipe")]
)
def test_a_kill_in_the_middle_of_it_loses_nothing(tmp_path: Path, module: str, name: str) -> None:
    outputs = tmp_path / "outputs"
    store = open_store(tmp_path)
    ids = store.queue.submit([a_recipe(seed=n) for n in range(2)])
    path = copied(store)
    store.close()
    path.write_bytes(GARBAGE)
    file = drawn(outputs, ids[0], a_recipe(seed=0))
    code = RESTORER.format(module=module, name=name)
    if name == "finish_restore":  # the second call: the file is moved aside, the copy is not in its place yet
        code = code.replace("def die(*args, **kwargs): os", "def die(path): path.exists() or os")
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    store = open_store(tmp_path, output_dir=outputs)
    assert store.queue.get(ids[0]).image_path == str(file)
    assert [task.id for task in store.queue.waiting()] == ids[1:]
    store.close()


def test_copies_come_by_themselves_while_things_change(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    database = Database(path, copier=Copier(path, first_s=0.0, every_s=0.0))
    queue = TaskQueue(database, EventLog(database))
    for number in range(1, 4):
        queue.submit([a_recipe()])
        until(lambda number=number: copy_path(path).exists() and _tasks_in(copy_path(path)) == number, "the copy")
    database.close()
    assert not list(tmp_path.glob("*.part"))


def _tasks_in(path: Path) -> int:
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        return connection.execute("SELECT count(*) FROM tasks").fetchone()[0]
    finally:
        connection.close()


def test_a_writer_does_not_wait_for_a_copy(store: Store) -> None:
    """A copy is a reader of one snapshot: what is written meanwhile is written at once, and not in it."""
    before = store.queue.submit([a_recipe("x" * 5000)] * 200)
    path = store.database.path
    connection = sqlite3.connect(path, isolation_level=None)
    during: list[str] = []

    def look() -> int:  # SQLite calls this again and again in the middle of its work
        if not during:
            during.extend(store.queue.submit([a_recipe()]))
            task = store.queue.claim("w")
            assert task is not None and task.id == before[0]
        return 0

    connection.set_progress_handler(look, 1000)
    assert make_copy(path, connection)
    connection.close()
    assert during and _tasks_in(copy_path(path)) == len(before)


def test_without_room_the_older_copy_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.queue.submit([a_recipe()])
    path = copied(store)
    before = copy_path(path).read_bytes()
    store.queue.submit([a_recipe()])
    monkeypatch.setattr(database_copy, "free_bytes", lambda folder: 60_000_000)
    connection = sqlite3.connect(path, isolation_level=None)
    assert not make_copy(path, connection)
    connection.close()
    assert copy_path(path).read_bytes() == before


def test_damage_under_a_running_program_does_not_reach_the_copy(store: Store) -> None:
    store.queue.submit([a_recipe("x" * 3000)] * 100)
    path = copied(store)
    before = copy_path(path).read_bytes()
    with store.database.write() as transaction:
        transaction.after_commit(lambda: None)
    store.database.read("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("rb+") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 20))
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.DatabaseError):
        make_copy(path, connection)
    connection.close()
    assert copy_path(path).read_bytes() == before
    assert not list(path.parent.glob("*.part"))
