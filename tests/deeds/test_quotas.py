"""What a user may ask for: all of a batch or nothing of it, counted from the rows, over every restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.events import Cancelled, Failed, Finished
from fooocus_lite.quotas import used_by
from fooocus_lite.store import Store, open_store
from fooocus_lite.user import NO_LIMITS, Limits
from tests.deeds.conftest import a_recipe

LIMITS = {
    "few": Limits(pictures_a_day=3),
    "small": Limits(megapixels_a_day=0.002, picture_megapixels=0.001),
    "patient": Limits(waiting=2),
    "never": Limits(pictures_a_day=0),
}


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path, lambda name: LIMITS.get(name, NO_LIMITS))
    yield opened
    opened.close()


def refused(store: Store, owner: str, count: int = 1, **fields: object) -> FooocusError:
    before = store.queue.counts()
    with pytest.raises(FooocusError) as error:
        store.queue.submit([a_recipe(**fields)] * count, owner=owner)
    assert store.queue.counts() == before
    return error.value


def test_pictures_a_day(limited: Store) -> None:
    first, _ = limited.queue.submit([a_recipe()] * 2, owner="few")
    error = refused(limited, "few", 2)
    assert (error.code, error.http_status) == ("limit_reached", 429)
    assert error.problem == "You may ask for 3 pictures a day, and 1 are left today, not 2."
    assert error.hint.startswith("The day begins anew at midnight where the server stands, in ")
    limited.queue.submit([a_recipe()], owner="few")
    assert refused(limited, "few").problem.endswith("0 are left today, not 1.")
    with pytest.raises(FooocusError):
        limited.queue.retry(first)
    limited.queue.submit([a_recipe()] * 100, owner="somebody else")
    limited.queue.submit([a_recipe()] * 100)


def test_what_was_never_begun_does_not_count(limited: Store) -> None:
    ids = limited.queue.submit([a_recipe()] * 3, owner="few")
    limited.queue.cancel(ids[2])
    limited.queue.submit([a_recipe()], owner="few")
    for end in (Finished(), Failed(code="internal", problem="x", hint=""), Cancelled()):
        task = limited.queue.claim("worker")
        assert task
        limited.queue.end(task.id, end)
    assert refused(limited, "few").code == "limit_reached"


def test_a_new_day_and_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path, lambda _: LIMITS["few"])
    store.queue.submit([a_recipe()] * 3, owner="ana")
    store.close()
    store = open_store(tmp_path, lambda _: LIMITS["few"])
    assert refused(store, "ana").code == "limit_reached"
    renews_at = used_by(store.database.read, "ana").renews_at
    assert used_by(store.database.read, "ana", renews_at - 1).pictures == 3
    assert used_by(store.database.read, "ana", renews_at).pictures == 0
    with store.database.write() as transaction:
        transaction.execute("UPDATE tasks SET created_at = created_at - 86400 * 2")
    store.queue.submit([a_recipe()] * 3, owner="ana")
    store.close()


def test_pixels(limited: Store) -> None:
    error = refused(limited, "small", width=64, height=16)
    assert isinstance(error, BadValue) and error.field == "width"
    assert str(error) == (
        "A picture of 0.001024 megapixels is larger than you may ask for. Choose a size of at most 0.001 megapixels."
    )
    limited.queue.submit([a_recipe()] * 3, owner="small")  # 512 pixels each
    error = refused(limited, "small")
    assert error.code == "limit_reached"
    assert error.problem == "You may ask for 0.002 megapixels a day, and 0.000464 are left today, not 0.000512."


def test_waiting_at_once(limited: Store) -> None:
    limited.queue.submit([a_recipe()] * 2, owner="patient")
    error = refused(limited, "patient", 2)
    assert (error.code, error.http_status) == ("too_many_waiting", 429)
    assert error.problem == ("At most 2 pictures of yours may wait at once, so there is room for 0 more now, not 2.")
    assert limited.queue.claim("worker")
    limited.queue.submit([a_recipe()], owner="patient")


def test_an_edit_counts_what_it_adds(limited: Store) -> None:
    (task_id,) = limited.queue.submit([a_recipe()], owner="patient")
    limited.queue.submit([a_recipe()], owner="patient")
    limited.queue.edit(task_id, a_recipe("another"), revision=0)
    (task_id,) = limited.queue.submit([a_recipe()], owner="small")
    with pytest.raises(BadValue):
        limited.queue.edit(task_id, a_recipe(width=64), revision=0)
    limited.queue.edit(task_id, a_recipe(width=8), revision=0)
    assert used_by(limited.database.read, "small").megapixels == pytest.approx(8 * 16 / 1e6)


def test_two_at_once_cannot_both_have_the_last_one(limited: Store) -> None:
    limited.queue.submit([a_recipe()] * 2, owner="few")
    errors: list[str] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        try:
            limited.queue.submit([a_recipe()], owner="few")
        except FooocusError as exc:
            errors.append(exc.code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == ["limit_reached"] * 7
    assert refused(limited, "never").code == "limit_reached"
