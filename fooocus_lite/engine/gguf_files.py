"""The tensors of a GGUF file: layers whose numbers are packed in blocks of 2 to 8 bits, and unpacked at every use.

The format is llama.cpp's; reading it is the package gguf's work, unpacking diffusers'. What a linear layer multiplies
with stays packed in memory; everything else is unpacked while it is read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fooocus_lite.engine.ldm_names import Place
from fooocus_lite.engine.tensor_files import Stored
from fooocus_lite.gguf_header import read_gguf_header as bounded_header

ENDING = ".gguf"
_MAGIC = b"GGUF"
# ComfyUI's packer flattens what llama.cpp has no shape for, and says so.
_SHAPES = "comfy.gguf.orig_shape."


def open_gguf(path: Path) -> Any:
    """The package's reader of a file.

    Raises:
        ValueError: it is no GGUF file, or cut short; says so, as the end of a sentence.
        OSError: it cannot be read.
    """
    from gguf import GGUFReader

    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise ValueError("it is empty")
    if head != _MAGIC:
        raise ValueError("it is a web page" if head.lstrip()[:1] == b"<" else "it is not a GGUF file")
    bounded_header(path)  # the package believes every count that a file names
    try:
        return GGUFReader(path)
    except (ValueError, LookupError, TypeError, OverflowError, MemoryError) as exc:
        raise ValueError("it is cut short, or no GGUF file") from exc


def read_gguf_header(path: Path) -> dict[str, Stored]:
    """What the file's tensors are, in the order in which they lie there.

    Raises:
        ValueError, OSError: as `open_gguf`.
    """
    reader = open_gguf(path)
    header: dict[str, Stored] = {}
    for tensor in sorted(reader.tensors, key=lambda tensor: int(tensor.data_offset)):
        flattened = reader.get_field(_SHAPES + tensor.name)
        try:
            shape = tuple(map(int, flattened.contents() if flattened is not None else reversed(tensor.shape.tolist())))
        except (LookupError, TypeError) as exc:
            raise ValueError(f"the shape of {tensor.name[:100]} is none") from exc
        header[tensor.name] = Stored(tensor.tensor_type.name, shape, int(tensor.data_offset))
    return header


class GgufFile:
    """An open GGUF file.

    Args:
        packable: Names of the stored tensors that may stay packed.
        device, dtype: Where its tensors go, and what those are cast to that do not stay packed.

    Raises (when made):
        ValueError, OSError: as `open_gguf`.
    """

    def __init__(self, path: Path, packable: Collection[str], *, device: torch.device, dtype: torch.dtype) -> None:
        self._tensors = {tensor.name: tensor for tensor in open_gguf(path).tensors}
        self._packable, self._device, self._dtype = packable, device, dtype

    def read(self, place: Place, rows: int) -> Tensor:
        """The tensor at a place, on the device; packed, or in the dtype.

        Args:
            rows: How many there are of it, where it is a part of what is stored.

        Raises:
            ValueError: its numbers are packed in a way that nobody here unpacks.
        """
        from diffusers.quantizers.gguf.utils import (
            SUPPORTED_GGUF_QUANT_TYPES,
            GGUFParameter,
            dequantize_gguf_tensor,
        )

        stored = self._tensors[place.name]
        data = stored.data
        if place.first_row is not None:
            data = data[place.first_row : place.first_row + rows]
        tensor = torch.from_numpy(data.copy()).to(self._device)  # a copy: the reader's memory is the file itself
        if place.has_swapped_halves:
            tensor = torch.cat(tensor.chunk(2)[::-1])
        if stored.tensor_type.name not in ("F16", "F32", "F64"):
            if stored.tensor_type not in SUPPORTED_GGUF_QUANT_TYPES:
                raise ValueError(f"{place.name} is packed as {stored.tensor_type.name}, which cannot be unpacked here")
            kind: Any = GGUFParameter
            packed = kind(tensor, quant_type=stored.tensor_type)
            if place.name in self._packable and not place.is_transposed and stored.tensor_type.name != "BF16":
                return packed
            tensor = dequantize_gguf_tensor(packed)
        tensor = tensor.T if place.is_transposed else tensor
        return tensor.to(self._dtype, memory_format=torch.contiguous_format)


def is_packed(weight: Tensor | None) -> bool:
    """Whether a weight is one of GGUF's blocks, which cannot be changed in place."""
    return hasattr(weight, "quant_type")


def put_packed(module: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Put packed weights into linear layers that unpack them at every use; returns the tensors that are not packed.

    Args:
        dtype: What they are unpacked to.
    """
    from diffusers.quantizers.gguf.utils import GGUFLinear

    for name, weight in tensors.items():
        if is_packed(weight):
            home, _, last = name.removesuffix(".weight").rpartition(".")
            parent = module.get_submodule(home)
            old: Any = parent.get_submodule(last)
            has_bias = old.bias is not None
            layer: Any = GGUFLinear(old.in_features, old.out_features, has_bias, compute_dtype=dtype, device="meta")
            layer.weight = weight
            setattr(parent, last, layer)
    return {name: weight for name, weight in tensors.items() if not is_packed(weight)}
