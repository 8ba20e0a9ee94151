"""The same `Idempotency-Key`, sent again because an answer was lost: nothing is put in line twice."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from fooocus_lite import repeats
from fooocus_lite.events import Cancelled, Finished, ImageSaved
from fooocus_lite.store import open_store
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.user import LOCAL
from fooocus_lite.users_file import LimitsRow
from fooocus_lite.web.orders import Order, Orders
from fooocus_lite.web.who import SCOPE_KEY
from tests.app.light import LightProcess, LightServer
from tests.app.people import Client, people
from tests.deeds.conftest import a_recipe, until

TEXT = "a red star\na green heart"


def everything(server: LightServer) -> list[tuple[str, dict[str, Any]]]:
    """Every call that asks for pictures: (path, body)."""
    task_id, batch_id = server.submit("a star")[0], server.submit("two stars", count=2)[0]
    return [
        ("/v1/tasks", {"prompt": "a moon", "count": 2}),
        ("/v1/queue/import", {"text": TEXT}),
        ("/v1/queue/duplicate", {"batch_id": batch_id, "new_seed": True}),
        (f"/v1/tasks/{task_id}/duplicate", {}),
        ("/v1/repeats", {"recipe": {"prompt": "a sun"}}),
        ("/v1/sheets", {"recipe": {"prompt": "a tree"}, "varies": ["sampler"]}),
    ]


def test_what_is_sent_again_is_answered_as_before_and_not_asked_for_again(server: LightServer) -> None:
    for path, body in everything(server):
        before = server.line()
        first = server.ask("POST", path, body, Idempotency_Key="mine")
        asked = server.line()
        assert first[0] == 201 and set(before) < set(asked), path
        again = server.ask("POST", path, body, Idempotency_Key="mine")
        assert again == first and server.line() == asked, path
        other = server.ask("POST", path, body, Idempotency_Key="another")
        assert other[0] == 201 and other[1] != first[1] and len(server.line()) > len(asked), path
        assert server.ask("POST", path, body)[1] not in (first[1], other[1]), "without a key nothing is the same"


def test_another_body_under_the_same_key_is_another_request(server: LightServer) -> None:
    first = server.ask("POST", "/v1/queue/import", {"text": TEXT}, Idempotency_Key="mine")[1]["ids"]
    other = server.ask("POST", "/v1/queue/import", {"text": "a moon"}, Idempotency_Key="mine")[1]["ids"]
    assert server.line() == [*first, *other] and len(other) == 1


def test_it_is_answered_whatever_became_of_it(server: LightServer) -> None:
    """Cancelled, ended, or no longer to be had: the answer says what was asked for, not that it cannot be any more."""
    (task_id,) = server.submit()
    wishes: list[tuple[str, dict[str, Any]]] = [
        ("/v1/queue/duplicate", {"batch_id": task_id}),
        ("/v1/repeats", {"recipe": {"prompt": "a sun"}}),
    ]
    first = [server.ask("POST", path, body, Idempotency_Key="mine")[1] for path, body in wishes]
    server.ask("POST", "/v1/clear")
    assert server.line() == []
    again = [server.ask("POST", path, body, Idempotency_Key="mine")[1] for path, body in wishes]
    assert again[0] == first[0] and again[1] == first[1] | {"state": "ended"}
    assert server.line() == [] and server.ask("GET", "/v1/repeats")[1] == {"repeats": []}


def test_many_at_once_are_one(server: LightServer) -> None:
    answers: dict[str, list[Any]] = {"/v1/queue/import": [], "/v1/repeats": []}
    bodies = {"/v1/queue/import": {"text": TEXT}, "/v1/repeats": {"recipe": {"prompt": "a sun"}}}

    def send(path: str) -> None:
        answers[path].append(server.ask("POST", path, bodies[path], Idempotency_Key="at once"))

    threads = [threading.Thread(target=send, args=(path,)) for path in answers for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path, said in answers.items():
        assert len(said) == 8 and said[0][0] == 201 and all(one == said[0] for one in said), path
    assert len(server.line()) == 3


def meet(server: LightServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next two requests both find nothing under their key; then one of them asks, and when it has, the other."""
    really, before, both = server.store.queue.asked, server.line(), threading.Barrier(2)
    came: list[str] = []

    def asked(key: str | None) -> list[str]:
        there = really(key)
        if key is not None and len(came) < 2:
            came.append(key)
            if both.wait() != 0:
                until(lambda: server.line() != before, "the answer to the first one")
        return there

    monkeypatch.setattr(server.store.queue, "asked", asked)


