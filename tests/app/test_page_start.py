"""The page comes late without keeping anybody waiting, and the server stays light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fooocus_lite.web.app import LatePage
from tests.app.client import ask
from tests.faults.server import ROOT, Server, until


def test_the_interface_needs_neither_gradio_nor_torch() -> None:
    code = "import sys, fooocus_lite.web.app; print({'gradio', 'torch', 'diffusers'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def late(build: object) -> tuple[FastAPI, LatePage]:
    page = LatePage(build)  # type: ignore[arg-type]

    async def lifespan(app: FastAPI):
        async with page.building():
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/", page)
    return app, page


def test_a_light_page_stands_in_until_the_real_one_is_built() -> None:
    may_build, started, ended = threading.Event(), [], []

    async def lifespan(app: FastAPI):
        started.append(True)
        yield
        ended.append(True)

    def build() -> FastAPI:
        may_build.wait(30)
        real = FastAPI(lifespan=lifespan)
        real.get("/")(lambda: "the real page")
        return real

    app, page = late(build)
    with TestClient(app) as client:
        assert "in a moment" in client.get("/").text
        assert page.state == "starting"
        may_build.set()
        until(lambda: page.state == "ready", "the real page")
        assert client.get("/").json() == "the real page"
        assert started and not ended
    assert ended


def test_a_page_that_cannot_be_built_says_why() -> None:
    def build() -> FastAPI:
        raise ImportError("no gradio here")

    app, page = late(build)
    with TestClient(app) as client:
        until(lambda: page.state != "starting", "the failure")
        assert page.problem == "ImportError: no gradio here"
        assert client.get("/").status_code == 200


def test_a_server_that_ends_does_not_wait_for_its_page() -> None:
    forever, called = threading.Event(), list[bool]()
    page = LatePage(lambda: FastAPI(debug=forever.wait()), then=lambda: called.append(True))

    async def lifespan(app: FastAPI):
        async with page.building():
            yield

    with TestClient(FastAPI(lifespan=lifespan)):
        assert page.state == "starting"
    assert page.is_abandoned
    assert not called
    forever.set()


@pytest.mark.parametrize("build", [FastAPI, lambda: 1 / 0])
def test_what_waits_for_the_page_goes_on_whether_it_is_built_or_not(build: object) -> None:
    told = threading.Event()
    page = LatePage(build, then=told.set)  # type: ignore[arg-type]

    async def lifespan(app: FastAPI):
        async with page.building():
            yield

    with TestClient(FastAPI(lifespan=lifespan)):
        assert told.wait(60)
        assert page.state in ("ready", "failed")
    assert not page.is_abandoned


def test_ctrl_c_ends_a_server_whose_page_is_still_loading(tmp_path: Path, web_models: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "gradio.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(100_000)\n")
    paths = os.pathsep.join([str(slow), *filter(None, [os.environ.get("PYTHONPATH")])])
    running = Server(tmp_path, web_models, environment={"PYTHONPATH": paths}).start()
    until(lambda: "loading" in running.log, "the import")
    assert running.end() == 0, running.log
    assert "has ended" in running.log and "Traceback" not in running.log


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_idle_server_sleeps(quiet_server: Server) -> None:
    """Whatever looks for work a thousand times a second takes a core away from the picture."""
    assert quiet_server.process
    status = Path(f"/proc/{quiet_server.process.pid}/task/{quiet_server.process.pid}/status")

    def naps() -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt"))
        return int(line.split()[1])

    before, began = naps(), time.monotonic()
    time.sleep(2)
    per_second = (naps() - before) / (time.monotonic() - began)
    assert per_second < 100  # uvicorn looks up ten times a second


def test_page_is_gradio_without_its_extras(web_server: Server) -> None:
    status, _, body = ask(web_server.address, "GET", "/")
    assert status == 200
    html = body.decode()
    assert "fl-generate" in html
    assert '"connect_heartbeat":false' in html.replace(" ", "")
    assert "fonts.googleapis.com" not in html
    for path in ("/redoc", "/monitoring", "/gradio_api/runs"):
        assert ask(web_server.address, "GET", path)[0] in (403, 404), path


def test_files_that_no_widget_wants_are_not_stored(web_server: Server) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x", "Origin": web_server.address}
    status, _, text = ask(web_server.address, "POST", "/gradio_api/upload", form, kind)
    assert (status, json.loads(text)["problem"]) == (404, "This page takes no files.")


@pytest.mark.parametrize(("widget", "status"), [("Image", 200), ("Textbox", 404)])
def test_a_widget_that_takes_files_gets_them(widget: str, status: int) -> None:
    code = (
        "import sys, gradio as gr; from fastapi import FastAPI; from fastapi.testclient import TestClient\n"
        "from fooocus_lite.web.app import _close_uploads\n"
        "with gr.Blocks(analytics_enabled=False) as blocks: getattr(gr, sys.argv[1])()\n"
        "page = FastAPI(); gr.mount_gradio_app(page, blocks, path='/'); _close_uploads(page)\n"
        "print(TestClient(page).post('/gradio_api/upload', files={'files': b'hello'}).status_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, widget], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(status), done.stderr


def test_own_scripts_are_served_and_asked_for_again(web_server: Server) -> None:
    for file in sorted((ROOT / "fooocus_lite/web/static").iterdir()):
        status, headers, body = ask(web_server.address, "GET", f"/ui/{file.name}")
        assert (status, body) == (200, file.read_bytes())
        assert headers["cache-control"] == "no-cache"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_server_process_stays_light(quiet_server: Server) -> None:
    quiet_server.wait(*quiet_server.submit("a red circle", steps=2))
    assert quiet_server.process
    process = Path(f"/proc/{quiet_server.process.pid}")
    assert "libtorch" not in (process / "maps").read_text()
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 400_000
