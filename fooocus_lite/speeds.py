"""What pictures take on this machine, as measured: for "about 6 s a picture, 7.1 GB" and "2 min left".

And what was too much for it: a picture like one that ran out of memory begins where that one ended.
"""

from __future__ import annotations

from fooocus_lite.database import Database
from fooocus_lite.guidances import passes_per_step, passes_when_guided
from fooocus_lite.recipe import Recipe
from fooocus_lite.tasks import work_of

_NEWEST_COUNTS = 0.3
_RATE = "seconds per unit of work"
#: So much more free memory than when it ran out is another machine, or another program less.
_MORE = 1.1


class Speeds:
    """Seconds and memory per picture by model, size and steps; kept over restarts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seconds: dict[str, float] = {
            row["key"]: row["seconds"] for row in database.read("SELECT key, seconds FROM speeds")
        }
        self._peaks: dict[str, int] = {
            row["key"]: row["bytes"] for row in database.read("SELECT key, bytes FROM peaks")
        }

        self._rungs: dict[str, tuple[str, int]] = {
            row["key"]: (row["rung"], row["free_bytes"]) for row in database.read("SELECT * FROM rungs")
        }

    def record(self, recipe: Recipe, seconds: float, peak_bytes: int | None = None) -> None:
        """Remember one warm picture; ``recipe`` is resolved.

        Args:
            peak_bytes: The most memory it took, where the device can tell.
        """
        values = {_key(recipe): seconds, _RATE: seconds / max(1, work_of(recipe))}
        for key, value in values.items():
            before = self._seconds.get(key, value)
            self._seconds[key] = before + _NEWEST_COUNTS * (value - before)
        with self._database.write() as transaction:
            for key in values:
                transaction.execute("INSERT OR REPLACE INTO speeds VALUES (?, ?)", (key, self._seconds[key]))
            if peak_bytes is not None:
                self._peaks[_room(recipe)] = peak_bytes
                transaction.execute("INSERT OR REPLACE INTO peaks VALUES (?, ?)", (_room(recipe), peak_bytes))

    def record_too_much(self, recipe: Recipe, rung: str, free_bytes: int) -> None:
        """Remember that a picture like this resolved recipe ran out of memory, and on which rung it was drawn then.

        Args:
            rung: Key of `fooocus_lite.memory.RUNGS`.
            free_bytes: What the device could have given it.
        """
        self._rungs[_room(recipe)] = (rung, free_bytes)
        with self._database.write() as transaction:
            transaction.execute("INSERT OR REPLACE INTO rungs VALUES (?, ?, ?)", (_room(recipe), rung, free_bytes))

    def first_rung(self, recipe: Recipe, free_bytes: int | None) -> str:
        """The rung to begin on, with so much free; empty where nothing speaks against the first."""
        rung, then = self._rungs.get(_room(recipe), ("", 0))
        return rung if free_bytes is None or free_bytes <= then * _MORE else ""

    def picture_seconds(self, recipe: Recipe) -> float | None:
        """About how long a resolved recipe takes; None before anything was measured."""
        exact = self._seconds.get(_key(recipe))
        return exact if exact is not None else self.work_seconds(work_of(recipe))

    def picture_bytes(self, recipe: Recipe) -> int | None:
        """The most memory that a picture like this resolved recipe took; None before one was measured."""
        return self._peaks.get(_room(recipe))

    def work_seconds(self, work: int) -> float | None:
        """About how long this much work takes (`fooocus_lite.tasks.work_of`)."""
        rate = self._seconds.get(_RATE)
        return None if rate is None else work * rate


def _key(recipe: Recipe) -> str:
    return f"{recipe.model}|{recipe.width}x{recipe.height}|{recipe.steps}|{recipe.sampler}|{_passes(recipe)}"


def _room(recipe: Recipe) -> str:
    """What memory depends on: not on how often the model is asked."""
    second = f"|{recipe.refiner}" if recipe.refiner not in (None, "none") else ""
    return f"{recipe.model}|{recipe.width}x{recipe.height}|{passes_when_guided(recipe.weights())}{second}"


def _passes(recipe: Recipe) -> str:
    """How often a step looks at the latents."""
    return f"{passes_per_step(recipe.weights(), recipe.steps or 1):.3f}"