@pytest.mark.parametrize("limits", [LimitsRow(waiting=2), LimitsRow(pictures_a_day=2)])
@pytest.mark.parametrize("door", ["tasks/{}/duplicate", "queue/import", "repeats", "tasks"])
def test_at_a_limit_the_same_request_twice_at_once_has_one_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, limits: LimitsRow
) -> None:
    (tmp_path / "data").mkdir()
    people(tmp_path / "data", ben=limits)
    with closing(LightServer(tmp_path)) as server:
        ben = Client(server, "ben")
        (task_id,) = ben.submit()
        bodies: dict[str, Any] = {
            "queue/import": {"text": "a moon"},
            "repeats": {"recipe": {"prompt": "a sun"}},
            "tasks": {"prompt": "a tree"},
        }
        path, body = f"/v1/{door.format(task_id)}", bodies.get(door, {})
        meet(server, monkeypatch)
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda _: ben.ask("POST", path, body, Idempotency_Key="mine"), range(2))
        assert first[0] == 201 and second == first
        assert len(server.line()) == 2
        assert ben.ask("POST", path, body, Idempotency_Key="another")[0] == 429


def test_the_last_repeat_there_is_room_for_asked_for_twice_at_once_is_one(
    server: LightServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "MAX_REPEATS", 1)
    meet(server, monkeypatch)
    wish = {"recipe": {"prompt": "a sun"}}
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: server.ask("POST", "/v1/repeats", wish, Idempotency_Key="mine"), range(2))
    assert first[0] == 201 and second == first
    assert server.ask("POST", "/v1/repeats", wish, Idempotency_Key="another")[0] == 409


def test_a_kill_does_not_forget_what_was_asked_for(tmp_path: Path) -> None:
    ids: list[list[str]] = []
    for _ in range(2):
        process = LightProcess(tmp_path)
        process.ask("POST", "/v1/queue/pause")
        ids.append(process.ask("POST", "/v1/queue/import", {"text": TEXT}, Idempotency_Key="over a kill")[1]["ids"])
        process.kill()
    assert ids[0] == ids[1] and len(ids[0]) == 2


# Requests that stay open until their pictures are drawn.


def held_request() -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    headers = [(b"idempotency-key", b"mine")]
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": headers, "client": None, SCOPE_KEY: LOCAL}
    return Request(scope, receive)


def orders_of(queue: TaskQueue, log: Any) -> Orders:
    def submit(recipes: Any, batch_id: str | None, owner: str) -> list[str]:
        return queue.submit(recipes, batch_id=batch_id, owner=owner)

    return Orders(queue, log, submit, grace_s=0.0)


def test_who_comes_back_while_it_is_cancelled_is_given_new_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    really, is_begun, may_go_on = store.queue.cancel, threading.Event(), threading.Event()

    def slowly(task_id: str) -> bool:
        is_begun.set()
        may_go_on.wait()
        return really(task_id)

    monkeypatch.setattr(store.queue, "cancel", slowly)

    async def story() -> Order:
        orders = orders_of(store.queue, store.log)
        orders.leave(await orders.place([a_recipe()], held_request()), "gone")
        await asyncio.to_thread(is_begun.wait)
        again = asyncio.create_task(orders.place([a_recipe()], held_request()))
        await asyncio.wait({again}, timeout=1.0)  # long enough to be given those that are about to be cancelled
        may_go_on.set()
        order = await again
        while orders._pending:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.01)
        return order

    order = asyncio.run(story())
    assert [store.queue.get(task_id).state for task_id in order.ids] == ["waiting"]
    store.close()


def test_what_is_drawn_still_though_it_was_cancelled_is_drawn_anew_and_only_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    recipes = [a_recipe(seed=1), a_recipe(seed=2)]

    def asked() -> list[str]:
        return asyncio.run(orders_of(store.queue, store.log).place(recipes, held_request())).ids

    first, second = asked()
    store.queue.claim("w")
    store.queue.cancel(first)
    instead, kept = asked()
    assert kept == second and store.queue.get(instead).state == "waiting"
    assert store.queue.get(instead).recipe == recipes[0]
    store.queue.end(first, Cancelled())
    for task_id in (second, instead):
        store.queue.claim("w")
        store.queue.finish(task_id, ImageSaved(path=f"{task_id}.png"), Finished(), {})
    assert asked() == [instead, second], "in the order of the request, and nothing more"
    assert store.queue.counts()["waiting"] == 0
    store.close()
