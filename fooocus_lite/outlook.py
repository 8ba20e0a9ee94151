"""What a picture will need of the memory, said before it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fooocus_lite.families import FAMILIES
from fooocus_lite.library import Library
from fooocus_lite.memory import AUTO, GIB, NUMBER_BYTES, Fit, choose_rung, make_needs, sizes_of
from fooocus_lite.plan import Plan


@dataclass(frozen=True)
class Outlook:
    """How a picture's models will be kept.

    Attributes:
        rung: Key of `fooocus_lite.memory.RUNGS`.
        words: Such as "needs 7.1 GB, 8.0 free: fp16, encoders off the card after use, VAE in tiles".
        is_tight: Worth a person's eye: not everything fits, or it takes more than half.
        verdict: For somebody who chooses a model, such as "Fits your graphics card: takes 9.0 of 11.2 GB"; empty
            where nobody can tell.
    """

    rung: str
    needs_bytes: int
    free_bytes: int | None
    words: str
    is_tight: bool
    verdict: str = ""


def look_ahead(plan: Plan, about: Mapping[str, Any], library: Library) -> Outlook | None:
    """What the worker that said ``about`` will do; None while it has said nothing.

    An estimate: the worker decides again by what is free when it begins.
    """
    wants_range = FAMILIES[plan.model.family].wants_range
    dtype = str((about.get("dtype_with_range") if wants_range else None) or about.get("dtype", ""))
    if dtype not in NUMBER_BYTES or "free_memory_bytes" not in about:
        return None
    entry = library.models.get(plan.model.name)
    sizes = sizes_of(plan, dtype=dtype, memory_bytes=entry.memory_bytes if entry else None)
    free: int | None = about["free_memory_bytes"]
    fit = choose_rung(
        make_needs(plan, sizes, dtype=dtype),
        free,
        device=str(about["device"]).partition(":")[0],
        forced=str(about.get("memory", AUTO)),
        start=plan.memory,
        home_free_bytes=about.get("home_free_bytes"),
    )
    is_tight = fit.rung != "resident" or fit.in_tiles or (free is not None and fit.needs_bytes > free / 2)
    is_on_card, is_forced = not str(about["device"]).startswith(("cpu", "mps")), about.get("memory", AUTO) != AUTO
    verdict = _verdict(fit, is_on_card=is_on_card, is_forced=is_forced)
    return Outlook(fit.rung, fit.needs_bytes, free, fit.words(dtype), is_tight, verdict)


def _verdict(fit: Fit, *, is_on_card: bool, is_forced: bool) -> str:
    place = "your graphics card" if is_on_card else "this computer's memory"
    if fit.free_bytes is None:
        return ""
    if fit.rung == "cpu":
        return f"{'Drawn' if is_forced else 'Too large for your graphics card: drawn'} by the processor, slowly"
    needs, free = f"{fit.needs_bytes / GIB:.1f}", f"{fit.free_bytes / GIB:.1f} GB"
    if not fit.is_enough:
        return f"Too large for {place}: needs {needs} GB, {free} are free"
    if fit.rung != "resident":
        return f"Tight for {place}, so slower: takes {needs} of {free}"
    return f"Fits {place}: takes {needs} of {free}"


def card_words(plan: Plan) -> str:
    """What a graphics card needs for a picture, where nobody has asked one what it has."""
    needs = make_needs(plan, sizes_of(plan, dtype="fp16"), dtype="fp16")
    most, least = needs.peak("resident", in_tiles=False) / GIB, needs.peak("groups", in_tiles=True) / GIB
    less = f"; {least:.1f} GB at least, then slower" if most - least > 1 else ""
    return f"about {most:.1f} GB of a graphics card{less}"
