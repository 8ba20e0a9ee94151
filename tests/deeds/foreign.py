"""Pictures as other programs save them, made here from what is known of their formats."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image, PngImagePlugin

from fooocus_lite.library import CatalogEntry, Library, Style
from fooocus_lite.metadata import ReadPicture, read_stream
from fooocus_lite.recipe import Recipe
from fooocus_lite.style_files import EXPAND_STYLE

EXIF_FOLDER, USER_COMMENT, MAKER_NOTE, SOFTWARE, MAKE, MODEL = 0x8769, 0x9286, 0x927C, 0x0131, 0x010F, 0x0110
SIZE = (48, 32)


def png(*, compressed: bool = False, after: bool = False, **texts: str) -> bytes:
    """A PNG with text chunks: tEXt, or iTXt where Latin-1 is not enough; ``after`` puts them behind the pixels."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key.replace("_dash_", "-"), text, zip=compressed)
    buffer = io.BytesIO()
    Image.new("RGB", SIZE).save(buffer, "PNG", pnginfo=info)
    data = buffer.getvalue()
    if after:
        start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
        data = data[:33] + data[start:end] + data[33:start] + data[end:]
    return data


def with_exif(kind: str, main: dict[int, Any] | None = None, folder: dict[int, Any] | None = None) -> bytes:
    """A JPEG or WebP with EXIF tags in the main directory, and in the EXIF one."""
    exif = Image.Exif()
    for tag, value in (main or {}).items():
        exif[tag] = value
    if folder:
        exif.get_ifd(EXIF_FOLDER).update(folder)
    buffer = io.BytesIO()
    Image.new("RGB", SIZE).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def comment(text: str, coding: str = "utf-16-be") -> bytes:
    """A UserComment as A1111 writes it."""
    return b"UNICODE\0" + text.encode(coding)


FOOOCUS: dict[str, Any] = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "bluePencilXL_v050",
    "base_model_hash": "0123456789",
    "clip_skip": 2,
    "full_negative_prompt": ["mud", "fog"],
    "full_prompt": ["a fox", "in snow"],
    "guidance_scale": 5.5,
    "lora_combined_1": "ink : 0.7",
    "lora_combined_2": "lines : -0.25",
    "loras": [["ink", 0.7, "aaaaaaaaaa"], ["lines", -0.25, "bbbbbbbbbb"]],
    "metadata_scheme": "fooocus",
    "negative_prompt": "fog",
    "performance": "Speed",
    "prompt": "a fox\nin snow",
    "prompt_expansion": "",
    "refiner_model": "None",
    "refiner_switch": 0.8,
    "resolution": "(1344, 768)",
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "seed": "8123456789012345678",
    "sharpness": 2.0,
    "steps": 30,
    "styles": "['SAI Anime', \"Artist's Choice\"]",
    "vae": "Default (model)",
    "version": "Fooocus v2.5.5",
}
A1111 = (
    "a fox, (in snow:1.2) <lora:ink:0.7>\nsecond line, with a comma\n"
    "Negative prompt: fog,\nmud\n"
    "Steps: 25, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1234567890, Size: 832x1216, "
    "Model hash: 31e35c80fc, Model: sd_xl_base_1.0, VAE hash: 235745af8d, VAE: sdxl_vae.safetensors, "
    'Denoising strength: 0.4, Hires upscale: 1.5, Lora hashes: "ink: 0123456789ab", '
    'TI hashes: "easy: 0011", Version: v1.9.4'
)
FORGE = (
    "a fox\nSteps: 20, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 7, Distilled CFG Scale: 3.5, "
    "Seed: 5, Size: 896x1152, Model: foxXL, Module 1: clip_l, Beta schedule alpha: 0.6, "
    'Hashes: {"model": "00", "lora:ink": "11"}, Version: f2.0.1v1.10.1'
)
CIVITAI = (
    "a fox\nNegative prompt: fog\nSteps: 30, Sampler: Euler a, CFG scale: 4, Seed: 7, Size: 832x1216, Clip skip: 2, "
    "Created Date: 2025-02-03T04:05:06.7890123Z, Civitai resources: "
    '[{"type":"checkpoint","modelVersionId":1,"modelName":"Fox XL, fine","modelVersionName":"v2"},'
    '{"type":"lora","weight":0.8,"modelVersionId":2,"modelName":"Ink","modelVersionName":"v1"}], '
    "Civitai metadata: {}"
)
INVOKE: dict[str, Any] = {
    "app_version": "5.6.0",
    "generation_mode": "sdxl_txt2img",
    "positive_prompt": "a fox",
    "negative_prompt": "fog",
    "positive_style_prompt": "",
    "width": 1024,
    "height": 768,
    "seed": 4242,
    "rand_device": "cpu",
    "cfg_scale": 7.5,
    "cfg_rescale_multiplier": 0,
    "steps": 28,
    "scheduler": "dpmpp_2m_sde_k",
    "seamless_x": False,
    "model": {"key": "k", "hash": "blake3:0", "name": "Juggernaut XL v9", "base": "sdxl", "type": "main"},
    "vae": {"name": "sdxl-vae-fp16-fix"},
    "loras": [{"model": {"key": "l", "name": "ink", "base": "sdxl", "type": "lora"}, "weight": 0.75}],
    "controlnets": [],
}
INVOKE_OLD: dict[str, Any] = {
    "model": "stable diffusion",
    "model_weights": "stable-diffusion-1.5",
    "app_id": "invoke-ai/InvokeAI",
    "app_version": "2.3.5",
    "image": {
        "prompt": [{"prompt": "a fox [fog] in snow", "weight": 1.0}],
        "steps": 50,
        "cfg_scale": 7.5,
        "width": 512,
        "height": 640,
        "seed": 99,
        "sampler": "k_euler_a",
        "type": "txt2img",
    },
}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node of ComfyUI's graph."""
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


