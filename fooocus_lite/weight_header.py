"""The head of a safetensors file: names, types and shapes of its tensors, and what its maker says; never a tensor.

The format is 8 bytes of length, JSON, then the tensors (https://github.com/huggingface/safetensors#format). Whatever
lies on a disk under that name may be here: lengths are bounded before anything is read or made.
"""

from __future__ import annotations

import gc
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

#: Ten times the largest header that trainers write.
MAX_HEADER_BYTES = 32 * 2**20
#: Six or so for each tensor, and the commas in what the trainer says of itself.
MAX_HEADER_PARTS = 2_000_000
#: Of a tensor; products of two stay numbers that can be written out.
MAX_SIDE = 2**31
_NO_HEADER = "its header is not that of a safetensors file"
_NAMED = b'"data_offsets":'
_NOT_WEIGHTS = (
    (re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE), "it is a web page that was saved under this name"),
    (re.compile(rb"version https://git-lfs"), "it is only the placeholder that git keeps for it"),
    (re.compile(rb"PK\x03\x04|\x80[\x02-\x05]"), "it is a pickle under another name"),
    (re.compile(rb"GGUF"), "it is a .gguf file under another name"),
)

Shape = tuple[int, ...]


class NotWeights(ValueError):
    """What is wrong with the file, as the end of a sentence: "it is cut short"."""


@dataclass(frozen=True)
class WeightsHeader:
    """What the head of a file says.

    Attributes:
        metadata: What its maker wrote; nobody checked it.
        rows: By name of the tensor, as they stand there; see `dtype` and `shape`.
        start: Where the tensors begin, in bytes from that of the file; offsets count from here.
    """

    metadata: Mapping[str, Any]
    rows: Mapping[str, Any]
    start: int

    def dtype(self, name: str) -> str:
        """As the format writes it: ``F16``, ``BF16``, ``F8_E4M3`` …"""
        return str(self.rows[name].get("dtype", ""))

    def shape(self, name: str) -> Shape:
        """The tensor's shape.

        Raises:
            NotWeights: it is none.
        """
        try:
            return tuple(_side(side) for side in self.rows[name]["shape"])
        except (LookupError, TypeError, ValueError) as exc:
            raise NotWeights(_NO_HEADER) from exc

    def shapes(self) -> Iterator[tuple[str, Shape]]:
        """(name, shape) of every tensor; raises as `shape`."""
        for name in self.rows:
            yield name, self.shape(name)


def read_header(path: str | os.PathLike[str]) -> WeightsHeader:
    """The header of the safetensors file at ``path``, which is as long as its header promises.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        NotWeights: it is something else, or damaged.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise NotWeights(_what_else(head + file.read(56), size, length))
        text = file.read(length)
    header = _parsed(text)
    said = header.pop("__metadata__", None)
    end = _end(header)
    if len(header) < text.count(_NAMED):
        raise NotWeights("it names a tensor twice")
    if size < 8 + length + end:
        raise NotWeights(f"it is cut short: {size:,} of {8 + length + end:,} bytes")
    return WeightsHeader(cast("dict[str, Any]", said) if isinstance(said, dict) else {}, header, 8 + length)


def _parsed(text: bytes) -> dict[str, Any]:
    if sum(map(text.count, (b"[", b"{", b","))) > MAX_HEADER_PARTS:  # counted before they are made
        raise NotWeights(_NO_HEADER)
    collects = gc.isenabled()
    gc.disable()  # thousands of small objects, all of which live on: looking through them takes as long as making them
    try:
        header = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise NotWeights(_NO_HEADER) from exc
    finally:
        if collects:
            gc.enable()
    if not isinstance(header, dict):
        raise NotWeights(_NO_HEADER)
    return cast("dict[str, Any]", header)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _end(header: Mapping[str, Any]) -> int:
    """Where the last tensor ends, in bytes after the header."""
    try:
        return max([int(row["data_offsets"][1]) for row in header.values()], default=0)
    except (LookupError, TypeError, ValueError, OverflowError) as exc:
        raise NotWeights(_NO_HEADER) from exc


def _side(side: Any) -> int:
    if not isinstance(side, int) or not 0 <= side < MAX_SIDE:
        raise ValueError("no side of a tensor")
    return side


def _what_else(head: bytes, size: int, length: int) -> str:
    """What a file is that does not begin with a header of a possible length."""
    if size == 0:
        return "it is empty"
    known = next((said for pattern, said in _NOT_WEIGHTS if pattern.match(head)), "")
    if known:
        return known
    is_large = MAX_HEADER_BYTES < length <= size
    return (
        f"its header of {length / 1e6:,.0f} MB is too large" if is_large else "it is cut short, or no safetensors file"
    )
