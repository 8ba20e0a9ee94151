"""A copy of the starter's files, offered by a fake hub as the big model that everybody wants."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fake_hub import FakeHub

REPO = "somebody/big"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
LICENCE = "https://example.org/licence"


def put_big_model(hub: FakeHub, starter: Path) -> None:
    """Into the hub's repository."""
    for path in sorted(starter.rglob("*")):
        if path.is_file() and path.suffix != ".md":
            hub.put(REPO, path.relative_to(starter).as_posix(), path.read_bytes())


def write_offer(hub: FakeHub, data: Path) -> None:
    """A catalog and a preset in the data folder, as a person would add them."""
    files = hub.files[REPO]
    paths = sorted(files, key=lambda path: path != WEIGHTS)  # the weights first: most of what there is to wait for
    rows = [{"repo": REPO, "path": path, "size": len(files[path].data), "sha256": files[path].sha256} for path in paths]
    entry = {
        "name": "big", "label": "Big one", "description": "Draws what the starter draws.", "family": "sdxl",
        "path": "big", "files": rows, "licence": "Open licence", "licence_url": LICENCE, "memory_gb": 0.1,
        "native_size": 128, "min_size": 64, "max_size": 256, "size_multiple": 32, "styles": ["Starter"],
        "defaults": {"steps": 8, "sampler": "dpmpp_2m", "guidance_scale": 3.0, "sag_scale": 0.0},
    }  # fmt: skip
    (data / "presets").mkdir(parents=True, exist_ok=True)
    (data / "catalog.json").write_text(json.dumps([entry]))
    preset = {"label": "Default", "recipe": {"model": "big"}}  # in the place of the shipped one, whose model is 7 GB
    (data / "presets" / "default.json").write_text(json.dumps(preset))
