"""What well known programs send, in their order; those of A1111's interface that ask most are in `test_a1111`."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.app.client import ask, ask_json
from tests.faults.server import Server

BEARER: dict[str, str] = {"Authorization": "Bearer sk-anything"}
PNG = io.BytesIO()
Image.new("RGB", (8, 8)).save(PNG, "PNG")


def opened(text: str) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    picture.load()
    return picture


def multipart(*parts: tuple[str, str, bytes]) -> tuple[bytes, dict[str, str]]:
    """A form of (name, file name or "", content)."""
    body = b""
    for name, file, content in parts:
        kind = f'; filename="{file}"\r\nContent-Type: image/png' if file else ""
        body += f'--edge\r\nContent-Disposition: form-data; name="{name}"{kind}\r\n\r\n'.encode() + content + b"\r\n"
    return body + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def test_librechat_with_stable_diffusion(quiet_server: Server) -> None:
    """It reads `images[0]`, and writes `infotexts[0]` of the parsed `info` into the file."""
    asked: dict[str, Any] = {"prompt": "a red circle", "negative_prompt": "blue", "cfg_scale": 4.5, "steps": 2}
    status, answer = quiet_server.post("/sdapi/v1/txt2img", asked | {"width": 1024, "height": 1024})
    assert status == 422 and "Allowed for starter" in answer["detail"], "a size that the model cannot do is said"
    status, answer = quiet_server.post("/sdapi/v1/txt2img", asked | {"width": 128, "height": 128})
    assert status == 200 and opened(answer["images"][0].split(",", 1)[0]).size == (128, 128)
    assert json.loads(answer["info"])["infotexts"][0].startswith("a red circle\nNegative prompt: blue\nSteps: 2")


def test_librechat_with_openai_s_images(quiet_server: Server) -> None:
    asked = {"model": "gpt-image-1", "prompt": "a red circle", "n": 1, "background": "auto", "quality": "auto"}
    asked |= {"size": "auto", "output_format": "png", "moderation": "auto", "user": "somebody"}
    status, answer = ask_json(quiet_server.address, "POST", "/v1/images/generations", asked, **BEARER)
    assert status == 200 and opened(answer["data"][0]["b64_json"]).format == "PNG"


def test_open_webui_with_openai_s_images(quiet_server: Server) -> None:
    models = ask_json(quiet_server.address, "GET", "/v1/models", None, **BEARER)[1]
    assert models["object"] == "list" and [model["id"] for model in models["data"]] == ["starter"]
    asked = {"model": models["data"][0]["id"], "prompt": "a red circle", "n": 1, "size": "128x128"}
    asked |= {"response_format": "b64_json"}
    status, answer = ask_json(quiet_server.address, "POST", "/v1/images/generations", asked, **BEARER)
    (image,) = answer["data"]
    assert status == 200 and opened(image["b64_json"]).size == (128, 128)
    assert "url" not in image, "it would refuse to fetch from a private address"


@pytest.mark.parametrize("field", ["image", "image[]"])
@pytest.mark.parametrize("path", ["edits", "variations"])
def test_changing_a_picture_is_refused_in_openai_s_words(quiet_server: Server, path: str, field: str) -> None:
    before = quiet_server.get("/v1/tasks?limit=1")[1]
    body, kind = multipart((field, "a.png", PNG.getvalue()), ("mask", "m.png", PNG.getvalue()), ("prompt", "", b"red"))
    status, headers, text = ask(quiet_server.address, "POST", f"/v1/images/{path}", body, kind | BEARER)
    error = json.loads(text)["error"]
    assert (status, error["type"], error["code"]) == (400, "invalid_request_error", "unsupported")
    assert headers["x-should-retry"] == "false" and "/v1/images/generations" in error["message"]
    assert quiet_server.get("/v1/tasks?limit=1")[1] == before


def test_changing_a_picture_is_refused_in_a1111_s_words(quiet_server: Server) -> None:
    before = quiet_server.get("/v1/tasks?limit=1")[1]
    picture = base64.b64encode(PNG.getvalue()).decode()
    asked = {"prompt": "red", "init_images": [f"data:image/png;base64,{picture}"], "mask": picture, "steps": 2}
    status, answer = quiet_server.post("/sdapi/v1/img2img", asked | {"denoising_strength": 0.5})
    assert (status, answer["error"]) == (501, "unsupported") and set(answer) == {"error", "detail", "body", "errors"}
    assert quiet_server.get("/v1/tasks?limit=1")[1] == before
