"""What `fooocus-lite settings` prints."""

from __future__ import annotations

import json
from pathlib import Path

from fooocus_lite.settings import Settings


def settings_text(settings: Settings, *, as_json: bool) -> str:
    """Every setting, its value and where that comes from: a table, or JSON with what each is for."""
    rows = settings.describe()
    if as_json:
        shown = {
            row.name: {"value": str(value) if isinstance(value, Path) else value, "source": source, "help": row.help}
            | {"env": row.env, "flag": row.flag}
            for row, value, source in rows
        }
        return json.dumps(shown, indent=2, ensure_ascii=False)
    width = max(len(str(value)) for _, value, _ in rows)
    lines = (f"{row.name:<15} {'' if value is None else value!s:<{width}}  {source}" for row, value, source in rows)
    return "\n".join(lines)
