"""`models convert`: what it prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fooocus_lite.convert import convert_pickle
from fooocus_lite.untrusted import printable


def convert_command(files: Sequence[Path], *, as_json: bool) -> str:
    """Make a safetensors file of each; the text to print.

    Raises:
        FooocusError: one cannot be converted; those before it are.
    """
    made = [(file, convert_pickle(file)) for file in files]
    if as_json:
        rows = [
            {"path": str(done.path), "tensors": done.tensors, "left_out": done.left_out, "source": str(file)}
            for file, done in made
        ]
        return json.dumps(rows, ensure_ascii=False, indent=2)
    lines: list[str] = []
    for file, done in made:
        left = f"; {_count(done.left_out, 'thing')} for training left out" if done.left_out else ""
        lines += [
            f"{done.path} is there, with {_count(done.tensors, 'tensor')}{left}.",
            f"{file} is as it was; it can be deleted.",
        ]
    return "\n".join(map(printable, lines))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
