"""A picture that failed is said where one asked for it, also to somebody who comes back later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.person import Person
from tests.faults.server import Server


@pytest.fixture
def hollow(quiet_server: Server, tmp_path: Path) -> Iterator[str]:
    """A model without weights: its pictures fail. Afterwards one succeeds, so that the next person sees none of it."""
    (tmp_path / "model_index.json").write_text("{}")
    catalog = quiet_server.data / "catalog.json"
    catalog.write_text(json.dumps([{"name": "hollow", "family": "sdxl", "path": str(tmp_path), "native_size": 128}]))
    yield "hollow"
    catalog.unlink()
    quiet_server.wait(*quiet_server.submit("a star", steps=2))


def test_a_failure_outlives_a_reload_until_it_is_dismissed(person: Person, quiet_server: Server, hollow: str) -> None:
    (task,) = quiet_server.wait(*quiet_server.submit("a star", model=hollow))
    assert task["error"]["code"] == "missing_model"
    for _ in range(2):
        expect(person.alert).to_contain_text(task["error"]["problem"])
        person.page.reload()
        person.wait_until_alive()
    expect(person.alert).to_contain_text(task["error"]["problem"])
    person.alert.get_by_role("button", name="Dismiss").click()
    expect(person.alert).not_to_be_attached()
    person.page.reload()
    person.wait_until_alive()
    expect(person.queue).to_have_count(0)
    expect(person.alert).not_to_be_attached()
