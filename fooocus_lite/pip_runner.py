"""pip, for people: its hundreds of lines folded into a few, its failures into one sentence."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

#: What makes pip look elsewhere than into the environment.
_MISLEADING = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV")
#: What pip says → what a person can do; the first match counts.
_REASONS = (
    (
        r"No space left|Errno 28|WinError 112",
        "The disk is full: free some gigabytes and start again; what is there is kept.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "The package index's certificate is not trusted here: check the clock and the proxy, then start again.",
    ),
    (
        r"Failed to establish|NameResolution|getaddrinfo|Name or service|unreachable|timed out|ProxyError",
        "The package index cannot be reached: connect to the network (or set HTTPS_PROXY) and start again.",
    ),
    (
        r"Permission denied|Errno 13|WinError 5|Read-only file system",
        "This folder cannot be written: move Fooocus Lite to a folder of your own and start again.",
    ),
)


class Problem(Exception):
    """One sentence for a person: what is wrong and what to do."""


def say(text: str) -> None:
    """A line for the person who waits."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def run_pip(python: Path, arguments: list[str], log: Path, *, show_bar: bool = False, is_quiet: bool = False) -> str:
    """Run ``pip install``; returns a sentence when it failed, else ``""``.

    Args:
        show_bar: pip is new enough to report progress in numbers.
        is_quiet: Say nothing on the way.
    """
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--prefer-binary"]
    command += ["--progress-bar", "raw" if show_bar else "off", *arguments]
    env = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    env |= {"PIP_USER": "0", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    kept: list[str] = []
    with log.open("a", encoding="utf-8") as file, Ticker() as ticker:
        file.write("\n" + " ".join(command) + "\n")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env) as process:
            for raw in process.stdout or ():
                line = raw.decode("utf-8", "replace")
                if not is_quiet:
                    ticker.see(line)
                if not line.startswith("Progress "):
                    file.write(line)
                    kept.append(line)
    if process.returncode == 0:
        return ""
    text = "".join(kept)
    return explain(text) or f"Installing failed ({last_line(text)}); all of it is in {log}."


def explain(text: str) -> str:
    """A sentence for the usual reasons why pip fails, else ``""``."""
    for pattern, sentence in _REASONS:
        if re.search(pattern, text):
            return sentence
    if missing := re.search(r"(?:No matching distribution found for|Cannot install) ([^\s,]+)", text):
        return f"{missing.group(1)} cannot be had for Python {platform.python_version()} on {platform.platform()}."
    return ""


def last_line(text: str) -> str:
    """The line that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no output"]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])


class Ticker:
    """One line that changes; where there is no terminal, a line for each large file and one after each silence.

    As a context it also speaks while pip says nothing: unpacking thousands of files takes minutes.
    """

    def __init__(self, *, patience_s: float = 20.0) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.name = ""
        self.width = 0
        self._patience_s = patience_s
        self._begun = 0.0  # of what is being done now; 0 before there is anything to say
        self._ended = threading.Event()
        self._clock = threading.Thread(target=self._tell_time, name="sign of life", daemon=True)

    def __enter__(self) -> Ticker:
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._clock.join()
        self.clear()

    def _tell_time(self) -> None:
        while not self._ended.wait(self._patience_s):
            if self._begun:
                self._show(f"{self.name}: {time.monotonic() - self._begun:.0f} s", keep=True)

    def see(self, line: str) -> None:
        """Take in one line of pip's."""
        progress = re.match(r"Progress (\d+) of (\d+)", line)
        file = re.match(r"\s*(Downloading|Using cached) (?:\S*/)?([\w.]+?)-\d\S* \(([\d.]+) ([kMG]B)\)", line)
        if progress and int(progress.group(2)):
            self._show(f"{self.name} {100 * int(progress.group(1)) // int(progress.group(2))} %")
        elif file:
            verb, name, size, unit = file.groups()
            self._begin(f"{verb.lower()} {name} ({size} {unit})")
            self._show(self.name, keep=unit == "GB" or (unit == "MB" and float(size) > 20))
        elif line.startswith("Installing collected packages:"):
            count = line.count(",") + 1
            self._begin(f"unpacking {count} package{'s' if count > 1 else ''}")
            self._show(self.name, keep=True)

    def _begin(self, name: str) -> None:
        self.name, self._begun = name, time.monotonic()

    def clear(self) -> None:
        """Leave an empty line behind, for what comes next."""
        if self.width:
            sys.stderr.write("\r" + " " * (8 + self.width) + "\r")
            self.width = 0

    def _show(self, text: str, *, keep: bool = False) -> None:
        if self.is_terminal:
            sys.stderr.write("\r        " + text[:70].ljust(self.width))
            self.width = len(text[:70])
            sys.stderr.flush()
        elif keep:
            say("        " + text)
