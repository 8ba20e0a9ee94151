"""What every measurement is given, and how it says a ratio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fooocus_lite.bench.report import Row
from fooocus_lite.plan import Plan
from fooocus_lite.settings import Settings

ROUNDS = 9
REST_S = 0.1  # between turns: for some milliseconds after its last step, one side's idle threads still spin


@dataclass(frozen=True)
class Bench:
    """What every part is given."""

    settings: Settings
    plan: Plan
    folder: Path
    threads: int
    say: Callable[[str], None]

    def recipe(self, **changes: Any) -> dict[str, Any]:
        """The recipe of the plan, as a program would send it."""
        plan = self.plan
        values = {"prompt": plan.texts[0], "styles": [], "model": plan.model.name, "steps": plan.steps}
        values |= {
            "width": plan.width,
            "height": plan.height,
            "sampler": plan.sampler,
            "scheduler": plan.scheduler,
            "seed": plan.seed,
        }
        return values | {"guidance_scale": plan.guidance_scale} | changes


def ratio_row(
    name: str,
    limit: float | None,
    above: list[float],
    below: list[float],
    what: str,
    *,
    typical: Callable[[list[float]], float] = median,
) -> Row:
    """The ratio of two medians, with both in milliseconds.

    Args:
        typical: In place of the median: ``min`` for work that is always the same, where all else only disturbs.
    """
    top, bottom = typical(above), typical(below)
    return Row(name, top / bottom, limit, f"{what}: {top * 1000:,.1f} ms ÷ {bottom * 1000:,.1f} ms")
