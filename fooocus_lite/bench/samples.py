"""Pictures with settings in them as other programs write them, for the measurement of reading."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from fooocus_lite.events import ImageReady
from fooocus_lite.images import save_image
from fooocus_lite.picture_text import PictureInfo
from fooocus_lite.png import encode_png
from fooocus_lite.recipe import Recipe

SIDE = 512
COPIES = 20
WORDS = "a lighthouse on a cliff above the sea, evening light, drifting fog, fine detail"
RECIPE = Recipe(
    prompt=WORDS, negative_prompt="blurry", styles=(), model="starter", seed=1, steps=30, width=SIDE, height=SIDE
)
FOOOCUS = {
    "prompt": WORDS, "negative_prompt": "blurry", "styles": "['Fooocus V2', 'Fooocus Sharp']", "performance": "Speed",
    "steps": 30, "resolution": "(1152, 896)", "guidance_scale": 4.0, "sharpness": 2.0, "base_model": "juggernautXL",
    "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "seed": "12345", "loras": [["offset", 0.1, "0123456789"]],
    "full_prompt": [WORDS] * 3, "full_negative_prompt": ["blurry"], "metadata_scheme": "fooocus",
}  # fmt: skip
A1111 = (
    f"{WORDS} <lora:ink:0.8>\nNegative prompt: blurry\nSteps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 12345, "
    'Size: 832x1216, Model hash: 0123456789, Model: juggernautXL, Lora hashes: "ink: 0123456789ab", Version: v1.10.1'
)
COMFY = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "juggernautXL.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": WORDS, "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1, "steps": 30, "cfg": 7, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1,
            "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0],
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0]}},
}  # fmt: skip
INVOKE = {
    "generation_mode": "sdxl_txt2img", "positive_prompt": WORDS, "negative_prompt": "blurry", "width": 1024,
    "height": 1024, "seed": 1, "cfg_scale": 7.5, "steps": 30, "scheduler": "euler_a", "model": {"name": "juggernautXL"},
}  # fmt: skip


def write_samples(folder: Path) -> list[Path]:
    """`COPIES` files of each scheme, noise of `SIDE` × `SIDE` pixels, in turns."""
    folder.mkdir(parents=True)
    rgb = np.random.default_rng(0).integers(0, 256, SIDE * SIDE * 3, dtype=np.uint8).tobytes()
    kinds = [
        encode_png(rgb, SIDE, SIDE, {"parameters": json.dumps(FOOOCUS)}),
        _jpeg(rgb, A1111),
        encode_png(rgb, SIDE, SIDE, {"prompt": json.dumps(COMFY)}),
        encode_png(rgb, SIDE, SIDE, {"invokeai_metadata": json.dumps(INVOKE)}),
        _ours(rgb, folder),
    ]
    paths: list[Path] = []
    for copy in range(COPIES):
        for number, data in enumerate(kinds):
            path = folder / f"{copy:03}-{number}"
            path.write_bytes(data)
            paths.append(path)
    return paths


def _jpeg(rgb: bytes, text: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
    buffer = io.BytesIO()
    Image.frombytes("RGB", (SIDE, SIDE), rgb).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def _ours(rgb: bytes, folder: Path) -> bytes:
    image = ImageReady(width=SIDE, height=SIDE, rgb=rgb)
    saved = save_image(image, PictureInfo(recipe=RECIPE, texts=(WORDS,)), task_id="bench", output_dir=folder)
    return Path(saved.path).read_bytes()
