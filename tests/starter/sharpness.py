"""What self-attention guidance does to 32 pictures: how it is measured, and the run that the test compares with.

``python -m tests.starter.sharpness`` measures again and writes ``sag.json``.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import parse_recipe
from tests.starter.drawing import Picture, drawn, library

RECORDED = Path(__file__).with_name("sag.json")
SEEDS_32 = range(32)
SCALE = 0.25
STEPS = 12
#: Colour, shape and background; seed i draws the i-th, and so on around.
THINGS = (
    *(("red", "circle", "blue"), ("yellow", "star", "black")),
    *(("green", "square", "white"), ("purple", "heart", "cyan")),
)
_EDGES = 0.02  # share of a picture's places that is taken for its edges


@dataclass(frozen=True)
class Change:
    """What guidance changed over the seeds, each picture beside the same seed without it.

    Attributes:
        edges: Relative change of the slope of L*a*b* at the edges.
        chroma: Relative change of the mean chroma.
        right: Objects with the right colour, shape and background: without, with.
    """

    edges: tuple[float, ...]
    chroma: tuple[float, ...]
    right: tuple[int, int]


def edge_slope(lab: Any) -> float:
    """Mean slope, in units of L*a*b* per pixel, of the steepest places."""
    across, down = np.diff(lab, axis=1)[:-1], np.diff(lab, axis=0)[:, :-1]
    slopes = np.sort(np.sqrt((across**2).sum(-1) + (down**2).sum(-1)), axis=None)
    return float(slopes[-max(1, round(_EDGES * slopes.size)) :].mean())


def chroma(lab: Any) -> float:
    """Mean chroma."""
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean())


def mean_and_error(values: tuple[float, ...]) -> tuple[float, float]:
    """The mean and its standard error."""
    return mean(values), stdev(values) / math.sqrt(len(values))


def measured() -> Change:
    """Both runs over the seeds."""
    from training.checks import check_object, to_lab
    from training.words import Spec, Thing

    edges: list[float] = []
    chromas: list[float] = []
    right = [0, 0]
    for seed in SEEDS_32:
        colour, shape, background = THINGS[seed % len(THINGS)]
        prompt = f"a {colour} {shape} on a {background} background"
        pair = [_picture(prompt, seed, scale) for scale in (0.0, SCALE)]
        plain, led = (to_lab(one) for one in pair)
        edges.append(edge_slope(led) / edge_slope(plain) - 1)
        chromas.append(chroma(led) / chroma(plain) - 1)
        spec = Spec("object", (Thing(colour, shape),), background=background)
        for at, one in enumerate(pair):
            right[at] += all(check_object(one, spec).values())
    return Change(tuple(edges), tuple(chromas), (right[0], right[1]))


def recorded() -> Change:
    """The run that was recorded."""
    data = json.loads(RECORDED.read_text(encoding="utf-8"))
    return Change(tuple(data["edges"]), tuple(data["chroma"]), tuple(data["right"]))


def _picture(prompt: str, seed: int, scale: float) -> Picture:
    wish = {"prompt": prompt, "preset": "starter", "steps": STEPS, "sag_scale": scale}
    return drawn(make_plan(parse_recipe(wish), library(), seed))


if __name__ == "__main__":
    found = measured()
    rows = {name: [round(value, 4) for value in values] for name, values in asdict(found).items()}
    RECORDED.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    for name in ("edges", "chroma"):
        print(name, *mean_and_error(getattr(found, name)))
