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
    "/v1/favourites": '{"styles": ["Neon"]}',
    "/gradio_api/upload": "evil",
    "/login": "name=admin&password=evil",
    "/logout": "",
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
ATTACK = """async ([server, doors, readable, picture]) => {
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
  const socket = new WebSocket(server.replace("http", "ws") + "/v1/ws");
  all.push(new Promise((done) => {
    socket.onmessage = () => { read.push("socket"); done(); };
    socket.onclose = done;
  }));
  for (const path of ["/v1/menu", "/ui/favicon.svg", `/v1/tasks/${picture}/image`, `/v1/tasks/${picture}/thumbnail`]) {
    all.push(new Promise((done) => {
      const image = new Image();
      image.onload = () => { read.push("image " + path); done(); };
      image.onerror = done;
      image.src = server + path;
    }));
    all.push(new Promise((done) => {
      const script = document.createElement("script");
      script.onload = () => { read.push("script " + path); done(); };
      script.onerror = done;
      script.src = server + path;
      document.body.append(script);
    }));
  }
  await navigator.serviceWorker.register("/worker.js");
  const worker = await navigator.serviceWorker.ready;
  all.push(new Promise((done) => {
    const heard = new MessageChannel();
    heard.port1.onmessage = ({ data }) => { read.push(...data); done(); };
    worker.active.postMessage([server, Object.entries(doors)], [heard.port2]);
  }));
  await Promise.all(all);
  events.close();
  return read;
}"""
#: A service worker of theirs, which sends by itself, files among it.
WORKER = """self.onmessage = async ({ data: [server, doors], ports: [port] }) => {
  const read = [];
  const form = new FormData();
  form.append("files", new Blob(["evil"]), "evil.txt");
  const sent = doors.flatMap(([path, body]) => ["cors", "no-cors"].flatMap((mode) => [body, form].map((body) =>
    fetch(server + path, { method: "POST", mode, body, credentials: "include" })
      .then((answer) => { if (answer.type !== "opaque") read.push("worker " + path); }, () => {}))));
  await Promise.all(sent);
  port.postMessage(read);
};"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def website(tmp_path: Path) -> Iterator[int]:
    """The port of another server, with a page."""
    (tmp_path / "index.html").write_text("<!doctype html><title>evil</title><body></body>")
    (tmp_path / "worker.js").write_text(WORKER)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def attacked(quiet_server: Server) -> Iterator[tuple[Server, str]]:
    """A server, and the id of a picture it has; afterwards it has the tasks, choices and files that it had."""
    (picture,) = quiet_server.submit("a red circle", steps=2)
    quiet_server.wait(picture)
    stays = quiet_server.submit("a star that stays", steps=200, count=9)
    before = _state(quiet_server)
    yield quiet_server, picture
    (newest,) = quiet_server.get("/v1/tasks?limit=1")[1]["tasks"]
    assert newest["id"] == stays[-1], "nothing was asked for"
    assert "cancelled" not in {quiet_server.task(task_id)["state"] for task_id in stays}
    assert _state(quiet_server) == before


def _state(server: Server) -> object:
    files = {path for path in server.data.rglob("*") if path.suffix not in (".db-wal", ".db-shm")}
    return server.get("/sdapi/v1/options")[1], server.get("/v1/menu")[1]["favourites"], files


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_it_gets_nowhere(browser: Any, attacked: tuple[Server, str], website: int, name: str) -> None:
    server, picture = attacked
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"http://{name}:{website}/")
        for address in (server.address, server.address.replace("127.0.0.1", "localhost")):
            assert page.evaluate(ATTACK, [address, DOORS, READABLE, picture]) == []
    finally:
        context.close()


#: Names that reach this machine in that browser: names that people own, and other ways to write its own.
NAMES = ("evil.example", "localhost.evil.example", "localhost.", "host.docker.internal")


def test_a_name_of_theirs_that_points_here_gets_nowhere(launch: Any, attacked: tuple[Server, str]) -> None:
    """DNS rebinding: their page's name becomes this machine's, and the browser lets it talk as to its own server."""
    port = attacked[0].address.rpartition(":")[2]
    rebound = launch("--host-resolver-rules=MAP *.example 127.0.0.1, MAP host.docker.internal 127.0.0.1")
    try:
        for name in NAMES:
            own, page = f"http://{name}:{port}", rebound.new_page()
            answer = page.goto(f"{own}/")
            assert answer is not None and answer.status == 403, name
            page.route("**/index.html", lambda route: route.fulfill(body="<!doctype html><body></body>"))
            page.goto(f"{own}/index.html")  # what it was before its name moved
            assert page.evaluate(REBOUND, [DOORS, READABLE]) == [], name
            page.close()
    finally:
        rebound.close()


REBOUND = """async ([doors, readable]) => {
  const read = [];
  const told = (path) => (answer) => { if (answer.ok) read.push(path); };
  const kind = {"Content-Type": "application/json"};
  const all = Object.entries(doors).map(([path, body]) =>
    fetch(path, {method: "POST", body, headers: kind}).then(told(path), () => {}));
  for (const path of readable) all.push(fetch(path).then(told(path), () => {}));
  all.push(new Promise((done) => {
    const socket = new WebSocket("/v1/ws");
    socket.onmessage = () => { read.push("socket"); done(); };
    socket.onclose = done;
  }));
  await Promise.all(all);
  return read;
}"""
