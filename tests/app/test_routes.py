"""Asking for pictures over HTTP, from the menu to the file."""

from __future__ import annotations

import io
import json

from PIL import Image

from fooocus_lite.images import read_recipe
from fooocus_lite.web.menu import Menu
from tests.app.client import ask, ask_json
from tests.faults.server import Server, until

#: Doors of other programs' clients → the shape of their errors.
SHAPES = {"/v1/images/": "OpenAIError", "/v1/models/": "OpenAIError", "/sdapi/": "A1111Error"}


def test_menu_lists_what_can_be_chosen(web_server: Server) -> None:
    status, menu = web_server.get("/v1/menu")
    assert status == 200
    assert {"styles", "presets", "models", "samplers", "limits"} <= menu.keys()
    assert Menu.model_validate(menu).model_dump(exclude_unset=True) == menu  # all of it, and nothing that is not said
    starter = next(row for row in menu["presets"] if row["name"] == "starter")
    assert starter["values"]["model"] == "starter"
    assert all(starter["values"][name] is not None for name in ("width", "height", "steps", "sampler"))


def test_plan_decides_and_queues_nothing(quiet_server: Server) -> None:
    before = quiet_server.get("/v1/tasks?limit=1")[1]
    status, plan = quiet_server.post(
        "/v1/plan", {"prompt": "a star", "count": 3, "guidance_scale": 1, "negative_prompt": "x"}
    )
    assert status == 200
    assert plan["count"] == 3
    assert plan["recipe"]["steps"] > 0
    assert plan["recipe"]["seed"] is None
    assert any("guidance scale 1" in warning for warning in plan["warnings"])
    assert quiet_server.get("/v1/tasks?limit=1")[1] == before


def test_plan_counts_the_pictures_of_all_prompts(web_server: Server) -> None:
    prompt = "[[red, green]] star\n---\n__nope__"
    status, plan = web_server.post("/v1/plan", {"prompt": prompt, "count": 1})
    assert status == 200
    assert (plan["count"], plan["recipe"]["count"], plan["recipe"]["prompt"]) == (2, 1, prompt)
    assert "The lists in [[ ]] make 2 combinations; 1 will be drawn." in plan["warnings"]
    assert any("There is no wildcard 'nope'" in warning for warning in plan["warnings"])
    assert web_server.post("/v1/plan", {"prompt": "[[red, green]] star"})[1]["count"] == 2
    assert "starter/shape" in web_server.get("/v1/menu")[1]["wildcards"]


def test_picture_from_recipe_to_file(quiet_server: Server) -> None:
    seed = 2**63 - 2  # longer than a double holds: it must come back exactly
    ids = quiet_server.submit("a red circle", steps=2, count=3, seed=seed, width=128, height=96)
    assert len(ids) == 3
    tasks = quiet_server.wait(*ids)
    assert [task["state"] for task in tasks] == ["finished"] * 3
    assert [task["recipe"]["seed"] for task in tasks] == [2**63 - 2, 2**63 - 1, 0]
    assert {task["recipe"]["count"] for task in tasks} == {1}
    status, headers, body = ask(quiet_server.address, "GET", f"/v1/tasks/{ids[0]}/image")
    assert (status, headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(body)) as picture:
        assert picture.size == (128, 96) == (tasks[0]["width"], tasks[0]["height"])
    assert read_recipe(quiet_server.picture(ids[0])).seed == seed
    status, headers, body = ask(quiet_server.address, "GET", f"/v1/tasks/{ids[0]}/thumbnail")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert len(body) <= 20_000


def test_download_has_a_name(quiet_server: Server) -> None:
    (task_id,) = quiet_server.submit("a red circle", steps=2)
    quiet_server.wait(task_id)
    _, headers, _ = ask(quiet_server.address, "GET", f"/v1/tasks/{task_id}/image?download=true")
    assert headers["content-disposition"].startswith("attachment")
    assert quiet_server.picture(task_id).name in headers["content-disposition"]


def test_task_list_is_bounded_and_paged(quiet_server: Server) -> None:
    ids = quiet_server.submit("a blue square", steps=200, count=5)
    for task_id in ids[1:]:
        ask(quiet_server.address, "DELETE", f"/v1/tasks/{task_id}")
    first = quiet_server.get("/v1/tasks?limit=2")[1]["tasks"]
    assert [task["id"] for task in first] == ids[:2:-1]
    second = quiet_server.get(f"/v1/tasks?limit=2&before={first[-1]['id']}")[1]["tasks"]
    assert [task["id"] for task in second] == ids[2:0:-1]
    states = {task["state"] for task in quiet_server.get("/v1/tasks?state=cancelled&limit=200")[1]["tasks"]}
    assert states == {"cancelled"}


def test_waiting_tasks_know_their_place(quiet_server: Server) -> None:
    quiet_server.wait_until_drawing(quiet_server.submit("a green ring", steps=200)[0])
    ids = quiet_server.submit("a blue ring", steps=200, count=3)
    assert [quiet_server.task(task_id)["position"] for task_id in ids] == [1, 2, 3]
    status, task = ask_json(quiet_server.address, "DELETE", f"/v1/tasks/{ids[1]}")
    assert (status, task["state"]) == (200, "cancelled")
    assert [quiet_server.task(task_id)["position"] for task_id in ids] == [1, None, 2]
    (batch,) = quiet_server.get("/v1/queue")[1]["groups"]
    rows = quiet_server.get(f"/v1/queue/batches/{batch['batch_id']}")[1]["tasks"]
    assert (batch["waiting"], batch["first"]["id"]) == (2, ids[0])
    assert [(row["id"], row["index"], row["of"]) for row in rows] == [(ids[0], 1, 3), (ids[2], 3, 3)]


