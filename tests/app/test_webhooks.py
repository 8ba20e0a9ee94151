"""Programs that are told when a task has ended: by a real server, over real connections and real kills."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.client import Client
from tests.app.client import ask_json
from tests.app.receiver import Heard, Receiver
from tests.faults.server import Server, until

KEY = b"a key of thirty-two random bytes"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(*arguments: Any) -> Receiver:
        made.append(Receiver(*arguments))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def serve(web_models: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A server that may tell the programs at these addresses."""
    made: list[Server] = []

    def make(*allowed: str, **environment: str) -> Server:
        made.append(Server(tmp_path, web_models, environment=environment, webhooks=", ".join(allowed)))
        return made[-1].start()

    yield make
    for server in made:
        if server.process and server.process.poll() is None:
            server.kill()


def submit(server: Server, url: str, **fields: Any) -> list[str]:
    body = {"prompt": "a red circle", "seed": 1, "steps": 2} | fields
    status, answer = ask_json(server.address, "POST", "/v1/tasks", body, Webhook_Url=url)
    assert status == 201, answer
    return answer["ids"]


def of_task(receiver: Receiver, task_id: str) -> list[Heard]:
    return [heard for heard in receiver.heard if heard.said["data"]["task"]["id"] == task_id]


def test_each_end_is_told_once_and_signed(serve: Any, receivers: Any, tmp_path: Path) -> None:
    receiver = receivers()
    server = serve(f"{receiver.address}/hooks", FOOOCUS_WEBHOOK_SECRET=SECRET)
    url = f"{receiver.address}/hooks/done?user=7"
    first, second = Client(server.address).submit("a red circle", webhook=url, count=2, steps=2)
    (stopped,) = submit(server, url, steps=200)
    server.cancel(stopped)
    silent = server.submit("a red circle", steps=2)
    server.wait(first, second, stopped, *silent)
    until(lambda: len(receiver.heard) >= 3, "three messages")
    for task_id, state in ((first, "finished"), (second, "finished"), (stopped, "cancelled")):
        (heard,) = of_task(receiver, task_id)
        assert heard.path == "/hooks/done?user=7" and heard.said["type"] == f"task.{state}"
        data = heard.said["data"]
        assert data["task"] == server.task(task_id) and data["event"]["kind"] == state
        assert data["image"] == (f"/v1/tasks/{task_id}/image" if state == "finished" else None)
        stamp, name = heard.headers["webhook-timestamp"], heard.headers["webhook-id"]
        digest = hmac.digest(KEY, f"{name}.{stamp}.".encode() + heard.body, hashlib.sha256)
        assert heard.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
        assert abs(int(stamp) - time.time()) < 300 and heard.headers["host"] == receiver.address.removeprefix("http://")
    assert len(receiver.heard) == 3 and len({heard.headers["webhook-id"] for heard in receiver.heard}) == 3
    assert server.end() == 0
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(secret in data for data in written for secret in (SECRET.encode(), SECRET[6:].encode(), KEY))


def test_what_was_not_taken_is_sent_again_over_a_kill(serve: Any, receivers: Any) -> None:
    receiver = receivers(lambda number: 503 if number == 1 else 200)
    server = serve(receiver.address)
    (task_id,) = submit(server, receiver.address)
    server.wait(task_id)
    until(lambda: receiver.heard, "the first try")
    server.kill()
    server.start()
    until(lambda: len(receiver.heard) == 2, "the second try")
    assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 1
    assert "webhook-signature" not in receiver.heard[0].headers, "there is no secret"
    assert receiver.heard[1].said["data"] == receiver.heard[0].said["data"]


def test_a_server_killed_before_the_end_tells_it_afterwards(serve: Any, receivers: Any) -> None:
    receiver = receivers()
    server = serve(receiver.address)
    (task_id,) = submit(server, receiver.address, steps=100)
    server.wait_until_drawing(task_id)
    server.kill()
    assert receiver.heard == []
    server.start()
    assert server.wait(task_id)[0]["state"] == "finished"
    until(lambda: receiver.heard, "the message")
    assert [heard.said["type"] for heard in receiver.heard] == ["task.finished"]


def test_a_target_that_hangs_holds_nobody_up(serve: Any, receivers: Any) -> None:
    over = threading.Event()
    hanging, quick = receivers(lambda number: 200 if over.wait(600) else 500), receivers()
    server = serve(hanging.address, quick.address)
    try:
        submit(server, hanging.address, count=5)
        until(lambda: hanging.heard, "the one that hangs")
        quick_ids = submit(server, quick.address, count=3)
        until(lambda: len(quick.heard) == 3, "the others")
        assert {heard.said["data"]["task"]["id"] for heard in quick.heard} == set(quick_ids)
        assert hanging.waited_for <= 1, "one at a time"
        server.gives_a_red_circle()
        assert server.end() == 0, "nor the end of the server"
    finally:
        over.set()


def test_redirects_lead_nowhere(serve: Any, receivers: Any) -> None:
    inside = receivers()
    target = receivers(lambda number: (307, f"{inside.address}/admin") if number == 1 else 200)
    server = serve(target.address)
    submit(server, target.address)
    until(lambda: len(target.heard) == 2, "the second try")
    assert inside.heard == []
    assert "307" in server.log


WRONG = [
    ("http://127.0.0.1:9/other", 403, "forbidden"),
    ("http://127.0.0.1:99/hooks", 403, "forbidden"),
    ("http://169.254.169.254/hooks", 403, "forbidden"),
    ("http://127.0.0.1:9/hooks/../x", 422, "bad_value"),
    ("gopher://127.0.0.1:9/hooks", 422, "bad_value"),
]


def test_what_is_not_allowed_queues_nothing(serve: Any) -> None:
    server = serve("http://127.0.0.1:9/hooks")
    for url, status, code in WRONG:
        got, answer = ask_json(server.address, "POST", "/v1/tasks", {"prompt": "a red circle"}, Webhook_Url=url)
        assert (got, answer["code"], answer["field"]) == (status, code, "Webhook-Url"), url
    assert server.get("/v1/tasks")[1]["tasks"] == []


def test_nothing_is_allowed_unless_somebody_has_said_so(quiet_server: Server) -> None:
    before = quiet_server.get("/v1/tasks?limit=1")[1]
    status, answer = ask_json(quiet_server.address, "POST", "/v1/tasks", {}, Webhook_Url="http://127.0.0.1:9/")
    assert status == 403 and "--webhooks" in answer["hint"]
    assert quiet_server.get("/v1/tasks?limit=1")[1] == before


def test_a_request_that_comes_again_is_told_of_once(serve: Any, receivers: Any) -> None:
    receiver = receivers()
    server = serve(receiver.address)
    headers = {"Webhook_Url": receiver.address, "Idempotency_Key": "once"}
    body = {"prompt": "a red circle", "steps": 2, "seed": 1}
    ids = ask_json(server.address, "POST", "/v1/tasks", body, **headers)[1]["ids"]
    server.wait(*ids)
    until(lambda: receiver.heard, "the message")
    assert ask_json(server.address, "POST", "/v1/tasks", body, **headers)[1]["ids"] == ids
    other = submit(server, receiver.address, seed=2)
    until(lambda: of_task(receiver, other[0]), "the next message")
    assert len(receiver.heard) == 2


def test_a_secret_that_is_none_stops_the_start(web_models: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "webhook_secret").write_text("hunter2")
    server = Server(tmp_path, web_models)
    assert server.launch().wait() != 0
    assert "webhook_secret" in server.log and "hunter2" not in server.log
