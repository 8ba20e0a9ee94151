"""Whatever is wrong: one shape, one clear sentence, never a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.app.client import ask, ask_json
from tests.faults.server import Server

BAD_RECIPES: list[tuple[dict[str, Any], str]] = [
    ({"styles": ["Watercolour with foam"]}, "styles"),
    ({"preset": "nope"}, "preset"),
    ({"sampler": "nope"}, "sampler"),
    ({"scheduler": "nope"}, "scheduler"),
    ({"model": "nope"}, "model"),
    ({"cfg": 7}, "cfg"),
    ({"\ud800": 1}, "?"),  # half a character cannot be said back
    ({"width": 0}, "width"),
    ({"width": 7}, "width"),
    ({"height": 100_000}, "height"),
    ({"height": 130}, "height"),
    ({"steps": 0}, "steps"),
    ({"steps": 10**6}, "steps"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**63}, "seed"),
    ({"seed": "abc"}, "seed"),
    ({"count": 0}, "count"),
    ({"count": 10**9}, "count"),
    ({"guidance_scale": float("nan")}, "guidance_scale"),
    ({"sag_scale": 99}, "sag_scale"),
    ({"prompt": "x" * 1_100_000}, "prompt"),
    ({"prompt": "x", "negative_prompt": "x" * 7_900_000}, "negative_prompt"),
    ({"prompt": 5}, "prompt"),
    ({"image_format": "tiff"}, "image_format"),
]


def check_shape(body: dict[str, Any]) -> None:
    assert set(body) == {"code", "problem", "hint", "field"}
    assert body["problem"].endswith(".") and len(body["problem"]) < 200
    assert "Traceback" not in json.dumps(body)


@pytest.mark.parametrize(
    ("fields", "field"), BAD_RECIPES, ids=lambda value: str(value)[:40].encode("ascii", "replace").decode()
)
@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/plan"])
def test_bad_recipe_names_the_field(web_server: Server, path: str, fields: dict[str, Any], field: str) -> None:
    status, body = web_server.post(path, {"prompt": "a star"} | fields)
    assert status == 422, body
    check_shape(body)
    assert body["field"] == field
    assert body["code"] in ("bad_value", "unknown_name")
    assert body["hint"]


@pytest.mark.parametrize("side", [0, 7, 100_000, -1, "wide", 10**50])
@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/plan", "/v1/expand"])
def test_a_field_has_one_range_whatever_is_wrong_with_it(web_server: Server, path: str, side: Any) -> None:
    hints = {web_server.post(path, {"height": value})[1]["hint"] for value in (side, 1)}
    assert len(hints) == 1 and "Allowed for starter: multiples of" in hints.pop()


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"prompt": }', b"\xff\xfe", b"", b"[" * 100_000, b'{"seed": ' + b"9" * 10_000 + b"}"],
    ids=["cut", "hole", "not UTF-8", "empty", "deep", "long number"],
)
def test_broken_json_is_said_so(web_server: Server, body: bytes) -> None:
    status, _, text = ask(web_server.address, "POST", "/v1/tasks", body, {"Content-Type": "application/json"})
    assert status in (400, 422)
    check_shape(json.loads(text))


@pytest.mark.parametrize("body", [[], "text", None, 5])
def test_json_that_is_no_object(web_server: Server, body: Any) -> None:
    status, answer = ask_json(web_server.address, "POST", "/v1/tasks", [] if body is None else body)
    assert status == 422
    check_shape(answer)


def test_too_large_a_body_is_not_read(web_server: Server) -> None:
    status, body = web_server.post("/v1/tasks", {"prompt": "x" * 8_100_000})
    assert (status, body["code"]) == (413, "too_large")
    check_shape(body)
    assert "8 MB" in body["problem"] and "prompt" in body["hint"]


def test_body_without_declared_length_is_cut_off(web_server: Server) -> None:
    pieces = (b"x" * 100_000 for _ in range(100))
    try:
        status, _, text = ask(web_server.address, "POST", "/v1/tasks", pieces, {"Content-Type": "application/json"})  # type: ignore[arg-type]
    except (BrokenPipeError, ConnectionError):
        return  # it hung up while we still sent: as good
    assert (status, json.loads(text)["code"]) == (413, "too_large")


def test_form_posts_of_other_pages_are_not_json(web_server: Server) -> None:
    status, _, text = ask(web_server.address, "POST", "/v1/tasks", b'{"prompt": "x"}', {"Content-Type": "text/plain"})
    assert status == 403
    check_shape(json.loads(text))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/tasks/nope", 404),
        ("GET", "/v1/tasks/nope/events", 404),
        ("GET", "/v1/tasks/nope/image", 404),
        ("GET", "/v1/tasks/..%2F..%2Fetc%2Fpasswd/image", 404),
        ("DELETE", "/v1/tasks/nope", 404),
        ("POST", "/v1/pictures/nope/open-folder", 404),
        ("GET", "/v1/nope", 404),
        ("PUT", "/v1/tasks", 404),
        ("GET", "/ui/..%2F..%2Fapi.py", 404),
        ("GET", "/v1/tasks?limit=0", 422),
        ("GET", "/v1/tasks?limit=100000", 422),
        ("GET", "/v1/tasks?limit=x", 422),
        ("GET", "/v1/tasks?state=lost", 422),
    ],
)
def test_other_refusals(web_server: Server, method: str, path: str, status: int) -> None:
    answer, _, text = ask(web_server.address, method, path)
    assert answer == status
    check_shape(json.loads(text))


def test_picture_that_is_not_there_yet(quiet_server: Server) -> None:
    task_id = quiet_server.submit("a star", steps=200, count=2)[1]
    status, body = quiet_server.get(f"/v1/tasks/{task_id}/image")
    assert (status, body["code"]) == (409, "conflict")


def test_strange_but_allowed_words(quiet_server: Server) -> None:
    words = "🦊 \u202eright to left\u202c \x00 <script>alert(1)</script> é"
    (task_id,) = quiet_server.submit(words, steps=2)
    (task,) = quiet_server.wait(task_id)
    assert task["state"] == "finished"
    assert task["recipe"]["prompt"] == words.replace("\x00", "")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:7865"},
        {"Host": "evil@127.0.0.1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/tasks"), ("GET", "/v1/menu"), ("GET", "/v1/events"), ("POST", "/v1/stop")]
)
def test_other_websites_are_refused(web_server: Server, method: str, path: str, headers: dict[str, str]) -> None:
    status, _, text = ask(web_server.address, method, path, b"{}", {"Content-Type": "application/json"} | headers)
    assert status == 403
    check_shape(json.loads(text))
    assert ask(web_server.address, "GET", "/healthz", headers=headers)[0] == 200


def test_its_own_names_are_welcome(web_server: Server) -> None:
    port = web_server.address.rsplit(":", 1)[1]
    for name in ("127.0.0.1", "localhost", "[::1]", "LOCALHOST"):
        headers = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}", "Sec-Fetch-Site": "same-origin"}
        assert ask(web_server.address, "GET", "/v1/menu", headers=headers)[0] == 200


def test_answers_stay_with_their_page(web_server: Server) -> None:
    _, headers, _ = ask(web_server.address, "GET", "/")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
