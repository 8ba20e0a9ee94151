"""What `fooocus-lite styles`, `presets`, `loras`, `wildcards` and `import-fooocus` print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fooocus_lite.fooocus_import import import_fooocus
from fooocus_lite.library import Library
from fooocus_lite.lora_files import lora_rows
from fooocus_lite.menu import preset_row, style_row
from fooocus_lite.missing_files import need_can_come
from fooocus_lite.settings import Settings
from fooocus_lite.untrusted import printable

MARK = "★"


def styles_text(library: Library, *, as_json: bool) -> str:
    """Every style: a table, or JSON with its words."""
    if as_json:
        styles = library.styles.values()
        return _json(
            [
                style_row(style, library) | {"prompt": style.prompt, "negative_prompt": style.negative_prompt}
                for style in styles
            ]
        )
    favourite = dict.fromkeys(library.favourites, MARK)
    return table([(favourite.get(s.name, " "), s.name, s.category, s.source) for s in library.styles.values()])


def presets_text(library: Library, *, as_json: bool) -> str:
    """Every preset: a table with what it needs and cannot do here, or JSON."""
    if as_json:
        default = library.default_preset
        return _json([preset_row(p, library) | {"default": p.name == default} for p in library.presets.values()])
    rows: list[tuple[str, ...]] = []
    for preset in library.presets.values():
        mark = MARK if preset.name == library.default_preset else " "
        rows.append((mark, preset.name, preset.source, preset.description))
        for need in library.needs_of(preset):
            if need.kind in ("model", "lora") and not library.has(need) and need_can_come(need, library):
                rows.append(("", "", "", f"fetches {need.file} when it is first used"))
            elif need.kind in ("model", "lora") and not library.has(need):
                rows.append(("", "", "", f"needs {need.file}, which is not here{f': {need.url}' if need.url else ''}"))
        rows += [("", "", "", f"note: {warning}") for warning in preset_row(preset, library)["warnings"]]
    return table(rows)


def loras_text(library: Library, *, as_json: bool) -> str:
    """Every LoRA: a table with what it is for and its words, or JSON."""
    rows = lora_rows(library)
    if as_json:
        return _json(rows)
    here = {name for name, entry in library.models.items() if entry.available}
    if not rows:
        return "There are none. Put .safetensors files into models/loras."
    return table([
        (
            row["name"],
            f"rank {row['rank']}" if row["rank"] else "",
            f"for {', '.join(fits)}" if (fits := [name for name in row["fits"] if name in here])
            else f"made for {row['kind']}" if row["kind"] else "",
            row["problem"] or ", ".join(row["words"]),
        )
        for row in rows
    ])  # fmt: skip


def wildcards_text(library: Library, *, as_json: bool) -> str:
    """Every word list, with the words it begins with."""
    lists = library.word_lists.values()
    if as_json:
        return _json([words.to_dict() for words in lists])
    return "\n".join(printable(str(words)) for words in lists)


def import_text(path: Path, settings: Settings, *, as_json: bool) -> str:
    """What was taken over from a Fooocus folder.

    Raises:
        NotFound: there is no Fooocus.
        DiskProblem: the data folder cannot be written to.
    """
    report = import_fooocus(path, settings)
    if as_json:
        return _json(report.to_dict())
    lines = [f"From {report.folder} to {settings.data_dir}:"]
    lines += [f"  ✓ {sentence}" for sentence in report.done or ("Nothing that was not here already.",)]
    lines += [f"  – {sentence}" for sentence in report.left]
    return "\n".join(map(printable, lines))  # they quote files that may come from anybody


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as they need to be; the last is not padded."""
    rows = [tuple(printable(" ".join(cell.split())) for cell in row) for row in rows]
    widths = [max((len(cell) for cell in column), default=0) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
