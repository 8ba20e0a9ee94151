"""What a name server may do to a webhook: nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.events import Cancelled
from fooocus_lite.settings import load_settings
from fooocus_lite.store import Store
from fooocus_lite.webhooks import Webhooks
from tests.app.receiver import Receiver
from tests.deeds.conftest import DEADLINE_S, a_recipe, until
from tests.house.code import ROOT

NAME = "hooks.example.org"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def webhooks(store: Store, receiver: Receiver, tmp_path: Path) -> Iterator[Webhooks]:
    allowed = f"http://{NAME}:{receiver.port}, http://localhost:{receiver.port}"
    settings = load_settings({"webhooks": allowed, "data_dir": str(tmp_path / "data")}, env={})
    made = Webhooks(store.database, settings, lambda task_id: ("cancelled", {"task": {"id": task_id}}))
    made.start()
    yield made
    made.close()


def names(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let the name server answer so, one answer a question, the last one for good; the questions."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        ip = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))]

    monkeypatch.setattr("fooocus_lite.webhooks.socket.getaddrinfo", getaddrinfo)
    return asked


def tries(store: Store) -> list[int]:
    return [row["attempt"] for row in store.database.read("SELECT attempt FROM webhooks")]


def end_one(store: Store, webhooks: Webhooks, url: str) -> str:
    (task_id,) = store.queue.submit([a_recipe()])
    webhooks.ask([task_id], url)
    store.queue.end(task_id, Cancelled())
    return task_id


def test_a_name_that_leads_into_this_network_is_not_followed(
    store: Store, webhooks: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = names(monkeypatch, "127.0.0.1")
    end_one(store, webhooks, f"http://{NAME}:{receiver.port}/")
    until(lambda: tries(store) == [1], "the first try")
    assert asked == [NAME] and receiver.heard == []


def test_a_name_is_looked_up_once_so_that_a_second_answer_comes_too_late(
    store: Store, webhooks: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fooocus_lite.webhooks.may_lead_to", lambda host, ip: ip == "127.0.0.2")
    asked = names(monkeypatch, "127.0.0.2", "127.0.0.1")  # nobody listens at the first, the second must stay unasked
    end_one(store, webhooks, f"http://{NAME}:{receiver.port}/")
    until(lambda: tries(store) == [1], "the first try")
    assert asked == [NAME] and receiver.heard == []


def test_a_name_keeps_its_place_in_the_request(
    store: Store, webhooks: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, "127.0.0.1")
    task_id = end_one(store, webhooks, f"http://localhost:{receiver.port}/done")
    until(lambda: receiver.heard, "the message")
    assert receiver.heard[0].headers["host"] == f"localhost:{receiver.port}"
    assert receiver.heard[0].said["data"]["task"]["id"] == task_id
    until(lambda: not tries(store), "an empty table")


def test_a_clock_that_was_put_back_holds_nothing_up(store: Store, webhooks: Webhooks, receiver: Receiver) -> None:
    (task_id,) = store.queue.submit([a_recipe()])
    store.queue.end(task_id, Cancelled())
    with store.database.write() as transaction:
        transaction.execute("UPDATE tasks SET finished_at = finished_at + 1e8 WHERE id = ?", (task_id,))
    webhooks.ask([task_id], f"http://localhost:{receiver.port}/")
    until(lambda: receiver.heard, "the message")


HANGING = """
import socket, sys, threading
from pathlib import Path
from fooocus_lite.events import Cancelled
from fooocus_lite.settings import load_settings
from fooocus_lite.store import open_store
from fooocus_lite.webhooks import Webhooks
from tests.deeds.conftest import a_recipe

asked = threading.Event()

def hang(*args, **kwargs):
    asked.set()
    threading.Event().wait()

socket.getaddrinfo = hang
folder = Path(sys.argv[1])
store = open_store(folder)
settings = load_settings({"webhooks": "http://hooks.example.org", "data_dir": str(folder)}, env={})
webhooks = Webhooks(store.database, settings, lambda task_id: ("cancelled", {"task": {"id": task_id}}))
webhooks.start()
(task_id,) = store.queue.submit([a_recipe()])
webhooks.ask([task_id], "http://hooks.example.org/done")
store.queue.end(task_id, Cancelled())
asked.wait()
webhooks.close()
store.close()
print("ended")
"""


def test_a_name_server_that_hangs_keeps_nobody_from_ending(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGING, str(tmp_path / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
