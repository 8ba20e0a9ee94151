"""What a task's end does when SQLite refuses it, in words that are no disk's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite import ledger
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.library import Library
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import Store, open_store
from tests.deeds.conftest import FAKE, until
from tests.deeds.test_dispatcher import a_red_circle, ask, wait_for


def interrupt(store: Store) -> Callable[[], None]:
    """Every statement of the writer is broken off; returns what ends that."""
    writer = store.database._writer  # pyright: ignore[reportPrivateUsage]
    writer.set_progress_handler(lambda: 1, 1)
    return lambda: writer.set_progress_handler(None, 1)


def forbid(store: Store, only: str = "%") -> Callable[[], None]:
    """No task may end, says the file itself; or only this one may not."""
    with store.database.write() as transaction:
        transaction.execute(
            f"CREATE TRIGGER no BEFORE UPDATE OF finished_at ON tasks WHEN NEW.id LIKE '{only}'"
            " BEGIN SELECT RAISE(ABORT, 'no end'); END"
        )

    def allow() -> None:
        with store.database.write() as transaction:
            transaction.execute("DROP TRIGGER no")

    return allow


@pytest.mark.parametrize("break_it, words", [(interrupt, "interrupted"), (forbid, "no end")])
def test_a_task_whose_end_sqlite_refuses_ends_when_it_no_longer_does(
    store: Store,
    dispatcher: Dispatcher,
    tmp_path: Path,
    break_it: Callable[[Store], Callable[[], None]],
    words: str,
) -> None:
    gate = tmp_path / "gate"
    first, second = ask(store, f"gate {gate}", "after")
    until(lambda: store.log.latest(first), "the first step")
    mend = break_it(store)
    gate.touch()
    until(lambda: words in str(dispatcher.trouble), "what is told")
    assert store.queue.get(first).state == "running"
    mend()
    tasks = wait_for(store, first, second)
    assert [task.state for task in tasks] == ["finished", "finished"]
    until(lambda: dispatcher.trouble is None, "that all is well")
    a_red_circle(store)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "RETRY_S", 0.001)


@contextmanager
def at_work(tmp_path: Path, library: Library) -> Generator[tuple[Store, Dispatcher]]:
    """One run of a server that draws."""
    outputs, runner = tmp_path / "outputs", LocalRunner(FAKE)
    with (
        closing(open_store(tmp_path / "data", output_dir=outputs)) as store,
        closing(runner),
        closing(Dispatcher(store, [runner], library=lambda: library, output_dir=outputs)) as dispatcher,
    ):
        dispatcher.start()
        yield store, dispatcher


@pytest.mark.usefixtures("hurried")
def test_an_end_that_is_refused_for_good_is_left_to_the_next_start_and_holds_nobody(
    library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with at_work(tmp_path, library) as (store, dispatcher):
        gate = tmp_path / "gate"
        refused, second, third = ask(store, f"gate {gate}", "after", "and after")
        until(lambda: store.log.latest(refused), "the first step")
        forbid(store, refused)
        gate.touch()
        until(lambda: store.queue.get(second).state == "finished" == store.queue.get(third).state, "the others")
        a_red_circle(store)
        assert store.queue.get(refused).state == "running"
        until(lambda: refused in str(dispatcher.trouble), "what is told for good")
        assert "no end" in str(dispatcher.trouble) and "Restart" in str(dispatcher.trouble)
    assert sum(refused in line.getMessage() for line in caplog.records if line.levelname == "ERROR") == 1
    with at_work(tmp_path, library) as (store, dispatcher):  # the reason is there still
        until(lambda: refused in str(dispatcher.trouble), "that it is told again")
    with at_work(tmp_path, library) as (store, dispatcher):  # and now it could only fail
        a_red_circle(store)
        assert store.queue.get(refused).state == "running"
        with store.database.write() as transaction:
            transaction.execute("DROP TRIGGER no")
    with at_work(tmp_path, library) as (store, dispatcher):
        assert store.queue.get(refused).state == "finished" and dispatcher.trouble is None
        assert len(list((tmp_path / "outputs").rglob(f"*{refused}*.png"))) == 1


@pytest.mark.usefixtures("hurried")
def test_a_file_that_another_program_locks_is_waited_for_without_end(
    store: Store, dispatcher: Dispatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.database._writer.execute("PRAGMA busy_timeout = 1")  # pyright: ignore[reportPrivateUsage]
    really_finish = store.queue.finish
    tries: list[str] = []

    def finish(task_id: str, *rest: Any) -> bool:
        tries.append(task_id)
        return really_finish(task_id, *rest)

    monkeypatch.setattr(store.queue, "finish", finish)
    gate = tmp_path / "gate"
    (task_id,) = ask(store, f"gate {gate}")
    until(lambda: store.log.latest(task_id), "the first step")
    with closing(sqlite3.connect(store.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        gate.touch()
        until(lambda: len(tries) > 3 * ledger.MOST_TRIES, "many tries")
        assert "locked" in str(dispatcher.trouble)
        other.execute("ROLLBACK")
    assert wait_for(store, task_id)[0].state == "finished"
    until(lambda: dispatcher.trouble is None, "that all is well")
