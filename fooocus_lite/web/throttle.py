"""`Throttle`: how often somebody may try a password before they have to wait."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from fooocus_lite.errors import FooocusError

_MAX_KEYS = 10_000


class TooManyTries(FooocusError):
    """Somebody tries passwords.

    Attributes:
        wait_s: Until the next try is heard.
    """

    code = "too_many_tries"

    def __init__(self, wait_s: float) -> None:
        self.wait_s = max(1, math.ceil(wait_s))
        seconds = "1 second" if self.wait_s == 1 else f"{self.wait_s} seconds"
        super().__init__("Too many wrong passwords came from there.", f"Try again in {seconds}.")


class Throttle:
    """A bucket of tries per key, which fills again by itself.

    Args:
        tries: How many are in a full bucket.
        refill_s: After so many seconds there is one more.
    """

    def __init__(self, tries: int, refill_s: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._tries = tries
        self._refill_s = refill_s
        self._now = now
        #: Key → the moment at which its bucket is full again. Keys whose moment has come are as good as unknown.
        self._full_at: dict[str, float] = {}

    def take(self, key: str) -> float:
        """Take a try; the seconds to wait if there is none, and then none is taken."""
        now = self._now()
        full_at = max(self._full_at.get(key, now), now)
        wait_s = full_at - now - (self._tries - 1) * self._refill_s
        if wait_s > 0:
            return wait_s
        self._put(key, full_at + self._refill_s)
        return 0.0

    def give_back(self, key: str) -> None:
        """The try that was taken was none: the password was right."""
        if key in self._full_at:
            self._full_at[key] -= self._refill_s

    def _put(self, key: str, full_at: float) -> None:
        if len(self._full_at) >= _MAX_KEYS:
            now = self._now()
            self._full_at = {one: moment for one, moment in self._full_at.items() if moment > now}
            while len(self._full_at) >= _MAX_KEYS:  # those that are nearly full again
                del self._full_at[min(self._full_at, key=self._full_at.__getitem__)]
        self._full_at[key] = full_at
