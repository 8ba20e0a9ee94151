"""Edits of what waits: they race with claims, keep the books, and of several happen at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fooocus_lite.errors import FooocusError, NotFound
from fooocus_lite.line import Edit
from fooocus_lite.store import Store
from tests.deeds.books import check_books, line
from tests.deeds.conftest import a_recipe


def test_an_edit_and_a_claim_race_and_exactly_one_wins(store: Store) -> None:
    ids = store.queue.submit([a_recipe("old", seed=n) for n in range(80)])
    start = threading.Barrier(4)

    def edit(name: str) -> dict[str, str]:
        start.wait()
        won: dict[str, str] = {}
        for task_id in ids:
            try:
                store.queue.edit(task_id, a_recipe(name, steps=9), revision=0)
                won[task_id] = name
            except FooocusError as exc:
                assert exc.code == "conflict" and "picture" in exc.problem
        return won

    def claim() -> dict[str, str]:
        start.wait()
        drawn: dict[str, str] = {}
        while (task := store.queue.claim("w")) is not None:
            drawn[task.id] = task.recipe.prompt
        return drawn

    with ThreadPoolExecutor(4) as pool:
        editors = [pool.submit(edit, name) for name in ("ann", "bob", "eve")]
        drawn = pool.submit(claim).result()
        won = [editor.result() for editor in editors]
    assert sum(len(one) for one in won) == len({task_id for one in won for task_id in one}), "none is edited twice"
    words = {task_id: name for one in won for task_id, name in one.items()}
    assert drawn == {task_id: words.get(task_id, "old") for task_id in ids}, "what is drawn is what was agreed"
    check_books(store)


def test_an_edit_keeps_the_place_and_the_books(store: Store) -> None:
    ids = store.queue.submit([a_recipe(steps=3) for _ in range(4)])
    task = store.queue.edit(ids[1], a_recipe("new", steps=50), revision=0, waits_for="big")
    assert (task.revision, task.waits_for, task.recipe.prompt, task.state) == (1, "big", "new", "waiting")
    assert [group.held for group in store.queue.groups()] == [1]
    check_books(store)
    assert store.queue.edit(ids[1], a_recipe("newer", steps=4), revision=1).waits_for is None
    check_books(store)
    assert line(store) == ids
    with pytest.raises(FooocusError, match="changed by somebody else meanwhile"):
        store.queue.edit(ids[1], a_recipe("late"), revision=1)
    store.queue.claim("w")
    with pytest.raises(FooocusError, match="is being drawn already, so it cannot be changed"):
        store.queue.edit(ids[0], a_recipe("late"), revision=0)
    with pytest.raises(NotFound):
        store.queue.edit("nobody", a_recipe(), revision=0)


def test_several_are_edited_at_once_or_none(store: Store) -> None:
    """Whoever looks while a hundred are edited, a page or a worker, finds all of them old or all of them new."""
    ids = store.queue.submit([a_recipe("old")] * 100)
    looks: list[set[str]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            looks.append({task.recipe.prompt for task in store.queue.in_line()})

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for revision, words in enumerate("abcdefgh"):
            assert store.queue.edit_all([Edit(task_id, a_recipe(words), revision) for task_id in ids]) == {}
        done.set()
        looking.result()
    assert len(looks) > 1 and all(len(words) == 1 for words in looks)
    check_books(store)


def test_of_several_only_those_are_edited_that_can_be(store: Store) -> None:
    begun, edited, free = store.queue.submit([a_recipe("old")] * 3)
    store.queue.claim("w")
    store.queue.edit(edited, a_recipe("mine"), revision=0)
    stayed = store.queue.edit_all([Edit(one, a_recipe("new"), 0) for one in (begun, edited, free, "nobody")])
    assert {one: error.code for one, error in stayed.items()} == {
        begun: "conflict",
        edited: "conflict",
        "nobody": "not_found",
    }
    assert [store.queue.get(one).recipe.prompt for one in (begun, edited, free)] == ["old", "mine", "new"]
    check_books(store)
