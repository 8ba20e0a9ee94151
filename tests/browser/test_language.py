"""The page in another language: labels are replaced, and nothing that a person or a file said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.person import Person
from tests.faults.server import Server

HOSTILE = "<img src=/nowhere onerror=alert(1)>"
WORDS = {
    "Generate": "Los",
    "STYLES": "Stile",  # other capitals than the page's
    "What do you want to see?": "Was soll zu sehen sein?",
    "Skip this picture (Esc)": "Dieses Bild auslassen",
    "Details": HOSTILE,
    "Save as preset…": "Als Vorlage sichern",
    "Neon": "Leuchtreklame",  # a style's name
    "Queue": "Pictures",  # each is English for the other: neither may be taken for that again
    "Pictures": "Queue",
}


def test_labels_are_replaced_and_nothing_that_somebody_said(
    start: Callable[..., Server], come: Callable[..., Person], tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "languages"
    folder.mkdir(parents=True)
    (folder / "xx.json").write_text(json.dumps(WORDS))
    server = start(language="xx")
    person = come(server=server)
    page = person.page
    expect(person.button("Los")).to_be_visible()
    expect(person.prompt).to_have_attribute("placeholder", "Was soll zu sehen sein?")
    expect(page.locator("#fl-run").get_by_title("Dieses Bild auslassen")).to_be_visible()
    expect(page.locator("#fl-queue h2")).to_contain_text("Pictures")
    expect(page.locator("#fl-pictures h2")).to_contain_text("Queue")

    server.submit("Generate", count=3, steps=100)
    expect(page.locator("#fl-rows .what").last).to_have_text("Generate")
    expect(page.locator("#fl-rows .what").last).to_have_attribute("title", "Generate")
    server.post("/v1/clear")
    server.post("/v1/stop")

    person.prompt.fill("Generate")
    person.button("Los").click()
    person.see_picture("Generate")
    expect(person.prompt).to_have_value("Generate")
    expect(page.locator("#fl-grid button").first).to_have_attribute("title", "Generate")
    person.stage.get_by_role("button", name=HOSTILE, exact=True).click()
    expect(page.locator("#fl-details > p")).to_have_text("Generate")
    assert page.locator("img[onerror]").count() == 0

    page.get_by_role("button", name="Preset actions").click()
    expect(person.button("Als Vorlage sichern")).to_be_visible()
    page.keyboard.press("Escape")
    person.open_advanced("Stile")
    tile = page.get_by_role("list", name="Starter", exact=True).get_by_role("button", name="Neon", exact=True)
    tile.click()
    expect(page.locator("#fl-styles .token")).to_contain_text("Neon")
    expect(page.locator("#fl-queue h2")).to_contain_text("Pictures")
    assert "Leuchtreklame" not in page.content()


def test_without_a_language_nothing_is_asked_for(person: Person) -> None:
    asked = person.page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert any(name.endswith("/ui/main.js") for name in asked)
    assert not [name for name in asked if "language" in name]
    expect(person.button("Generate")).to_be_visible()
