"""What Fooocus 2.5.5 was observed to do, as data; tests run every entry, and name each that differs on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FACTS: dict[str, Any] = json.loads((Path(__file__).parent / "fooocus_facts.json").read_text(encoding="utf-8"))
