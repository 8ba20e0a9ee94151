"""Two hundred who watch cost what one does: every message is made once, and nobody ends with what is old."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import connect

from fooocus_lite import eventlog
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.events import Finished, ImageSaved, Preview, Progress, PromptReady
from fooocus_lite.recipe import Recipe
from fooocus_lite.store import Store, open_store
from fooocus_lite.user import LOCAL, User
from fooocus_lite.web import live as live_module
from fooocus_lite.web.live import MANY, Live
from fooocus_lite.web.shared_texts import KEPT, SharedTexts
from tests.app.client import follow
from tests.app.light import LightServer
from tests.aside import run_aside
from tests.deeds.conftest import DEADLINE_S

CROWD = 200


def messages_in(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def live_of(store: Store) -> Live:
    return Live(store.queue, store.log, Dispatcher(store, [], library=lambda: None, output_dir=Path(".")))  # type: ignore[arg-type, return-value]


def submit(store: Store, count: int = 1) -> list[str]:
    return store.queue.submit([Recipe(prompt="a star", seed=seed, width=8, height=8) for seed in range(count)])


# Once.


async def heard(address: str, begun: asyncio.Semaphore) -> list[dict[str, Any]]:
    """What a page is told after its snapshot, until a picture is finished."""
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1 << 24)
    writer.write(f"GET /v1/events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
    told: list[dict[str, Any]] = []
    while not told or "picture" not in told[-1]:
        line = await reader.readline()
        assert line, "the stream broke off"
        if line.startswith(b"data: "):
            told.append(json.loads(line[6:]))
            if len(told) == 1:
                begun.release()
    writer.close()
    return told[1:]


def draw(store: Store, task_id: str) -> None:
    """All that is told of a picture."""
    claimed = store.queue.claim("worker 1")
    assert claimed and claimed.id == task_id
    store.log.append(task_id, PromptReady())
    for step in range(6):
        store.log.append(task_id, Progress(step=step, steps=6))
        store.log.append(task_id, Preview(step=step, jpeg=b"x" * 20_000))
    store.queue.finish(task_id, ImageSaved(path="a.png", width=8, height=8), Finished(), {})


def test_a_crowd_is_told_what_was_made_once(server: LightServer, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Counter[object] = Counter()
    of_task, of_preview = Live._task_message, live_module._preview  # pyright: ignore[reportPrivateUsage]

    def task_message(live: Live, event: Any, user: User) -> dict[str, Any] | None:
        made[event.seq] += 1
        return of_task(live, event, user)

    def preview(event: Preview) -> dict[str, Any]:
        made[event.seq] += 1
        return of_preview(event)

    monkeypatch.setattr(Live, "_task_message", task_message)
    monkeypatch.setattr(live_module, "_preview", preview)

    async def crowd() -> list[list[dict[str, Any]]]:
        begun = asyncio.Semaphore(0)
        following = [asyncio.create_task(heard(server.address, begun)) for _ in range(CROWD)]
        for _ in following:
            await begun.acquire()
        (task_id,) = await asyncio.to_thread(submit, server.store)
        await asyncio.to_thread(draw, server.store, task_id)
        return await asyncio.gather(*following)

    told = run_aside(crowd())
    assert set(made.values()) == {1} and len(made) >= 4, made
    told_of_task = [[message for message in one if message["type"] == "task"] for one in told]
    assert [len(messages) for messages in told_of_task] == [4] * CROWD, "queued, started, prompt_ready, finished"
    assert all(one == told_of_task[0] for one in told_of_task)


def test_what_one_look_finds_leaves_as_one_piece(store: Store) -> None:
    live = live_of(store)
    task_id, *_ = submit(store, 3)

    async def story() -> str:
        messages = live.page_messages(LOCAL)
        await anext(messages)
        await asyncio.to_thread(store.queue.claim, "worker 1")
        store.log.append(task_id, PromptReady())
        store.log.append(task_id, Progress(step=1, steps=6))
        await asyncio.to_thread(store.queue.pause)
        async with contextlib.aclosing(messages):
            return await anext(messages)

    assert [message["type"] for message in messages_in(run_aside(story()))] == ["line", "task", "task", "progress"]


@pytest.mark.usefixtures("endless_rest")
def test_who_follows_one_task_hears_its_end_while_the_crowd_rests(server: LightServer) -> None:
    (task_id,) = submit(server.store)
    pages = [follow(server.address, "/v1/events") for _ in range(5)]
    for page in pages:
        assert json.loads(next(page)["data"])["type"] == "snapshot"
    one = follow(server.address, f"/v1/tasks/{task_id}/events")
    assert next(one)["event"] == "queued"
    with connect(f"ws{server.address.removeprefix('http')}/v1/tasks/{task_id}/ws") as socket:
        assert json.loads(socket.recv())["kind"] == "queued"
        draw(server.store, task_id)
        assert [event["event"] for event in one][-2:] == ["image_saved", "finished"]
        assert [json.loads(text)["kind"] for text in socket][-2:] == ["image_saved", "finished"]
    server.store.log.close()
    for page in pages:  # they rested, and lost nothing by it
        assert json.loads(list(page)[-1]["data"])["task"]["state"] == "finished"


@pytest.fixture
def endless_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventlog, "REST_S", 1e6)


# Never old.


def test_a_late_page_is_not_told_what_the_early_one_was(store: Store) -> None:
    """What was made for one before the line changed is not what the other, who looks after that, is told."""
    live = live_of(store)
    submit(store)

    async def story() -> tuple[str, str]:
        early, late = live.page_messages(LOCAL), live.page_messages(LOCAL)
        async with contextlib.aclosing(early), contextlib.aclosing(late):
            await anext(early)
            await anext(late)
            await asyncio.to_thread(store.queue.claim, "worker 1")
            first = await anext(early)
            await asyncio.to_thread(submit, store, MANY)
            return first, await anext(late)

    first, last = map(messages_in, run_aside(story()))
    assert [(message["type"], message["waiting"]) for message in first] == [("task", 0)]
    assert [(message["type"], message["waiting"]) for message in last] == [("line", MANY), ("task", MANY)]


def test_a_page_is_not_told_what_was_made_before_its_snapshot(store: Store) -> None:
    (task_id,) = submit(store)

    class Slow(Live):
        """Between the first and the last look of a snapshot much may happen."""

        def snapshot(self, user: User) -> dict[str, Any]:
            between()
            return super().snapshot(user)

    between = lambda: None  # noqa: E731
    live = Slow(store.queue, store.log, live_of(store)._dispatcher)  # pyright: ignore[reportPrivateUsage]

    async def story() -> tuple[str, str, str]:
        nonlocal between
        early, late = live.page_messages(LOCAL), live.page_messages(LOCAL)
        async with contextlib.aclosing(early), contextlib.aclosing(late):
            await anext(early)
            loop = asyncio.get_running_loop()
            told: list[str] = []

            def meanwhile() -> None:
                store.queue.claim("worker 1")
                told.append(asyncio.run_coroutine_threadsafe(anext(early), loop).result())  # type: ignore[arg-type]
                store.queue.cancel(task_id)

            between = meanwhile
            snapshot = await anext(late)
            return told[0], snapshot, await anext(late)

    (early,), (snapshot,), (line, late) = map(messages_in, run_aside(story()))
    assert not early["task"]["cancelling"]
    assert [snapshot["rows"][0]["cancelling"], line["rows"][0]["cancelling"], late["task"]["cancelling"]] == [True] * 3


def test_a_page_is_told_at_once_what_changed_while_it_was_sent_its_snapshot(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "HEARTBEAT_S", 1e6)

    async def story() -> str:
        messages = live_of(store).page_messages(LOCAL)
        async with contextlib.aclosing(messages):
            await anext(messages)
            await asyncio.to_thread(store.queue.pause)
            return await asyncio.wait_for(anext(messages), DEADLINE_S)

    (told,) = messages_in(run_aside(story()))
    assert (told["type"], told["paused"]) == ("line", True)


def test_who_draws_hears_of_others_too(store: Store) -> None:
    """Ben's page is told of his picture's steps, and in the same look how many of Ana's come before his next."""
    first, _ = store.queue.submit([Recipe(prompt="his", seed=n, width=8, height=8) for n in range(2)], owner="ben")
    store.queue.claim("worker 1")

    async def story() -> str:
        messages = live_of(store).page_messages(User("ben", is_admin=False))
        async with contextlib.aclosing(messages):
            await anext(messages)
            store.log.append(first, Progress(step=1, steps=6))
            hers = [Recipe(prompt="hers", seed=1, width=8, height=8)]
            await asyncio.to_thread(store.queue.submit, hers, owner="ana")
            return await anext(messages)

    told = messages_in(run_aside(story()))
    assert [message["type"] for message in told] == ["progress", "numbers"]
    assert told[-1]["ahead"] == 1


