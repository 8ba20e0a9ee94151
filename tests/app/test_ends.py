"""The end of a picture as the page hears of it."""

from __future__ import annotations

import asyncio
import contextlib

from fooocus_lite.store import Store
from fooocus_lite.user import LOCAL
from tests.app.test_sharing import draw, live_of, messages_in, store, submit
from tests.aside import run_aside

__all__ = ["store"]


def test_an_end_is_told_once_however_much_one_look_finds(store: Store) -> None:
    """Each message of a task shows it as it is now; whoever counts ends must not count those of what came before."""
    live = live_of(store)
    (task_id,) = submit(store)

    async def story() -> str:
        messages = live.page_messages(LOCAL)
        await anext(messages)
        await asyncio.to_thread(draw, store, task_id)
        async with contextlib.aclosing(messages):
            return await anext(messages)

    told = [message for message in messages_in(run_aside(story())) if message["type"] == "task"]
    assert [(message["task"]["state"], message.get("has_ended")) for message in told] == [
        ("finished", None), ("finished", None), ("finished", True),
    ]  # fmt: skip
