"""Lossless PNG, quickly: one filter for all rows and entropy coding alone.

Pillow tries five filters per row and searches for matches: 160–530 ms for 1024×1024 on the machine where this
takes 25 ms, at a size within 5 % (smaller for noisy flats). Pictures that a network decoded hold few exact
repeats, so the search finds next to nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FILTER_UP = 2


def encode_png(rgb: bytes, width: int, height: int, texts: Mapping[str, str]) -> bytes:
    """A PNG file of ``width * height * 3`` bytes of RGB, with ``texts`` as UTF-8 text chunks.

    Raises:
        ValueError: ``rgb`` has another length.
    """
    if len(rgb) != width * height * 3 or not rgb:
        raise ValueError(f"{len(rgb)} bytes are not {width}×{height} RGB pixels")
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    chunks += [_chunk(b"iTXt", key.encode("latin-1") + bytes(5) + text.encode()) for key, text in texts.items()]
    chunks += [_chunk(b"IDAT", _compressed_rows(rgb, width, height)), _chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(chunks)


def _compressed_rows(rgb: bytes, width: int, height: int) -> bytes:
    rows = np.frombuffer(rgb, np.uint8).reshape(height, width * 3)
    filtered = np.empty((height, width * 3 + 1), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    coder = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY)
    return coder.compress(filtered.data) + coder.flush()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
