"""What `generate` and `replay` say while they draw, and `models download` while bytes arrive."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from fooocus_lite.download_state import Download, size_text
from fooocus_lite.download_words import time_text
from fooocus_lite.events import Event, Failed, ImageSaved, Progress, PromptReady
from fooocus_lite.foreground import Job
from fooocus_lite.untrusted import printable


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
            print("\r" + " " * 62 + "\r", end="", file=sys.stderr)
            self._has_bar = False


class DownloadTeller:
    """Sentences to stderr and one line per finished download to stdout; a bar on a terminal, else a line each tenth."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._width = 0
        self._tenth = -1
        self._note = ""

    def begin(self, text: str) -> None:
        """What is about to be fetched."""
        self._tenth, self._note = -1, ""
        self.note(text)

    def note(self, text: str) -> None:
        """A sentence, on a line of its own."""
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr)
            self._width = 0
        print(printable(text), file=sys.stderr, flush=True)

    def at(self, download: Download) -> None:
        """One moment."""
        if self._as_json:
            print(json.dumps(download.to_dict(), ensure_ascii=False), flush=True)
            return
        if download.problem and download.problem != self._note:
            self.note(f"  {download.problem}")
        self._note = download.problem
        tenth = int(10 * download.done_bytes / download.total_bytes) if download.total_bytes else -1
        if sys.stderr.isatty():
            text = progress_text(download)
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        elif tenth > self._tenth:
            self._tenth = tenth
            self.note(progress_text(download))

    def done(self, download: Download, text: str) -> None:
        """It is over."""
        if self._as_json:
            self.at(download)
        else:
            self.note(text)


def progress_text(download: Download) -> str:
    """How far it has come: ``  37 % ███████░░░░░░░░░░░░░ 2.6 GB of 6.9 GB, 11 MB a second, 6 min left``."""
    arrived = size_text(download.done_bytes)
    if not download.total_bytes:
        return f"  {arrived}"
    share = min(download.done_bytes / download.total_bytes, 1.0)
    bar = "█" * int(20 * share) + "░" * (20 - int(20 * share))
    parts = [f"{arrived} of {size_text(download.total_bytes)}"]
    if download.state == "checking":
        parts.append("checking")
    if download.bytes_per_s:
        parts.append(f"{size_text(download.bytes_per_s)} a second")
    if download.seconds_left is not None and share < 1:
        parts.append(f"{time_text(download.seconds_left)} left")
    return f"{share:>6.0%} {bar} {', '.join(parts)}"
