"""`bench`: ratios and counts from one run, the two sides of each ratio measured in turns.

A ratio survives a slow or busy machine, a number of seconds does not; so seconds are only shown
beside the ratio they made.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fooocus_lite.bench import children, line, machines, parts, sampling, throughput
from fooocus_lite.bench.base import Bench
from fooocus_lite.bench.report import Report, Row
from fooocus_lite.errors import BadValue
from fooocus_lite.library import load_library
from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import Settings

PROMPT = "a red star on a blue background"
STEPS = 20

__all__ = ["PARTS", "Report", "Row", "measure"]
PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "pictures": parts.measure_pictures,
    "words": parts.measure_words,
    "queue": parts.measure_queue,
    "line": line.measure_line,
    "followers": line.measure_followers,
    "start": parts.measure_start,
    "counts": parts.measure_counts,
    "bytes": parts.measure_bytes,
    "library": parts.measure_library,
    "reading": parts.measure_reading,
    "guidance": sampling.measure_guidance,
    "samplers": sampling.measure_samplers,
    "loras": sampling.measure_loras,
    "batches": throughput.measure_batches,
    "downloads": parts.measure_downloads,
    "loading": parts.measure_loading,
    "scan": parts.measure_scan,
    "machines": machines.measure_machines,
}


def measure(settings: Settings, *, only: Sequence[str] | None, say: Callable[[str], None]) -> Report:
    """Run all parts, or those named.

    Raises:
        BadValue: there is no such part.
        MissingModel: there is no model to draw with.
    """
    chosen = tuple(only or PARTS)
    for name in chosen:
        if name not in PARTS:
            raise BadValue(f"There is no part '{name[:40]}'.", f"Choose from: {', '.join(PARTS)}.", field="only")
    library = load_library(settings)
    recipe = Recipe(prompt=PROMPT, steps=STEPS, seed=1)
    plan = make_plan(recipe, library, 1)
    library.check_available(plan.model.name)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="fooocus-bench-") as folder:
        bench = Bench(settings, plan, Path(folder), threads, say)
        rows: list[Row] = []
        for name in chosen:
            rows += _part(bench, name)
    return Report(rows)


def _part(bench: Bench, name: str) -> Iterator[Row]:
    bench.say(f"measuring: {name}")
    try:
        yield from PARTS[name](bench)
    except children.Died as exc:
        yield Row(name, None, None, str(exc).replace("\n", " ").replace("|", "/")[:200])
