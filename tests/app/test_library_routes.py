"""A person's own styles, presets, favourites and default over HTTP, on the real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from fooocus_lite.web.bodies import MAX_BODY_BYTES
from tests.app.client import ask, ask_json
from tests.app.test_errors import check_shape
from tests.faults.server import Server

FOG = {"name": "Foggy / Morning", "prompt": "{prompt} in fog", "negative_prompt": "clear sky"}


@pytest.fixture
def server(web_server: Server) -> Iterator[Server]:
    """The shared server; what a test saved is gone after it."""
    yield web_server
    menu = web_server.get("/v1/menu")[1]
    for kind in ("styles", "presets"):
        for row in menu[kind]:
            if row["source"] == "own":
                assert ask(web_server.address, "DELETE", f"/v1/{kind}/{quote(row['name'], safe='')}")[0] == 204
    tell(web_server, "PUT", "/v1/favourites", {"styles": []})
    tell(web_server, "PUT", "/v1/default-preset", {"preset": None})
    tell(web_server, "PUT", "/v1/a1111-text", {"a1111_text": None})


def tell(server: Server, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return ask_json(server.address, method, path, body)


def style_names(server: Server) -> list[str]:
    return [row["name"] for row in server.get("/v1/menu")[1]["styles"]]


def test_a_style_from_saving_to_deleting(server: Server) -> None:
    status, saved = tell(server, "POST", "/v1/styles", FOG)
    assert status == 201 and FOG.items() <= saved.items() and saved["source"] == "own"
    assert FOG["name"] in style_names(server)
    path = f"/v1/styles/{quote(FOG['name'], safe='')}"
    assert tell(server, "GET", path) == (200, saved)
    status, plan = server.post("/v1/plan", {"prompt": "a cat", "styles": ["foggy / morning"]})
    assert (status, plan["recipe"]["styles"]) == (200, [FOG["name"]])
    status, changed = tell(server, "PUT", path, FOG | {"name": "Mist"})
    assert (status, changed["name"]) == (200, "Mist")
    assert tell(server, "GET", path)[0] == 404
    assert tell(server, "DELETE", "/v1/styles/mist") == (204, None)
    assert "Mist" not in style_names(server)


def test_a_preset_from_saving_to_deleting(server: Server) -> None:
    body = {"label": "Wide and calm", "recipe": {"width": 192, "height": 128, "steps": 7}}
    status, saved = tell(server, "POST", "/v1/presets", body)
    assert (status, saved["name"], saved["recipe"]) == (201, "wide-and-calm", body["recipe"])
    assert server.post("/v1/plan", {"prompt": "x", "preset": "wide-and-calm"})[1]["recipe"]["steps"] == 7
    status, changed = tell(server, "PUT", "/v1/presets/wide-and-calm", body | {"recipe": {"steps": 8}})
    assert (status, changed["recipe"]) == (200, {"steps": 8})
    assert tell(server, "DELETE", "/v1/presets/wide-and-calm") == (204, None)
    assert "wide-and-calm" not in [row["name"] for row in server.get("/v1/menu")[1]["presets"]]


def test_a_preset_that_cannot_be_used_says_why(server: Server) -> None:
    folder = server.data / "presets"
    folder.mkdir(exist_ok=True)
    url = "https://x.test/far.safetensors"
    far = {"default_model": "far.safetensors", "checkpoint_downloads": {"far.safetensors": url}}
    (folder / "far.json").write_text(json.dumps(far))
    rows = {row["name"]: row for row in server.get("/v1/menu")[1]["presets"]}
    assert rows["far"]["values"] is None
    said = "The preset far needs the model far.safetensors, which is not here."
    assert rows["far"]["problem"] == f"{said} Get it at {url}."
    assert [(need["file"], need["available"], need["url"]) for need in rows["far"]["needs"]] == [
        ("far.safetensors", False, url)
    ]
    assert rows["starter"]["problem"] == "" and rows["starter"]["values"]["steps"] == 20


def test_a_model_says_what_it_draws_with_by_itself(server: Server) -> None:
    before = server.get("/v1/menu")[1]["models"][0]["values"]
    tell(server, "PUT", "/v1/default-preset", {"preset": "starter-wide"})
    model = server.get("/v1/menu")[1]["models"][0]
    assert model["name"] == "starter" and model["values"] == before
    assert {"steps": 20, "width": 128, "styles": [], "clip_skip": 2}.items() <= before.items()


def test_favourites_and_default(server: Server) -> None:
    assert tell(server, "PUT", "/v1/favourites", {"styles": ["neon", "Watercolor"]}) == (
        200,
        {"styles": ["Neon", "Watercolor"]},
    )
    assert server.get("/v1/menu")[1]["favourites"] == ["Neon", "Watercolor"]
    status, answer = tell(server, "PUT", "/v1/default-preset", {"preset": "starter-fast"})
    assert (status, answer) == (200, {"preset": "starter-fast", "note": ""})
    menu = server.get("/v1/menu")[1]
    assert menu["default_preset"] == "starter-fast" and menu["defaults"]["steps"] == 4


@pytest.mark.parametrize("wanted", [False, True])
def test_pictures_hold_the_second_text_while_that_is_wanted(server: Server, wanted: bool) -> None:
    assert tell(server, "PUT", "/v1/a1111-text", {"a1111_text": wanted}) == (200, {"a1111_text": wanted, "note": ""})
    assert server.get("/v1/menu")[1]["a1111_text"] is wanted
    (task_id,) = server.submit("a star", steps=2)
    server.wait(task_id)
    with Image.open(server.picture(task_id)) as picture:
        assert ("parameters" in picture.info, "fooocus_lite" in picture.info) == (wanted, True)


def test_a_random_style_becomes_one_at_the_click(server: Server) -> None:
    open_seed = server.post("/v1/plan", {"prompt": "a cat", "styles": ["Random style"]})[1]
    assert open_seed["recipe"]["styles"] == ["Random style"], "nobody knows yet"
    fixed = server.post("/v1/plan", {"prompt": "a cat", "styles": ["Random style"], "seed": 5})[1]
    assert fixed["recipe"]["styles"] != ["Random style"]
    assert server.post("/v1/plan", {"prompt": "a cat", "styles": ["Random style"], "seed": 5})[1] == fixed


RECIPE: dict[str, Any] = {"label": "x", "recipe": {}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/v1/styles", {"name": "Watercolor", "prompt": "x"}, 409, "name"),
        ("POST", "/v1/styles", {"name": "", "prompt": "x"}, 422, "name"),
        ("POST", "/v1/styles", {"name": "x" * 100, "prompt": "x"}, 422, "name"),
        ("POST", "/v1/styles", {"prompt": "x"}, 422, "name"),
        ("POST", "/v1/styles", {"name": "New"}, 422, "prompt"),
        ("POST", "/v1/styles", {"name": 7}, 422, "name"),
        ("POST", "/v1/styles", {"name": "New", "prompt": "x", "steps": 3}, 422, "steps"),
        ("POST", "/v1/styles", [], 422, "body"),
        ("PUT", "/v1/styles/nope", FOG, 404, None),
        ("DELETE", "/v1/styles/Watercolor", None, 409, None),
        ("DELETE", "/v1/styles/nope", None, 404, None),
        ("GET", "/v1/styles/nope", None, 404, None),
        ("POST", "/v1/presets", {"label": "Starter", "recipe": {}}, 409, "name"),
        ("POST", "/v1/presets", {"label": "x", "recipe": {"steps": 0}}, 422, "steps"),
        ("POST", "/v1/presets", {"label": "x", "recipe": {"cfg": 0}}, 422, "cfg"),
        ("POST", "/v1/presets", {"label": "x", "recipe": {"styles": ["nope"]}}, 422, "styles"),
        ("POST", "/v1/presets", {"label": "x", "recipe": 7}, 422, None),
        ("POST", "/v1/presets", {"label": "x"}, 422, "recipe"),
        ("PUT", "/v1/presets/nope", RECIPE, 404, None),
        ("PUT", "/v1/presets/..%2F..%2Fx", RECIPE, 404, None),
        ("DELETE", "/v1/presets/starter", None, 409, None),
        ("PUT", "/v1/favourites", {"styles": ["nope"]}, 422, "styles"),
        ("PUT", "/v1/favourites", {"styles": "Neon"}, 422, "styles"),
        ("PUT", "/v1/default-preset", {"preset": "nope"}, 422, "preset"),
        ("PUT", "/v1/default-preset", {}, 422, "preset"),
        ("PUT", "/v1/a1111-text", {"a1111_text": "maybe"}, 422, "a1111_text"),
    ],
    ids=str,
)
def test_refusals(server: Server, method: str, path: str, body: Any, status: int, field: str | None) -> None:
    before = style_names(server)
    answer, said = tell(server, method, path, body)
    assert answer == status, said
    check_shape(said)
    assert said["field"] == field and said["hint"]
    assert style_names(server) == before


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/styles"), ("PUT", "/v1/favourites"), ("DELETE", "/v1/presets/starter")]
)
def test_other_websites_and_endless_bodies_are_refused(server: Server, method: str, path: str) -> None:
    status, _, _ = ask(server.address, method, path, b"{}", {"Origin": "http://evil.example"})
    assert status == 403
    status, _, _ = ask(server.address, method, path, b"x" * (MAX_BODY_BYTES + 1))
    assert status == 413


def test_words_for_a_prompt_can_be_had_before_it_is_drawn(server: Server) -> None:
    wish = {"prompt": "a red circle", "seed": 5}
    status, answer = server.post("/v1/expand", wish)
    assert status == 200 and answer["expansion"]
    assert server.post("/v1/expand", wish | {"expansion": "mine"}) == (200, answer), "always those of the seed"
    assert server.post("/v1/expand", wish | {"seed": 6})[1] != answer
    status, problem = server.post("/v1/expand", {"prompt": ""})
    assert (status, problem["field"], problem["hint"]) == (422, "prompt", "Write a prompt first.")
    for field, value in (("steps", 0), ("height", 0)):
        wrong = {"prompt": "a star", field: value}
        assert server.post("/v1/expand", wrong) == server.post("/v1/plan", wrong), "the same words as everywhere"


def test_the_page_is_english_unless_another_language_is_set(web_server: Server) -> None:
    assert web_server.get("/v1/language") == (200, {"name": "", "words": {}})
