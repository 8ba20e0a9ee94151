"""`Download`: how far the files of an offer have come, as everybody is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from fooocus_lite.errors import FooocusError

DownloadState = Literal["waiting", "running", "checking", "paused", "finished", "failed"]


@dataclass(frozen=True)
class Download:
    """One moment of a download.

    Attributes:
        name: Of the offer, as in `fooocus_lite.library.Library.downloadable`.
        label: The same for people.
        state: ``checking`` is reading what is on the disk to compare it with its published hash.
        done_bytes: Of all files of the offer, those that were here before included.
        total_bytes: ``None`` until the last file's length is known.
        bytes_per_s: Of the last seconds; ``None`` while nothing arrives.
        seconds_left: At that speed.
        problem: One sentence: why it failed, or what it is waiting for while it goes on trying.
        hint: One sentence: what to do next.
        code: As of a `fooocus_lite.errors.FooocusError`; empty unless it failed.
    """

    name: str
    label: str
    state: DownloadState
    done_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    seconds_left: float | None = None
    problem: str = ""
    hint: str = ""
    code: str = ""

    @property
    def is_over(self) -> bool:
        """Nothing more happens unless somebody asks for it."""
        return self.state in ("finished", "failed")

    def failed(self, exc: FooocusError) -> Download:
        """The same after ``exc``."""
        ended = replace(self, state="failed", bytes_per_s=None, seconds_left=None)
        return replace(ended, problem=exc.problem, hint=exc.hint, code=exc.code)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def size_text(size_bytes: float) -> str:
    """A size for people, in the units of disks and shops: ``6.9 GB``."""
    if size_bytes < 999.5:
        return f"{size_bytes:.0f} bytes"
    for unit in ("kB", "MB"):
        size_bytes /= 1000
        if size_bytes < 999.5:
            return f"{size_bytes:.{1 if size_bytes < 9.95 else 0}f} {unit}"
    return f"{size_bytes / 1000:,.1f} GB"
