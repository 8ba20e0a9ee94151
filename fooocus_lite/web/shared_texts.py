"""Texts that many wait for at the same moment, each made once: two hundred pages cost the queue what one costs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

#: Of each kind. Followers are seldom further apart than that; for one that is, a text is made again. The largest, a
#: preview or the head of the line, have about 50 KB.
KEPT = 64

T = TypeVar("T")


@dataclass(frozen=True)
class _Reading(Generic[T]):
    """A look at a state that changes: when it was begun, and when it was done and what came of it."""

    begun: int
    result: asyncio.Future[tuple[int, T]]


class SharedTexts(Generic[T]):
    """Belongs to one event loop. ``T`` is what a reading of the state gives.

    The state may change between two readings, so their order counts: it is told by moments, numbers that rise.
    """

    def __init__(self) -> None:
        self._moment = 0
        self._fixed: dict[Hashable, str] = {}
        self._readings: dict[Hashable, _Reading[T]] = {}

    def moment(self) -> int:
        """Now: larger than whatever was now before."""
        self._moment += 1
        return self._moment

    def fixed(self, key: Hashable, make: Callable[[], str]) -> str:
        """A text that is the same whenever it is made."""
        if (text := self._fixed.get(key)) is None:
            text = self._fixed[key] = make()
            _trim(self._fixed)
        return text

    async def reading(self, key: Hashable, read: Callable[[], T], *, since: int) -> tuple[int, T]:
        """The newest look at the state under that key, and the moment when it was done; ``read`` takes one in a thread.

        Whoever waits may be cancelled without the others' noticing; what goes wrong reaches all who wait, and is tried
        again by the next.

        Args:
            since: When the newest reading that the asker knows was done. What was begun before that may be older, and
                is taken again.
        """
        found = self._readings.get(key)
        if found is None or found.begun < since:
            found = self._begin(key, read)
        if found.result.done():  # the usual case in a crowd, for which `shield` is the dearest part
            return found.result.result()
        return await asyncio.shield(found.result)

    def _begin(self, key: Hashable, read: Callable[[], T]) -> _Reading[T]:
        async def take() -> tuple[int, T]:
            result = await asyncio.to_thread(read)
            return self.moment(), result

        begun = _Reading(self.moment(), asyncio.ensure_future(take()))

        def forget_failure(result: asyncio.Future[Any]) -> None:
            if (result.cancelled() or result.exception()) and self._readings.get(key) is begun:
                del self._readings[key]

        begun.result.add_done_callback(forget_failure)
        self._readings.pop(key, None)  # so that it stands last
        self._readings[key] = begun
        _trim(self._readings)
        return begun


def _trim(kept: dict[Hashable, Any]) -> None:
    """Only the newest stay."""
    while len(kept) > KEPT:
        del kept[next(iter(kept))]
