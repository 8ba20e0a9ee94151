"""A picture or text is sent, and the settings in it come back; nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fooocus_lite.metadata import MAX_FILE_BYTES
from tests.app.client import ask
from tests.app.test_errors import check_shape
from tests.deeds import foreign as f
from tests.faults.server import ROOT, Server

PICTURES = Path(__file__).parents[1] / "deeds" / "pictures"


def read(server: Server, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    names = {"Content-Type": "application/octet-stream"} | {
        key.replace("_", "-"): value for key, value in headers.items()
    }
    status, answer_headers, text = ask(server.address, "POST", "/v1/read", body, names)
    assert answer_headers["content-type"] == "application/json"
    return status, json.loads(text)


@pytest.mark.parametrize("name", sorted(path.name for path in PICTURES.glob("*.*g")))
def test_a_dropped_picture_of_fooocus(web_server: Server, name: str) -> None:
    status, found = read(web_server, (PICTURES / name).read_bytes())
    assert status == 200
    assert found["scheme"] == name.partition("_")[0]
    assert (found["recipe"]["prompt"], found["recipe"]["seed"]) == ("red cat\nsecond line", 12345)
    assert found["recipe"]["loras"] == [{"name": "sd_xl_offset_example-lora_1.0", "weight": 0.1, "enabled": True}]
    assert found["recipe"]["model"] == "juggernaut-xl"  # the catalog's name of Fooocus's file
    assert any("juggernaut-xl is known here, but not on this disk" in warning for warning in found["warnings"])


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", "image/png"])
def test_pasted_text_whatever_its_content_type_says(web_server: Server, kind: str) -> None:
    for text, scheme in ((f.A1111, "a1111"), (f.as_json(f.COMFY), "comfyui"), (f.as_json(f.INVOKE), "invokeai")):
        status, found = read(web_server, text.encode(), Content_Type=kind)
        assert (status, found["scheme"]) == (200, scheme)
        assert found["raw"].startswith(text[:100])


def test_seeds_longer_than_a_double_come_back_whole(web_server: Server) -> None:
    assert read(web_server, f.as_json(f.FOOOCUS).encode())[1]["recipe"]["seed"] == 8123456789012345678


def test_a_picture_of_many_megabytes_is_taken(web_server: Server) -> None:
    whole = f.png(parameters=f.A1111)
    end = whole.index(b"IEND") - 4
    large = whole[:end] + (20_000_000).to_bytes(4, "big") + b"xxXx" + bytes(20_000_000 + 4) + whole[end:]
    assert read(web_server, large)[1]["scheme"] == "a1111"


@pytest.mark.parametrize("body", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff" * 5_000_000, b"{" * 10_000])
def test_what_holds_no_settings_is_one_sentence(web_server: Server, body: bytes) -> None:
    status, answer = read(web_server, body)
    assert (status, answer["code"]) == (422, "unreadable_picture")
    assert answer["problem"].startswith("What was sent ")
    check_shape(answer)


def test_the_errors_name_the_file_as_the_page_knows_it(web_server: Server) -> None:
    name = quote("<b>cat</b>\x1b.png")
    status, _, text = ask(web_server.address, "POST", f"/v1/read?name={name}", b"hello")
    said = "<b>cat</b>\N{REPLACEMENT CHARACTER}.png holds no settings that are known here."
    assert (status, json.loads(text)["problem"]) == (422, said)
    large = {"Content-Length": "900000000"}
    status, _, text = ask(web_server.address, "POST", "/v1/read?name=cat.png", b"x", large)
    assert (status, json.loads(text)["problem"]) == (413, "cat.png has more than 64 MB.")
    assert ask(web_server.address, "POST", f"/v1/read?name={'x' * 201}", b"x")[0] == 422


def test_the_page_refuses_what_the_server_would_refuse() -> None:
    script = (ROOT / "fooocus_lite/web/static/reading.js").read_text("utf-8")
    assert f"MAX_FILE_BYTES = {MAX_FILE_BYTES:_};" in script


def test_more_than_64_megabytes_are_not_taken(web_server: Server) -> None:
    pieces = (bytes(1_000_000) for _ in range(66))
    status, answer = read(web_server, pieces)
    assert (status, answer["code"]) == (413, "too_large")
    status, answer = read(web_server, b"x", Content_Length="900000000")
    assert (status, answer["code"]) == (413, "too_large")


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}], ids=str)
def test_other_websites_may_not_ask(web_server: Server, headers: dict[str, str]) -> None:
    assert read(web_server, f.A1111.encode(), **headers)[0] == 403


def test_the_documents_show_what_may_be_sent(web_server: Server) -> None:
    route = web_server.get("/openapi.json")[1]["paths"]["/v1/read"]["post"]
    assert {"image/png", "image/jpeg", "image/webp", "text/plain"} <= route["requestBody"]["content"].keys()
    assert {"200", "403", "413", "422"} == route["responses"].keys()
