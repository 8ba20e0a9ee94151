"""The next task is in the worker while the last one is decoded: what happens to it if something happens."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.library import Library
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import Store
from tests.deeds.conftest import FAKE, until
from tests.deeds.test_dispatcher import ask, wait_for

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")


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
