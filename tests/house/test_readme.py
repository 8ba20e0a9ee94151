"""What the documents point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.code import ROOT, shown

DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "models/README.md", "training/README.md")]
DOCUMENTS += [ROOT / "docs/prompts.md", ROOT / "docs/expansion.md", ROOT / "docs/samplers.md"]
DOCUMENTS += [ROOT / "wildcards/README.md", ROOT / "docs/modes.md", ROOT / "docs/models.md"]
DOCUMENTS += [ROOT / "docs/downloads.md"]
DOCUMENTS += [ROOT / "docs/families.md"]
DOCUMENTS += [ROOT / "docs/api.md"]
WHERE_TO_ADD = ("sampler", "style", "word list", "preset", "model", "family", "tab", "setting")


def table_under(heading: str) -> list[str]:
    """The rows of the README's table under a heading, without its head."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def test_the_readme_says_where_to_add_things() -> None:
    rows = table_under("Where to add things")
    for thing in WHERE_TO_ADD:
        assert any(thing in row.split("|")[1] for row in rows), f"no row for a {thing}"


def test_the_paths_of_that_table_exist() -> None:
    paths = re.findall(r"\]\(([^)#]+)\)", "\n".join(table_under("Where to add things")))
    assert len(paths) >= len(WHERE_TO_ADD)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (document.parent / link).exists()] == []
