"""How far pictures of a batch are from the same pictures drawn alone, and the run that the test compares with.

``python -m tests.starter.together`` measures again and writes ``together.json``: the usual sampler with 32 seeds in
batches of 8, every sampler and some guidance with 4 in one of 4, with prompts of different lengths.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fooocus_lite.plan import Plan, make_plan
from fooocus_lite.recipe import parse_recipe
from fooocus_lite.registry import SAMPLERS
from tests.starter.drawing import Picture, drawn, engine, library

RECORDED = Path(__file__).with_name("together.json")
BATCH, SMALL = 8, 4
STEPS = 12
COLOURS, SHAPES = ("red", "yellow", "green", "purple"), ("circle", "star", "square", "heart")
#: Wide enough apart to need two chunks of tokens beside one.
LONG = ", with thick borders and a thin shadow" * 12
GUIDANCE: dict[str, dict[str, Any]] = {
    "sag": {"sag_scale": 0.25},
    "pag": {"pag_scale": 2.0},
    "apg": {"apg_momentum": -0.5, "apg_eta": 0.5, "apg_threshold": 5.0},
    "freeu": {"freeu_b1": 1.1, "freeu_b2": 1.2, "freeu_s1": 0.9, "freeu_s2": 0.5},
}


def plans(first_seed: int = 0, many: int = SMALL, **wish: Any) -> list[Plan]:
    """A batch: every other picture says more, one of them more than fits into one chunk."""
    made: list[Plan] = []
    for seed in range(first_seed, first_seed + many):
        words = f"a {COLOURS[seed % 4]} {SHAPES[seed // 4 % 4]}" + " on a white background" * (seed % 2)
        values = {"prompt": words + LONG * (seed % SMALL == 1), "preset": "starter", "steps": STEPS}
        made.append(make_plan(parse_recipe(values | wish), library(), seed))
    return made


def batch(asked: list[Plan]) -> list[Picture]:
    """The pictures of one batch."""
    pictures: dict[int, Picture] = {}
    for number, event in engine().run_together(asked, lambda _: False):
        if event.kind == "image_ready":
            assert event.facts["together"] == len(asked)
            pictures[number] = np.frombuffer(event.rgb, np.uint8).reshape(event.height, event.width, 3)
    return [pictures[number] for number in range(len(asked))]


def distance(one: Picture, other: Picture) -> tuple[int, float]:
    """(largest difference in levels of 255, PSNR in dB; 99 where they are equal)."""
    difference = one.astype(int) - other.astype(int)
    square = float((difference**2).mean())
    return int(np.abs(difference).max()), 99.0 if square == 0 else 10 * math.log10(255**2 / square)


def measured(asked: list[Plan]) -> dict[str, float]:
    """The largest difference and the least PSNR over a batch, each picture beside itself drawn alone."""
    pairs = [distance(together, drawn(plan)) for plan, together in zip(asked, batch(asked), strict=True)]
    return {"levels": max(levels for levels, _ in pairs), "psnr": round(min(psnr for _, psnr in pairs), 1)}


def recorded() -> dict[str, dict[str, float]]:
    """The run that was recorded."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def main() -> None:
    """Measure everything."""
    rows: dict[str, dict[str, float]] = {}
    for first in range(0, 32, BATCH):
        rows[f"usual {first}"] = measured(plans(first, BATCH))
        print(first, rows[f"usual {first}"], flush=True)
    for key, row in SAMPLERS.items():
        rows[key] = measured(plans(sampler=key, steps=max(STEPS, row.min_steps)))
        print(key, rows[key], flush=True)
    rows |= {key: measured(plans(**wish)) for key, wish in GUIDANCE.items()}
    RECORDED.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(rows)


if __name__ == "__main__":
    main()
