"""What repeats, when something happens at the wrong moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite import repeats as module
from fooocus_lite.errors import DiskProblem, QueueTrouble
from fooocus_lite.events import Cancelled, Finished
from fooocus_lite.library import Library
from fooocus_lite.line_records import Repeat
from fooocus_lite.repeats import Repeats
from fooocus_lite.settings import load_settings
from fooocus_lite.store import Store, open_store
from fooocus_lite.supply import Supply
from fooocus_lite.user import Limits
from fooocus_lite.web.queue_schemas import repeat_out
from tests.deeds.conftest import a_recipe, until


@pytest.fixture
def repeats(store: Store, library: Library, tmp_path: Path) -> Iterator[Repeats]:
    """Not started: a test says when it looks."""
    supply = Supply(store, load_settings(env={}, root=tmp_path), lambda: library)
    made = Repeats(store, supply, lambda: library)
    yield made
    made.close()


def waiting(store: Store) -> list[str]:
    return [task.id for task in store.queue.waiting()]


def test_a_round_that_is_put_in_line_while_somebody_ends_it_is_taken_out(
    store: Store, repeats: Repeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat = repeats.add(a_recipe(seed=5), times=None)
    assert store.queue.claim("w") is not None, "the next round is due"
    get = repeats.get

    def slowly(repeat_id: str, *, owner: str | None = None) -> Repeat:
        known = get(repeat_id, owner=owner)
        if store.database._open_write is None:  # pyright: ignore[reportPrivateUsage]  # else nobody can write now
            repeats.look()
        return known

    monkeypatch.setattr(repeats, "get", slowly)
    repeats.end(repeat.id)
    repeats.look()
    assert waiting(store) == []


def test_it_goes_on_when_the_disk_does_not_tell_for_a_moment_what_happened(
    store: Store, repeats: Repeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, failures = store.log.follow, [DiskProblem("The disk does not answer.", "Look at it.")]

    def follow(**options: Any) -> Iterator[Any]:
        if failures:
            raise failures.pop()
        yield from really(**options)

    monkeypatch.setattr(store.log, "follow", follow)
    repeats.add(a_recipe(seed=5), times=2)
    repeats.start()
    until(lambda: not failures, "the failure")
    task = store.queue.claim("w")
    assert task is not None
    store.queue.end(task.id, Cancelled())
    until(lambda: len(waiting(store)) == 1, "the second round")


def test_a_file_that_cannot_be_written_for_a_moment_ends_nothing(
    store: Store, repeats: Repeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks for the next round is told of the trouble, and finds the repeat going on when it looks again."""
    repeats.add(a_recipe(seed=5), times=None)
    assert store.queue.claim("w") is not None, "the next round is due"
    with monkeypatch.context() as trouble, pytest.raises(QueueTrouble):
        trouble.setattr(store.queue, "submit_all", refuse)
        repeats.look()
    assert [repeat.state for repeat in store.queue.repeats()] == ["on"]
    repeats.look()
    assert len(waiting(store)) == 1


def refuse(*_: object, **__: object) -> list[str]:
    raise QueueTrouble("Another program keeps the queue file locked.", "Close it.", code="conflict")


def test_one_that_ends_while_all_are_ended_is_no_error(
    store: Store, repeats: Repeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [repeats.add(a_recipe(seed=seed), times=None).id for seed in (1, 2, 3)]
    end = repeats.end

    def slowly(repeat_id: str, *, owner: str | None = None) -> int:
        if repeat_id == ids[0]:
            end(ids[1])  # by somebody else, just then
        return end(repeat_id, owner=owner)

    monkeypatch.setattr(repeats, "end", slowly)
    repeats.end_all()
    assert store.queue.repeats() == [] and waiting(store) == []


# Limits of its user.


def limited(tmp_path: Path, library: Library, limits: Limits) -> tuple[Store, Repeats]:
    store = open_store(tmp_path / "limited", lambda _: limits)
    supply = Supply(store, load_settings(env={}, root=tmp_path), lambda: library)
    return store, Repeats(store, supply, lambda: library)


def draw(store: Store) -> bool:
    task = store.queue.claim("w")
    return task is not None and store.queue.end(task.id, Finished())


def another_day(store: Store) -> None:
    """As if all of it had been asked for the day before yesterday; no fact of the log says so."""
    with store.database.write() as transaction:
        transaction.execute("UPDATE tasks SET created_at = created_at - 86400 * 2")


def test_at_a_limit_of_the_day_it_waits_and_says_so_and_goes_on_the_next_day(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DAY_S", 0.02)
    store, repeats = limited(tmp_path, library, Limits(pictures_a_day=2))
    with closing(store), closing(repeats):
        repeats.add(a_recipe(seed=5), times=None, owner="ana")
        repeats.start()
        until(lambda: draw(store), "the first round")
        until(lambda: draw(store), "the second, which is the last of this day")
        until(lambda: store.queue.repeats()[0].error is not None, "what it waits for")
        said = repeat_out(store.queue.repeats()[0])
        assert (said.state, said.owner, said.rounds) == ("waiting", "ana", 2)
        assert said.error and said.error.code == "limit_reached" and "when the day begins anew" in said.error.hint
        assert not draw(store)
        another_day(store)
        until(lambda: draw(store), "the first of the new day")
        assert 7 in {task.recipe.seed for task in store.queue.page()}
        said = repeat_out(store.queue.repeats()[0])
        assert (said.state, said.error) == ("on", None)


def test_a_round_that_is_more_than_a_whole_day_s_stops_it(tmp_path: Path, library: Library) -> None:
    limits = {"pictures_a_day": 2}
    store = open_store(tmp_path / "limited", lambda _: Limits(**limits))
    supply = Supply(store, load_settings(env={}, root=tmp_path), lambda: library)
    with closing(store), closing(Repeats(store, supply, lambda: library)) as repeats:
        repeats.add(a_recipe(seed=5, count=2), times=None, owner="ana")
        limits["pictures_a_day"] = 1  # by an admin
        assert draw(store) and draw(store)
        repeats.look()
        (stopped,) = store.queue.repeats()
        assert stopped.state == "stopped" and stopped.error and stopped.error["code"] == "limit_reached"


def test_too_much_that_waits_never_stops_it(tmp_path: Path, library: Library) -> None:
    store, repeats = limited(tmp_path, library, Limits(waiting=2))
    with closing(store), closing(repeats):
        repeats.add(a_recipe(seed=5), times=None, owner="ana")
        store.queue.submit([a_recipe(seed=1)], owner="ana")
        task = store.queue.claim("w")
        store.queue.submit([a_recipe(seed=2)], owner="ana")
        assert task is not None and store.queue.end(task.id, Finished())
        repeats.look()
        assert [repeat.state for repeat in store.queue.repeats()] == ["on"]
        while draw(store):
            pass
        repeats.look()
        assert [task.recipe.seed for task in store.queue.waiting()] == [6]
