"""What `generate` and `replay` say while they draw."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from fooocus_lite.download_state import Download
from fooocus_lite.download_words import progress_words
from fooocus_lite.events import Event, Failed, ImageSaved, Progress, PromptReady
from fooocus_lite.foreground import Job

_WIDE = 76  # columns that a line of progress takes


def plan_text(job: Job, *, as_json: bool) -> str:
    """What would be drawn."""
    plan = job.plan
    if as_json:
        said = {"recipe": job.recipe.set_fields(), "notes": list(job.notes)}
        return json.dumps(asdict(plan) | said, ensure_ascii=False)
    walk = f"{plan.sampler} {plan.scheduler} {plan.steps} steps"
    lines = [f"{plan.width}×{plan.height}, seed {plan.seed}, {plan.model.name}, {walk}"]
    lines += [f"  wanted:   {text}" for text in plan.texts]
    lines += [f"  unwanted: {text}" for text in plan.negative_texts if text]
    lines += ["  expanded: with words that the seed chooses"] if plan.expansion else []
    if plan.refiner is not None:
        lines += [f"  refiner:  {plan.refiner.name}, after {plan.refiner_switch:.0%} of the steps"]
    lines += [f"  LoRA:     {lora.name}, weight {lora.weight:g}" for lora in plan.loras]
    return "\n".join([*lines, *(f"  note:     {note}" for note in job.notes)])


class Teller:
    """Pictures to stdout, everything else to stderr; progress on one line, and only on a terminal."""

    def __init__(self, pictures: int, *, as_json: bool, debug: bool, tells_paths: bool = True) -> None:
        self.saved = 0
        self.pictures = pictures
        self._tells_paths = tells_paths
        self._as_json = as_json
        self._debug = debug
        self._noted: set[str] = set()
        self._has_bar = False

    def tell(self, job: Job, event: Event) -> None:
        """Print what a person wants to know of one event."""
        match event:
            case PromptReady():
                self.note(*event.warnings, *([f"expanded: {event.expansion}"] if event.expansion else []))
            case Progress() if sys.stderr.isatty():
                text = f"picture {self.saved + 1} of {self.pictures}, step {event.step} of {event.steps}"
                print(f"\r  {text:<60}", end="", file=sys.stderr)
                self._has_bar = True
            case ImageSaved():
                self._clear()
                self.saved += 1
                if not self._tells_paths:
                    return
                facts = {"path": event.path, "seed": job.plan.seed, "width": event.width, "height": event.height}
                print(json.dumps(facts, ensure_ascii=False) if self._as_json else event.path, flush=True)
            case Failed():
                self.complain(f"{event.problem} {event.hint}".strip())
                if self._debug and event.details:
                    self.complain(event.details)
            case _:
                pass

    def fetching(self, download: Download) -> None:
        """One line that says how far the files of a model have come; only on a terminal."""
        if sys.stderr.isatty():
            share = download.done_bytes / download.total_bytes if download.total_bytes else 0.0
            bar = "█" * round(20 * share) + "░" * (20 - round(20 * share))
            print(f"\r  {bar} {progress_words(download):<{_WIDE - 23}}", end="", file=sys.stderr)
            self._has_bar = True

    def note(self, *sentences: str) -> None:
        """Each sentence once."""
        for sentence in sentences:
            if sentence not in self._noted:
                self._noted.add(sentence)
                self.complain(sentence)

    def complain(self, what: object) -> None:
        """A line on stderr."""
        self._clear()
        print(what, file=sys.stderr)

    def _clear(self) -> None:
        if self._has_bar:
            print("\r" + " " * _WIDE + "\r", end="", file=sys.stderr)
            self._has_bar = False
