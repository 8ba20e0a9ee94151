"""What a task's end does when SQLite refuses it, in words that are no disk's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.store import Store
from tests.deeds.conftest import until
from tests.deeds.test_dispatcher import a_red_circle, ask, wait_for


def interrupt(store: Store) -> Callable[[], None]:
    """Every statement of the writer is broken off; returns what ends that."""
    writer = store.database._writer  # pyright: ignore[reportPrivateUsage]
    writer.set_progress_handler(lambda: 1, 1)
    return lambda: writer.set_progress_handler(None, 1)


def forbid(store: Store) -> Callable[[], None]:
    """No task may end, says the file itself."""
    with store.database.write() as transaction:
        transaction.execute(
            "CREATE TRIGGER no BEFORE UPDATE OF finished_at ON tasks BEGIN SELECT RAISE(ABORT, 'no end'); END"
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
