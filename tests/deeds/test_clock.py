"""A clock that is set while the program runs, or between two runs: numbers rise, order is kept, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.events import Finished, ImageSaved
from fooocus_lite.images import find_saved
from fooocus_lite.library import Library
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import open_store
from tests.deeds.conftest import FAKE, a_recipe, until
from tests.deeds.test_last_good import drawn

DAY = 86_400.0
YEARS = 365 * DAY


class Clock:
    """``time.time`` as it would be on a machine whose clock was set by so many seconds."""

    def __init__(self, real: float) -> None:
        self.offset = 0.0
        self._started, self._monotonic = real, time.monotonic()

    def __call__(self) -> float:
        return self._started + time.monotonic() - self._monotonic + self.offset


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock(time.time())
    monkeypatch.setattr(time, "time", made)
    yield made


@pytest.mark.parametrize("jump", [-3600.0, -30 * YEARS, 3600.0, 10 * YEARS, 100 * YEARS], ids=lambda jump: f"{jump:g}s")
@pytest.mark.parametrize("restarts", [False, True])
def test_ids_and_numbers_rise_whatever_the_clock_does(
    tmp_path: Path, clock: Clock, jump: float, restarts: bool
) -> None:
    store = open_store(tmp_path)
    ids = store.queue.submit([a_recipe(seed=n) for n in range(3)])
    facts = [fact.seq for fact in store.log.facts()]
    for offset in (jump, 0.0, jump):
        clock.offset = offset
        if restarts:
            store.close()
            store = open_store(tmp_path)
        ids += store.queue.submit([a_recipe(seed=n) for n in range(3)])
        facts += [fact.seq for fact in store.log.facts(after=facts[-1])]
    assert ids == sorted(set(ids)) and {len(task_id) for task_id in ids} == {12}
    assert len(facts) == len(ids) and facts == sorted(facts)
    assert [task.id for task in store.queue.page()] == ids[::-1]
    claimed = [store.queue.claim("w") for _ in ids]
    assert [task.id for task in claimed if task] == ids
    store.close()


def test_pictures_are_drawn_in_order_and_take_as_long_as_they_took(
    tmp_path: Path, clock: Clock, library: Library
) -> None:
    store = open_store(tmp_path)
    runner = LocalRunner(FAKE, stop_timeout_s=0.5)
    dispatcher = Dispatcher(store, [runner], library=lambda: library, output_dir=tmp_path / "outputs")
    gates = [tmp_path / f"gate {n}" for n in range(4)]
    ids = [store.queue.submit([a_recipe(f"gate {gate}", seed=n)])[0] for n, gate in enumerate(gates)]
    dispatcher.start()
    for task_id, gate, jump in zip(ids, gates, (-DAY, 3 * YEARS, -2 * YEARS, 0.0), strict=True):
        until(lambda task_id=task_id: store.log.latest(task_id), "its first preview")
        clock.offset = jump
        gate.touch()
        until(lambda task_id=task_id: store.queue.get(task_id).state == "finished", "its end")
    dispatcher.close()
    tasks = [store.queue.get(task_id) for task_id in ids]
    assert [task.attempt for task in tasks] == [1] * 4
    ends = [fact for fact in store.log.facts() if isinstance(fact, Finished)]
    assert [fact.task_id for fact in ends] == ids
    assert all(0 <= fact.seconds < 600 for fact in ends)
    seconds = store.speeds.picture_seconds(tasks[-1].recipe)
    assert seconds is None or 0 <= seconds < 600
    assert len(list((tmp_path / "outputs").rglob("*.png"))) == 4
    store.close()


def test_a_picture_is_found_on_whatever_day_it_was_saved(tmp_path: Path, clock: Clock) -> None:
    """Saved under a clock that was set back, or just after midnight, and killed before that was written down."""
    store = open_store(tmp_path)
    (task_id,) = store.queue.submit([a_recipe()])
    file = drawn(tmp_path / "outputs", task_id, a_recipe(), datetime(2019, 12, 31, 23, 59))
    found = find_saved(tmp_path / "outputs", task_id, {datetime.now().strftime("%Y-%m-%d")})
    assert isinstance(found, ImageSaved) and found.path == str(file)
    store.close()
