"""`LiveLibrary`: the newest `fooocus_lite.library.Library`, for threads that ask again and again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from fooocus_lite.library import Library, load_library
from fooocus_lite.settings import Settings

#: How old a look at the folders may be for who draws: longer than from a click to the first step.
LATELY_S = 0.5


class LiveLibrary:
    """The newest snapshot, for whoever calls it; safe from every thread."""

    def __init__(self, settings: Settings, *, asked: Callable[[], object] = lambda: None) -> None:
        self._newest = load_library(settings)
        self._asked = asked  # told each time: who looks for new files need not look while nobody asks
        self._looking = threading.Lock()  # one of those who ask at once looks, and the others get the same
        self._looks = 0
        self._looked_at = -math.inf

    def __call__(self) -> Library:
        """What can be chosen now."""
        self._asked()
        before = self._looks
        with self._looking:
            if self._looks == before:  # else somebody has begun to look since this call did: that is new enough
                self._looks += 1
                self._looked_at = time.monotonic()
                self._newest = self._newest.refreshed()
            return self._newest

    def lately(self) -> Library:
        """What could be chosen `LATELY_S` ago, or since: for who draws what was asked for a moment before.

        A look takes milliseconds, and the first preview would wait for it once more. It is never older than what the
        one who asked has seen.
        """
        if time.monotonic() - self._looked_at > LATELY_S:
            return self()
        self._asked()
        return self._newest
