"""The few EXIF tags in which programs keep a picture's settings. Everything stays inside the given block.

Layout: TIFF 6.0, section 2 (header, directories of 12-byte entries); EXIF 2.32, UserComment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: Where settings are found: A1111 and Fooocus write UserComment, ComfyUI writes Make, Model and ImageDescription.
TAGS = {0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x927C: "MakerNote", 0x9286: "UserComment"}
_EXIF_FOLDER = 0x8769
_MAX_ENTRIES = 1_000
_BYTES_EACH = {1: 1, 2: 1, 7: 1}  # the kinds that can hold text: bytes, ASCII, undefined


def read_exif(data: bytes) -> dict[str, str]:
    """Name of the tag → text, from the main directory and the EXIF one; a damaged block gives what can be read.

    Args:
        data: A TIFF block, from its byte order mark on.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return {}
    found: dict[str, str] = {}
    todo, seen = [_number(data, 4, order)], set[int]()
    while todo and len(seen) < 4:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        for tag, kind, count, value in _entries(data, place, order):
            if tag == _EXIF_FOLDER:
                todo.append(_number(data, value, order))
            elif tag in TAGS and kind in _BYTES_EACH and TAGS[tag] not in found:
                start = value if count <= 4 else _number(data, value, order)
                found[TAGS[tag]] = _decode(data[start : start + count], order)
    return {name: text for name, text in found.items() if text}


def _entries(data: bytes, place: int, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Tag, kind, count, and where the value or its offset stands."""
    if place + 2 > len(data):
        return
    (entries,) = struct.unpack_from(order + "H", data, place)
    for index in range(min(entries, _MAX_ENTRIES)):
        entry = place + 2 + 12 * index
        if entry + 12 > len(data):
            return
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        yield tag, kind, count, entry + 8


def _number(data: bytes, place: int, order: str) -> int:
    return struct.unpack_from(order + "I", data, place)[0]


def _decode(value: bytes, order: str) -> str:
    """Text of a tag; a UserComment names its coding in its first eight bytes, but not every program does that."""
    if value[:8] == b"UNICODE\0":
        return _decode_utf16(value[8:], order)
    if value[:8] in (b"ASCII\0\0\0", bytes(8)):
        value = value[8:]
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _decode_utf16(value: bytes, order: str) -> str:
    """UTF-16 of either byte order: most programs write big-endian whatever the block says."""
    if value[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return value.decode("utf-16", "replace").rstrip("\0")
    high, low = value[0::2].count(0), value[1::2].count(0)
    is_little = low > high if low != high else order == "<"
    return value.decode("utf-16-le" if is_little else "utf-16-be", "replace").rstrip("\0")
