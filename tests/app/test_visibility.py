"""Each user sees and touches their own alone: every route of the app, so that no new one can be forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fooocus_lite.errors import NotFound
from fooocus_lite.user import User
from fooocus_lite.web.mcp_tools import Tools
from tests.app.client import ask, follow
from tests.app.light import LightServer
from tests.app.people import KEYS, Client, people
from tests.aside import run_aside
from tests.deeds.conftest import until

SECRET = "harbour of ana"  # in the prompt of everything that is hers
STYLE = {"name": "Anas Own", "prompt": "{prompt} in ink", "negative_prompt": ""}
NOBODY = "000000000000"

#: What a stranger's id gives: the same as one that never was.
THEIRS = """
GET /v1/tasks/{task_id}
GET /v1/tasks/{task_id}/events
DELETE /v1/tasks/{task_id}
POST /v1/tasks/{task_id}/retry
PATCH /v1/tasks/{task_id}
POST /v1/tasks/{task_id}/duplicate
GET /v1/tasks/{task_id}/image
GET /v1/tasks/{task_id}/thumbnail
GET /v1/pictures/{task_id}
DELETE /v1/pictures/{task_id}
GET /v1/pictures/{task_id}/words
GET /v1/queue/batches/{batch_id}
POST /v1/queue/move
POST /v1/queue/cancel
POST /v1/queue/duplicate
POST /v1/queue/edit
DELETE /v1/repeats/{repeat_id}
GET /v1/sheets/{sheet_id}
GET /v1/sheets/{sheet_id}/image
DELETE /v1/sheets/{sheet_id}
"""
#: What answers with one's own, or acts on that alone.
OWN = """
GET /v1/tasks
GET /v1/pictures
GET /v1/sheets
GET /v1/queue
GET /v1/queue/export
GET /v1/history
GET /v1/repeats
GET /v1/style-pictures
GET /v1/workers
GET /v1/me
POST /v1/skip
POST /v1/stop
POST /v1/clear
GET /sdapi/v1/progress
POST /sdapi/v1/interrupt
POST /sdapi/v1/skip
GET /sdapi/v1/options
POST /sdapi/v1/options
"""
#: What changes what is everybody's, or shows a folder of the server: 403.
ADMINS = """
POST /v1/styles
PUT /v1/styles/{name:path}
DELETE /v1/styles/{name:path}
POST /v1/presets
PUT /v1/presets/{name:path}
DELETE /v1/presets/{name:path}
PUT /v1/favourites
PUT /v1/default-preset
PUT /v1/a1111-text
POST /v1/downloads
POST /v1/downloads/{name:path}/pause
POST /v1/downloads/{name:path}/resume
POST /v1/downloads/{name:path}/cancel
POST /v1/queue/pause
POST /v1/queue/resume
POST /v1/pictures/{task_id}/open-folder
"""
#: What asks for pictures: they are the asker's. `test_what_is_asked_for_is_the_askers` asks.
ASKS = """
POST /v1/tasks
POST /v1/sheets
POST /v1/repeats
POST /v1/queue/import
POST /v1/images/generations
POST /sdapi/v1/txt2img
"""
#: Told one by one below: `test_streams_tell_each_their_own`, `…_sockets_…`, `…_assistants_…`.
STREAMS = """
WS /mcp
WS /mcp/
WS /gradio_api/mcp
WS /gradio_api/mcp/
GET /v1/events
WS /v1/ws
WS /v1/tasks/{task_id}/ws
"""
#: The same for everybody, and nothing of anybody's.
SHARED = """
GET /openapi.json
GET /healthz
GET /docs
GET /v1/menu
POST /v1/plan
POST /v1/expand
GET /v1/styles/{name:path}
GET /v1/style-pictures/{name:path}
GET /v1/models
GET /v1/downloads
GET /v1/loras
GET /v1/lora-pictures/{name:path}
GET /v1/language
POST /v1/read
GET /v1/models/{name:path}
POST /v1/images/edits
POST /v1/images/variations
POST /sdapi/v1/img2img
POST /sdapi/v1/extra-single-image
POST /sdapi/v1/extra-batch-images
POST /sdapi/v1/interrogate
GET /sdapi/v1/sd-models
GET /sdapi/v1/samplers
GET /sdapi/v1/schedulers
GET /sdapi/v1/loras
GET /sdapi/v1/embeddings
GET /sdapi/v1/prompt-styles
GET /sdapi/v1/upscalers
GET /sdapi/v1/scripts
GET /sdapi/v1/cmd-flags
GET /sdapi/v1/memory
GET /sdapi/v1/sd-vae
GET /sdapi/v1/hypernetworks
GET /sdapi/v1/face-restorers
GET /sdapi/v1/realesrgan-models
GET /sdapi/v1/latent-upscale-modes
GET /sdapi/v1/script-info
GET /sdapi/v1/extensions
POST /sdapi/v1/refresh-checkpoints
POST /sdapi/v1/refresh-loras
POST /sdapi/v1/refresh-vae
POST /sdapi/v1/refresh-embeddings
POST /sdapi/v1/reload-checkpoint
POST /sdapi/v1/png-info
WS /ui
WS /
"""  # the last two: our static files, and the page, which is empty without its streams


def rows(text: str) -> list[str]:
    return text.strip().splitlines()


@dataclass(frozen=True)
class Scene:
    """Ana has drawn a picture, is drawing one, and has waiting ones, a sheet and a repeat; Ben has nothing."""

    server: LightServer
    ana: Client
    ben: Client
    root: Client
    drawn: str
    drawing: str
    waiting: str
    sheet: str
    repeat: str

    def fill(self, path: str, task_id: str) -> str:
        for name, value in {"task_id": task_id, "batch_id": task_id, "sheet_id": task_id, "repeat_id": task_id}.items():
            path = path.replace(f"{{{name}}}", value)
        return path.replace("{name:path}", "Anas%20Own")

    def of_ana(self, path: str) -> str:
        """The id of hers that a route is asked for."""
        if "{sheet_id}" in path:
            return self.sheet
        if "{repeat_id}" in path:
            return self.repeat
        is_picture = path.startswith("/v1/pictures/") or path.endswith(("/image", "/thumbnail"))
        return self.drawn if is_picture else self.waiting


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("people")
    (folder / "data").mkdir()
    people(folder / "data")
    server = LightServer(folder, is_drawing=True)
    try:
        ana, ben, root = (Client(server, name) for name in KEYS)
        assert root.ask("POST", "/v1/styles", STYLE)[0] == 201
        (drawn,) = ana.submit(f"the {SECRET}", styles=["Anas Own"])
        until(lambda: server.store.queue.get(drawn).state == "finished", "her picture")
        gate = folder / "gate"
        (drawing,) = ana.submit(f"gate {gate} {SECRET}")
        until(lambda: server.store.queue.get(drawing).state == "running", "her next one")
        waiting = ana.submit(SECRET, count=2)[0]
        status, sheet = ana.ask("POST", "/v1/sheets", {"recipe": {"prompt": SECRET}, "styles": ["Anas Own"]})
        assert status == 201, sheet
        status, repeat = ana.ask("POST", "/v1/repeats", {"recipe": {"prompt": SECRET}, "times": 3})
        assert status == 201, repeat
        yield Scene(server, ana, ben, root, drawn, drawing, waiting, sheet["id"], repeat["id"])
        gate.touch()
    finally:
        server.close()


def routes(server: LightServer) -> list[str]:
    found: list[str] = []
    for context in iter_route_contexts(server.app.routes):
        methods = sorted(set(getattr(context, "methods", None) or {"WS"}) - {"HEAD"})
        found += [f"{method} {context.path or '/'}" for method in methods]
    return found


def said(scene: Scene, client: Client, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    headers = client.headers | ({"Content-Type": "application/json"} if data is not None else {})
    status, _, text = ask(scene.server.address, method, path, data, headers)
    return status, text


def body_for(route: str, task_id: str) -> Any:
    """What a route is sent; one that names tasks gets this one."""
    bodies: dict[str, Any] = {
        "PATCH /v1/tasks/{task_id}": {"recipe": {"prompt": "mine"}, "revision": 0},
        "POST /v1/tasks/{task_id}/duplicate": {"new_seed": True},
        "POST /v1/queue/move": {"ids": [task_id], "to": "first"},
        "POST /v1/queue/cancel": {"ids": [task_id]},
        "POST /v1/queue/edit": {"ids": [task_id], "recipe": {"prompt": "mine"}},
        "POST /v1/queue/duplicate": {"batch_id": task_id, "new_seed": True},
        "POST /v1/plan": {"prompt": "mine"},
        "POST /v1/expand": {"prompt": "mine"},
        "POST /sdapi/v1/options": {"sd_model_checkpoint": "large"},
        "POST /sdapi/v1/png-info": {"image": ""},
    }
    return bodies.get(route, {} if not route.startswith(("GET", "DELETE")) else None)


def state_of_ana(scene: Scene) -> list[tuple[Any, ...]]:
    """Everything of hers that somebody could have changed."""
    rows = scene.server.store.database.read(
        "SELECT id, position, recipe, cancel_requested, image_path, state IN ('cancelled', 'failed') FROM tasks"
        " WHERE owner = 'ana' ORDER BY id"
    )
    return [tuple(row) for row in rows]


def test_every_route_is_on_one_of_the_lists(scene: Scene) -> None:
    """A route that is new belongs on one of them, and then one of the tests below looks after it."""
    listed = [row for text in (THEIRS, OWN, ADMINS, ASKS, STREAMS, SHARED) for row in rows(text)]
    assert sorted(listed) == sorted(routes(scene.server))


@pytest.mark.parametrize("route", rows(THEIRS))
def test_what_is_anas_is_not_there_for_ben(scene: Scene, route: str) -> None:
    method, _, path = route.partition(" ")
    before, theirs = state_of_ana(scene), scene.of_ana(path)
    status, text = said(scene, scene.ben, method, scene.fill(path, theirs), body_for(route, theirs))
    never, words = said(scene, scene.ben, method, scene.fill(path, NOBODY), body_for(route, NOBODY))
    assert (status, text.replace(theirs.encode(), b"ID")) == (404, words.replace(NOBODY.encode(), b"ID"))
    assert never == 404 and SECRET.encode() not in text
    assert state_of_ana(scene) == before


@pytest.mark.parametrize("route", [*rows(OWN), *rows(SHARED)])
def test_ben_hears_nothing_of_ana(scene: Scene, route: str) -> None:
    method, _, path = route.partition(" ")
    before = state_of_ana(scene)
    if method != "WS":
        status, text = said(scene, scene.ben, method, scene.fill(path, NOBODY), body_for(route, NOBODY))
        assert status not in (401, 403, 500), text
        for hers in (SECRET, scene.drawn, scene.drawing, scene.waiting, scene.sheet, scene.repeat, '"owner":"ana"'):
            assert hers.encode() not in text
    assert state_of_ana(scene) == before


@pytest.mark.parametrize("route", rows(ADMINS))
def test_what_is_everybodys_is_changed_by_admins(scene: Scene, route: str) -> None:
    method, _, path = route.partition(" ")
    for client in (scene.ben, scene.ana):
        status, text = said(scene, client, method, scene.fill(path, scene.drawn), body_for(route, scene.drawn))
        assert (status, json.loads(text)["code"]) == (403, "forbidden")


@pytest.mark.parametrize("route", [row for row in rows(THEIRS) if row.startswith("GET") and "events" not in row])
@pytest.mark.parametrize("name", ["ana", "root"])
def test_ana_sees_her_own_and_an_admin_everything(scene: Scene, route: str, name: str) -> None:
    path = route.partition(" ")[2]
    client: Client = getattr(scene, name)
    assert said(scene, client, "GET", scene.fill(path, scene.of_ana(path)))[0] == 200


def test_an_admin_sees_whose_it_is(scene: Scene) -> None:
    for path, key in (("/v1/tasks", "tasks"), ("/v1/pictures", "pictures"), ("/v1/history", "tasks")):
        assert {row["owner"] for row in scene.root.ask("GET", path)[1][key]} == {"ana"}
        assert scene.ben.ask("GET", path)[1][key] == []
    (group, *_) = scene.root.ask("GET", "/v1/queue")[1]["groups"]
    assert group["first"]["owner"] == "ana"


def snapshot(scene: Scene, client: Client) -> dict[str, Any]:
    return json.loads(next(follow(scene.server.address, "/v1/events", **client.headers))["data"])


def test_streams_tell_each_their_own(scene: Scene) -> None:
    assert {row["owner"] for row in snapshot(scene, scene.root)["rows"]} == {"ana"}
    assert {row["owner"] for row in snapshot(scene, scene.ana)["rows"]} == {"ana"}
    messages = follow(scene.server.address, "/v1/events", **scene.ben.headers)
    first = json.loads(next(messages)["data"])
    assert (first["rows"], first["preview"], first["progress"], first["repeats"]) == ([], None, [], [])
    assert first["waiting"] == 0 and first["user"] == {"name": "ben", "is_admin": False}
    (hers,) = scene.ana.submit(SECRET)
    (his,) = scene.ben.submit("a boat of ben")
    told: list[str] = []
    while his not in (told or [""])[-1]:
        told.append(next(messages)["data"])
    assert not any(hers in text or SECRET in text for text in told)
    row = json.loads(told[-1])
    place = row["places"][his]
    assert row["ahead"] == place == scene.server.store.queue.get(his).position, "and one of hers is being drawn"
    scene.ana.ask("DELETE", f"/v1/tasks/{hers}")
    scene.ben.ask("DELETE", f"/v1/tasks/{his}")
    messages.close()


def test_sockets_tell_each_their_own(scene: Scene) -> None:
    address = scene.server.address.replace("http", "ws")
    with connect(f"{address}/v1/ws", additional_headers=scene.ben.headers) as socket:
        assert json.loads(socket.recv())["rows"] == []
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{address}/v1/tasks/{scene.drawn}/ws", additional_headers=scene.ben.headers)
    assert refused.value.response.status_code == 404
    with connect(f"{address}/v1/tasks/{scene.drawn}/ws", additional_headers=scene.ana.headers) as socket:
        assert json.loads(socket.recv())["kind"] == "queued"


def test_assistants_are_told_their_own(scene: Scene) -> None:
    server = scene.server
    tools = Tools(server.library, server.store.queue, server.store.log, server.supply)
    ben, ana = User("ben", is_admin=False), User("ana", is_admin=False)

    async def tell(*_: object) -> None: ...

    def call(name: str, user: User, **arguments: str) -> str:
        return run_aside(tools.call(name, arguments, user, tell)).text

    line = json.loads(call("queue", ben))
    assert (line["drawing"], line["waiting"], line["waiting_in_all"]) == ([], [], 0)
    assert json.loads(call("queue", ana))["drawing"][0]["id"] == scene.drawing
    for name in ("picture", "cancel"):
        with pytest.raises(NotFound):
            call(name, ben, id=scene.drawn)
    assert call("picture", ana, id=scene.drawn)


def test_a_key_of_one_user_is_not_the_same_key_of_another(scene: Scene) -> None:
    body = {"prompt": "a lamp", "seed": 3}
    hers = scene.ana.ask("POST", "/v1/tasks", body, Idempotency_Key="one")[1]["ids"]
    his = scene.ben.ask("POST", "/v1/tasks", body, Idempotency_Key="one")[1]["ids"]
    assert hers != his
    assert scene.ana.ask("POST", "/v1/tasks", body, Idempotency_Key="one")[1]["ids"] == hers
    for client, (task_id,) in ((scene.ana, hers), (scene.ben, his)):
        assert client.ask("DELETE", f"/v1/tasks/{task_id}")[0] == 200


def test_what_is_asked_for_is_the_askers(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    people(tmp_path / "data")
    server = LightServer(tmp_path, is_drawing=True)
    try:
        ben = Client(server, "ben")
        asked = {
            "/v1/tasks": {"prompt": "one"},
            "/v1/sheets": {"recipe": {"prompt": "two"}, "varies": ["mode"]},
            "/v1/repeats": {"recipe": {"prompt": "three"}, "times": 1},
            "/v1/queue/import": {"text": "four\n", "recipe": {}},
            "/v1/images/generations": {"prompt": "five"},
            "/sdapi/v1/txt2img": {"prompt": "six"},
        }
        assert {f"POST {path}" for path in asked} == set(rows(ASKS))
        for path, body in asked.items():
            status, answer = ben.ask("POST", path, body)
            assert status in (200, 201), answer
        found = server.store.database.read("SELECT DISTINCT owner, json_extract(recipe, '$.prompt') FROM tasks")
        assert {row["owner"] for row in found} == {"ben"} and len(found) == len(asked)
    finally:
        server.close()
