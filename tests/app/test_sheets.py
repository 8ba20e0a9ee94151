"""Contact sheets and the styles' small pictures over HTTP, on the real server."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from tests.app.client import ask, ask_json
from tests.app.test_errors import check_shape
from tests.faults.server import Server

WISH = {"prompt": "a red circle", "steps": 2, "seed": 9007199254740993, "styles": ["Neon"], "count": 3}


def draw(server: Server, styles: Any, **recipe: object) -> tuple[int, Any]:
    return server.post("/v1/sheets", {"recipe": WISH | recipe, "styles": styles})


def test_from_one_click_to_one_picture(quiet_server: Server) -> None:
    status, sheet = draw(quiet_server, ["Watercolor", "chalkboard"])
    assert status == 201
    assert (sheet["prompt"], sheet["seed"]) == ("a red circle", WISH["seed"])
    assert [cell["label"] for cell in sheet["cells"]] == ["Watercolor", "Chalkboard"]
    quiet_server.wait(*(cell["id"] for cell in sheet["cells"]))
    recipes = [quiet_server.task(cell["id"])["recipe"] for cell in sheet["cells"]]
    assert [recipe["styles"] for recipe in recipes] == [["Watercolor"], ["Chalkboard"]]
    assert {recipe["seed"] for recipe in recipes} == {WISH["seed"]}
    status, now = quiet_server.get(f"/v1/sheets/{sheet['id']}")
    assert (status, [cell["state"] for cell in now["cells"]]) == (200, ["finished", "finished"])
    listed = quiet_server.get("/v1/sheets?limit=1")[1]["sheets"][0]
    assert (listed["id"], listed["cells"], listed["finished"]) == (sheet["id"], 2, 2)
    status, headers, data = ask(quiet_server.address, "GET", f"/v1/sheets/{sheet['id']}/image?download=true")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert f'filename="sheet-a-red-circle-{WISH["seed"]}.jpg"' in headers["content-disposition"]
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width > 2 * 128
    picture = quiet_server.get(f"/v1/pictures/{sheet['cells'][0]['id']}")[1]
    assert picture["recipe"]["styles"] == ["Watercolor"] and picture["file"].endswith(".png")


def test_what_the_model_has_learned_waits_in_line_and_can_be_called_off(quiet_server: Server) -> None:
    starter = [row["name"] for row in quiet_server.get("/v1/menu")[1]["styles"] if row["category"] == "Starter"]
    status, sheet = quiet_server.post("/v1/sheets", {"recipe": WISH | {"steps": 200}})
    assert (status, [cell["label"] for cell in sheet["cells"]]) == (201, starter)
    rows = quiet_server.get(f"/v1/queue/batches/{sheet['id']}?limit=200")[1]["tasks"]
    assert {row["batch_id"] for row in rows} == {sheet["id"]} and rows[-1]["label"] == starter[-1]
    path = f"/v1/sheets/{sheet['id']}"
    assert ask_json(quiet_server.address, "DELETE", path) == (200, {"cancelled": len(starter)})
    quiet_server.wait(sheet["id"])
    assert {cell["state"] for cell in quiet_server.get(path)[1]["cells"]} == {"cancelled"}
    last = sheet["cells"][-1]["id"]
    (again,) = quiet_server.post(f"/v1/tasks/{last}/retry")[1]["ids"]
    cells = quiet_server.get(path)[1]["cells"]
    assert (cells[-1]["id"], len(cells)) == (again, len(starter))
    assert ask(quiet_server.address, "GET", f"{path}/image")[0] == 200, "a sheet of which nothing is drawn"


def test_every_mode_and_sampler(quiet_server: Server) -> None:
    status, sheet = quiet_server.post("/v1/sheets", {"recipe": WISH | {"steps": 3}, "varies": ["mode", "sampler"]})
    assert status == 201
    path = f"/v1/sheets/{sheet['id']}"
    shown = [(cell["label"], cell["varies"]) for cell in sheet["cells"]]
    assert shown[:4] == [("Quality", "mode"), ("Speed", "mode"), ("Extreme Speed", "mode"), ("Euler", "sampler")]
    assert "LMS is left out: it needs at least 4 steps." in sheet["notes"]
    recipes = [quiet_server.task(cell["id"])["recipe"] for cell in sheet["cells"][2:4]]
    assert [(one["sampler"], one["steps"], one["styles"]) for one in recipes] == [
        ("lcm", 4, ["Neon"]),
        ("euler", 3, ["Neon"]),
    ]
    ask_json(quiet_server.address, "DELETE", path)
    quiet_server.wait(*(cell["id"] for cell in sheet["cells"]))
    assert [cell["varies"] for cell in quiet_server.get(path)[1]["cells"]] == [kind for _, kind in shown]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"recipe": WISH, "styles": ["No such style"]}, 422, "no style 'No such style'"),
        ({"recipe": WISH, "styles": []}, 422, "no style"),
        ({"recipe": WISH, "styles": ["Random style"]}, 422, "no style"),
        ({"recipe": WISH, "styles": "some"}, 422, "styles cannot be 'some'"),
        ({"recipe": WISH, "styles": [5]}, 422, "styles cannot be '5'"),
        ({"recipe": WISH | {"steps": 0}}, 422, "steps cannot be 0"),
        ({"recipe": WISH | {"prompt": "a\n---\nb"}}, 422, "one prompt, not 2"),
        ({"recipe": WISH, "varies": []}, 422, "varies"),
        ({"recipe": WISH, "varies": ["moon"]}, 422, "varies"),
        ({"recipe": WISH | {"mode": "extreme_speed"}, "varies": ["sampler"]}, 422, "keeps its sampler"),
        ({"recipe": WISH, "more": 1}, 422, "no field 'more'"),
        ({}, 422, "recipe is missing"),
        (["x"], 422, ""),
    ],
)
def test_what_cannot_be_a_sheet(quiet_server: Server, body: Any, status: int, said: str) -> None:
    got, problem = quiet_server.post("/v1/sheets", body)
    assert got == status and said in problem["problem"]
    check_shape(problem)
    assert quiet_server.get("/v1/queue")[1]["waiting"] == 0


@pytest.mark.parametrize("path", ["/v1/sheets/none", "/v1/sheets/none/image", "/v1/style-pictures/none"])
def test_what_is_not_there(web_server: Server, path: str) -> None:
    status, problem = web_server.get(path)
    assert status == 404
    check_shape(problem)


def test_a_task_that_is_on_no_sheet_is_none(quiet_server: Server) -> None:
    (task_id,) = quiet_server.submit("a red circle", steps=2)
    assert quiet_server.get(f"/v1/sheets/{task_id}")[0] == 404
    quiet_server.wait(task_id)


def test_a_style_looks_like_its_newest_picture(quiet_server: Server) -> None:
    style = {"name": "Fog / Sea", "prompt": "{prompt} in fog"}
    assert quiet_server.post("/v1/styles", style)[0] == 201
    path = f"/v1/style-pictures/{quote(style['name'], safe='')}"
    assert style["name"] not in quiet_server.get("/v1/style-pictures")[1]["versions"]
    (first,) = quiet_server.submit("a red circle", steps=2, styles=[style["name"]])
    quiet_server.wait(first)
    versions = quiet_server.get("/v1/style-pictures")[1]["versions"]
    assert versions[style["name"]] == first
    status, headers, data = ask(quiet_server.address, "GET", path)
    assert (status, headers["etag"]) == (200, f'"{first}"') and len(data) <= 4_000
    with Image.open(io.BytesIO(data)) as picture:
        assert max(picture.size) <= 96
    assert "no-cache" in headers["cache-control"]
    assert "immutable" in ask(quiet_server.address, "GET", f"{path}?v={first}")[1]["cache-control"]
    assert ask(quiet_server.address, "GET", path, headers={"If-None-Match": f'"{first}"'})[0] == 304
    (second,) = quiet_server.submit("a red circle", steps=2, styles=[style["name"]])
    quiet_server.wait(second)
    assert ask(quiet_server.address, "GET", path, headers={"If-None-Match": f'"{first}"'})[1]["etag"] == f'"{second}"'
    assert ask(quiet_server.address, "DELETE", f"/v1/styles/{quote(style['name'], safe='')}")[0] == 204


def test_what_ships_has_a_picture(web_server: Server) -> None:
    styles = web_server.get("/v1/menu")[1]["styles"]
    versions = web_server.get("/v1/style-pictures")[1]["versions"]
    for name in (row["name"] for row in styles if row["category"] == "Starter"):
        assert "-" in versions[name], "a task's id has no dash, and the page goes by that"
        status, headers, data = ask(web_server.address, "GET", f"/v1/style-pictures/{quote(name)}")
        assert (status, headers["content-type"]) == (200, "image/webp") and len(data) <= 4_000
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (96, 96)
