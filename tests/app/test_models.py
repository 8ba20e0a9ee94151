"""Models and downloads over HTTP: what there is, what a plan lacks, and what is said to a wrong name."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.app.client import ask, ask_json
from tests.fake_hub import FakeHub, Slow
from tests.faults.server import Server, until

LICENCE = "https://example.org/licence"


@pytest.fixture
def offering(quiet_server: Server) -> Iterator[FakeHub]:
    """A hub that keeps everybody waiting, and a catalog with one model of its."""
    with FakeHub() as hub:
        hub.always = Slow(1.0)
        address = hub.put_url("far.safetensors", b"x" * 5000)
        entry = {
            "name": "far/away", "label": "Far away", "family": "sdxl", "path": "checkpoints/far.safetensors",
            "native_size": 128, "files": [{"url": address, "size": 5000}], "licence": "Open", "licence_url": LICENCE,
            "memory_gb": 2.5,
        }  # fmt: skip
        (quiet_server.data / "catalog.json").write_text(json.dumps([entry]))
        yield hub
        (quiet_server.data / "catalog.json").unlink()


def row(server: Server, name: str) -> dict[str, object]:
    (found,) = [row for row in server.get("/v1/models")[1]["models"] if row["name"] == name]
    return found


def post(server: Server, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    return ask_json(server.address, "POST", path, body)


def test_models_say_what_they_are_and_whether_they_are_here(quiet_server: Server, offering: FakeHub) -> None:
    answer = quiet_server.get("/v1/models")[1]
    assert answer["folder"] == str(quiet_server.models) and answer["free_bytes"] > 0 and not answer["offline"]
    starter, far = row(quiet_server, "starter"), row(quiet_server, "far/away")
    assert (starter["available"], starter["can_be_fetched"], starter["download"]) == (True, False, None)
    assert far == far | {
        "label": "Far away", "kind": "checkpoint", "family": "sdxl", "available": False, "can_be_fetched": True,
        "size_bytes": 5000, "memory_bytes": 2_500_000_000, "licence": "Open", "licence_url": LICENCE, "download": None,
    }  # fmt: skip
    plan = quiet_server.post("/v1/plan", {"prompt": "a star", "model": "far/away"})[1]
    assert [one["name"] for one in plan["fetches"]] == ["far/away"]
    assert not any("not on this disk" in words for words in plan["warnings"])
    assert quiet_server.post("/v1/plan", {"prompt": "a star"})[1]["fetches"] == []


def test_a_download_is_asked_for_paused_resumed_and_cancelled(quiet_server: Server, offering: FakeHub) -> None:
    place = "/v1/downloads/far/away"
    status, download = post(quiet_server, "/v1/downloads", {"name": "far/away"})
    assert (status, download["name"], download["label"]) == (202, "far/away", "Far away")
    (task_id,) = quiet_server.submit("a star", model="far/away", steps=2)
    task = quiet_server.task(task_id)
    assert (task["state"], task["position"], task["waits_for"]["name"]) == ("waiting", None, "far/away")
    until(lambda: offering.gets("far"), "the request")
    assert post(quiet_server, f"{place}/pause")[1]["state"] == "paused"
    assert quiet_server.task(task_id)["waits_for"]["words"].startswith("paused at")
    assert quiet_server.get("/v1/queue")[1]["held"] == 1
    assert post(quiet_server, f"{place}/resume")[1]["state"] == "waiting"
    assert row(quiet_server, "far/away")["download"] is not None
    status, rest = post(quiet_server, f"{place}/cancel")
    assert (status, [one for one in rest["downloads"] if one["name"] == "far/away"]) == (200, [])  # type: ignore[union-attr]
    (ended,) = quiet_server.wait(task_id)
    assert ended["error"]["problem"] == "The download of Far away was cancelled."
    assert ended["waits_for"] is None


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/downloads", {"name": "nobody has this"}, 422, "unknown_name"),
        ("/v1/downloads", {"name": ""}, 422, "bad_value"),
        ("/v1/downloads", {"name": "starter", "url": "http://example.org"}, 422, "unknown_name"),
        ("/v1/downloads/nobody/pause", None, 404, "not_found"),
        ("/v1/downloads/nobody/resume", None, 404, "not_found"),
        ("/v1/downloads/nobody/cancel", None, 404, "not_found"),
    ],
)
def test_a_wrong_name_is_told_so(quiet_server: Server, path: str, body: object, status: int, code: str) -> None:
    answer = post(quiet_server, path, body)
    assert (answer[0], answer[1]["code"]) == (status, code) and answer[1]["problem"] and answer[1]["hint"]


def test_another_website_cannot_fetch_anything(quiet_server: Server, offering: FakeHub) -> None:
    headers = {"Origin": "https://example.org", "Content-Type": "application/json"}
    body = json.dumps({"name": "far/away"}).encode()
    assert ask(quiet_server.address, "POST", "/v1/downloads", body, headers)[0] == 403
    assert quiet_server.get("/v1/downloads")[1]["downloads"] == []
