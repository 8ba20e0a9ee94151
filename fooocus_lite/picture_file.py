"""The texts in a PNG, JPEG or WebP file, found without decoding a pixel and within a bounded memory.

Pillow reads texts behind the pixels only after it has decoded those, and gathers up to 64 MB of them;
so the chunks are walked here. A walk also tells whether the file is whole.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from fooocus_lite.exif import read_exif
from fooocus_lite.png import SIGNATURE
from fooocus_lite.untrusted import MAX_TEXT_BYTES, Refused

#: PNG keys that are read: ours; A1111 and Fooocus; ComfyUI; InvokeAI, new and old. Others are stepped over.
KEYS = ("fooocus_lite", "parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata")
MAX_PIXELS = 1_000_000_000
_MAX_CHUNKS = 50_000
_MAX_TEXTS_BYTES = 3 * MAX_TEXT_BYTES
_TEXT_CHUNKS = (b"iTXt", b"tEXt", b"zTXt")
_TAIL_BYTES = 65_536
_BLOCK_BYTES = 512
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers that say width and height
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length


@dataclass
class PictureFile:
    """What a picture file says about itself.

    Attributes:
        width: Pixels, as the header claims; 0 where it does not say.
        height: Likewise.
        texts: By PNG key (see `KEYS`) or name of the EXIF tag (see `fooocus_lite.exif.TAGS`).
    """

    kind: Literal["png", "jpeg", "webp"]
    width: int = 0
    height: int = 0
    texts: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, key: str, text: str) -> None:
        """Keep the first text of each key."""
        if sum(map(len, self.texts.values())) + len(text) > _MAX_TEXTS_BYTES:
            raise Refused("holds more text than any settings need")
        self.texts.setdefault(key, text)

    def measure(self, width: int, height: int) -> None:
        """Note the size that the header claims."""
        if width * height > MAX_PIXELS:
            raise Refused(f"claims to have {width:,} × {height:,} pixels, more than any picture that is read here")
        self.width, self.height = width, height


def read_picture_file(file: BinaryIO) -> PictureFile | None:
    """The texts of a picture; ``None`` when the file is no picture of a known kind.

    Raises:
        Refused: it is cut short, damaged, or claims what cannot be.
        OSError: it cannot be read.
    """
    file.seek(0)
    start = file.read(12)
    try:
        if start[:8] == SIGNATURE:
            return _read_png(file)
        if start[:3] == b"\xff\xd8\xff":
            return _read_jpeg(file)
        if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
            return _read_webp(file, *struct.unpack("<I", start[4:8]))
    except (struct.error, zlib.error, UnicodeDecodeError) as exc:
        raise Refused("is damaged") from exc
    return None


def _size(file: BinaryIO) -> int:
    place = file.tell()
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(place)
    return size


def _cut_short() -> Refused:
    return Refused("is cut short")


def _too_many() -> Refused:
    return Refused("has more parts than any picture")


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _cut_short()
    return data


def _read_png(file: BinaryIO) -> PictureFile:
    picture = PictureFile("png")
    for name, size in _png_chunks(file):
        if name == b"IHDR":
            picture.measure(*struct.unpack(">II", _exactly(file, 8)))
        elif name == b"eXIf" and size <= MAX_TEXT_BYTES:
            _add_exif(picture, _exactly(file, size))
        elif name in _TEXT_CHUNKS:
            key = _exactly(file, min(size, 80)).partition(b"\0")[0].decode("latin-1")  # a key has at most 79 letters
            if key in KEYS and key not in picture.texts:
                file.seek(-min(size, 80), os.SEEK_CUR)
                if size > MAX_TEXT_BYTES:
                    raise Refused("holds more text than any settings need")
                picture.add(key, _png_text(name, _exactly(file, size)))
    return picture


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk, the file standing at its data; whoever takes one may read as far as they like."""
    place = 8
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        size, name = struct.unpack(">I4s", _exactly(file, 8))
        if name == b"IEND":
            return
        yield name, size
        place += size + 12
    raise _too_many()


def _png_text(name: bytes, data: bytes) -> str:
    rest = data.partition(b"\0")[2]
    if name == b"tEXt":
        return _latin_or_utf8(rest)
    if name == b"zTXt":
        return _latin_or_utf8(_inflate(rest[1:]))
    text = rest[2:].split(b"\0", 2)[-1]
    return (_inflate(text) if rest[:1] == b"\x01" else text).decode("utf-8")


def _latin_or_utf8(data: bytes) -> str:
    """tEXt is Latin-1 by the standard, and UTF-8 by the habit of many programs."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    text = inflater.decompress(data, MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise Refused("holds more text than any settings need")
    if not inflater.eof:
        raise _cut_short()
    return text


def _read_jpeg(file: BinaryIO) -> PictureFile:
    picture = PictureFile("jpeg")
    file.seek(2)
    for _ in range(_MAX_CHUNKS):
        marker = _next_marker(file)
        if marker in _JPEG_BARE:
            continue
        size = struct.unpack(">H", _exactly(file, 2))[0] - 2
        if marker in (0xD9, 0xDA):  # the pixels begin, or it ends without any
            break
        data = _exactly(file, max(0, size))
        if marker in _JPEG_SIZES:
            picture.measure(*reversed(struct.unpack(">HH", data[1:5])))
        elif marker == 0xE1 and data[:6] == b"Exif\0\0":
            _add_exif(picture, data[6:])
    else:
        raise _too_many()
    file.seek(max(file.tell(), _size(file) - _TAIL_BYTES))
    if b"\xff\xd9" not in file.read(_TAIL_BYTES):  # among pixels an FF is never followed by D9
        raise _cut_short()
    return picture


def _next_marker(file: BinaryIO) -> int:
    if _exactly(file, 1) != b"\xff":
        raise Refused("is damaged")
    while block := file.read(_BLOCK_BYTES):  # any number of FF may stand before a marker
        rest = block.lstrip(b"\xff")
        if rest:
            file.seek(1 - len(rest), os.SEEK_CUR)
            return rest[0]
    raise _cut_short()


def _read_webp(file: BinaryIO, declared: int) -> PictureFile:
    picture = PictureFile("webp")
    end = declared + 8
    if _size(file) < end:
        raise _cut_short()
    place = 12
    for _ in range(_MAX_CHUNKS):
        if place + 8 > end:
            return picture
        file.seek(place)
        name, size = struct.unpack("<4sI", _exactly(file, 8))
        if place + 8 + size > end:
            raise _cut_short()
        if name == b"EXIF" and size <= MAX_TEXT_BYTES:
            data = _exactly(file, size)
            _add_exif(picture, data.removeprefix(b"Exif\0\0"))
        elif name in (b"VP8X", b"VP8 ", b"VP8L") and not picture.width:
            _measure_webp(picture, name, file.read(10))
        place += 8 + size + size % 2
    raise _too_many()


def _measure_webp(picture: PictureFile, name: bytes, head: bytes) -> None:
    if name == b"VP8X":
        picture.measure(1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little"))
    elif name == b"VP8 ":
        width, height = struct.unpack("<HH", head[6:10])
        picture.measure(width & 0x3FFF, height & 0x3FFF)
    else:
        bits = int.from_bytes(head[1:5], "little")
        picture.measure(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))


def _add_exif(picture: PictureFile, data: bytes) -> None:
    for name, text in read_exif(data).items():
        picture.add(name, text)
