"""Runs every test in the environment that launch.py made: ``python3 launch.py test [pytest arguments]``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The browser that the browser tests drive: a path, ``playwright`` for Playwright's own, or empty for none.
VARIABLE = "FOOOCUS_TEST_BROWSER"
BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge", "microsoft-edge-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)  # fmt: skip
#: Tests mostly wait for servers, downloads and pages: a process more than cores, and not a memory full of models.
MOST_PROCESSES = 4
APT = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]


def installed_browser() -> str:
    """A browser of this system, or ``""``."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), "")


def ensure_browser() -> str:
    """A browser for the tests: the system's, Debian's, Playwright's; ``""`` when none can be had."""
    if found := os.environ.get(VARIABLE) or installed_browser():
        return found
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        print("Installing chromium for the browser tests …", flush=True)
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], APT):
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, check=False)
        if found := installed_browser():
            return found
    print("Fetching Playwright's own browser for the browser tests …", flush=True)
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return "playwright"
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    print(f"No browser can be had ({last}).", flush=True)
    return ""


def wants_browser(arguments: list[str]) -> bool:
    """Whether the tests named on the command line may need one: all tests, or the browser's."""
    paths = [argument for argument in arguments if (ROOT / argument.split("::")[0]).exists()]
    return not paths or any("browser" in path or path.rstrip("/") == "tests" for path in paths)


def clean_environment() -> dict[str, str]:
    """This environment without a person's own settings, and cut off from the hub."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FOOOCUS_")}
    return env | {
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens there: a test that needs a hub brings its own
        "TRANSFORMERS_OFFLINE": "1",  # for the libraries, which the engine uses
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONUTF8": "1",
    }


def sharing(arguments: list[str]) -> list[str]:
    """How many processes share the tests, for pytest: one a choice of them, or those that somebody talks to."""
    alone = any(not argument.startswith("-") or argument in ("--pdb", "--trace", "-s") for argument in arguments)
    if alone or not importlib.util.find_spec("xdist"):
        return []
    return [f"--numprocesses={min(MOST_PROCESSES, (os.cpu_count() or 1) + 1)}"]


def main(arguments: list[str]) -> int:
    """Find a browser, run pytest; the exit code is pytest's."""
    env = clean_environment()
    if wants_browser(arguments):
        env[VARIABLE] = ensure_browser()
        if not env[VARIABLE] and os.environ.get("CI"):
            print("The continuous integration runs the browser tests too: install chromium there.")
            return 1
        print(f"Browser for the tests: {env[VARIABLE] or 'none, so the browser tests are skipped'}", flush=True)
    shared = sharing(arguments)
    if shared:
        env["OMP_WAIT_POLICY"] = "PASSIVE"  # a model's thread that waits for others leaves its core to them
    return subprocess.call([sys.executable, "-m", "pytest", *shared, *arguments], cwd=ROOT, env=env)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
