"""Texts that many wait for at the same moment, each made once: two hundred pages cost the queue what one costs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

#: Of each kind. Followers are seldom further apart than that; for one that is, a text is made again. The largest, a
#: preview or the head of the line, have about 50 KB.
KEPT = 64

T = TypeVar("T")


@dataclass(frozen=True)
class Reading(Generic[T]):
    """A look at a state that changes: what came of it, and the moment (`SharedTexts.moment`) in which it was begun."""

    moment: int
    result: asyncio.Future[T]


class SharedTexts(Generic[T]):
    """Belongs to one event loop. ``T`` is what a reading of the state gives."""

    def __init__(self) -> None:
        self._moment = 0
        self._fixed: dict[Hashable, str] = {}
        self._readings: dict[Hashable, Reading[T]] = {}

    def moment(self) -> int:
        """Now, as a number that rises."""
        self._moment += 1
        return self._moment

    def fixed(self, key: Hashable, make: Callable[[], str]) -> str:
        """A text that is the same whenever it is made."""
        if (text := self._fixed.get(key)) is None:
            text = self._fixed[key] = make()
            _trim(self._fixed)
        return text

    async def reading(self, key: Hashable, read: Callable[[], T], *, since: int) -> tuple[int, T]:
        """The newest look that anybody took under that key, and its moment; ``read``, in a thread, takes another.

        Whoever waits may be cancelled without the others' noticing; what goes wrong reaches all who wait, and is tried
        again by the next.

        Args:
            since: A look that was begun before this moment is too old.
        """
        found = self._readings.get(key)
        if found is None or found.moment < since:
            found = self._begin(key, read)
        # `shield` is for the others' sake, and costs more than all else here.
        result = found.result.result() if found.result.done() else await asyncio.shield(found.result)
        return found.moment, result

    def _begin(self, key: Hashable, read: Callable[[], T]) -> Reading[T]:
        begun = Reading(self.moment(), asyncio.ensure_future(asyncio.to_thread(read)))

        def forget_failure(result: asyncio.Future[T]) -> None:
            if (result.cancelled() or result.exception()) and self._readings.get(key) is begun:
                del self._readings[key]

        begun.result.add_done_callback(forget_failure)
        self._readings[key] = begun
        _trim(self._readings)
        return begun


def _trim(kept: dict[Hashable, T]) -> None:
    """Only the newest stay."""
    while len(kept) > KEPT:
        del kept[next(iter(kept))]
