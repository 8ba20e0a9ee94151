"""Crowds that follow: who hears at once, who rests, and that nobody loses a fact by it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from fooocus_lite import eventlog
from fooocus_lite.eventlog import READ_AT_ONCE, REMEMBERED, _Call  # pyright: ignore[reportPrivateUsage]
from fooocus_lite.events import Cancelled, Event, Preview, Progress, PromptReady
from fooocus_lite.store import Store
from tests.aside import run_aside
from tests.deeds.conftest import a_recipe

FOR_EVER_S = 1e6


def two_tasks(store: Store) -> tuple[str, str]:
    mine, other = store.queue.submit([a_recipe()] * 2)
    return mine, other


async def settled() -> None:
    """Everything that can happen without time passing has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


async def begun(looks: AsyncGenerator[list[Event]]) -> asyncio.Task[list[Event]]:
    """The next look of a follower that has had its first one and now waits."""
    await anext(looks)
    return await next_of(looks)


async def next_of(looks: AsyncGenerator[list[Event]]) -> asyncio.Task[list[Event]]:
    async def look() -> list[Event]:
        return await anext(looks)

    waiting = asyncio.create_task(look())
    await settled()
    assert not waiting.done()
    return waiting


async def at_once(waiting: asyncio.Task[list[Event]]) -> list[str]:
    """What came without any time passing."""
    await settled()
    assert waiting.done()
    return kinds(waiting.result())


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


