"""Weights files of which only the head is real: true names and shapes, the true length, and a hole where tensors lie.

A hole takes no room on the disk, so a model of 7 GB is a few hundred kilobytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path

Shapes = Mapping[str, tuple[int, ...]]
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1}
GGUF_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "BF16": 30}


def write_safetensors(
    path: Path, shapes: Shapes, dtype: str = "F16", metadata: Mapping[str, str] | None = None, *, missing: int = 0
) -> Path:
    """A safetensors file of that length, less ``missing`` bytes at its end."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end - missing)
    return path


def write_gguf(path: Path, architecture: str, shapes: Shapes, dtype: str = "Q4_K", *, version: int = 3) -> Path:
    """A GGUF file with one key, a list of words and that architecture; no tensors behind."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    words = struct.pack("<IQ", 8, 2) + text("some") + text("words")
    keys = [
        text("general.quantization_version") + struct.pack("<II", 4, 2),
        text("words") + struct.pack("<I", 9) + words,
    ]
    keys.append(text("general.architecture") + struct.pack("<I", 8) + text(architecture))
    rows = [
        text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], GGUF_TYPES[dtype], 0)
        for name, shape in shapes.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, len(rows), len(keys)) + b"".join(keys + rows))
    return path


#: True names and shapes, as few as tell what a file is.
SDXL_UNET: Shapes = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
    "label_emb.0.0.weight": (1280, 2816),
}
SD15_UNET: Shapes = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 768),
}
VAE: Shapes = {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)}
FLUX: Shapes = {
    "img_in.weight": (3072, 64),
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "single_blocks.37.linear1.weight": (21504, 3072),
}
GUIDANCE: Shapes = {"guidance_in.in_layer.weight": (3072, 256)}
Z_IMAGE: Shapes = {"layers.0.adaLN_modulation.0.weight": (15360, 256), "cap_embedder.0.weight": (2560,)}


def prefixed(prefix: str, shapes: Shapes) -> Shapes:
    """With something before every name."""
    return {prefix + name: shape for name, shape in shapes.items()}


SDXL: Shapes = {
    **prefixed("model.diffusion_model.", SDXL_UNET),
    **prefixed("first_stage_model.", VAE),
    "conditioner.embedders.1.model.text_projection": (1280, 1280),
}
SD15: Shapes = {
    **prefixed("model.diffusion_model.", SD15_UNET),
    **prefixed("first_stage_model.", VAE),
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
}
