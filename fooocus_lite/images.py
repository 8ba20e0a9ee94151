"""Pictures on disk: saved whole or not at all, never over another; small ones for lists."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from fooocus_lite.disk import disk_problem, write_atomic
from fooocus_lite.errors import FooocusError, NotFound
from fooocus_lite.events import ImageReady, ImageSaved
from fooocus_lite.metadata.parameters import to_parameters
from fooocus_lite.picture_text import PictureInfo, exif_comment, read_picture, read_recipe, to_text, utf16_comment
from fooocus_lite.png import encode_png
from fooocus_lite.recipe import ImageFormat

__all__ = [
    "PART_AGE_S", "clear_parts", "delete_picture", "find_saved", "read_picture", "read_recipe", "save_image",
    "saved_pictures", "thumbnail",
]  # fmt: skip
logger = logging.getLogger(__name__)

#: Longest side in pixels of small copies → most bytes that they may have: for lists of pictures, and of styles.
THUMBNAILS = {256: 20_000, 96: 4_000}
_MAX_PIXELS = 64_000_000
_MAX_EXIF_BYTES = 60_000  # a JPEG segment ends at 65,535
_EXIF_IFD, _USER_COMMENT, _MAKER_NOTE, _SOFTWARE = 0x8769, 0x9286, 0x927C, 0x0131
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_OURS = re.compile(r"\d\d-\d\d-\d\d_\d+_([0-9a-f]{12})\.(png|jpg|webp)")
_PART = re.compile(rf"{_OURS.pattern}\.part")
PART_AGE_S = 60.0  # a younger one may be in another program's hands
_DAYS_CLEARED = 31
_SUFFIX: dict[ImageFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


def save_image(
    image: ImageReady,
    info: PictureInfo,
    *,
    task_id: str,
    output_dir: Path,
    at: datetime | None = None,
    by_day: bool = True,
    a1111_text: bool = True,
) -> ImageSaved:
    """Write ``output_dir/YYYY-MM-DD/HH-MM-SS_<seed>_<task id>.<suffix>``, flushed and complete.

    Args:
        by_day: A folder for each day; without it the picture lies in ``output_dir`` itself.
        a1111_text: Write the settings once more, as the text that Civitai and other programs read.

    Raises:
        DiskProblem: the disk is full or the folder cannot be written to; nothing is left behind.
    """
    at = at or datetime.now()
    image_format: ImageFormat = info.recipe.image_format or "png"
    text = to_text(info)
    if image_format == "jpeg" and len(text) > _MAX_EXIF_BYTES:
        logger.warning("task %s: its recipe does not fit into a JPEG, so it is saved as PNG", task_id)
        image_format = "png"
    parameters = to_parameters(info) if a1111_text else None
    if parameters and image_format == "jpeg" and len(text) + 2 * len(parameters) > _MAX_EXIF_BYTES:
        parameters = None  # ours is the one that makes the picture again
    data = _encode(image, {"fooocus_lite": text, "parameters": parameters}, image_format, info.app)
    folder = output_dir / at.strftime("%Y-%m-%d") if by_day else output_dir
    path = folder / f"{at.strftime('%H-%M-%S')}_{info.recipe.seed}_{task_id}{_SUFFIX[image_format]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as exc:
        raise disk_problem(exc, folder, "FOOOCUS_OUTPUT_DIR") from exc
    return ImageSaved(path=str(path.absolute()), width=image.width, height=image.height, size_bytes=len(data))


def _encode(image: ImageReady, texts: Mapping[str, str | None], image_format: ImageFormat, app: str) -> bytes:
    """The file; ``texts`` are ours and, if it is wanted, the one of other programs."""
    if image_format == "png":
        written = {key: text for key, text in texts.items() if text}
        return encode_png(image.rgb, image.width, image.height, written | {"Software": app})
    exif = Image.Exif()
    exif[_SOFTWARE] = app
    exif_tags = exif.get_ifd(_EXIF_IFD)
    ours, parameters = texts["fooocus_lite"] or "", texts["parameters"]
    if parameters:  # other programs look into the comment, so ours moves aside
        exif_tags[_MAKER_NOTE] = ours.encode("ascii")
        exif_tags[_USER_COMMENT] = utf16_comment(parameters)
    else:
        exif_tags[_USER_COMMENT] = exif_comment(ours)
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if image_format == "jpeg" else {"quality": 92}
    buffer = io.BytesIO()
    picture = Image.frombytes("RGB", (image.width, image.height), image.rgb)
    picture.save(buffer, image_format.upper(), exif=exif, **options)
    return buffer.getvalue()


def find_saved(output_dir: Path, task_id: str, days: set[str]) -> ImageSaved | None:
    """The picture of a task whose server died after saving it and before writing that down.

    Args:
        days: ``YYYY-MM-DD`` on which it was probably saved. All others are looked at after these: midnight may have
            passed on the way, and clocks are set.
    """
    for day in sorted(days) + [day for day in _days(output_dir) if day not in days]:
        for path in (output_dir / day).glob(f"*_{task_id}.*"):
            if path.suffix not in _SUFFIX.values():
                continue
            try:
                recipe = read_recipe(path)
                size_bytes = path.stat().st_size
            except (FooocusError, OSError):
                continue
            return ImageSaved(
                path=str(path.absolute()), width=recipe.width or 0, height=recipe.height or 0, size_bytes=size_bytes
            )
    return None


def saved_pictures(output_dir: Path) -> Iterator[tuple[str, str, Path]]:
    """(day, task id, path) of every picture that lies where `save_image` puts it, the oldest day first."""
    for day in reversed(_days(output_dir)):
        for path in sorted((output_dir / day).iterdir()):
            if name := _OURS.fullmatch(path.name):
                yield day, name[1], path


def _days(output_dir: Path) -> list[str]:
    """Names of the day folders, newest first; none of a folder that cannot be read."""
    try:
        return sorted((path.name for path in output_dir.iterdir() if _DAY.fullmatch(path.name)), reverse=True)
    except OSError:
        return []


def thumbnail(path: Path, folder: Path, side: int = 256) -> Path:
    """A JPEG that fits ``side`` × ``side``, a key of `THUMBNAILS`; made on the first call and kept in ``folder``.

    Raises:
        NotFound: the picture was deleted or moved.
        FooocusError: it cannot be decoded.
        DiskProblem: there is no room for it.
    """
    try:
        stat = path.stat()
    except OSError as exc:
        raise NotFound(f"The picture {path.name} is no longer in {path.parent}.", "It was moved or deleted.") from exc
    small = _place_of(path, stat, folder, side)
    if small.exists():
        return small
    data = _shrink(path, side)
    part = small.with_name(f"{small.stem}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        small.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, small)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise disk_problem(exc, folder, "FOOOCUS_DATA_DIR") from exc
    return small


def _place_of(path: Path, stat: os.stat_result, folder: Path, side: int) -> Path:
    key = hashlib.sha256(f"{path.absolute()}|{stat.st_mtime_ns}|{stat.st_size}|{side}".encode()).hexdigest()[:24]
    return folder / key[:2] / f"{key}.jpg"


def delete_picture(path: Path, thumbs: Path) -> None:
    """Delete a picture for good, and its small copies with it.

    Raises:
        NotFound: it is gone already.
        DiskProblem: the system does not let us, for example because another program has it open.
    """
    try:
        copies = [_place_of(path, path.stat(), thumbs, side) for side in THUMBNAILS]
        path.unlink()
    except FileNotFoundError as exc:
        raise NotFound(f"The picture {path.name} is gone.", "It was moved or deleted.") from exc
    except OSError as exc:
        raise disk_problem(exc, path.parent, "FOOOCUS_OUTPUT_DIR") from exc
    with contextlib.suppress(OSError):  # nobody will see it again; it only takes room
        for small in copies:
            small.unlink(missing_ok=True)


def clear_parts(output_dir: Path) -> int:
    """Remove what killed servers left half written in the newest day folders; how many files that were."""
    removed = 0
    with contextlib.suppress(OSError):  # a folder that cannot be read is said when a picture is saved
        for day in _days(output_dir)[:_DAYS_CLEARED]:
            for path in (output_dir / day).glob("*.part"):
                if _PART.fullmatch(path.name) and time.time() - path.stat().st_mtime > PART_AGE_S:
                    path.unlink(missing_ok=True)
                    removed += 1
    return removed


def open_small(path: Path, width: int, height: int) -> Image.Image:
    """The picture's pixels as RGB, no larger than needed for ``width`` × ``height`` where its format allows that.

    Raises:
        FooocusError: it is gone, or cannot be decoded.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise ValueError("too many pixels")
            picture.draft("RGB", (width, height))
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise FooocusError(f"{path.name} is not a picture that can be shown.", code="unreadable_picture") from exc


def _shrink(path: Path, side: int) -> bytes:
    small = open_small(path, side, side)
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    while True:
        for quality in (82, 65, 45, 25):
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= THUMBNAILS[side]:
                return buffer.getvalue()
        small = small.resize((max(1, small.width * 3 // 4), max(1, small.height * 3 // 4)))
