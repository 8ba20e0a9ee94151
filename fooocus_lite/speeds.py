"""What pictures take on this machine, as measured: for "about 6 s a picture, 7.1 GB" and "2 min left".

And what was too much for it: a picture like one that ran out of memory begins where that one ended.

And how many pictures are best drawn at once. Whoever watches wants the first soon, and a batch gives all at its end.
So a batch may take `LONGEST_BATCH_S` at most; a machine that is slow for a model, such as a processor for SDXL, draws
its pictures one by one, and there a batch gains next to nothing anyway. Up to that, what was measured decides: 2 are
tried once a picture alone was timed, then 4, then 8, and a size stays only if it is faster than the one before it,
of two tries. What batches took is forgotten with the server: trying costs no time, and other things may have slowed it.
"""

from __future__ import annotations

from fooocus_lite.database import Database
from fooocus_lite.guidances import passes_per_step, passes_when_guided
from fooocus_lite.recipe import Recipe
from fooocus_lite.tasks import work_of

_NEWEST_COUNTS = 0.3
_RATE = "seconds per unit of work"
MOST_TOGETHER = 8
LONGEST_BATCH_S = 10.0
#: A batch must take less than this share of the time of its pictures as they would be drawn without it.
_PAYS = 0.95
_TRIES = 2
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

        self._together: dict[tuple[str, int], list[float]] = {}
        self._rungs: dict[str, tuple[str, int]] = {
            row["key"]: (row["rung"], row["free_bytes"]) for row in database.read("SELECT * FROM rungs")
        }

    def record(self, recipe: Recipe, seconds: float, peak_bytes: int | None = None) -> None:
        """Remember one warm picture; ``recipe`` is resolved.

        Args:
            peak_bytes: The most memory it took, where the device can tell.
        """
        self._remember({_key(recipe): seconds, _RATE: seconds / max(1, work_of(recipe))})
        if peak_bytes is not None:
            self._peaks[_room(recipe)] = peak_bytes
            with self._database.write() as transaction:
                transaction.execute("INSERT OR REPLACE INTO peaks VALUES (?, ?)", (_room(recipe), peak_bytes))

    def _remember(self, values: dict[str, float]) -> None:
        """The newest seconds, beside those before."""
        for key, value in values.items():
            before = self._seconds.get(key, value)
            self._seconds[key] = before + _NEWEST_COUNTS * (value - before)
        with self._database.write() as transaction:
            for key in values:
                transaction.execute("INSERT OR REPLACE INTO speeds VALUES (?, ?)", (key, self._seconds[key]))

    def record_together(self, recipe: Recipe, many: int, seconds: float) -> None:
        """Remember what each picture of a batch of ``many`` took of the batch's time; ``recipe`` is one's, resolved."""
        tries = self._together.setdefault((_key(recipe), many), [])
        tries[:] = [*tries, seconds][-_TRIES:]
        self._remember({_RATE: seconds / max(1, work_of(recipe))})

    def best_together(self, recipe: Recipe) -> int:
        """How many pictures like this resolved recipe to draw at once; see above."""
        key = _key(recipe)
        best, many = self._seconds.get(key), 1
        if best is None:
            return 1
        while (more := 2 * many) <= MOST_TOGETHER and more * best <= LONGEST_BATCH_S:
            tries = self._together.get((key, more), [])
            is_faster = bool(tries) and min(tries) < _PAYS * best
            if not is_faster:
                return more if len(tries) < _TRIES else many
            best, many = min(tries), more
        return many

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
