"""Followers see every fact once and in order, and only the newest of everything else."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fooocus_lite.errors import NotFound
from fooocus_lite.eventlog import READ_AT_ONCE
from fooocus_lite.events import (
    Cancelled,
    Downloading,
    Event,
    Failed,
    Finished,
    Preview,
    Progress,
    PromptReady,
    Started,
    fold,
)
from fooocus_lite.store import Store, open_store
from tests.aside import run_aside
from tests.deeds.conftest import a_recipe


def queued(store: Store) -> str:
    return store.queue.submit([a_recipe()])[0]


def test_facts_survive_a_restart_with_numbers_that_rise(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    task_id = queued(store)
    last = store.log.append(task_id, PromptReady(texts=("a ★ 😀", "\ud83d"), warnings=("w",)))
    told = [store.log.append(task_id, Progress(step=n, steps=900)) for n in range(900)]
    before = store.log.facts(task_id)
    store.close()
    store = open_store(tmp_path)
    assert store.log.facts(task_id)[: len(before)] == before
    assert store.log.facts(task_id)[1].texts == ("a ★ 😀", "\ud83d")  # type: ignore[attr-defined]
    after = store.log.append(task_id, Started())
    assert after.seq > told[-1].seq > last.seq
    assert after.seq < 2**53  # JavaScript's last exact whole number
    store.close()


def test_replay_begins_after_the_number_given(store: Store) -> None:
    task_id = queued(store)
    for n in range(5):
        store.log.append(task_id, PromptReady(texts=(str(n),)))
    store.queue.claim("w")
    store.queue.end(task_id, Cancelled())
    everything = list(store.log.follow(task_id))
    assert [event.kind for event in everything if event] == ["queued", *["prompt_ready"] * 5, "started", "cancelled"]
    for index, event in enumerate(everything):
        assert event
        assert list(store.log.follow(task_id, after=event.seq)) == everything[index + 1 :]
    with pytest.raises(NotFound):
        next(store.log.follow("nobody"))


def test_more_facts_than_one_reading_arrive_whole(store: Store) -> None:
    task_id = queued(store)
    for n in range(READ_AT_ONCE * 2 + 3):
        store.log.append(task_id, PromptReady(texts=(str(n),)))
    store.log.append(task_id, Progress(step=1, steps=2))
    store.queue.end(task_id, Cancelled())
    events = [event for event in store.log.follow(task_id) if event]
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert len(events) == READ_AT_ONCE * 2 + 5


def test_a_slow_follower_gets_every_fact_but_only_the_newest_preview(store: Store) -> None:
    task_id = queued(store)
    follower = store.log.follow(task_id)
    assert next(follower)
    for n in range(100):
        store.log.append(task_id, Progress(step=n, steps=100))
        store.log.append(task_id, Preview(step=n, jpeg=b"x" * n))
        if n % 20 == 0:
            store.log.append(task_id, PromptReady(texts=(str(n),)))
    got = [next(follower) for _ in range(7)]
    assert [event.kind for event in got if event] == [*["prompt_ready"] * 5, "progress", "preview"]
    assert [event.step for event in got if isinstance(event, Progress | Preview)] == [99, 99]
    follower.close()  # type: ignore[attr-defined]


def test_the_newest_is_there_for_a_reloaded_page_until_the_end(store: Store) -> None:
    task_id = queued(store)
    store.log.append(task_id, Downloading(name="weights", done_bytes=1, total_bytes=2))
    store.log.append(task_id, Progress(step=3, steps=9))
    preview = store.log.append(task_id, Preview(step=3, jpeg=b"new"))
    assert [event.kind for event in store.log.latest(task_id)] == ["downloading", "progress", "preview"]
    attached = store.log.follow(after=store.log.last_seq())
    assert [next(attached) for _ in range(3)][-1] == preview
    store.queue.end(task_id, Cancelled())
    assert store.log.latest(task_id) == ()


def test_memory_does_not_grow_with_history(store: Store) -> None:
    for _ in range(50):
        task_id = queued(store)
        for n in range(20):
            store.log.append(task_id, Preview(step=n, jpeg=b"x"))
        store.queue.claim("w")
        store.queue.end(task_id, Failed(problem="no"))
    assert store.log._slots == {}  # pyright: ignore[reportPrivateUsage]


def test_followers_in_threads_see_one_order(store: Store) -> None:
    ids = store.queue.submit([a_recipe()] * 6)
    start = threading.Barrier(7)

    def follow(_: int) -> list[Event]:
        start.wait()
        seen: list[Event] = []
        for event in store.log.follow():
            if event is not None:
                seen.append(event)
            if sum(event.kind == "cancelled" for event in seen) == len(ids):
                break
        return seen

    def work(task_id: str) -> None:
        for n in range(30):
            store.log.append(task_id, PromptReady(texts=(str(n),)))
            store.log.append(task_id, Progress(step=n, steps=30))
        store.queue.end(task_id, Cancelled())

    with ThreadPoolExecutor(12) as pool:
        followers = [pool.submit(follow, n) for n in range(6)]
        start.wait()
        list(pool.map(work, ids))
        for follower in followers:
            seen = follower.result(60)
            assert [event for event in seen if event.is_fact] == store.log.facts(limit=10_000)
            for task_id in ids:  # within a task nothing comes late
                mine = [event.seq for event in seen if event.task_id == task_id]
                assert mine == sorted(mine)


def test_a_follower_ends_with_its_task_and_with_the_log(store: Store) -> None:
    task_id = queued(store)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(lambda: fold(event for event in store.log.follow(task_id) if event))
        every = pool.submit(lambda: list(store.log.follow()))
        store.queue.claim("w")
        store.queue.end(task_id, Finished(seconds=2.0))
        assert one.result(60).state == "finished"
        store.log.close()
        assert [event.kind for event in every.result(60) if event][:1] == ["queued"]


def test_silence_is_broken_by_a_heartbeat(store: Store) -> None:
    task_id = queued(store)
    follower = store.log.follow(task_id, heartbeat_s=0.01)
    assert next(follower) is not None
    assert next(follower) is None


def test_asyncio_followers_get_the_same(store: Store) -> None:
    task_id = queued(store)

    async def follow(after: int) -> list[Event | None]:
        looks = [look async for look in store.log.afollow(task_id, after=after, heartbeat_s=0.005)]
        return [event for look in looks for event in look or [None]]

    async def story() -> tuple[list[Event | None], list[Event | None], list[Event | None]]:
        first = asyncio.create_task(follow(0))
        started = await asyncio.to_thread(store.queue.claim, "w")
        assert started
        await asyncio.to_thread(store.log.append, task_id, PromptReady(texts=("t",)))
        late = asyncio.create_task(follow(store.log.last_seq()))
        await asyncio.sleep(0.03)
        await asyncio.to_thread(store.queue.end, task_id, Cancelled())
        return await first, await late, await follow(store.log.last_seq())

    everything, late, ended = run_aside(story())
    assert [event.kind for event in everything if event] == ["queued", "started", "prompt_ready", "cancelled"]
    assert None in everything
    assert [event.kind for event in late if event] == ["cancelled"]
    assert ended == []
    assert store.log._wakers == {}  # pyright: ignore[reportPrivateUsage]


def test_an_asyncio_follower_that_goes_away_leaves_nothing(store: Store) -> None:
    task_id = queued(store)

    async def leave() -> None:
        follower = store.log.afollow(task_id)
        assert await anext(follower)
        await follower.aclose()  # type: ignore[attr-defined]

    run_aside(leave())
    assert store.log._wakers == {}  # pyright: ignore[reportPrivateUsage]
    store.log.append(task_id, Started())


def test_a_fact_waits_until_it_is_published(store: Store) -> None:
    """Between commit and publication, a reader would get it before the older progress that it ends."""
    task_id = queued(store)
    follower = store.log.follow(task_id, heartbeat_s=0)
    seen: list[Event | None] = []
    with store.database.write() as transaction:
        transaction.after_commit(lambda: seen.extend([next(follower), next(follower)]))
        store.log.record(transaction, task_id, PromptReady())
    assert [event and event.kind for event in seen] == ["queued", None]
    assert isinstance(next(follower), PromptReady)


def test_a_fact_that_is_not_on_disk_is_not_told(store: Store) -> None:
    task_id = queued(store)
    before = store.log.last_seq()
    with pytest.raises(RuntimeError), store.database.write() as transaction:
        store.log.record(transaction, task_id, Finished())
        raise RuntimeError
    assert store.log.last_seq() == before
    assert [event.kind for event in store.log.facts(task_id)] == ["queued"]