def change_the_line(store: Store) -> None:
    """In every way, and often."""
    for number in range(30):
        submit(store, 1 + number % (MANY + 1))
        store.queue.pause()
        store.queue.resume()
        store.queue.claim("worker 1")
        if number % 3 == 0:
            store.queue.clear_waiting()
        if number % 4 == 0:
            store.queue.pause()
    submit(store)
    store.queue.resume()


class Crowd:
    """Pages, and everything that each was told of the line."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.told: list[list[dict[str, Any]]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def come(self, pause_s: float) -> None:
        """One more, that takes so long over each piece."""
        self.told.append([])
        self._tasks.append(asyncio.create_task(self._follow(pause_s, self.told[-1])))

    async def _follow(self, pause_s: float, told: list[dict[str, Any]]) -> None:
        async for text in self._live.page_messages(LOCAL):
            told += [message for message in messages_in(text) if "version" in message]
            await asyncio.sleep(pause_s)

    def believes(self) -> set[tuple[object, ...]]:
        """What they were told last."""
        lasts = [told[-1] if told else {} for told in self.told]
        return {(last.get("waiting"), last.get("paused"), last.get("version")) for last in lasts}

    async def go(self) -> None:
        """All of them leave."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def test_everybody_ends_with_the_newest(store: Store) -> None:
    """Pages that look at different moments, and come at different moments, while the line changes and changes."""
    live = live_of(store)

    def truth() -> tuple[object, ...]:
        return store.queue.counts()["waiting"], store.queue.is_paused, store.queue.version

    async def story() -> list[list[dict[str, Any]]]:
        crowd = Crowd(live)
        for pause_s in (0, 0, 0, 0.002, 0.01, 0.05, 0.2):
            crowd.come(pause_s)
        working = asyncio.ensure_future(asyncio.to_thread(change_the_line, store))
        while not working.done():
            crowd.come(0)
            await asyncio.sleep(0.05)
        await working
        end = time.monotonic() + DEADLINE_S
        while crowd.believes() != {truth()}:
            assert time.monotonic() < end, (crowd.believes(), truth())
            await asyncio.sleep(0.01)
        await crowd.go()
        return crowd.told

    for told in run_aside(story()):
        versions = [message["version"] for message in told]
        assert versions == sorted(versions), "what is told never goes back"


