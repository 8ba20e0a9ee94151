"""The tensors of a safetensors file, each read once, straight into memory of its own.

The file is read and not mapped: a mapped file that somebody replaces or cuts short while a picture is drawn ends the
process, Windows would not let it be deleted, and mapped tensors begin at odd addresses, which changes last bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine.ldm_names import Place

#: Number formats by their names in a header.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_FP8 = ("F8_E4M3", "F8_E5M2")
# Weights of 8 bits that a number per layer, or per row of it, brings back to size: names in ComfyUI's files.
_SCALES = ("scale_weight", "weight_scale")


@dataclass(frozen=True)
class Stored:
    """What a file's header says of a tensor.

    Attributes:
        dtype: As the header has it: ``F16``, ``BF16``, ``F8_E4M3`` …
        start: Of its first byte in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int = 0

    @property
    def row_bytes(self) -> int:
        """Of one place on the first axis; of the whole where there is none."""
        return prod(self.shape[1:]) * DTYPES[self.dtype].itemsize


class TensorFile:
    """An open safetensors file. Use it in a ``with`` statement.

    Args:
        header: What it holds; the file is as long as that needs.
        device, dtype: Where its tensors go and what they are cast to; whole numbers stay as they are.
    """

    def __init__(self, path: Path, header: Mapping[str, Stored], *, device: torch.device, dtype: torch.dtype) -> None:
        self._path, self._header, self._device, self._dtype = path, header, device, dtype
        self._file = path.open("rb", buffering=0)
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_reason: object) -> None:
        self._file.close()

    def read(self, place: Place, rows: int) -> Tensor:
        """The tensor at a place, on the device and in the dtype.

        Args:
            rows: How many there are of it, where it is a part of what is stored.

        Raises:
            ValueError: the file does not hold such a tensor; says why, as the end of a sentence.
            OSError: it cannot be read.
        """
        stored = self._header[place.name]
        if stored.dtype not in DTYPES:
            raise ValueError(f"{place.name} is stored as {stored.dtype}, which is not known here")
        dtype = DTYPES[stored.dtype]
        scale = self._scale(place)
        is_final = self._device.type == "cpu" and dtype == self._dtype and scale is None and not place.is_changed
        tensor = self._bytes(stored, place.first_row, rows, is_kept=is_final).view(dtype)
        tensor = self._on_device(tensor.view(-1, *stored.shape[1:]) if stored.shape else tensor.view(()))
        if scale is not None:
            tensor = _scaled(tensor, scale.to(self._device), place)
        if place.is_transposed:
            tensor = tensor.T
        if place.has_swapped_halves:
            tensor = torch.cat(tensor.chunk(2)[::-1])
        if is_final or not tensor.is_floating_point():
            return tensor.clone() if not is_final and self._device.type == "cpu" else tensor
        # The buffer is read into again: what is of its dtype already must leave it all the same.
        return tensor.to(self._dtype, copy=self._device.type == "cpu", memory_format=torch.contiguous_format)

    def _bytes(self, stored: Stored, first_row: int | None, rows: int, *, is_kept: bool) -> Tensor:
        """The stored bytes in memory of their own, or in the buffer until the next ones are read."""
        size = stored.row_bytes * (stored.shape[0] if stored.shape else 1)
        start = stored.start
        if first_row is not None:
            start, size = start + first_row * stored.row_bytes, rows * stored.row_bytes
        data = torch.empty(size, dtype=torch.uint8) if is_kept else self._room(size)
        self._file.seek(start)
        memory: Any = data.numpy()
        view, done = memoryview(memory), 0
        while done < size:
            count = self._file.readinto(view[done:])
            if not count:
                raise ValueError("it is cut short")
            done += count
        return data

    def _room(self, size: int) -> Tensor:
        if self._buffer.numel() < size:
            # Pinned: the card fetches it by itself, at twice the speed.
            self._buffer = torch.empty(size, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        return self._buffer[:size]

    def _on_device(self, tensor: Tensor) -> Tensor:
        """As stored, so that the device casts: it is faster, and fewer bytes go there. Apple's has no such numbers."""
        if self._device.type == "mps" and (tensor.dtype == torch.float64 or tensor.dtype.itemsize == 1):
            return tensor.float().to(self._device)
        return tensor.to(self._device)

    def _scale(self, place: Place) -> Tensor | None:
        """What brings a weight of 8 bits back to size, float32, if the file has it."""
        layer, _, parameter = place.name.rpartition(".")
        if parameter != "weight" or self._header[place.name].dtype not in _FP8:
            return None
        name = next((name for name in (f"{layer}.{end}" for end in _SCALES) if name in self._header), None)
        if name is None:
            return None
        stored = self._header[name]
        if stored.dtype not in ("F32", "F16", "BF16"):
            raise ValueError(f"the scale of {place.name} is stored as {stored.dtype}, which is not known here")
        return self._bytes(stored, None, 0, is_kept=True).view(DTYPES[stored.dtype]).float()


def _scaled(tensor: Tensor, scale: Tensor, place: Place) -> Tensor:
    if scale.numel() == 1:
        return tensor.float() * scale
    first = place.first_row or 0
    scale = scale[first : first + tensor.shape[0]]
    if scale.numel() != tensor.shape[0]:
        raise ValueError(f"the scale of {place.name} has neither one number nor one for each row")
    return tensor.float() * scale.view(-1, *(1,) * (tensor.dim() - 1))
