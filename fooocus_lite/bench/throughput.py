"""How many pictures a minute: drawn as a batch against one by one, with the difference between the two beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fooocus_lite.bench.base import REST_S, Bench, ratio_row
from fooocus_lite.bench.children import BareLoop
from fooocus_lite.bench.report import Row
from fooocus_lite.speeds import MOST_TOGETHER

BATCH_ROUNDS = 5
#: At least 1.5 times the pictures a minute.
MOST_OF_SINGLE = 1 / 1.5


def measure_batches(bench: Bench) -> Iterator[Row]:
    """The same pictures by the engine as one batch and one by one, in turns."""
    batch: list[float] = []
    singles: list[float] = []
    with BareLoop(bench.settings, bench.plan, threads=bench.threads) as loop:
        for number in range(BATCH_ROUNDS + 1):
            for order, seconds in (("one_by_one", singles), ("batch", batch)):
                time.sleep(REST_S)
                seconds.append(loop.ask(order, MOST_TOGETHER))
            bench.say(f"  round {number} of {BATCH_ROUNDS}: {batch[-1]:.2f} s and {singles[-1]:.2f} s")
        levels, psnr = loop.ask("difference")
    del batch[0], singles[0]  # the first ones load the model
    how = f"{MOST_TOGETHER} pictures of {bench.plan.width}×{bench.plan.height}, {bench.plan.steps} steps"
    yield ratio_row("a batch ÷ its pictures one by one", MOST_OF_SINGLE, batch, singles, how)
    yield Row("largest difference between the two", levels, 1, f"of 255 levels; least PSNR {psnr:.1f} dB", "")
