"""A small picture for each style: the one that ships, else the newest that this machine drew in that style alone."""

from __future__ import annotations

import re
from pathlib import Path

from fooocus_lite.images import thumbnail
from fooocus_lite.prompts import normal_name
from fooocus_lite.settings import Settings
from fooocus_lite.style_files import Style
from fooocus_lite.taskqueue import TaskQueue

SIDE = 96  # pixels
FOLDER = "thumbnails"  # beside the style files that ship


def shipped_path(styles_dir: Path, name: str) -> Path:
    """Where the small picture of a shipped style lies: ``Pixel Art`` → ``thumbnails/pixel-art.webp``."""
    return styles_dir / FOLDER / f"{re.sub(r'[^a-z0-9]+', '-', normal_name(name)).strip('-')}.webp"


class StylePictures:
    """Looks a style's picture up; what it costs depends on the number of styles, not of pictures."""

    def __init__(self, settings: Settings, queue: TaskQueue) -> None:
        self._shipped = settings.styles_dirs[0]
        self._small = settings.data_dir / "thumbs"
        self._queue = queue

    def version(self, style: Style, *, owner: str | None = None) -> str | None:
        """Changes with the picture, which a user drew or anybody; ``None`` while there is none."""
        found = self._find(style, owner)
        return found and found[0]

    def small(self, style: Style, *, owner: str | None = None) -> tuple[str, Path] | None:
        """(version, file of at most 4 kB that fits 96 × 96), or ``None``.

        Raises:
            FooocusError: the picture cannot be decoded, or there is no room for a small copy.
        """
        found = self._find(style, owner)
        if found is None or found[1].parent.name == FOLDER:
            return found
        return found[0], thumbnail(found[1], self._small, SIDE)

    def _find(self, style: Style, owner: str | None) -> tuple[str, Path] | None:
        if style.kind != "text":
            return None
        if style.source == "shipped":
            path = shipped_path(self._shipped, style.name)
            if path.is_file():
                status = path.stat()
                return f"{status.st_mtime_ns:x}-{status.st_size:x}", path
        for task_id, picture in self._queue.in_style(style.name, owner=owner):  # files may be gone: a row never is
            if Path(picture).is_file():
                return task_id, Path(picture)
        return None
