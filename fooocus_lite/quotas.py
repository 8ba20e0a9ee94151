"""What a user may still ask for, and the words for what is too much.

Counted from the rows of the queue, in the transaction that would add to them: no restart forgets anything, and two
requests at once cannot both have the last picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.recipe import Recipe
from fooocus_lite.user import NO_LIMITS, Limits

MEGA = 1_000_000
#: The code of the error that there is room again when some of what waits is drawn.
TOO_MANY_WAIT = "too_many_waiting"
#: The code of the error that there is more when the day begins anew.
DAY_IS_OVER = "limit_reached"
#: (sql, values) → rows, of a transaction or of the reading connection.
Ask = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Used:
    """What of a user's limits is taken; ``renews_at`` is Unix time, when the day's begin anew."""

    pictures: int
    megapixels: float
    waiting: int
    renews_at: float


def used_by(ask: Ask, owner: str, now: float | None = None) -> Used:
    """What a user has asked for today, by the clock of this machine, and what of theirs waits."""
    now = time.time() if now is None else now
    midnight = datetime.combine(datetime.fromtimestamp(now).date(), datetime.min.time())
    row = ask(
        "SELECT count(*) AS pictures,"
        " coalesce(sum(json_extract(recipe, '$.width') * json_extract(recipe, '$.height')), 0) AS pixels"
        " FROM tasks WHERE owner = ? AND owner <> '' AND created_at >= ?"
        " AND NOT (state IN ('cancelled', 'failed') AND started_at IS NULL)",  # nothing of it was drawn
        (owner, midnight.timestamp()),
    )[0]
    waiting = ask("SELECT tasks FROM totals WHERE state = 'waiting' AND owner = ?", (owner,))
    renews_at = (midnight + timedelta(days=1)).timestamp()
    return Used(row["pictures"], row["pixels"] / MEGA, waiting[0]["tasks"] if waiting else 0, renews_at)


def refuse_beyond(
    limits: Limits, recipes: Sequence[Recipe], ask: Ask, owner: str, *, instead_of: Sequence[Recipe] = ()
) -> None:
    """Do nothing if a user may ask for all of ``recipes``, which are resolved.

    Args:
        instead_of: What of theirs in line they take the places of.

    Raises:
        BadValue: one picture is larger than they may ask for.
        FooocusError: it is more than is left of a day (``limit_reached``), or too much would wait at once
            (``too_many_waiting``); says how much is left, and when there is more.
    """
    if limits == NO_LIMITS or not recipes:
        return
    sizes = _sizes(recipes)
    most = limits.picture_megapixels
    if most is not None and max(sizes) > most:
        problem = f"A picture of {_number(max(sizes))} megapixels is larger than you may ask for."
        raise BadValue(problem, f"Choose a size of at most {_number(most)} megapixels.", field="width")
    used, count, more = used_by(ask, owner), len(recipes) - len(instead_of), sum(sizes) - sum(_sizes(instead_of))
    if limits.waiting is not None and count > 0 and used.waiting + count > limits.waiting:
        left = max(0, limits.waiting - used.waiting)
        problem = f"At most {_pictures(limits.waiting)} of yours may wait at once, so there is room for {left} more now"
        hint = "Wait until some are drawn, or cancel some."
        raise FooocusError(f"{problem}, not {count}.", hint, code=TOO_MANY_WAIT)
    if limits.pictures_a_day is not None and count > 0 and used.pictures + count > limits.pictures_a_day:
        left = max(0, limits.pictures_a_day - used.pictures)
        problem = f"You may ask for {_pictures(limits.pictures_a_day)} a day, and {left} are left today, not {count}."
        raise FooocusError(problem, _renewal(used), code=DAY_IS_OVER)
    if limits.megapixels_a_day is not None and more > 0 and used.megapixels + more > limits.megapixels_a_day:
        left = max(0.0, limits.megapixels_a_day - used.megapixels)
        problem = f"You may ask for {_number(limits.megapixels_a_day)} megapixels a day, and {_number(left)} are left"
        raise FooocusError(f"{problem} today, not {_number(more)}.", _renewal(used), code=DAY_IS_OVER)


def fit_in_a_day(limits: Limits, recipes: Sequence[Recipe]) -> bool:
    """Whether a user may ask for all of ``recipes`` on a day on which they ask for nothing else."""
    return (limits.pictures_a_day is None or len(recipes) <= limits.pictures_a_day) and (
        limits.megapixels_a_day is None or sum(_sizes(recipes)) <= limits.megapixels_a_day
    )


def _sizes(recipes: Sequence[Recipe]) -> list[float]:
    """In megapixels."""
    return [(recipe.width or 0) * (recipe.height or 0) / MEGA for recipe in recipes]


def _renewal(used: Used) -> str:
    minutes = max(1, round((used.renews_at - time.time()) / 60))
    hours, minutes = divmod(minutes, 60)
    left = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    return f"The day begins anew at midnight where the server stands, in {left}."


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _number(value: float) -> str:
    """Megapixels, to the pixel."""
    return f"{value:,.6f}".rstrip("0").rstrip(".")
