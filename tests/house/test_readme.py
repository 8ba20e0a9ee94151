"""What the documents point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fooocus_lite.bench.sampling import LED
from fooocus_lite.guidances import GUIDANCES
from fooocus_lite.memory_table import lines
from tests.house.code import ROOT, shown

DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "models/README.md", "training/README.md")]
DOCUMENTS += [ROOT / "wildcards/README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


def test_the_table_of_graphics_cards_is_what_the_program_would_do() -> None:
    """`python3 -m fooocus_lite.memory_table` prints it."""
    rows = table_under("What runs on your graphics card")
    assert rows == list(lines())[2:]
    assert all(row.endswith(("| estimated |", "| measured |")) for row in rows)


def test_the_readme_has_every_guidance_what_it_does_and_what_it_costs() -> None:
    """The only place of these measurements; what each does stands in its row of `GUIDANCES`, its aim in the bench."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table_under("Guidance")]
    assert [row[0] for row in rows] == [row.label for row in GUIDANCES.values()]
    for (_, does, time, aim), (key, row) in zip(rows, GUIDANCES.items(), strict=True):
        limit = LED[key][1]
        assert does == row.good_for
        assert re.match(r"\d\.\d\d( |$)", time)
        assert aim == ("" if limit is None else f"{limit:.2f}")
    assert "| measured |" not in (ROOT / "docs" / "guidance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (document.parent / link).exists()] == []
