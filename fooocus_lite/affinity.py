"""Which of the waiting tasks a worker takes: nearly always the first, sometimes one whose model it has already.

Loading a model can take as long as drawing several pictures with it. So of several workers one leaves a task to an
idle one that has its model, and takes a task of its own model before the first in line. Nobody starves: whoever passes
the first stands less than `WINDOW` places behind it, those that have ended counted and however many more come, so it is
passed a few times at most.
Where several users wait, that is the line of the one whose turn it is (`fooocus_lite.turns`).
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from fooocus_lite.database import Transaction
from fooocus_lite.turns import in_turn

#: How many places, counted from the first in line, whoever is taken instead of it may stand in.
WINDOW = 8
#: Of a row: it can be drawn, because it waits for nothing but its turn.
_WAITS = "state = 'waiting' AND waits_for IS NULL"


@dataclass(frozen=True)
class Taste:
    """What a worker would like to draw with.

    Attributes:
        has: Names of the models that it need not load.
        leaves: Models that it has not, and an idle worker has.
    """

    has: Set[str] = frozenset()
    leaves: Set[str] = frozenset()


def pick(transaction: Transaction, taste: Taste | None) -> str | None:
    """The id of the waiting task to take; ``None`` if there is none, or all are better left to others.

    Args:
        taste: Where there are several workers; else it is the first in line.
    """
    lines = (_pick_in(transaction, taste, turn.owner) for turn in in_turn(transaction.execute))
    return next((task_id for task_id in lines if task_id is not None), None)


def _pick_in(transaction: Transaction, taste: Taste | None, owner: str) -> str | None:
    """The id of the task to take of one user's line."""
    rows = transaction.execute(
        f"SELECT id, position FROM tasks WHERE owner = ? AND {_WAITS} ORDER BY position LIMIT 1", (owner,)
    )
    if not rows or taste is None:
        return rows[0]["id"] if rows else None
    # Ended ones are counted, too: else those that come later could pass the first again and again.
    rows = transaction.execute(
        "SELECT * FROM (SELECT *, json_extract(recipe, '$.model') AS model FROM tasks INDEXED BY tasks_in_order"
        f" WHERE owner = ? AND position >= ? ORDER BY position LIMIT {WINDOW}) WHERE {_WAITS} ORDER BY position",
        (owner, rows[0]["position"]),
    )
    return choose([(row["id"], row["model"] or "") for row in rows], taste)


def choose(line: Iterable[tuple[str, str]], taste: Taste) -> str | None:
    """The id of the task to take; ``None`` if all are better left to others.

    Args:
        line: (id, model) of the waiting tasks of the window, the first in line first.
    """
    ours = [(task_id, model) for task_id, model in line if model not in taste.leaves]
    if not ours:
        return None
    return next((task_id for task_id, model in ours if model in taste.has), ours[0][0])