def test_skip_stop_and_clear(quiet_server: Server) -> None:
    first = quiet_server.submit("a red ring", steps=200, count=3)
    other = quiet_server.submit("a white ring", steps=200, count=2)
    quiet_server.wait_until_drawing(first[0])
    assert quiet_server.post("/v1/skip") == (200, {"cancelled": 1})
    quiet_server.wait_until_drawing(first[1])
    assert quiet_server.task(first[0])["state"] == "cancelled"
    assert quiet_server.post("/v1/stop") == (200, {"cancelled": 2})
    quiet_server.wait_until_drawing(other[0])
    assert [quiet_server.task(task_id)["state"] for task_id in first] == ["cancelled"] * 3
    assert quiet_server.post("/v1/clear") == (200, {"cancelled": 1})
    assert quiet_server.task(other[0])["state"] == "running"


def test_pictures_newest_first_and_deleted_ones_gone(quiet_server: Server) -> None:
    ids = quiet_server.submit("a pink heart", steps=2, count=3)
    quiet_server.wait(*ids)
    until(lambda: len(quiet_server.get("/v1/pictures?limit=3")[1]["pictures"]) == 3, "three pictures")
    page = quiet_server.get("/v1/pictures?limit=2")[1]
    assert [one["id"] for one in page["pictures"]] == [ids[2], ids[1]]
    assert page["pictures"][0]["file"].endswith(quiet_server.picture(ids[2]).name)
    older = quiet_server.get(f"/v1/pictures?limit=2&before={page['next']}")[1]
    assert older["pictures"][0]["id"] == ids[0]
    path = quiet_server.picture(ids[1])
    assert ask(quiet_server.address, "GET", f"/v1/tasks/{ids[1]}/thumbnail")[0] == 200
    thumbs = set((quiet_server.data / "thumbs").rglob("*.jpg"))
    assert ask(quiet_server.address, "DELETE", f"/v1/pictures/{ids[1]}")[0] == 204
    assert not path.exists()
    assert len(thumbs - set((quiet_server.data / "thumbs").rglob("*.jpg"))) == 1
    assert ids[1] not in [one["id"] for one in quiet_server.get("/v1/pictures?limit=10")[1]["pictures"]]
    status, problem = quiet_server.get(f"/v1/tasks/{ids[1]}/image")
    assert (status, problem["code"]) == (404, "not_found")


def test_what_became_of_a_picture_s_prompt(quiet_server: Server) -> None:
    folder = quiet_server.data / "wildcards"
    folder.mkdir(exist_ok=True)
    (folder / "hue.txt").write_text("teal\n")
    (task_id,) = quiet_server.submit("a [[__hue__]] <b>ring</b> <lora:starter-pop-art:0.5>", steps=2, seed=5)
    quiet_server.wait(task_id)
    loras = [{"name": "starter-pop-art", "weight": 0.5}]
    said = {"texts": ["a teal <b>ring</b>"], "negative_texts": [""], "loras": loras, "changed": False}
    assert quiet_server.get(f"/v1/pictures/{task_id}/words") == (200, said)
    (folder / "hue.txt").write_text("mauve\n")
    assert quiet_server.get(f"/v1/pictures/{task_id}/words") == (200, said | {"changed": True})
    assert quiet_server.get("/v1/pictures/nope/words")[0] in (404, 422)


def test_retry_asks_again(quiet_server: Server) -> None:
    (task_id,) = quiet_server.submit("a cyan cross", steps=2)
    quiet_server.wait(task_id)
    status, answer = quiet_server.post(f"/v1/tasks/{task_id}/retry")
    assert status == 201
    (again,) = quiet_server.wait(*answer["ids"])
    assert again["recipe"] == quiet_server.task(task_id)["recipe"]


def test_openapi_documents_every_route(web_server: Server) -> None:
    schema = web_server.get("/openapi.json")[1]
    assert {"/healthz", "/v1/menu", "/v1/tasks", "/v1/tasks/{task_id}", "/v1/tasks/{task_id}/events"} <= schema[
        "paths"
    ].keys()
    menu = schema["paths"]["/v1/menu"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert menu == {"$ref": "#/components/schemas/Menu"}
    for path in ("skip", "stop", "clear"):
        assert {"403", "409", "507"} <= schema["paths"][f"/v1/{path}"]["post"]["responses"].keys()
    assert {"403", "409"} <= schema["paths"]["/v1/plan"]["post"]["responses"].keys()
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            assert route.get("summary") and route.get("tags") and route.get("description"), (method, path)
            for status, answer in route["responses"].items():
                if int(status) >= 400:
                    content = answer["content"]["application/json"]["schema"]
                    shape = next((shape for door, shape in SHAPES.items() if path.startswith(door)), "Problem")
                    assert content == {"$ref": f"#/components/schemas/{shape}"}, (method, path, status)
    for example in schema["paths"]["/v1/tasks"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ].values():
        status, plan = web_server.post("/v1/plan", example["value"])
        assert status == 200, json.dumps(plan)
