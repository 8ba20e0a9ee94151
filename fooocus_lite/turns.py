"""Whose turn it is: several users are served one picture each, whoever has waited longest since their last one first.

So nobody waits for more pictures of others than there are others, however much each of them asked for. Within what
one user asked for the line is as it stands; with one user alone this changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fooocus_lite.database import Transaction

#: (sql, values) → rows, of a transaction or of the reading connection.
Ask = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Turn:
    """A user who waits for their turn.

    Attributes:
        tasks: How many of theirs could be drawn now.
        work: In the unit of `fooocus_lite.tasks.work_of`.
    """

    owner: str
    tasks: int
    work: int = 0


def in_turn(ask: Ask) -> list[Turn]:
    """Everybody who has something that could be drawn now, whose turn it is first."""
    rows = ask(
        "SELECT waiting.owner AS owner, coalesce(turns.number, 0) AS number,"
        " waiting.tasks - coalesce(held.tasks, 0) AS tasks, waiting.work - coalesce(held.work, 0) AS work"
        " FROM totals AS waiting LEFT JOIN turns ON turns.owner = waiting.owner"
        " LEFT JOIN totals AS held ON held.state = 'held' AND held.owner = waiting.owner"
        " WHERE waiting.state = 'waiting' AND waiting.tasks > coalesce(held.tasks, 0)"
    )
    rows = sorted(rows, key=lambda row: (row["number"], row["owner"]))
    return [Turn(row["owner"], row["tasks"], row["work"]) for row in rows]


def take_turn(transaction: Transaction, owner: str) -> None:
    """This user is being served now: everybody else who waits comes before their next one."""
    transaction.execute(
        "INSERT INTO turns SELECT ?, coalesce(max(number), 0) + 1 FROM turns WHERE true"
        " ON CONFLICT (owner) DO UPDATE SET number = excluded.number",
        (owner,),
    )


def drawn_before(turns: Sequence[Turn], owner: str, rank: int) -> dict[str, int]:
    """By user, how many of their tasks are drawn before the one that is ``rank``-th in its owner's own line."""
    mine = next((index for index, turn in enumerate(turns) if turn.owner == owner), 0)
    return {
        turn.owner: min(turn.tasks, rank if index < mine else rank - 1) for index, turn in enumerate(turns)
    }  # fmt: skip


def place(turns: Sequence[Turn], owner: str, rank: int) -> int:
    """Place in line, 1 = next, of the task that is ``rank``-th in its owner's own line."""
    return 1 + sum(drawn_before(turns, owner, rank).values())


def next_ones(turns: Sequence[Turn], offset: int, limit: int) -> list[tuple[str, int]]:
    """(owner, rank in their own line) of the tasks at places ``offset`` + 1 and following."""
    longest = max((turn.tasks for turn in turns), default=0)
    line = ((turn.owner, rank) for rank in range(1, longest + 1) for turn in turns if turn.tasks >= rank)
    return list(islice(line, offset, offset + limit))