@pytest.fixture
def endless_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who rests does so for ever: what comes all the same has not waited."""
    monkeypatch.setattr(eventlog, "REST_S", FOR_EVER_S)


@pytest.mark.usefixtures("endless_rest")
def test_what_cannot_wait_is_told_at_once_to_who_follows_one_task(store: Store) -> None:
    mine, other = two_tasks(store)

    async def story() -> list[list[str]]:
        looks, also = store.log.afollow(mine), store.log.afollow(mine)  # two follow it, so each of them rests
        others = await begun(also)
        waiting = await begun(looks)
        told: list[list[str]] = []
        for first in (Progress(step=1, steps=9), Preview(step=1, jpeg=b"x")):  # signs that its drawing has begun
            store.log.append(mine, first)
            told.append(await at_once(waiting))
            waiting = await next_of(looks)
        store.log.append(mine, Progress(step=2, steps=9))
        await settled()
        assert not waiting.done(), "the next ones can wait"
        store.log.append(mine, PromptReady())
        told.append(await at_once(waiting))
        waiting = await next_of(looks)
        store.log.append(mine, Progress(step=3, steps=9))
        store.log.append(mine, Progress(step=4, steps=9))
        store.log.append(other, PromptReady())
        told.append(await at_once(waiting))
        waiting = await next_of(looks)
        await asyncio.to_thread(store.queue.end, mine, Cancelled())
        told.append(await at_once(waiting))
        assert others.done(), "the other was told the first of it"
        return told

    assert run_aside(story()) == [["progress"], ["preview"], ["prompt_ready"], ["progress"], ["cancelled"]]


def test_who_follows_one_task_is_not_woken_for_another(store: Store) -> None:
    mine, other = two_tasks(store)

    async def story() -> None:
        waiting = await begun(store.log.afollow(mine))
        (waker,) = store.log._wakers[mine]  # pyright: ignore[reportPrivateUsage]
        store.log.append(other, Progress(step=1, steps=9))
        store.log.append(other, PromptReady())
        assert waker.called == _Call.NO
        store.log.append(mine, PromptReady())
        assert waker.called == _Call.NOW
        assert await at_once(waiting) == ["prompt_ready"]

    run_aside(story())


@pytest.mark.usefixtures("endless_rest")
def test_who_follows_everything_rests_and_then_hears_all_that_came(store: Store) -> None:
    mine, other = two_tasks(store)

    async def story() -> list[list[str]]:
        followers = [store.log.afollow() for _ in range(2)]
        waiting = [await begun(looks) for looks in followers]
        wakers = store.log._wakers[None]  # pyright: ignore[reportPrivateUsage]
        store.log.append(mine, PromptReady())
        store.log.nudge()
        store.log.append(other, Progress(step=1, steps=9))
        await settled()
        assert all(waker.called for waker in wakers), "nobody calls them meanwhile"
        assert not any(one.done() for one in waiting), "they rest"
        store.log.close()  # ends every rest
        told = [await at_once(one) for one in waiting]
        for looks in followers:
            assert [look async for look in looks] == []
        return told

    assert run_aside(story()) == [["prompt_ready", "progress"]] * 2


@pytest.mark.usefixtures("endless_rest")
def test_one_alone_never_rests(store: Store) -> None:
    """The page of the only person there shows a preview when it comes, not after a rest."""
    mine, other = two_tasks(store)

    async def story() -> list[list[str]]:
        looks = store.log.afollow()
        waiting = await begun(looks)
        told: list[list[str]] = []
        for news in (Progress(step=1, steps=9), Progress(step=2, steps=9), Preview(step=2, jpeg=b"x")):
            store.log.append(mine, news)
            told.append(await at_once(waiting))
            waiting = await next_of(looks)
        await asyncio.to_thread(store.queue.end, other, Cancelled())
        told.append(await at_once(waiting))
        return told

    assert run_aside(story()) == [["progress"], ["progress"], ["preview"], ["cancelled"]]


def test_that_a_picture_is_begun_waits_for_its_first_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventlog, "BEGINNING_S", FOR_EVER_S)
    mine, _ = two_tasks(store)

    async def story() -> list[list[str]]:
        looks, of_mine = store.log.afollow(), store.log.afollow(mine)
        waiting, one = await begun(looks), await begun(of_mine)
        await asyncio.to_thread(store.queue.claim, "worker 1")
        told = [await at_once(one)]
        store.log.append(mine, PromptReady())
        await settled()
        assert not waiting.done()
        store.log.append(mine, Progress(step=1, steps=9))
        told.append(await at_once(waiting))
        return told

    assert run_aside(story()) == [["started"], ["started", "prompt_ready", "progress"]]


def test_that_a_picture_is_begun_is_told_though_nothing_follows(store: Store) -> None:
    """A model may load for minutes before the first step."""

    async def story() -> list[str]:
        waiting = await begun(store.log.afollow())
        await asyncio.to_thread(store.queue.claim, "worker 1")
        return kinds(await waiting)

    two_tasks(store)
    assert run_aside(story()) == ["started"]


@pytest.mark.usefixtures("endless_rest")
def test_a_rest_is_as_long_as_the_same_has_other_followers(store: Store) -> None:
    mine, _ = two_tasks(store)
    store.log.append(mine, Progress(step=1, steps=9))

    async def story() -> dict[str | None, set[int]]:
        followed = [None, None, None, mine, mine]
        waiting = [await begun(store.log.afollow(task_id)) for task_id in followed]
        store.log.append(mine, Progress(step=2, steps=9))
        await settled()
        rests: dict[str | None, set[int]] = {}
        for task_id, same in store.log._wakers.items():  # pyright: ignore[reportPrivateUsage]
            for waker in same:
                assert waker._rest  # pyright: ignore[reportPrivateUsage]
                seconds = waker._rest.when() - waker._looked_at  # pyright: ignore[reportPrivateUsage]
                rests.setdefault(task_id, set()).add(round(seconds / FOR_EVER_S))
        store.log.close()
        await asyncio.gather(*waiting)
        return rests

    assert run_aside(story()) == {None: {2}, mine: {1}}


def test_a_crowd_is_called_by_one_call(store: Store) -> None:
    """The thread that draws is the one that calls: what it pays for each follower, every step pays."""
    mine, _ = two_tasks(store)

    async def story() -> int:
        waiting = [await begun(store.log.afollow()) for _ in range(50)]
        loop = asyncio.get_running_loop()
        calls: list[object] = []
        plain = loop.call_soon_threadsafe

        def counted(*args: Any, **more: Any) -> asyncio.Handle:
            calls.append(args)
            return plain(*args, **more)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        for step in range(5):
            store.log.append(mine, Progress(step=step, steps=9))
        loop.call_soon_threadsafe = plain  # type: ignore[method-assign]
        told = await asyncio.gather(*waiting)
        assert {event.step for (event,) in told if isinstance(event, Progress)} == {4}
        return len(calls)

    assert run_aside(story()) == 1


def test_a_nudge_is_a_look_that_finds_nothing(store: Store) -> None:
    mine, _ = two_tasks(store)

    async def story() -> list[list[Event]]:
        waiting = [await begun(store.log.afollow(task_id)) for task_id in (None, mine)]
        store.log.nudge()
        return list(await asyncio.gather(*waiting))

    assert run_aside(story()) == [[], []]


@pytest.mark.parametrize("remembered", [10, REMEMBERED])
def test_every_follower_gets_every_fact_once_and_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    """Quick ones and slow ones, of everything and of one task, from memory or disk, while several threads write."""
    monkeypatch.setattr(eventlog, "REMEMBERED", remembered)
    ids = store.queue.submit([a_recipe()] * 4)
    rounds = READ_AT_ONCE // 2  # so that slow ones have to read more than once

    def work(task_id: str) -> None:
        for step in range(rounds):
            store.log.append(task_id, PromptReady(texts=(str(step),)))
            store.log.append(task_id, Progress(step=step, steps=rounds))
        store.queue.end(task_id, Cancelled())

    async def follow(task_id: str | None, pause_s: float) -> list[Event]:
        ends, told = 0, list[Event]()
        async with contextlib.aclosing(store.log.afollow(task_id)) as looks:
            async for events in looks:
                told += [event for event in events if event.is_fact]
                ends += kinds(events).count("cancelled")
                if ends == len(ids):  # who follows one task has but one end, and needs no other sign
                    break
                await asyncio.sleep(pause_s)
        return told

    async def story() -> list[tuple[str | None, list[Event]]]:
        followed = [(task_id, pause_s) for task_id in (None, *ids) for pause_s in (0, 0, 0.01, 0.3)]
        crowd = [asyncio.create_task(follow(*one)) for one in followed]
        await asyncio.gather(*(asyncio.to_thread(work, task_id) for task_id in ids))
        return [(task_id, await one) for (task_id, _), one in zip(followed, crowd, strict=True)]

    for task_id, told in run_aside(story()):
        assert told == store.log.facts(task_id, limit=10_000)
    assert store.log._wakers == {}  # pyright: ignore[reportPrivateUsage]
