"""The real routes over real HTTP, in this process: real queue, real worker processes, no torch and no page."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.live_library import LiveLibrary
from fooocus_lite.repeats import Repeats
from fooocus_lite.runner import LocalRunner
from fooocus_lite.settings import Settings, load_settings
from fooocus_lite.store import open_store
from fooocus_lite.supply import Supply
from fooocus_lite.users import Users
from fooocus_lite.web.app import create_app
from tests.app.client import ask_json
from tests.deeds.conftest import FAKE, until
from tests.house.code import ROOT


def make_settings(folder: Path) -> Settings:
    """Two models that are here, and one that nobody has."""
    names = {"small": 64, "large": 128}
    rows: list[dict[str, Any]] = [
        {"name": name, "label": name.title(), "family": "sdxl", "path": name, "native_size": size}
        for name, size in names.items()
    ]
    for name in names:
        (folder / "models" / name).mkdir(parents=True, exist_ok=True)
        (folder / "models" / name / "model_index.json").write_text("{}")
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "catalog.json").write_text(json.dumps(rows))
    (folder / "models" / "catalog.json").write_text("[]")
    env = {f"FOOOCUS_{name.upper()}": str(folder / name.partition("_")[0]) for name in ("data_dir", "models_dir")}
    return load_settings(env=env, root=folder)


class LightServer:
    """From here to `close`; `Repeats` and the worker run from the start, unless ``is_drawing`` is False."""

    def __init__(self, folder: Path, *, is_drawing: bool = False) -> None:
        self.settings = make_settings(folder)
        self.users = Users(self.settings)
        self.store = open_store(self.settings.data_dir, self.users.limits_of)
        self.library = LiveLibrary(self.settings)
        self.supply = Supply(self.store, self.settings, self.library)
        self.runner = LocalRunner(FAKE)
        self.dispatcher = Dispatcher(
            self.store, [self.runner], library=self.library, output_dir=folder / "outputs", supply=self.supply
        )
        self.repeats = Repeats(self.store, self.supply, self.library, self.users.may_go_on)
        self.supply.start()
        self.repeats.start()
        if is_drawing:
            self.dispatcher.start()
        self.app = create_app(self.settings, self.library, self.store, self.dispatcher, self.supply, self.users)
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, lifespan="off", log_level="error"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        until(lambda: self._server.started, "the server")

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer."""
        return ask_json(self.address, method, path, body, **headers)

    def submit(self, prompt: str = "a star", **fields: object) -> list[str]:
        """Ids of pictures that were asked for."""
        status, answer = self.ask("POST", "/v1/tasks", {"prompt": prompt, "seed": 1, "steps": 4} | fields)
        assert status == 201, answer
        return answer["ids"]

    def line(self) -> list[str]:
        """Ids of what waits, next first."""
        return [task.id for task in self.store.queue.in_line()]

    def close(self) -> None:
        """End everything."""
        self.store.log.close()
        self._server.should_exit = True
        self._thread.join(30)
        self.repeats.close()
        self.dispatcher.close()
        self.supply.close()
        self.store.close()


class LightProcess:
    """A `LightServer` that draws, as a process of its own: to be killed."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.app.light", str(folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer; 0 when nobody answers."""
        try:
            return ask_json(self.address, method, path, body, **headers)
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None

    def kill(self) -> None:
        """``kill -9``."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


if __name__ == "__main__":
    print(LightServer(Path(sys.argv[1]), is_drawing=True).address, flush=True)
    threading.Event().wait()
