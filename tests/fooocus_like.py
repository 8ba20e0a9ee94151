"""A folder that looks like a person's Fooocus, with content of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STYLES: dict[str, list[dict[str, Any]]] = {
    "sdxl_styles_sai.json": [
        {"name": "sai-anime", "prompt": "cel shaded {prompt}", "negative_prompt": "photo"},
        {"name": "sai-3d-model", "prompt": "modelled {prompt}"},
    ],
    "sdxl_styles_fooocus.json": [
        {"name": "Fooocus Enhance", "negative_prompt": "blurry"},
        {"name": "Fooocus Sharp", "prompt": "crisp {prompt}", "negative_prompt": "soft"},
    ],
    "sdxl_styles_marc_k3nt3l.json": [{"name": "Style (silly)", "prompt": "silly {prompt}"}],
    "mine.json": [{"name": "dots", "prompt": "their {prompt}"}, {"name": "sai-anime", "prompt": "overridden"}],
}
NAMES = ["Dots", "SAI Anime", "Fooocus Enhance", "Fooocus Sharp", "SAI 3D Model", "Style (Silly)"]
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "default_model": "base.safetensors",
        "previous_default_models": ["older.safetensors"],
        "default_styles": ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"],
        "default_cfg_scale": 4.0,
        "default_aspect_ratio": "1152*896",
        "default_sampler": "dpmpp_2m_sde_gpu",
        "default_scheduler": "karras",
        "default_performance": "Speed",
        "checkpoint_downloads": {"base.safetensors": "https://example.org/base.safetensors"},
    },
    "anime": {"default_model": "anime.safetensors", "default_styles": ["SAI Anime", "Gone"], "default_cfg_scale": 6.0},
}
CONFIG: dict[str, Any] = {
    "path_wildcards": "my-lists",
    "path_loras": ["models/loras", "more"],
    "default_cfg_scale": 5.0,
}


def write_fooocus(folder: Path) -> Path:
    """Write it, and return the folder."""
    for name in ("sdxl_styles", "presets", "my-lists/deep", "models/checkpoints", "language", "outputs"):
        (folder / name).mkdir(parents=True)
    for name, styles in STYLES.items():
        (folder / "sdxl_styles" / name).write_text(json.dumps(styles))
    for name, preset in PRESETS.items():
        (folder / "presets" / f"{name}.json").write_text(json.dumps(preset))
    (folder / "config.txt").write_text(json.dumps(CONFIG))
    (folder / "my-lists" / "color.txt").write_text("red\nblue\n")
    (folder / "my-lists" / "deep" / "metal.txt").write_text("tin\n")
    (folder / "models" / "checkpoints" / "base.safetensors").write_bytes(b"x")
    (folder / "language" / "xx.json").write_text('{"Generate": "Machen"}')
    order = ["Fooocus V2", "Fooocus Sharp", "SAI Anime", "Random Style", "Dots", "Fooocus Enhance"]
    (folder / "sorted_styles.json").write_text(json.dumps(order))
    return folder
