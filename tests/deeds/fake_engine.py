"""An engine without torch, for real child processes. The prompt says what it does.

``load PATH`` loads, deaf, until PATH exists; ``gate PATH`` waits at the first step until PATH exists; ``die 9`` kills
itself with that signal; ``exit 3`` ends the process; ``hang PATH`` makes PATH and ignores stops; ``fail`` fails
politely; ``large`` runs out of memory on the way; ``raise`` raises; ``once PATH`` dies unless PATH exists, and makes
it first; ``decode PATH`` waits after the last step until PATH exists. Everything else draws one colour from the seed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fooocus_lite.errors import MissingModel
from fooocus_lite.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    ImageReady,
    Preview,
    Progress,
    PromptReady,
    Started,
)
from fooocus_lite.plan import Expansion, Plan

FACTS = {"device": "imaginary", "dtype": "fp32", "seconds": 0.01, "peak_memory_bytes": 7_000_000}


def pixels(plan: Plan) -> bytes:
    """What it draws: noise that depends on the seed, so that another seed is another picture."""
    size = plan.width * plan.height * 3
    block = plan.seed.to_bytes(8, "big") * 4 + bytes(range(32))
    return (block * (size // len(block) + 1))[:size]


class FakeEngine:
    def __init__(self, *, device: str = "imaginary") -> None:
        self.device = device
        self.warmed: str | None = None

    def describe(self) -> dict[str, Any]:
        return {"device": self.device, "pid": os.getpid(), "warmed": self.warmed}

    def warm_up(self, plan: Plan) -> None:
        self.warmed = plan.model.name

    def expand(self, wish: Expansion) -> str:
        if wish.text.startswith("wordless"):
            raise MissingModel("The expansion model is missing.", "Put it back.")
        if wish.text.startswith("leave"):
            os._exit(3)
        return f"words {wish.seed}"

    def run_together(self, plans: Sequence[Plan], should_stop: Callable[[int], bool]) -> Iterator[tuple[int, Event]]:
        """Event by event in turns, as a batch walks."""
        runs = {
            number: self.run(plan, lambda number=number: should_stop(number), len(plans))
            for number, plan in enumerate(plans)
        }
        while runs:
            for number, run in list(runs.items()):
                event = next(run, None)
                if event is None:
                    del runs[number]
                else:
                    yield number, event

    def run(self, plan: Plan, should_stop: Callable[[], bool], together: int = 1) -> Iterator[Event]:
        yield Started(device=self.device)
        word, _, rest = plan.texts[0].partition(" ")
        while word == "load" and not Path(rest).exists():
            time.sleep(0.01)
        if should_stop():
            yield Cancelled()
            return
        texts, words = plan.texts, None
        if plan.expansion is not None:
            words = self.expand(plan.expansion)
            texts = plan.expansion.added_to(texts, words)
        yield PromptReady(texts=texts, negative_texts=plan.negative_texts, expansion=words, warnings=plan.warnings)
        for step in range(1, plan.steps + 1):
            if step == 1:
                yield from self._obey(word, rest, should_stop)
            if should_stop():
                yield Cancelled()
                return
            yield Progress(step=step, steps=plan.steps, seconds_left=0.0)
            yield Preview(step=step, jpeg=b"jpeg", width=8, height=8)
        while word == "decode" and not Path(rest).exists() and not should_stop():
            time.sleep(0.01)
        if word == "decode" and should_stop():
            yield Cancelled()
            return
        if word == "fail":
            yield Failed(code="out_of_memory", problem="There is not enough memory.", hint="Choose a smaller size.")
            return
        facts: dict[str, Any] = FACTS
        if word == "large":  # more than there is room for, unless it begins on a lower rung
            ran_out = {"memory": "groups", "too_much": "resident", "free_memory_bytes": 1000}
            facts = FACTS | ({"memory": plan.memory} if plan.memory else ran_out)
        facts = facts | {"together": together} if together > 1 else facts
        yield ImageReady(width=plan.width, height=plan.height, rgb=pixels(plan), facts=facts)
        yield Finished(seconds=0.01)

    def _obey(self, word: str, rest: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        yield Preview(step=0, jpeg=b"first", width=8, height=8)
        if word == "gate":
            while not Path(rest).exists() and not should_stop():
                time.sleep(0.01)
        elif word == "hang":
            Path(rest).touch()
            while True:
                time.sleep(0.1)
        elif word == "die":
            os.kill(os.getpid(), int(rest))
        elif word == "exit":
            os._exit(int(rest))
        elif word == "raise":
            raise RuntimeError("a bug in the engine")
        elif word == "print":
            print("chatter of a library" * 1000, flush=True)
            os.write(1, b"chatter of C code\n")
        elif word == "once" and not Path(rest).exists():
            Path(rest).touch()
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


class BrokenEngine:
    def __init__(self) -> None:
        raise ModuleNotFoundError("No module named 'torch'")
