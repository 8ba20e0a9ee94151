"""Several workers at one line: each takes as much of it as lets all of them end together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.events import Progress
from fooocus_lite.lanes import fair_share
from fooocus_lite.library import Library
from fooocus_lite.plan import resolve
from fooocus_lite.runner import LocalRunner
from fooocus_lite.speeds import MOST_TOGETHER
from fooocus_lite.store import Store
from tests.deeds.conftest import FAKE, a_recipe, until
from tests.deeds.test_dispatcher import ask, wait_for


@pytest.fixture
def batching(store: Store, library: Library) -> None:
    """As if this machine had learned that batches pay."""
    recipe = resolve(a_recipe(), library, 0)
    store.speeds.record(recipe, 0.01)
    many = 1
    while (many := 2 * many) <= MOST_TOGETHER:
        store.speeds.record_together(recipe, many, 0.01 / many)


@pytest.fixture
def two_workers(store: Store, library: Library, tmp_path: Path) -> Iterator[Dispatcher]:
    runners = [LocalRunner(FAKE), LocalRunner(FAKE)]
    dispatcher = Dispatcher(store, runners, library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    yield dispatcher
    dispatcher.close()


@pytest.mark.usefixtures("batching")
def test_the_second_worker_leaves_nothing_for_one_alone_at_the_end(
    store: Store, two_workers: Dispatcher, tmp_path: Path
) -> None:
    """Of six the first to be free takes three; the other one all that is left, as much as the first one has."""
    decoded = [tmp_path / "decoded 1", tmp_path / "decoded 2"]
    firsts = ask(store, *(f"decode {path}" for path in decoded), width=64)
    until(lambda: all(is_walked(store, task_id) for task_id in firsts), "both workers decode")
    gates = tmp_path / "gate 1", tmp_path / "gate 2"
    ids = ask(store, f"gate {gates[0]}", "b", "c", f"gate {gates[1]}", "e", "f")
    for path, taken in zip(decoded, (ids[:3], ids[3:]), strict=True):
        path.touch()
        until(lambda taken=taken: taken in [one["task_ids"] for one in two_workers.workers()], "the share of a worker")
    for path in gates:
        path.touch()
    tasks = wait_for(store, *firsts, *ids)
    assert [task.facts.get("together", 1) for task in tasks] == [1, 1, 3, 3, 3, 3, 3, 3]


@pytest.mark.usefixtures("batching")
def test_of_one_click_only_the_first_picture_is_drawn_alone(
    store: Store, two_workers: Dispatcher, tmp_path: Path
) -> None:
    """A second idle worker need not hurry: somebody sees the first picture of the eight already."""
    gates = tmp_path / "gate 1", tmp_path / "gate 2"
    ids = ask(store, f"gate {gates[0]}", f"gate {gates[1]}", *"cdefgh")
    until(lambda: sorted(len(one["task_ids"]) for one in two_workers.workers()) == [1, 4], "both draw")
    assert [one["task_ids"] for one in two_workers.workers() if len(one["task_ids"]) == 4] == [ids[1:5]]
    for path in gates:
        path.touch()
    tasks = wait_for(store, *ids)
    assert [task.facts.get("together", 1) for task in tasks[:5]] == [1, 4, 4, 4, 4]


@pytest.mark.usefixtures("batching")
def test_what_waits_for_files_is_nobodys_share(store: Store, two_workers: Dispatcher, tmp_path: Path) -> None:
    store.queue.submit([a_recipe()] * 50, waits_for=["big"] * 50)
    gates = tmp_path / "gate 1", tmp_path / "gate 2"
    ids = ask(store, f"gate {gates[0]}", f"gate {gates[1]}", *"cdefgh")
    until(lambda: sorted(len(one["task_ids"]) for one in two_workers.workers()) == [1, 4], "both draw")
    for path in gates:
        path.touch()
    wait_for(store, *ids)


@pytest.mark.usefixtures("batching")
def test_who_asks_beside_others_has_the_first_picture_alone_too(
    store: Store, two_workers: Dispatcher, tmp_path: Path
) -> None:
    (busy,) = ask(store, f"gate {tmp_path}/gate", width=64)
    until(lambda: store.log.latest(busy))
    ids = ask(store, f"gate {tmp_path}/gate", *"bcd")
    until(lambda: [ids[0]] in [one["task_ids"] for one in two_workers.workers()], "the other worker draws")
    (tmp_path / "gate").touch()
    tasks = wait_for(store, busy, *ids)
    assert [task.facts.get("together", 1) for task in tasks[:2]] == [1, 1]


def is_walked(store: Store, task_id: str) -> bool:
    events = store.log.latest(task_id)
    return any(isinstance(event, Progress) and event.step == event.steps for event in events)


@pytest.mark.parametrize(
    "waiting, left, share",
    [
        (6, [0.0], 3), (6, [0.05], 3), (3, [3.0], 3), (3, [2.8], 3), (7, [1.0], 4), (1, [0.0], 1), (2, [0.0], 1),
        (2, [8.0, 0.0], 1), (5, [8.0], 5), (9, [0.0, 0.0], 3), (1, [], 1), (20, [], 20), (4, [2.0, 9.0], 3),
        (6, [1.0], 3), (3, [0.0], 1), (2, [1.0], 2), (5, [0.0], 2), (3, [2.0], 3), (4, [2.2], 3), (7, [0.8], 4),
    ],
)  # fmt: skip
def test_a_share_is_what_lets_all_end_together(waiting: int, left: list[float], share: int) -> None:
    assert fair_share(waiting, left) == share
