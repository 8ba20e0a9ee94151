"""What must be true after a soak: nothing lost, nothing twice, order kept, every edit where it belongs."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from fooocus_lite.images import read_picture
from tests.soak_story import Promises

FILE = re.compile(r"\d\d-\d\d-\d\d_\d+_([0-9a-f]{12})\.png")


def check(data: Path, outputs: Path, promises: Promises) -> dict[str, Any]:
    """Numbers of what is wrong, each of which must be 0, and of what there is.

    Args:
        data, outputs: Folders of a server that has ended.
    """
    tasks, facts = _rows(data / "queue.db")
    states = {task_id: task["state"] for task_id, task in tasks.items()}
    files = [path for path in outputs.rglob("*") if path.is_file()]
    drawn = Counter(found[1] for path in files if (found := FILE.fullmatch(path.name)))
    finished = [task_id for task_id, state in states.items() if state == "finished"]
    ends = Counter(task_id for task_id, kind in facts if kind in ("finished", "failed", "cancelled"))
    extra = states.keys() - set(promises.asked)
    wrong = {
        "lost": len(set(promises.asked) - states.keys()),
        "asked for by nobody": max(0, len(extra) - promises.doubts["duplicate"] - promises.doubts["retry"]),
        "without a picture": sum(drawn[task_id] == 0 for task_id in finished),
        "drawn twice": sum(count > 1 for count in drawn.values()),
        "pictures of no task": sum(task_id not in states for task_id in drawn),
        "pictures of tasks that were not cancelled and did not finish": sum(
            states.get(task_id) not in ("finished", "cancelled") for task_id in drawn
        ),
        "other files": len(files) - sum(drawn.values()),
        "cancelled by nobody": sum(
            state == "cancelled" and task_id not in promises.cancelled for task_id, state in states.items()
        ),
        "failed and not tried again": sum(
            state == "failed" and task_id not in promises.again for task_id, state in states.items()
        ),
        "still open": sum(state in ("waiting", "running") for state in states.values()),
        "not ended exactly once": sum(ends[task_id] != 1 for task_id in states),
        "out of order": _out_of_order(tasks, facts, promises),
        "other words than asked for": _wrong_words(outputs, finished, promises),
    }
    found = {
        "tasks": len(tasks), "pictures": sum(drawn.values()), "states": dict(Counter(states.values())),
        "second attempts": sum(task["attempt"] > 1 for task in tasks.values()),
        "pictures of cancelled tasks": sum(states.get(task_id) == "cancelled" for task_id in drawn),
        "killed twice, so asked for again": len(promises.again),
    }  # fmt: skip
    return {"wrong": wrong, "found": found}


def _rows(path: Path) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    """Tasks by id, and (task id, kind) of every fact in order."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        tasks = {row["id"]: dict(row) for row in connection.execute("SELECT * FROM tasks ORDER BY id")}
        facts = [(row["task_id"], row["kind"]) for row in connection.execute("SELECT * FROM events ORDER BY seq")]
    finally:
        connection.close()
    return tasks, facts


def _out_of_order(tasks: dict[str, dict[str, Any]], facts: Iterable[tuple[str, str]], promises: Promises) -> int:
    """How many of those that nobody moved were saved before one that was asked for earlier."""
    saved = [task_id for task_id, kind in facts if kind == "image_saved"]
    kept = [task_id for task_id in saved if task_id in set(promises.asked) - promises.moved]
    return sum(one > other for one, other in pairwise(kept))


def _wrong_words(outputs: Path, finished: Iterable[str], promises: Promises) -> int:
    wrong = 0
    for task_id in finished:
        allowed = promises.words.get(task_id)
        for path in outputs.glob(f"*/*_{task_id}.png"):
            wrong += bool(allowed) and read_picture(path).recipe.prompt not in allowed
    return wrong


def memory(samples: Iterable[tuple[int, int, int]]) -> dict[str, Any]:
    """How the server's memory went in its longest life: its first quarter, in which caches fill, left out."""
    lives: dict[int, list[tuple[int, int]]] = {}
    for life, drawn, size_bytes in samples:
        lives.setdefault(life, []).append((drawn, size_bytes))
    longest = max(lives.values(), key=lambda life: life[-1][0] - life[0][0])
    first, last = longest[0][0], longest[-1][0]
    settled = [(drawn, size / 1e6) for drawn, size in longest if drawn >= first + (last - first) / 4]
    if len({drawn for drawn, _ in settled}) < 3:
        return {"lives": len(lives), "MB": round(longest[-1][1] / 1e6, 1)}
    slope = linear_regression([drawn for drawn, _ in settled], [size for _, size in settled]).slope
    third = max(1, len(settled) // 3)
    return {
        "lives": len(lives), "pictures in the longest life": last - first,
        "MB at its beginning": round(median(size for _, size in settled[:third]), 1),
        "MB at its end": round(median(size for _, size in settled[-third:]), 1),
        "MB per 1,000 pictures": round(slope * 1000, 2),
    }  # fmt: skip
