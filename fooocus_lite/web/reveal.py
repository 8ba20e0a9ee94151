"""Show a file in the desktop's own file manager."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fooocus_lite.errors import FooocusError


def reveal(path: Path) -> None:
    """Open the folder of ``path``, with the file marked where the desktop can do that.

    Raises:
        FooocusError: there is no file manager; names the folder instead.
    """
    if sys.platform == "win32":
        command = ["explorer", "/select,", str(path)]
    elif sys.platform == "darwin":
        command = ["open", "-R", str(path)]
    else:
        command = ["xdg-open", str(path.parent)]
    program = shutil.which(command[0]) if _has_desktop() else None
    if program is None:
        raise FooocusError("No file manager was found.", f"The picture is in {path.parent}.", code="conflict")
    subprocess.Popen(
        [program, *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _has_desktop() -> bool:
    """Whether there is a screen to show a folder on; ``xdg-open`` says nothing where there is none."""
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
