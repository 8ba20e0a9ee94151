"""Following tasks: nothing is missed, and nothing grows with history."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.events import NOT_EXPANDED, Cancelled, Failed, Finished, ImageSaved, PromptReady
from fooocus_lite.recipe import Recipe
from fooocus_lite.store import Store, open_store
from fooocus_lite.user import LOCAL
from fooocus_lite.web import live as live_module
from fooocus_lite.web.live import Live
from tests.app.client import ask, follow
from tests.aside import run_aside
from tests.faults.server import Server


def test_events_of_a_task_from_first_to_last(quiet_server: Server) -> None:
    (task_id,) = quiet_server.submit("a yellow star", steps=6)
    events = list(follow(quiet_server.address, f"/v1/tasks/{task_id}/events"))
    kinds = [event["event"] for event in events]
    assert kinds[0] == "queued"
    assert kinds[-1] == "finished"
    assert [kind for kind in kinds if kind in ("started", "prompt_ready", "image_saved")] == [
        "started",
        "prompt_ready",
        "image_saved",
    ]
    assert all(("id" in event) == (event["event"] not in ("progress", "preview")) for event in events)
    sequence = [json.loads(event["data"])["seq"] for event in events]
    assert sequence == sorted(sequence)
    for event in events:
        if event["event"] == "preview":
            with Image.open(io.BytesIO(base64.b64decode(json.loads(event["data"])["jpeg"]))) as preview:
                assert preview.format == "JPEG" and max(preview.size) <= 512


def test_events_are_replayed_after_the_last_one_seen(quiet_server: Server) -> None:
    (task_id,) = quiet_server.submit("a yellow star", steps=2)
    path = f"/v1/tasks/{task_id}/events"
    whole = [event for event in follow(quiet_server.address, path) if "id" in event]
    again = [event for event in follow(quiet_server.address, path) if "id" in event]
    assert again == whole
    rest = list(follow(quiet_server.address, path, Last_Event_ID=whole[1]["id"]))
    assert rest == whole[2:]
    assert list(follow(quiet_server.address, path, Last_Event_ID=whole[-1]["id"])) == []
    status, _, body = ask(quiet_server.address, "GET", path, headers={"Last-Event-ID": "yesterday"})
    assert (status, json.loads(body)["field"]) == (422, "Last-Event-ID")


def test_page_begins_with_a_snapshot_and_then_hears_everything(quiet_server: Server) -> None:
    running = quiet_server.submit("a red cross", steps=200)[0]
    quiet_server.wait_until_drawing(running)
    waiting = quiet_server.submit("a blue cross", steps=2, count=2)
    messages = follow(quiet_server.address, "/v1/events")
    first = json.loads(next(messages)["data"])
    assert first["type"] == "snapshot"
    assert [row["id"] for row in first["rows"]] == [running, *waiting]
    assert [row["state"] for row in first["rows"]] == ["running", "waiting", "waiting"]
    assert [one["id"] for one in first["progress"]] == [running]
    ask(quiet_server.address, "DELETE", f"/v1/tasks/{waiting[0]}")
    ask(quiet_server.address, "DELETE", f"/v1/tasks/{running}")
    ended: dict[str, Any] = {}
    for message in messages:
        news = json.loads(message["data"])
        if news["type"] == "task":
            ended[news["task"]["id"]] = news
            if news["task"]["id"] == waiting[1] and news["task"]["state"] == "finished":
                break
    assert [ended[task_id]["task"]["state"] for task_id in (running, *waiting)] == [
        "cancelled",
        "cancelled",
        "finished",
    ]
    assert ended[waiting[1]]["picture"]["recipe"]["prompt"] == "a blue cross"
    assert ended[waiting[1]]["waiting"] == 0


class _NoRunner:
    about: ClassVar[dict[str, Any]] = {}
    is_here = True

    def warm_up(self, plan: object) -> None: ...

    def run(self, plan: object, should_stop: object) -> Iterator[Any]:
        return iter(())

    def run_together(self, plans: object, should_stop: object) -> Iterator[Any]:
        return iter(())

    def close(self) -> None: ...


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def bytes_of(store: Store) -> tuple[int, int, int]:
    """Of the snapshot, of one queue change, and of a page of tasks."""
    dispatcher = Dispatcher(store, [_NoRunner()], library=lambda: None, output_dir=Path("."))  # type: ignore[arg-type]
    live = Live(store.queue, store.log, dispatcher)

    async def two_messages() -> tuple[int, int]:
        messages = live.page_messages(LOCAL)
        snapshot = await anext(messages)
        (task_id,) = await asyncio.to_thread(store.queue.submit, [Recipe(prompt="a star", seed=1, width=8, height=8)])
        change = await anext(messages)
        await messages.aclose()
        store.queue.cancel(task_id)
        return len(snapshot), len(change)

    page = sum(len(json.dumps(task.to_dict())) for task in store.queue.page(limit=50))
    return *run_aside(two_messages()), page


def test_messages_do_not_grow_with_history(store: Store) -> None:
    def draw(number: int) -> None:
        store.queue.submit([Recipe(prompt="a star", seed=seed, width=8, height=8) for seed in range(100, 100 + number)])
        store.queue.clear_waiting()

    draw(60)
    few = bytes_of(store)
    draw(3000)
    many = bytes_of(store)
    assert all(abs(a - b) <= 0.02 * a + 8 for a, b in zip(few, many, strict=True)), (few, many)


def test_thousands_that_come_or_go_at_once_are_one_message(store: Store) -> None:
    dispatcher = Dispatcher(store, [_NoRunner()], library=lambda: None, output_dir=Path("."))  # type: ignore[arg-type]
    live = Live(store.queue, store.log, dispatcher)

    async def story() -> list[dict[str, Any]]:
        messages = live.page_messages(LOCAL)
        await anext(messages)
        told: list[str] = []
        await asyncio.to_thread(store.queue.submit, [Recipe(prompt="a star", seed=seed) for seed in range(2000)])
        told.append(await anext(messages))
        await asyncio.to_thread(store.queue.clear_waiting)
        told.append(await anext(messages))
        await asyncio.to_thread(store.queue.submit, [Recipe(prompt="one more", seed=1)])
        told.append(await anext(messages))
        await messages.aclose()
        return [json.loads(text.partition("data: ")[2]) for text in told]

    came, went, more = run_aside(story())
    assert (came["type"], len(came["rows"]), came["waiting"]) == ("line", 100, 2000)
    assert (went["type"], went["rows"], went["waiting"]) == ("line", [], 0)
    assert (more["type"], more["task"]["words"]) == ("task", "one more")


def test_words_that_could_not_be_chosen_are_told_while_the_picture_forms(store: Store) -> None:
    dispatcher = Dispatcher(store, [_NoRunner()], library=lambda: None, output_dir=Path("."))  # type: ignore[arg-type]
    live = Live(store.queue, store.log, dispatcher)
    (task_id,) = store.queue.submit([Recipe(prompt="a star", seed=1)])
    why = f"{NOT_EXPANDED} The expansion model is missing. Put it back."

    async def story() -> list[dict[str, Any]]:
        messages = live.page_messages(LOCAL)
        await anext(messages)
        told: list[str] = []
        for words, warnings in (("", ("Said before.", why)), ("sharp", ())):
            await asyncio.to_thread(store.log.append, task_id, PromptReady(expansion=words, warnings=warnings))
            told.append(await anext(messages))
        await messages.aclose()
        return [json.loads(text.partition("data: ")[2]) for text in told]

    without, expanded = run_aside(story())
    assert without["notes"] == [why] and "notes" not in expanded


def test_a_long_line_is_told_by_its_head(store: Store) -> None:
    dispatcher = Dispatcher(store, [_NoRunner()], library=lambda: None, output_dir=Path("."))  # type: ignore[arg-type]
    live = Live(store.queue, store.log, dispatcher)
    store.queue.submit([Recipe(prompt="x" * 20_000, seed=seed) for seed in range(500)])
    snapshot = live.snapshot(LOCAL)
    assert len(snapshot["rows"]) == 100
    assert snapshot["waiting"] == 500
    assert [row["index"] for row in snapshot["rows"]] == list(range(1, 101))
    assert len(json.dumps(snapshot)) < 60_000


@pytest.mark.parametrize("ask_for_the_end", ["one", "batch"])
def test_every_page_hears_at_once_that_a_running_picture_is_to_end(store: Store, ask_for_the_end: str) -> None:
    dispatcher = Dispatcher(store, [_NoRunner()], library=lambda: None, output_dir=Path("."))  # type: ignore[arg-type]
    live = Live(store.queue, store.log, dispatcher)
    (task_id,) = store.queue.submit([Recipe(prompt="a star", seed=1, width=8, height=8)])
    assert store.queue.claim("worker")
    cancel = store.queue.cancel if ask_for_the_end == "one" else store.queue.cancel_batch

    async def news() -> list[str]:
        messages = live.page_messages(LOCAL)
        await anext(messages)
        await asyncio.to_thread(cancel, task_id)
        told = [await anext(messages)]
        version = store.queue.version
        await asyncio.to_thread(cancel, task_id)
        assert store.queue.version == version, "which is nothing new"
        await asyncio.to_thread(store.queue.pause)
        told.append(await anext(messages))
        await messages.aclose()
        return told

    first, second = (json.loads(text.removeprefix("data: ")) for text in run_aside(news()))
    assert [(row["id"], row["state"], row["cancelling"]) for row in first["rows"]] == [(task_id, "running", True)]
    assert (first["paused"], second["paused"]) == (False, True)


def test_an_end_that_comes_with_the_wish_for_it_is_told(store: Store) -> None:
    dispatcher = Dispatcher(store, [_NoRunner()], library=lambda: None, output_dir=Path("."))  # type: ignore[arg-type]
    live = Live(store.queue, store.log, dispatcher)
    (task_id,) = store.queue.submit([Recipe(prompt="a star", seed=1, width=8, height=8)])
    assert store.queue.claim("worker")

    def end() -> None:
        store.queue.cancel(task_id)
        store.queue.end(task_id, Cancelled())

    async def news() -> str:
        messages = live.page_messages(LOCAL)
        await anext(messages)
        await asyncio.to_thread(end)
        told = await anext(messages)
        await messages.aclose()
        return told

    told = [json.loads(text.removeprefix("data: ")) for text in run_aside(news()).split("\n\n") if text]
    assert [one["type"] for one in told] == ["line", "task"]
    assert (told[1]["task"]["state"], told[1]["has_ended"]) == ("cancelled", True)


def test_trouble_reaches_an_open_page_though_nothing_can_be_written(store: Store, tmp_path: Path) -> None:
    dispatcher = Dispatcher(store, [_NoRunner()], library=lambda: None, output_dir=Path("."))  # type: ignore[arg-type]
    live = Live(store.queue, store.log, dispatcher)

    async def story() -> list[dict[str, Any]]:
        messages = live.page_messages(LOCAL)
        told = [await anext(messages)]
        other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await asyncio.to_thread(dispatcher.start)
        told.append(await anext(messages))
        other.execute("ROLLBACK")
        told.append(await anext(messages))
        other.close()
        await messages.aclose()
        return [json.loads(text.partition("data: ")[2]) for text in told]

    try:
        before, during, after = run_aside(story())
    finally:
        dispatcher.close()
    assert before["trouble"] is None
    assert (during["type"], during["trouble"]["code"]) == ("line", "conflict")
    assert (after["type"], after["trouble"]) == ("line", None)


def test_the_device_reaches_an_open_page_when_it_is_known(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "HEARTBEAT_S", 0.05)
    runner = _NoRunner()
    dispatcher = Dispatcher(store, [runner], library=lambda: None, output_dir=Path("."))  # type: ignore[list-item, arg-type, return-value]
    live = Live(store.queue, store.log, dispatcher)

    async def story() -> tuple[str, str, str]:
        messages = live.page_messages(LOCAL)
        first, silence = await anext(messages), await anext(messages)
        runner.about = {"device": "cpu", "device_name": "CPU"}  # type: ignore[misc]
        news = ""
        while "data: " not in news:
            news = await anext(messages)
        await messages.aclose()
        return first, silence, news

    first, silence, news = run_aside(story())
    assert '"device_name":null' in first
    assert "data: " not in silence
    assert json.loads(news.partition("data: ")[2])["workers"][0]["device_name"] == "CPU"


def test_a_failure_is_still_there_after_a_reload_until_a_picture_succeeds(store: Store) -> None:
    dispatcher = Dispatcher(store, [_NoRunner()], library=lambda: None, output_dir=Path("."))  # type: ignore[arg-type]
    live = Live(store.queue, store.log, dispatcher)

    def claim() -> str:
        store.queue.submit([Recipe(prompt="a star", seed=1)])
        task = store.queue.claim("worker 1")
        assert task is not None
        return task.id

    assert live.snapshot(LOCAL)["last_failure"] is None
    failed = claim()
    problem = Failed(code="out_of_memory", problem="There is not enough memory.", hint="Draw less.", details="a trace")
    store.queue.end(failed, problem)
    store.queue.cancel(store.queue.submit([Recipe(prompt="another", seed=1)])[0])
    told = live.snapshot(LOCAL)["last_failure"]
    assert (told["task"]["id"], told["task"]["state"], told["details"]) == (failed, "failed", "a trace")
    assert told["task"]["error"] | {"field": None} == {
        "code": "out_of_memory", "problem": "There is not enough memory.", "hint": "Draw less.", "field": None,
    }  # fmt: skip
    store.queue.finish(claim(), ImageSaved(path="a.png", width=8, height=8), Finished(), {})
    assert live.snapshot(LOCAL)["last_failure"] is None
