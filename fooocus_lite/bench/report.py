"""What `bench` found, as a table for people and as JSON for programs."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One number and what it may be at most.

    Attributes:
        value: ``None`` when it could not be measured; ``how`` then says why.
        limit: ``None`` where any value is fine.
        how: What was divided by what, with the seconds behind it.
    """

    name: str
    value: float | None
    limit: float | None
    how: str
    unit: str = "×"

    @property
    def is_within(self) -> bool:
        """Whether the target is met."""
        return self.value is not None and (self.limit is None or self.value <= self.limit)

    def cells(self) -> tuple[str, str, str, str]:
        """Name, value, target, how."""
        digits = 2 if self.unit in ("×", "ms") else 0
        value = "not measured" if self.value is None else f"{self.value:,.{digits}f} {self.unit}".strip()
        if self.value is not None and not self.is_within:
            value = f"**{value}**"
        target = "" if self.limit is None else f"≤ {self.limit:,.{digits}f} {self.unit}".strip()
        return self.name, value, target, self.how


@dataclass(frozen=True)
class Report:
    """All rows of one run, and the machine they were measured on."""

    rows: list[Row]
    machine: str = field(default_factory=lambda: describe_machine())
    day: str = field(default_factory=lambda: date.today().isoformat())

    @property
    def all_within(self) -> bool:
        """Whether every target is met."""
        return all(row.is_within for row in self.rows)

    def as_markdown(self) -> str:
        """A table for the README."""
        lines = [
            f"Measured on {self.day}: {self.machine}.",
            "",
            "| what | measured | target | how |",
            "|---|---|---|---|",
        ]
        return "\n".join([*lines, *("| " + " | ".join(row.cells()) + " |" for row in self.rows)])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = [asdict(row) | {"is_within": row.is_within} for row in self.rows]
        return {"machine": self.machine, "day": self.day, "rows": rows}


def describe_machine() -> str:
    """Processor, cores, system and versions, in one line."""
    import os

    torch = metadata.version("torch")
    python = platform.python_version()
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {python}, PyTorch {torch}"


def _processor() -> str:
    if sys.platform == "linux":
        match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            return match.group(1)
    return platform.processor() or platform.machine()
