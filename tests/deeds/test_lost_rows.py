"""Whose the pictures are that were drawn after the last good copy, and which rounds of a repeat they were."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from fooocus_lite.library import Library
from fooocus_lite.repeats import Repeats
from fooocus_lite.settings import load_settings
from fooocus_lite.store import Store, open_store
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import Wanted
from tests.deeds.conftest import a_recipe
from tests.deeds.test_last_good import GARBAGE, copied, drawn


def spoil(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    connection.close()
    with path.open("rb+") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def killed(store: Store, folder: Path) -> Path:
    """The data folder as ``kill -9`` leaves it: what was written last is not in the queue file itself yet."""
    shutil.copytree(store.database.path.parent, folder)
    store.close()
    return folder


def whose(store: Store, *ids: str) -> list[tuple[str, str]]:
    return [(task.owner, task.batch_id) for task in map(store.queue.get, ids)]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def test_who_asked_for_what_came_after_the_copy_is_read_from_the_damaged_file(tmp_path: Path, outputs: Path) -> None:
    store = open_store(tmp_path / "before")
    (known,) = store.queue.submit([a_recipe()], owner="ann")
    path = copied(store)
    store.database.read("PRAGMA wal_checkpoint(TRUNCATE)")
    bobs = store.queue.submit([a_recipe(seed=n) for n in range(2)], owner="bob")  # of whom the copy knows nothing
    sheet = store.queue.submit([a_recipe(), a_recipe()], labels=["euler", "lcm"], varies="sampler", owner="ann")
    retried = store.queue.submit([a_recipe()], batch_id=known, owner="ann")
    folder = killed(store, tmp_path / "data")
    spoil(folder / path.name, "peaks")
    for task_id in (known, *bobs, *sheet, *retried):
        drawn(outputs, task_id, a_recipe())

    store = open_store(folder, output_dir=outputs)
    assert "its last good copy" in store.warnings[0] and "6 pictures" in store.warnings[1] and len(store.warnings) == 2
    assert whose(store, known, *retried) == [("ann", known)] * 2
    assert whose(store, *bobs) == [("bob", bobs[0])] * 2
    assert whose(store, *sheet) == [("ann", sheet[0])] * 2
    assert [(task.label, task.varies) for task in store.queue.sheet(sheet[0], owner="ann")] == [
        ("euler", "sampler"), ("lcm", "sampler"),
    ]  # fmt: skip
    assert {task.id for task in store.queue.pictures(owner="bob")} == set(bobs)
    assert {task.id for task in store.queue.pictures(owner="ann")} == {known, *sheet, *retried}
    store.close()


def test_where_the_rows_cannot_be_read_an_index_says_whose_they_are(tmp_path: Path, outputs: Path) -> None:
    store = open_store(tmp_path)
    store.queue.submit([a_recipe()], owner="ann")
    store.queue.submit([a_recipe()], owner="bob")
    path = copied(store)
    ids = [store.queue.submit([a_recipe()], owner=name)[0] for name in ("bob", "ann")]
    store.close()
    spoil(path, "tasks")
    for task_id in ids:
        drawn(outputs, task_id, a_recipe())
    store = open_store(tmp_path, output_dir=outputs)
    assert whose(store, *ids) == [("bob", ids[0]), ("ann", ids[1])]
    store.close()


def test_what_is_nobodys_any_more_only_admins_see_and_the_log_says_so(tmp_path: Path, outputs: Path) -> None:
    store = open_store(tmp_path)
    (known,) = store.queue.submit([a_recipe()], owner="ann")
    path = copied(store)
    (lost,) = store.queue.submit([a_recipe()], owner="ann")
    store.close()
    path.write_bytes(GARBAGE)
    for task_id in (known, lost):
        drawn(outputs, task_id, a_recipe())
    store = open_store(tmp_path, output_dir=outputs)
    assert store.warnings[2:] == ("Of 1 of them it is not known any more who asked for it: only admins see that.",)
    assert [task.id for task in store.queue.pictures(owner="ann")] == [known]
    assert [task.id for task in store.queue.pictures(owner="bob")] == []
    assert [task.id for task in store.queue.pictures(owner="")] == []
    assert {task.id for task in store.queue.pictures(owner=None)} == {known, lost}
    store.close()


def asked_for(store: Store, key: str, count: int = 2) -> list[str]:
    return store.queue.submit_all([Wanted([a_recipe(seed=n) for n in range(count)])], owner="ann", key=key)


@pytest.mark.parametrize("spoilt", ["peaks", "asked", "tasks"])
def test_what_was_asked_for_under_a_key_after_the_copy_and_drawn_is_not_drawn_again(
    tmp_path: Path, outputs: Path, spoilt: str
) -> None:
    """Only if all of it was: of what is forgotten, asking again must bring all."""
    store = open_store(tmp_path)
    known = asked_for(store, "known")
    path = copied(store)
    whole, half, nothing = (asked_for(store, key) for key in ("whole", "half", "nothing"))
    store.close()
    spoil(path, spoilt)
    for task_id in (*whole, half[0]):
        drawn(outputs, task_id, a_recipe())
    store = open_store(tmp_path, output_dir=outputs)
    assert asked_for(store, "known") == known
    assert (asked_for(store, "whole") == whole) == (spoilt == "peaks"), "unless nobody can tell"
    again = asked_for(store, "half"), asked_for(store, "nothing")
    assert not {*half, *nothing} & {*again[0], *again[1]} and again[0] == asked_for(store, "half")
    assert [store.queue.get(task_id).state for task_id in whole] == ["finished"] * 2
    store.close()


def test_a_repeat_that_is_forgotten_and_asked_for_again_begins_with_what_was_drawn(
    tmp_path: Path, outputs: Path, library: Library
) -> None:
    store = open_store(tmp_path)
    path = copied(store)
    repeats_of(store, library, tmp_path).add(a_recipe(seed=5), times=2, key="mine")
    (first,) = store.queue.waiting()
    store.close()
    spoil(path, "peaks")
    drawn(outputs, first.id, first.recipe)
    store = open_store(tmp_path, output_dir=outputs)
    repeats = repeats_of(store, library, tmp_path)
    repeat = repeats.add(a_recipe(seed=5), times=2, key="mine")
    assert (repeat.batch_id, repeat.rounds) == (first.id, 1)
    assert repeats.add(a_recipe(seed=5), times=2, key="mine") == repeat
    repeats.look()
    assert [task.recipe.seed for task in store.queue.waiting()] == [6]
    store.close()


def repeats_of(store: Store, library: Library, folder: Path) -> Repeats:
    return Repeats(store, Supply(store, load_settings(env={}, root=folder), lambda: library), lambda: library)


def test_rounds_that_were_drawn_after_the_copy_are_not_drawn_again(
    tmp_path: Path, outputs: Path, library: Library
) -> None:
    store = open_store(tmp_path)
    repeats = repeats_of(store, library, tmp_path)
    repeat = repeats.add(a_recipe(seed=5), times=4, owner="ann")
    path = copied(store)
    for seed in (5, 6):
        task = store.queue.claim("w")
        assert task is not None and task.recipe.seed == seed
        repeats.look()
        drawn(outputs, task.id, task.recipe)
    assert [task.recipe.seed for task in store.queue.waiting()] == [7]
    store.close()
    spoil(path, "peaks")

    store = open_store(tmp_path, output_dir=outputs)
    repeats = repeats_of(store, library, tmp_path)
    after = repeats.get(repeat.id, owner="ann")
    assert (after.rounds, after.begun) == (2, 2), "the third waited and is forgotten, so it is asked for again"
    seeds: list[int | None] = []
    for _ in range(4):
        repeats.look()
        seeds += [task.recipe.seed for task in store.queue.waiting(owner="ann")]
        if (task := store.queue.claim("w")) is not None:
            drawn(outputs, task.id, task.recipe)
    assert seeds == [7, 8]
    store.close()
