"""Small LoRA files without torch: what their headers say, and zeros behind."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

CROSS = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
FLUX = "lora_unet_double_blocks_0_img_attn_qkv"


def lora_bytes(
    width: int = 40, *, rank: int = 3, layer: str = CROSS, metadata: Mapping[str, str] | None = None
) -> bytes:
    """A LoRA of one layer that reads texts of ``width`` numbers."""
    shapes = {f"{layer}.lora_down.weight": [rank, width], f"{layer}.lora_up.weight": [32, rank]}
    return safetensors_bytes(shapes, metadata)


def safetensors_bytes(shapes: Mapping[str, list[int]], metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file of float32 zeros."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for key, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)