COMFY: dict[str, Any] = {
    "4": node("CheckpointLoaderSimple", ckpt_name="SDXL\\sd_xl_base_1.0.safetensors"),
    "10": node(
        "LoraLoader", lora_name="ink.safetensors", strength_model=0.7, strength_clip=1, model=["4", 0], clip=["4", 1]
    ),
    "11": node("LoraLoaderModelOnly", lora_name="sub/lines.safetensors", strength_model=-0.25, model=["10", 0]),
    "6": node("CLIPTextEncode", text="a fox\nin snow", clip=["10", 1]),
    "7": node("CLIPTextEncode", text="fog", clip=["10", 1]),
    "5": node("EmptyLatentImage", width=1152, height=896, batch_size=1),
    "3": node(
        "KSampler", seed=156680208700286, steps=20, cfg=8, sampler_name="dpmpp_2m", scheduler="karras", denoise=1,
        model=["11", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
    ),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
}  # fmt: skip


def as_json(data: Any) -> str:
    """As all of these programs write it."""
    return json.dumps(data)


def model(name: str) -> CatalogEntry:
    return CatalogEntry(
        name=name, label=name, family="sdxl", path=f"/nowhere/{name}", native_size=1024, min_size=512, max_size=2048,
        size_multiple=8, defaults=Recipe(), aspect_sizes=((1024, 1024),), available=True,
    )  # fmt: skip


LIBRARY = Library(
    models={name: model(name) for name in ("sd_xl_base_1.0", "foxXL")},
    styles={
        EXPAND_STYLE.name: EXPAND_STYLE,
        "SAI Anime": Style("SAI Anime", "anime artwork {prompt} . vivid", "photo, dull"),
        "Plain": Style("Plain", "", "neg style"),
    },
)


def read(data: bytes, library: Library | None = LIBRARY) -> ReadPicture:
    return read_stream(io.BytesIO(data), library, name="it")


def said(found: ReadPicture) -> str:
    return "\n".join(found.warnings)
