"""Several workers: who takes which task, that nobody starves, and that a task goes to whoever has its model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fooocus_lite.affinity import WINDOW, Taste, choose
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.library import Library
from fooocus_lite.line import Spot
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import Store
from tests.deeds.conftest import FAKE, a_recipe, make_library, until

LINE = [("1", "x"), ("2", "y"), ("3", "x")]


@pytest.mark.parametrize(
    "taste, wanted",
    [
        (Taste(), "1"),
        (Taste(has={"y"}), "2"),
        (Taste(has={"x", "y"}), "1"),
        (Taste(has={"z"}), "1"),
        (Taste(leaves={"x"}), "2"),
        (Taste(has={"z"}, leaves={"x", "y"}), None),
        (Taste(has={"x"}, leaves={"y"}), "1"),
    ],
)
def test_a_worker_takes_what_it_has_then_what_nobody_has(taste: Taste, wanted: str | None) -> None:
    assert choose(LINE, taste) == wanted


def test_nothing_waits() -> None:
    assert choose([], Taste()) is None


def model_of(store: Store, taste: Taste | None) -> str | None:
    task = store.queue.claim("worker", taste=taste)
    return task and task.recipe.model


def test_the_first_in_line_is_passed_a_few_times_however_many_come(store: Store) -> None:
    store.queue.submit([a_recipe(model="slow to load")])
    store.queue.submit([a_recipe(model="mine") for _ in range(3)])
    drawn: list[str | None] = []
    while "slow to load" not in drawn:
        drawn.append(model_of(store, Taste(has={"mine"})))
        store.queue.submit([a_recipe(model="mine")] * 2)
        assert len(drawn) <= WINDOW
    assert drawn == ["mine"] * (WINDOW - 1) + ["slow to load"]


def test_a_batch_that_was_moved_to_the_front_does_not_take_those_along_that_came_after_it(store: Store) -> None:
    """They stand where they stood: far behind what waited before."""
    store.queue.submit([a_recipe("early", model="mine") for _ in range(WINDOW)])
    moved = store.queue.submit([a_recipe("moved", model="slow to load")])
    store.queue.submit([a_recipe("late", model="mine")])
    store.queue.move(moved, Spot("first"))
    claimed = [store.queue.claim("worker", taste=Taste(has={"mine"})) for _ in range(WINDOW + 2)]
    prompts = [task.recipe.prompt for task in claimed if task is not None]
    assert prompts == ["early"] * (WINDOW - 1) + ["moved", "early", "late"]


def test_a_worker_that_leaves_the_first_to_others_is_not_idle_for_that(store: Store) -> None:
    store.queue.submit([a_recipe(model="mine")])
    moved = store.queue.submit([a_recipe(model="elsewhere")])
    store.queue.move(moved, Spot("first"))
    assert model_of(store, Taste(has={"mine"}, leaves={"elsewhere"})) == "mine"


def test_without_a_taste_the_order_is_the_lines(store: Store) -> None:
    store.queue.submit([a_recipe(model=name) for name in "xyx"])
    assert [model_of(store, None) for _ in range(4)] == ["x", "y", "x", None]


def test_what_is_left_to_others_stays_in_line(store: Store) -> None:
    (task_id,) = store.queue.submit([a_recipe(model="x")])
    assert store.queue.claim("worker", taste=Taste(leaves={"x"})) is None
    assert store.queue.get(task_id).state == "waiting"
    assert model_of(store, Taste()) == "x"


@pytest.fixture
def two_models(tmp_path: Path) -> Library:
    library = make_library(tmp_path)
    entry = library.models["fake"]
    return Library(models={name: replace(entry, name=name) for name in ("x", "y")})


def worker_of(store: Store, task_id: str) -> str:
    return str(store.database.read("SELECT worker FROM tasks WHERE id = ?", (task_id,))[0]["worker"])


def test_a_task_goes_to_the_worker_that_has_its_model(store: Store, two_models: Library, tmp_path: Path) -> None:
    runners = [LocalRunner(FAKE), LocalRunner(FAKE)]
    dispatcher = Dispatcher(store, runners, library=lambda: two_models, output_dir=tmp_path / "outputs")
    dispatcher.start()
    try:
        gate = tmp_path / "gate"
        ids = store.queue.submit([a_recipe(f"gate {gate}", model=name) for name in "xy"])
        until(lambda: len(store.queue.running()) == 2, "two at once")
        gate.touch()
        has = {}
        for name, task_id in zip("xy", ids, strict=True):
            until(lambda task_id=task_id: store.queue.get(task_id).state == "finished")
            has[name] = worker_of(store, task_id)
        assert len(set(has.values())) == 2
        for name in "yyxyxxyx":
            until(lambda: {worker["state"] for worker in dispatcher.workers()} == {"idle"}, "nothing to do")
            (task_id,) = store.queue.submit([a_recipe(model=name)])
            until(lambda task_id=task_id: store.queue.get(task_id).state == "finished")
            assert worker_of(store, task_id) == has[name]
        # Many of one model: the other worker helps.
        until(lambda: {worker["state"] for worker in dispatcher.workers()} == {"idle"}, "nothing to do")
        again = tmp_path / "again"
        ids = store.queue.submit([a_recipe(f"gate {again}", model="x")] * 2)
        until(lambda: len(store.queue.running()) == 2, "both at one model")
        again.touch()
        until(lambda: all(store.queue.get(task_id).state == "finished" for task_id in ids))
    finally:
        dispatcher.close()
