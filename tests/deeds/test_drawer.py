"""What becomes of tasks between the claim and the worker, also when something goes wrong just there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import DiskProblem, WorkerAway
from fooocus_lite.events import Event
from fooocus_lite.library import ByName, Library
from fooocus_lite.plan import Plan, resolve
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import Store
from fooocus_lite.tasks import Task
from tests.deeds.conftest import FAKE, a_recipe, until
from tests.deeds.test_dispatcher import ask, posix, wait_for
from tests.lora_header import lora_bytes


@pytest.mark.usefixtures("dispatcher")
def test_a_task_whose_story_cannot_be_read_is_not_left_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker died, so its picture is looked for before it is drawn again; the disk does not answer just then."""
    facts, failures = store.log.facts, [DiskProblem("The disk does not answer.", "Look at it.")]

    def failing(*args: Any, **options: Any) -> list[Event]:
        if failures:
            raise failures.pop()
        return facts(*args, **options)

    store.queue.pause()
    (task_id,) = ask(store, "p")
    with store.database.write() as transaction:
        transaction.execute("UPDATE tasks SET attempt = 1 WHERE id = ?", (task_id,))
    monkeypatch.setattr(store.log, "facts", failing)
    store.queue.resume()
    until(lambda: not failures, "the failure")
    until(lambda: store.queue.get(task_id).state == "finished", "the picture")


class AwayRunner(LocalRunner):
    """Its machine is gone when it is to draw; ``meanwhile`` is what others do before that is known."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__(FAKE)
        self._meanwhile, self.is_away = meanwhile, False

    @property
    def is_here(self) -> bool:
        return not self.is_away

    def run_together(self, plans: Sequence[Plan], should_stop: Callable[[int], bool]) -> Any:
        if len(plans) == 1:
            return super().run_together(plans, should_stop)
        self._meanwhile()
        self.is_away = True
        raise WorkerAway("The machine is away.", "Start it.")


def test_what_another_worker_took_meanwhile_stays_with_it(store: Store, library: Library, tmp_path: Path) -> None:
    """Of three that look alike the last walks another way and waits again; another worker takes it at once."""
    ink = tmp_path / "ink.safetensors"
    ink.write_bytes(lora_bytes(2048))
    library = replace(library, loras=ByName({"ink": str(ink)}))
    recipe = resolve(a_recipe(), library, 0)
    store.speeds.record(recipe, 0.01)
    for many in (2, 4):
        store.speeds.record_together(recipe, many, 0.01 / many)
    taken: list[Task | None] = []
    runner = AwayRunner(lambda: taken.append(store.queue.claim("another worker")))
    store.queue.pause()
    ids = ask(store, "first", "a", "b", "c <lora:ink:0.5>")
    dispatcher = Dispatcher(store, [runner], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    store.queue.resume()
    until(lambda: runner.is_away and len(store.queue.waiting()) >= 2, "the batch is in line again")
    dispatcher.close()
    assert [task.id for task in taken if task is not None] == ids[3:]
    assert {task_id: store.queue.get(task_id).state for task_id in ids[1:]} == {
        ids[1]: "waiting", ids[2]: "waiting", ids[3]: "running",
    }  # fmt: skip


@pytest.mark.usefixtures("dispatcher")
def test_a_fault_of_ours_over_one_of_a_batch_takes_no_other_along(
    store: Store, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fooocus_lite.drawer as drawer

    make = drawer.make_plan

    def faulty(recipe: Any, *args: Any) -> Plan:
        if recipe.prompt == "faulty":
            raise ZeroDivisionError
        return make(recipe, *args)

    monkeypatch.setattr(drawer, "make_plan", faulty)
    recipe = resolve(a_recipe(), library, 0)
    store.speeds.record(recipe, 0.01)
    for many in (2, 4):
        store.speeds.record_together(recipe, many, 0.01 / many)
    gate = tmp_path / "gate"
    (first,) = ask(store, f"gate {gate}", width=64)
    until(lambda: store.log.latest(first))
    ids = ask(store, "a", "faulty", "c")
    gate.touch()
    tasks = wait_for(store, first, *ids)
    assert [task.state for task in tasks] == ["finished", "finished", "failed", "finished"]


# Ahead of time.


def test_the_next_is_in_the_worker_while_this_one_is_decoded(
    store: Store, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    decoded = tmp_path / "decoded"
    first, second = ask(store, f"decode {decoded}", "b")
    until(lambda: store.queue.get(second).state == "running", "the second is taken")
    assert store.queue.get(first).state == "running"
    assert dispatcher.workers()[0]["task_ids"] == [first], "and only the first is drawn"
    assert dispatcher.skip() == [first]
    assert [task.state for task in wait_for(store, first, second)] == ["cancelled", "finished"]


def test_what_was_sent_ahead_can_be_cancelled(store: Store, dispatcher: Dispatcher, tmp_path: Path) -> None:
    decoded = tmp_path / "decoded"
    first, second, third = ask(store, f"decode {decoded}", f"gate {tmp_path}/never", "c")
    until(lambda: store.queue.get(second).state == "running")
    assert store.queue.get(third).state == "waiting", "one ahead is enough"
    store.queue.cancel(second)
    decoded.touch()
    tasks = wait_for(store, first, second, third)
    assert [task.state for task in tasks] == ["finished", "cancelled", "finished"]
    assert dispatcher.trouble is None


@posix
@pytest.mark.usefixtures("dispatcher")
def test_a_worker_that_dies_before_it_begins_what_was_sent_ahead_costs_that_nothing(
    store: Store, runner: LocalRunner, tmp_path: Path
) -> None:
    decoded = tmp_path / "decoded"
    first, second = ask(store, f"decode {decoded}", "b")
    until(lambda: store.queue.get(second).state == "running")
    os.kill(runner.pid or 0, signal.SIGKILL)
    decoded.touch()
    tasks = wait_for(store, first, second)
    assert [(task.state, task.attempt) for task in tasks] == [("finished", 2), ("finished", 1)]


def test_shutting_down_puts_back_what_was_sent_ahead(store: Store, library: Library, tmp_path: Path) -> None:
    dispatcher = Dispatcher(store, [LocalRunner(FAKE)], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    first, second = ask(store, f"decode {tmp_path}/never", "b")
    until(lambda: store.queue.get(second).state == "running")
    dispatcher.close()
    assert [(task.id, task.attempt) for task in store.queue.waiting()] == [(first, 0), (second, 0)]
