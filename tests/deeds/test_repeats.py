"""What repeats, when something happens at the wrong moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.errors import DiskProblem
from fooocus_lite.events import Cancelled
from fooocus_lite.library import Library
from fooocus_lite.line_records import Repeat
from fooocus_lite.repeats import Repeats
from fooocus_lite.settings import load_settings
from fooocus_lite.store import Store
from fooocus_lite.supply import Supply
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