# The sharing itself.


def test_readings_are_shared_by_those_who_know_no_more(store: Store) -> None:
    taken: list[int] = []

    def read() -> int:
        taken.append(len(taken))
        return taken[-1]

    async def story() -> None:
        texts = SharedTexts[int]()
        both = await asyncio.gather(*(texts.reading("a", read, since=0) for _ in range(2)))
        assert both[0] == both[1] and both[0][1] == 0
        known, _ = await texts.reading("b", read, since=both[0][0])
        assert await texts.reading("b", read, since=both[0][0]) == (known, 1), "begun after what they know"
        newer, number = await texts.reading("a", read, since=known)
        assert number == 2 and newer > known, "the first was begun before"
        assert (await texts.reading("a", read, since=0))[1] == 2, "and the newest is for everybody"
        for other in range(KEPT):
            await texts.reading(other, read, since=0)
        assert (await texts.reading("a", read, since=0))[1] == len(taken) - 1 > KEPT, "only so many are kept"

    run_aside(story())


def test_who_leaves_takes_nothing_from_those_who_wait(store: Store) -> None:
    go_on = threading.Event()

    def read() -> str:
        assert go_on.wait(60)
        return "text"

    async def story() -> str:
        texts = SharedTexts[str]()
        leaves, stays = (asyncio.create_task(texts.reading("a", read, since=0)) for _ in range(2))
        await asyncio.sleep(0)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        go_on.set()
        return (await stays)[1]

    assert run_aside(story()) == "text"


def test_a_failure_is_not_kept() -> None:
    def fails() -> str:
        raise OSError("the disk is away")

    async def story() -> str:
        texts = SharedTexts[str]()
        results = await asyncio.gather(*(texts.reading("a", fails, since=0) for _ in range(2)), return_exceptions=True)
        assert [type(one) for one in results] == [OSError, OSError]
        return (await texts.reading("a", lambda: "text", since=0))[1]

    assert run_aside(story()) == "text"
