"""`read`: the settings in a picture, for people and as JSON."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from fooocus_lite.library import load_library
from fooocus_lite.metadata import MAX_FILE_BYTES, ReadPicture, read_file, read_stream
from fooocus_lite.settings import Settings
from fooocus_lite.untrusted import printable


def read(path: Path, settings: Settings, *, as_json: bool) -> str:
    """What to print for the picture or text at ``path``; ``-`` is the standard input.

    Raises:
        FooocusError: it cannot be read, or says nothing that is understood.
    """
    library = load_library(settings)
    if str(path) == "-":
        piped = io.BytesIO(sys.stdin.buffer.read(MAX_FILE_BYTES))
        found = read_stream(piped, library, name="The input")
    else:
        found = read_file(path, library)
    # ASCII escapes and replaced signs: what stands in a picture must not move a terminal's cursor.
    return json.dumps(found.to_dict()) if as_json else _as_text(found)


def _as_text(found: ReadPicture) -> str:
    lines = [f"scheme: {found.scheme}"]
    for name, value in found.recipe.model_dump(mode="json", exclude_none=True, exclude={"loras"}).items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        lines += [f"{name}: {printable(line)}" if not index else f"  {printable(line)}" for index, line in _lines(text)]
    lines += [f"lora: {printable(lora.name)} {lora.weight:g}" for lora in found.recipe.loras or () if lora.enabled]
    return "\n".join([*lines, *(f"note: {printable(note)}" for note in found.warnings)])


def _lines(text: str) -> list[tuple[int, str]]:
    return list(enumerate(text.split("\n")))
