"""A page of another website, in the same browser: it can neither ask for pictures nor read anything, at any door."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.faults.server import Server

DOORS = {
    "/v1/tasks": '{"prompt": "evil"}',
    "/v1/images/generations": '{"prompt": "evil"}',
    "/sdapi/v1/txt2img": '{"prompt": "evil", "steps": 2}',
    "/sdapi/v1/options": '{"sd_model_checkpoint": "starter"}',
    "/v1/clear": "",
    "/v1/read": "evil",
    "/gradio_api/upload": "evil",
}
READABLE = (
    "/v1/menu",
    "/v1/tasks",
    "/v1/models",
    "/sdapi/v1/options",
    "/sdapi/v1/sd-models",
    "/openapi.json",
    "/config",
)
#: Every way in which a page can send something, or read it; what could be read comes back.
ATTACK = """async ([server, doors, readable]) => {
  const read = [];
  const all = [];
  for (const [path, body] of Object.entries(doors)) {
    const url = server + path;
    const forms = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"];
    const kinds = ["application/json", "text/plain", ...forms];
    for (const mode of ["cors", "no-cors"]) for (const kind of kinds) all.push(
      fetch(url, {method: "POST", mode, body, headers: {"Content-Type": kind}})
        .then((answer) => { if (answer.type !== "opaque") read.push(url); }, () => {}));
    navigator.sendBeacon(url, body);
    const form = document.createElement("form");
    const frame = document.createElement("iframe");
    frame.name = url;
    Object.assign(form, {action: url, method: "POST", enctype: "text/plain", target: url});
    const field = document.createElement("input");
    Object.assign(field, {name: '{"prompt": "evil", "styles": ["', value: '"]}'});
    form.append(field);
    document.body.append(frame, form);
    all.push(new Promise((done) => { frame.onload = done; }));
    form.submit();
  }
  for (const path of readable) all.push(
    fetch(server + path).then((answer) => answer.text().then(() => read.push(path)), () => {}));
  const events = new EventSource(server + "/v1/events");
  all.push(new Promise((done) => {
    events.onmessage = () => { read.push("events"); done(); };
    events.onerror = done;
  }));
  await Promise.all(all);
  events.close();
  return read;
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def website(tmp_path: Path) -> Iterator[int]:
    """The port of another server, with a page."""
    (tmp_path / "index.html").write_text("<!doctype html><title>evil</title><body></body>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_it_gets_nowhere(browser: Any, quiet_server: Server, website: int, name: str) -> None:
    stays = quiet_server.submit("a star that stays", steps=200, count=9)
    options = quiet_server.get("/sdapi/v1/options")[1]
    files = {path for path in quiet_server.data.rglob("*") if path.suffix not in (".db-wal", ".db-shm")}
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"http://{name}:{website}/")
        for server in (quiet_server.address, quiet_server.address.replace("127.0.0.1", "localhost")):
            assert page.evaluate(ATTACK, [server, DOORS, READABLE]) == []
    finally:
        context.close()
    (newest,) = quiet_server.get("/v1/tasks?limit=1")[1]["tasks"]
    assert newest["id"] == stays[-1], "nothing was asked for"
    assert "cancelled" not in {quiet_server.task(task_id)["state"] for task_id in stays}
    assert quiet_server.get("/sdapi/v1/options")[1] == options
    assert {path for path in quiet_server.data.rglob("*") if path.suffix not in (".db-wal", ".db-shm")} == files
