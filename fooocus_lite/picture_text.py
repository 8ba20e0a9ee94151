"""The recipe inside a picture: how it is written down, and how it is read back from a file nobody vouches for.

Reading never decodes pixels, never evaluates anything and never holds more than `MAX_TEXT_BYTES`.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fooocus_lite import __version__
from fooocus_lite.errors import FooocusError
from fooocus_lite.plan import Plan
from fooocus_lite.png import SIGNATURE
from fooocus_lite.recipe import MAX_PROMPT_CHARS, Recipe, parse_recipe

Fact = str | int | float | bool
KEY = "fooocus_lite"
VERSION = 1
MAX_TEXT_BYTES = 4_000_000
_MAX_CHUNKS = 50_000
_MAX_DIGITS = 25
_EXIF_ASCII = b"ASCII\0\0\0"
_TEXT_CHUNKS = (b"iTXt", b"tEXt", b"zTXt")


class PictureInfo(BaseModel):
    """What a picture says about itself.

    Attributes:
        recipe: Resolved: running it again on the same machine gives the same pixels.
        texts: The words as they were encoded, styles applied.
        facts: Device, dtype, seconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: int = Field(default=VERSION, ge=1)
    app: str = Field(default=f"Fooocus Lite {__version__}", max_length=200)
    recipe: Recipe
    texts: tuple[str, ...] = Field(default=(), max_length=200)
    negative_texts: tuple[str, ...] = Field(default=(), max_length=200)
    model: str = Field(default="", max_length=200)
    family: str = Field(default="", max_length=200)
    facts: dict[str, Fact] = Field(default_factory=dict[str, Fact])


def describe_picture(recipe: Recipe, plan: Plan, facts: Mapping[str, object]) -> PictureInfo:
    """What goes into the picture of ``plan``; no path of this machine."""
    return PictureInfo(
        recipe=recipe,
        texts=plan.texts,
        negative_texts=plan.negative_texts,
        model=plan.model.name,
        family=plan.model.family,
        facts={key: value for key, value in facts.items() if isinstance(value, Fact)},
    )


def to_text(info: PictureInfo) -> str:
    """JSON in plain ASCII, so that every format and tool carries it unharmed."""
    return json.dumps(info.model_dump(mode="json", exclude_none=True), ensure_ascii=True)


def exif_comment(text: str) -> bytes:
    """``text`` as an EXIF UserComment."""
    return _EXIF_ASCII + text.encode("ascii")


def read_picture(path: Path) -> PictureInfo:
    """What the picture says about itself.

    Raises:
        FooocusError: it cannot be read, or says nothing that this program understands.
    """
    try:
        with path.open("rb") as file:
            text = _find_text(file)
    except (OSError, struct.error, zlib.error, UnicodeDecodeError, ValueError) as exc:
        raise _unreadable(path, f"cannot be read ({_reason(exc)}).") from exc
    if text is None:
        raise _unreadable(path, "holds no recipe.")
    return _parse(path, text)


def read_recipe(path: Path) -> Recipe:
    """The resolved recipe in a picture; errors as for `read_picture`."""
    return read_picture(path).recipe


def _parse(path: Path, text: str) -> PictureInfo:
    try:
        data, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as exc:
        raise _unreadable(path, "holds a damaged recipe.") from exc
    if not isinstance(data, dict) or not isinstance(data.get("recipe"), dict):
        raise _unreadable(path, "holds a damaged recipe.")
    if isinstance(data.get("version"), int) and data["version"] > VERSION:
        raise _unreadable(path, "was made by a newer version of Fooocus Lite.", "Update this program to read it.")
    try:
        recipe = parse_recipe(data["recipe"])
        return PictureInfo.model_validate({**data, "recipe": recipe})
    except FooocusError as exc:
        raise _unreadable(path, f"holds a recipe that cannot be used: {exc.problem}") from exc
    except ValidationError as exc:
        field = ".".join(str(part) for part in exc.errors(include_url=False)[0]["loc"])
        raise _unreadable(path, f"holds a damaged recipe ({field}).") from exc
    except RecursionError as exc:
        raise _unreadable(path, "holds a damaged recipe.") from exc


def _small_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_small_int, parse_constant=_no_constant)


def _reason(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else "it is damaged"


def _unreadable(path: Path, what: str, hint: str = "") -> FooocusError:
    return FooocusError(
        f"{path.name} {what}", hint or "Choose a PNG, JPEG or WebP that Fooocus Lite saved.", code="unreadable_picture"
    )


def _find_text(file: BinaryIO) -> str | None:
    start = file.read(12)
    if start[:8] == SIGNATURE:
        file.seek(8)
        return next((text for name, data in _png_chunks(file) if (text := _png_text(name, data)) is not None), None)
    if start[:3] == b"\xff\xd8\xff":
        file.seek(2)
        return next((text for data in _jpeg_segments(file) if (text := _exif_text(data)) is not None), None)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return next((text for data in _riff_exif(file) if (text := _exif_text(data)) is not None), None)
    return None


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of the text chunks; the others are stepped over unread."""
    for _ in range(_MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IEND":
            return
        (size,) = struct.unpack(">I", header[:4])
        if header[4:] in _TEXT_CHUNKS and size <= MAX_TEXT_BYTES:
            yield header[4:], file.read(size)
            file.seek(4, 1)
        else:
            file.seek(size + 4, 1)


def _png_text(name: bytes, data: bytes) -> str | None:
    key, _, rest = data.partition(b"\0")
    if key != KEY.encode():
        return None
    if name == b"tEXt":
        return rest.decode("latin-1")
    if name == b"zTXt":
        return _inflate(rest[1:]).decode("latin-1")
    compressed = rest[:1] == b"\x01"
    text = rest[2:].split(b"\0", 2)[-1]
    return (_inflate(text) if compressed else text).decode("utf-8")


def _inflate(data: bytes) -> bytes:
    text = zlib.decompressobj().decompress(data, MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError("the text is too long")
    return text


def _jpeg_segments(file: BinaryIO) -> Iterator[bytes]:
    """The APP1 segments before the pixels."""
    for _ in range(_MAX_CHUNKS):
        marker = file.read(4)
        if len(marker) < 4 or marker[0] != 0xFF or marker[1] == 0xDA:
            return
        size = max(0, struct.unpack(">H", marker[2:])[0] - 2)
        data = file.read(size)
        if marker[1] == 0xE1:
            yield data


def _riff_exif(file: BinaryIO) -> Iterator[bytes]:
    for _ in range(_MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return
        (size,) = struct.unpack("<I", header[4:])
        if header[:4] == b"EXIF" and size <= MAX_TEXT_BYTES:
            yield file.read(size)
            return
        file.seek(size + size % 2, 1)


def _exif_text(data: bytes) -> str | None:
    """Our JSON out of an EXIF block; where the tags point does not matter, so no tag is followed."""
    start = data.find(_EXIF_ASCII + b"{")
    return None if start < 0 else data[start + len(_EXIF_ASCII) :].decode("ascii", "replace")


assert MAX_TEXT_BYTES > 4 * 12 * MAX_PROMPT_CHARS  # two prompts and their two texts, each character as \\uXXXX\\uXXXX
