"""Names that are meant as paths: routes look them up, and nothing outside is read, made or deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.app.raw import port_of, request, send
from tests.faults.server import Server

SECRET = "what nobody may read"
#: Ways to write a path out of a folder, as it goes over the wire; {up} is a file above the data, {name} its name.
WAYS = [
    "../{name}", "../../{name}", "../../../../../../../../../../../..{up}", "..%2F{name}", "..%2F..%2F{name}",
    "%2e%2e/%2e%2e/{name}", "%2e%2e%2f%2e%2e%2f{name}", "..%5C..%5C{name}", "..\\..\\{name}", "..%252F..%252F{name}",
    "%252e%252e%252f{name}", "%c0%ae%c0%ae/{name}", "..;/..;/{name}", "....//....//{name}", "./../{name}",
    "{up}", "/{up}", "%2F{quoted}", "file://{up}", "file:%2F%2F{quoted}", "~/{name}", "%7Eroot/.bashrc",
    "C:%5CWindows%5Cwin.ini", "C:/Windows/win.ini", "C:win.ini", "%5C%5C127.0.0.1%5CC$%5Cwin.ini",
    "//127.0.0.1/C$/win.ini",
    "%5C%5C%3F%5CC:%5CWindows%5Cwin.ini", "{name}%00.png", "..%2F{name}%00", "CON", "NUL.txt", "tasks.db", "TASKS.DB",
    "..%2Fdata%2Fqueue.db", "..%2FDATA%2FUSERS.JSON", "sessions.json", "{name}::$DATA", "%20..%2F{name}",
    ".", "..", "%2e%2e",
]  # fmt: skip
#: Where a picture, a script or a file of Gradio's could be had.
MORE = (
    "/ui/{}", "/gradio_api/file={}", "/file={}", "/gradio_api/static/{}", "/assets/{}", "/static/{}", "/svelte/{}",
    "/gradio_api/proxy={}", "/theme.css?x={}", "/gradio_api/stream/{}/x/y/playlist.m3u8", "/{}",
)  # fmt: skip
BODIES = {
    "/v1/styles": {"name": "evil {}", "prompt": "{{prompt}} evil"},
    "/v1/presets": {"label": "evil {}", "recipe": {"steps": 3}},
    "/v1/plan": {"prompt": "evil"},
    "/v1/downloads": {"name": "{}"},
}


@pytest.fixture
def above(web_server: Server) -> Iterator[Path]:
    """A file above the server's folders, which is there afterwards as it was, alone."""
    folder = web_server.data.parent
    secret = folder / "secret.txt"
    secret.write_text(SECRET)
    before = {path for path in folder.iterdir() if path.name not in ("data", "outputs")}
    yield secret
    assert secret.read_text() == SECRET
    assert {path for path in folder.iterdir() if path.name not in ("data", "outputs")} == before
    secret.unlink()


def _filled(way: str, secret: Path) -> str:
    shown = secret.as_posix()
    return way.format(up=shown, name=secret.name, quoted=quote(shown.lstrip("/"), safe=""))


def _routes(server: Server) -> list[tuple[str, str]]:
    """Method and path, with {} for its name, of every route that takes one."""
    paths = server.get("/openapi.json")[1]["paths"]
    taking = [(method.upper(), re.sub(r"\{[^}]*\}", "{}", path)) for path, ways in paths.items() for method in ways]
    return [(method, path) for method, path in taking if "{}" in path]


@pytest.mark.parametrize("way", WAYS)
def test_no_route_leads_outside(web_server: Server, above: Path, way: str) -> None:
    host = ("Host", f"127.0.0.1:{port_of(web_server.address)}")
    name = _filled(way, above)
    routes = [*_routes(web_server), *(("GET", path) for path in MORE)]
    assert len(routes) > 20
    for method, path in routes:
        body = b"{}" if method in ("POST", "PUT", "PATCH") else b""
        headers = [host, ("Content-Type", "application/json")] if body else [host]
        said = send(web_server.address, request(method, path.replace("{}", name), headers, body))
        where = (method, path, name, said.status, said.body[:200])
        assert SECRET.encode() not in said.body and b"root:" not in said.body, where
        assert b"SQLite format" not in said.body and b"Traceback" not in said.body, where
        is_page = said.status == 200 and b"<html" in said.body  # Gradio's page stands under several paths
        is_menu = path in ("/theme.css?x={}",) or re.fullmatch(r"/+(\.|\.\.|%2e%2e)?", path.replace("{}", name))
        assert is_page or is_menu or said.status >= 300, where
        assert said.status != 500, where


@pytest.mark.parametrize("way", [way for way in WAYS if "%25" not in way])
def test_no_name_in_a_body_leads_outside(web_server: Server, above: Path, way: str) -> None:
    name = _filled(way, above).replace("%2F", "/").replace("%5C", "\\").replace("%2e", ".").replace("%00", "\0")
    before = {path for path in web_server.data.rglob("*") if ".db" not in path.name}
    for path, body in BODIES.items():
        said = {key: value.replace("{}", name) if isinstance(value, str) else value for key, value in body.items()}
        if path == "/v1/plan":
            for field in ("model", "preset", "styles", "vae", "refiner"):
                wrong = [name] if field == "styles" else name
                assert web_server.post(path, said | {field: wrong})[0] in (404, 409, 422), (field, wrong)
            status, plan = web_server.post(path, said | {"loras": [{"name": name, "weight": 1}]})
            assert status == 422 or any("LoRA" in warning for warning in plan["warnings"]), plan
            continue
        status, answer = web_server.post(path, said)
        assert status < 500, (path, answer)
    made = {path for path in web_server.data.rglob("*") if ".db" not in path.name} - before
    assert {path.parent.relative_to(web_server.data).as_posix() for path in made} <= {".", "styles", "presets"}
    assert all(path.resolve().is_relative_to(web_server.data.resolve()) for path in made)
    for path in made:
        if path.is_file():
            path.unlink()


def test_a_picture_that_was_turned_into_a_link_takes_nothing_with_it(quiet_server: Server, above: Path) -> None:
    (task_id,) = quiet_server.submit("a red circle", steps=2)
    quiet_server.wait(task_id)
    picture = quiet_server.picture(task_id)
    picture.unlink()
    try:
        picture.symlink_to(above)
    except OSError:
        pytest.skip("links are not for everybody here")
    said = send(
        quiet_server.address,
        request("DELETE", f"/v1/pictures/{task_id}", [("Host", f"127.0.0.1:{port_of(quiet_server.address)}")]),
    )
    assert said.status == 409 and json.loads(said.body)["code"] == "conflict"
    picture.unlink()
