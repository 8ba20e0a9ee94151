"""The real server as a process of its own, and what a person can do to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "models" / "starter"
DEADLINE_S = 900.0  # a busy machine takes minutes to import everything
ENDED = ("finished", "failed", "cancelled")


def is_shipped() -> bool:
    """Whether the trained starter model is in this checkout."""
    return any(STARTER.glob("unet/*.safetensors"))


def fill_models(folder: Path) -> Path:
    """A models folder with the starter that ships, or random weights of its shape until that is there."""
    if is_shipped():
        shutil.copytree(STARTER, folder / "starter")
    else:
        from tests.engine.tiny_sdxl import write_model

        (write_model(folder / "starter") / "model_index.json").write_text("{}")
    shutil.copy(STARTER.parent / "catalog.json", folder / "catalog.json")
    return folder


def until(condition: Callable[[], Any], what: str) -> Any:
    """What ``condition`` says once that is something; the deadline only keeps a broken test from hanging."""
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come in {DEADLINE_S:.0f} s"
        time.sleep(0.05)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Server:
    """``python -m fooocus_lite serve`` in its own folders."""

    def __init__(
        self, folder: Path, models: Path, *, environment: dict[str, str] | None = None, **settings: object
    ) -> None:
        self.data, self.outputs, self.models = folder / "data", folder / "outputs", models
        self._log = folder / "server.log"
        own = {"data_dir": self.data, "output_dir": self.outputs, "models_dir": models, "device": "cpu"} | settings
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FOOOCUS_")}
        self._env = clean | {f"FOOOCUS_{key.upper()}": str(value) for key, value in own.items()} | (environment or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self, port: int = 0) -> Server:
        """Start it, and wait until it answers; 0 = at any free port."""
        self.process = self.launch(port)
        self.address = until(self._says_where, "the server's address")
        until(lambda: self.get("/healthz")[0] == 200, "the first answer")
        return self

    def launch(self, port: int = 0) -> subprocess.Popen[bytes]:
        """Start it, and wait for nothing."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = port or free.getsockname()[1]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "fooocus_lite", "serve", "--no-browser", "--port", str(port)],
                cwd=ROOT, env=self._env, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def _says_where(self) -> str | None:
        assert self.process and self.process.poll() is None, self.log
        found = re.search(r"is at (http://\S+)", self.log)
        return found.group(1) if found else None

    def kill(self) -> None:
        """``kill -9``."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """A polite end, as Ctrl-C."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_S)

    def workers(self) -> list[int]:
        """Process ids of the server's workers."""
        assert self.process
        found: list[int] = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
                command = (stat.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == self.process.pid and b"fooocus_lite.worker" in command:
                found.append(int(stat.parent.name))
        return found

    def get(self, path: str) -> tuple[int, Any]:
        return self._ask(urllib.request.Request(self.address + path))

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self.address + path, data, headers, method="POST"))

    def cancel(self, task_id: str) -> None:
        self._ask(urllib.request.Request(f"{self.address}/v1/tasks/{task_id}", method="DELETE"))

    def _ask(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, json.load(exc)
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):  # also one that was cut off
            return 0, None

    def submit(self, prompt: str, **fields: object) -> list[str]:
        status, answer = self.post("/v1/tasks", {"prompt": prompt, "seed": 1} | fields)
        assert status == 201, answer
        return answer["ids"]

    def task(self, task_id: str) -> dict[str, Any]:
        status, answer = self.get(f"/v1/tasks/{task_id}")
        assert status == 200, answer
        return answer

    def wait_until_drawing(self, task_id: str) -> None:
        until(lambda: self.task(task_id)["progress"], "the first step")

    def wait(self, *ids: str) -> list[dict[str, Any]]:
        """The tasks once they have ended."""
        until(lambda: all(self.task(task_id)["state"] in ENDED for task_id in ids), "the end of the tasks")
        return [self.task(task_id) for task_id in ids]

    def picture(self, task_id: str) -> Path:
        """The file of a finished task."""
        (path,) = self.outputs.glob(f"*/*_{task_id}.png")
        return path

    def gives_a_red_circle(self) -> None:
        """Whatever happened before: ask for a red circle, get one."""
        (task_id,) = self.submit("a red circle on a white background", steps=20, seed=3)
        (task,) = self.wait(task_id)
        assert task["state"] == "finished", task["error"]
        assert not list(self.outputs.rglob("*.part"))
        with Image.open(self.picture(task_id)) as picture:
            assert picture.size == (task["width"], task["height"])
            pixels = picture.convert("RGB")
            if is_shipped():
                assert_red_circle(pixels)


def assert_red_circle(picture: Image.Image) -> None:
    """Red in one round heap: its area is that of a circle as wide as it is."""
    reds = [
        (index % picture.width, index // picture.width)
        for index, (red, green, blue) in enumerate(zip(*(band.tobytes() for band in picture.split()), strict=True))
        if red > 120 and red > 1.7 * max(green, blue)
    ]
    assert len(reds) > 0.02 * picture.width * picture.height, "hardly any red"
    wide = max(x for x, _ in reds) - min(x for x, _ in reds) + 1
    high = max(y for _, y in reds) - min(y for _, y in reds) + 1
    assert 0.6 < wide / high < 1.7, (wide, high)
    assert 0.55 < len(reds) / (wide * high) < 0.95, "not round"  # a circle fills pi/4 = 0.785 of its box
