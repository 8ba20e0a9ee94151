"""LoRAs over HTTP: the list, its pictures, a picture drawn with one, and what is refused before anything is drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.app.client import ask, ask_json
from tests.engine import lora_files as files
from tests.faults.server import Server, until
from tests.lora_header import FLUX, lora_bytes

METADATA = {"modelspec.title": "Ink", "ss_tag_frequency": json.dumps({"1_a": {"inkwash": 5}})}


def starter_lora(models: Path, path: Path) -> None:
    """Random numbers on every key and value of the starter's cross-attention."""
    stored: dict[str, torch.Tensor] = {}
    (weights,) = (models / "starter" / "unet").glob("*.safetensors")
    with safe_open(str(weights), framework="pt") as unet:
        keys = unet.keys()  # the handle is no dict
        wanted = [key for key in keys if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]
        for number, key in enumerate(wanted):
            layer = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            factors = files.lora(tuple(unet.get_slice(key).get_shape()), files.dice(number))
            stored |= {f"{layer}.{name}": factor for name, factor in factors.items()}
    save_file(stored, path, METADATA)


@pytest.fixture(scope="module")
def server(web_server: Server) -> Iterator[Server]:
    folder = web_server.models / "loras"
    folder.mkdir()
    starter_lora(web_server.models, folder / "ink.safetensors")
    Image.new("RGB", (300, 200), "red").save(folder / "ink.png")
    (folder / "xl.safetensors").write_bytes(lora_bytes(2048))
    (folder / "flux.safetensors").write_bytes(lora_bytes(64, layer=FLUX))
    (folder / "cut.safetensors").write_bytes(lora_bytes()[:-3])
    (folder / "old.pt").write_bytes(b"x")
    yield web_server
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def rows(server: Server) -> dict[str, dict[str, Any]]:
    status, found = server.get("/v1/loras")
    assert status == 200
    return {row["name"]: row for row in found["loras"]}


def test_the_list_says_what_each_file_is(server: Server) -> None:
    found = rows(server)
    assert {"ink", "xl", "flux", "cut", "old"} <= set(found)
    ink = found["ink"]
    assert (ink["title"], ink["words"], ink["rank"]) == ("Ink", ["inkwash"], files.RANK)
    assert (ink["fits"], ink["has_picture"], ink["problem"]) == (["starter"], True, "")
    assert found["xl"]["kind"] == "SDXL" and "sdxl" in found["xl"]["fits"] and "starter" not in found["xl"]["fits"]
    assert found["flux"]["kind"] == "FLUX" and {"flux-dev"} <= set(found["flux"]["fits"]) <= {
        "flux-dev",
        "flux-schnell",
    }
    assert "is damaged" in found["cut"]["problem"] and "is a pickle" in found["old"]["problem"]


def test_its_pictures_are_small(server: Server) -> None:
    status, headers, _ = ask(server.address, "GET", "/v1/lora-pictures/ink")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    for name in ("xl", "nobody", "..%2F..%2Fcatalog", "%2e%2e/starter"):
        assert ask(server.address, "GET", f"/v1/lora-pictures/{name}")[0] == 404


@pytest.mark.parametrize(
    "loras, words",
    [
        ([{"name": "xl"}], "The LoRA xl was made for SDXL, and starter is another kind of model."),
        ([{"name": "flux"}], "The LoRA flux was made for FLUX"),
        ([{"name": "cut"}], "cut.safetensors is damaged"),
        ([{"name": "old"}], "is a pickle"),
        ([{"name": "ink", "weight": 99}], "The weight of a LoRA cannot be 99."),
        ([{"name": "ink"}] * 40, "Allowed is a list of at most 20 LoRAs"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_said_at_once(server: Server, loras: list[dict[str, Any]], words: str) -> None:
    for path in ("/v1/tasks", "/v1/plan"):
        status, problem = ask_json(server.address, "POST", path, {"prompt": "a red star", "loras": loras})
        assert status in (409, 422), problem
        assert words in f"{problem['problem']} {problem['hint']}"


def drawn(server: Server, **fields: Any) -> tuple[bytes, dict[str, Any]]:
    wish = {"prompt": "a red star", "seed": 3, "steps": 4, "width": 64, "height": 64} | fields
    status, said = ask_json(server.address, "POST", "/v1/tasks", wish)
    assert status == 201, said
    (task_id,) = said["ids"]
    task = until(lambda: (row := server.get(f"/v1/tasks/{task_id}")[1])["finished_at"] and row, "the picture")
    assert task["state"] == "finished", task["error"]
    with Image.open(BytesIO(ask(server.address, "GET", f"/v1/tasks/{task_id}/image")[2])) as picture:
        return picture.convert("RGB").tobytes(), task["recipe"]


def test_a_lora_changes_the_picture_and_stands_in_its_recipe(server: Server) -> None:
    plain, _ = drawn(server)
    listed, recipe = drawn(server, loras=[{"name": "ink", "weight": 1.5}])
    assert recipe["loras"] == [{"name": "ink", "weight": 1.5, "enabled": True}]
    tagged, _ = drawn(server, prompt="a red star <lora:Ink:1.5>")
    missing, _ = drawn(
        server, loras=[{"name": "gone"}, {"name": "ink", "enabled": False}, {"name": "ink", "weight": 0}]
    )
    assert listed != plain and tagged == listed and missing == plain
    again, _ = drawn(server, **{name: value for name, value in recipe.items() if name != "count"})
    assert again == listed
