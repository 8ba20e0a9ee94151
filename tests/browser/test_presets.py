"""Presets in the page: choosing one says what it changed, one's own are saved and deleted, what is missing is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, expect

from tests.app.client import ask, ask_json
from tests.browser.person import Person
from tests.faults.server import Server

PHONE = (390, 844)
URL = "https://x.test/far.safetensors"


@pytest.fixture
def server(quiet_server: Server) -> Iterator[Server]:
    """The shared server; presets that a test saved are gone after it."""
    yield quiet_server
    for row in quiet_server.get("/v1/menu")[1]["presets"]:
        if row["source"] == "own":
            assert ask(quiet_server.address, "DELETE", f"/v1/presets/{quote(row['name'])}")[0] == 204
    ask_json(quiet_server.address, "PUT", "/v1/default-preset", {"preset": None})


@pytest.fixture
def person(server: Server, come: Callable[..., Person]) -> Person:
    return come()


def preset_box(person: Person) -> Locator:
    return person.page.get_by_role("combobox", name="Preset")


def choose(person: Person, label: str) -> None:
    preset_box(person).click()
    person.page.get_by_role("option", name=label, exact=True).click()


def act(person: Person, words: str) -> None:
    person.button("Preset actions").click()
    person.page.get_by_role("dialog", name="Preset actions").get_by_role("button", name=words).click()


def changed(person: Person) -> Locator:
    return person.page.get_by_role("status").filter(has_text="Changed:")


def save(person: Person, name: str) -> None:
    act(person, "Save as preset…")
    person.page.get_by_role("textbox", name="Name").fill(name)
    person.page.get_by_role("textbox", name="Name").press("Enter")
    expect(person.page.get_by_role("textbox", name="Name")).not_to_be_visible()
    expect(preset_box(person)).to_have_value(name)


def test_choosing_a_preset_says_what_changed_and_can_be_undone(person: Person) -> None:
    person.choose_style("Neon")
    person.page.get_by_role("spinbutton", name="Pictures").fill("3")
    person.set_steps(11)
    person.prompt.fill("a lake")
    stage = person.stage.bounding_box()
    choose(person, "Starter, wide")
    expect(changed(person)).to_contain_text("Changed: styles Neon → none, size 128×128 → 192×128, steps 11 → 24")
    assert person.stage.bounding_box() == stage
    expect(person.page.get_by_role("spinbutton", name="Pictures")).to_have_value("3")
    person.prompt.fill("a lake at night")
    person.button("Undo").click()
    expect(person.page.get_by_label("number input for Steps")).to_have_value("11")
    expect(person.page.locator("#fl-styles").get_by_text("Neon")).to_be_visible()
    expect(person.page.get_by_label("Width (pixels)")).to_have_value("128")
    expect(preset_box(person)).to_have_value("Starter")
    expect(person.prompt).to_have_value("a lake at night")  # typed since: nobody asked for that back
    expect(changed(person)).not_to_be_attached()


def test_a_preset_is_saved_found_again_replaced_and_deleted(person: Person, server: Server) -> None:
    person.set_steps(7)
    person.choose_style("Watercolor")
    person.prompt.fill("a boat")
    save(person, "Quick & wet")
    person.page.reload()
    person.wait_until_alive()
    choose(person, "Starter")
    expect(person.page.get_by_label("number input for Steps")).to_have_value("20")
    person.prompt.fill("a house")
    choose(person, "Quick & wet")
    expect(person.page.get_by_label("number input for Steps")).to_have_value("7")
    expect(person.page.locator("#fl-styles").get_by_text("Watercolor")).to_be_visible()
    expect(person.prompt).to_have_value("a house")  # nobody ticked the prompt
    person.set_steps(9)
    act(person, "Save as preset…")
    expect(person.page.get_by_role("textbox", name="Name")).to_have_value("Quick & wet")
    expect(person.page.get_by_role("dialog", name="Preset actions")).not_to_contain_text("refiner")  # there is none
    person.button("Replace").click()
    expect(person.page.get_by_role("textbox", name="Name")).not_to_be_visible()
    rows = {row["label"]: row for row in server.get("/v1/menu")[1]["presets"]}
    assert rows["Quick & wet"]["recipe"] == {"model": "starter", "steps": 9, "styles": ["Watercolor"]}
    act(person, "Delete this preset…")
    panel = person.page.get_by_role("dialog", name="Preset actions")  # a picture on the stage has a Delete, too
    panel.get_by_role("button", name="Delete", exact=True).click()
    expect(preset_box(person)).to_have_value("Starter")
    assert "Quick & wet" not in [row["label"] for row in server.get("/v1/menu")[1]["presets"]]
    expect(person.page.get_by_label("number input for Steps")).to_have_value("9")


def test_a_taken_name_is_said_where_it_was_typed(person: Person) -> None:
    act(person, "Save as preset…")
    person.page.get_by_role("textbox", name="Name").fill("Starter")
    person.button("Save").click()
    expect(person.alert).to_contain_text("The name 'starter' is taken: it ships with Fooocus Lite.")
    person.page.get_by_role("textbox", name="Name").fill("")
    person.button("Save").click()
    expect(person.alert).to_contain_text("“Name” has 0 characters.")
    expect(person.page.get_by_role("textbox", name="Name")).to_be_visible()


def test_my_default_greets_a_browser_that_was_never_here(person: Person, come: Callable[..., Person]) -> None:
    choose(person, "Starter, fast")
    act(person, "Make this my default")
    expect(person.button("This is your default")).to_be_visible()
    other = come()
    expect(preset_box(other)).to_have_value("Starter, fast")
    other.open_advanced()
    expect(other.page.get_by_label("number input for Steps")).to_have_value("4")


def test_a_preset_whose_model_is_missing_says_so(person: Person, server: Server) -> None:
    far = {"default_model": "far.safetensors", "checkpoint_downloads": {"far.safetensors": URL}}
    worse = {"default_model": "worse.safetensors", "checkpoint_downloads": {"worse.safetensors": "javascript:alert(1)"}}
    folder = server.data / "presets"
    folder.mkdir(exist_ok=True)
    (folder / "far.json").write_text(json.dumps(far))
    (folder / "worse.json").write_text(json.dumps(worse))
    person.page.reload()
    person.wait_until_alive()
    choose(person, "far")
    note = person.page.get_by_role("status").filter(has_text="far.safetensors")
    expect(note).to_contain_text("far needs far.safetensors, which is not here.")
    expect(note.get_by_role("link", name="Where to get far.safetensors")).to_have_attribute("href", URL)
    person.button("Preset actions").click()
    expect(person.page.get_by_role("dialog")).to_contain_text("Needs far.safetensors, which is not here.")
    person.page.keyboard.press("Escape")
    choose(person, "worse")
    expect(person.page.get_by_role("status").filter(has_text="worse.safetensors")).to_be_visible()
    expect(person.page.get_by_role("link")).to_have_count(0)
    person.button("Undo").click()
    expect(preset_box(person)).to_have_value("far")


def test_a_preset_with_a_mode_that_its_model_has_not_says_so(person: Person, server: Server) -> None:
    folder = server.data / "presets"
    folder.mkdir(exist_ok=True)
    quick = {"default_model": "starter.safetensors", "default_performance": "Lightning"}
    inks = quick | {"default_loras": [[True, "ink.safetensors", 1.0], [True, "wash.safetensors", 0.5]]}
    for name, preset in (("quick", quick), ("inks", inks)):
        (folder / f"{name}.json").write_text(json.dumps(preset))
    person.page.reload()
    person.wait_until_alive()
    choose(person, "quick")
    note = person.page.get_by_role("status").filter(has_text="The mode Lightning")
    expect(note).to_contain_text("The mode Lightning is not made for Starter. Choose one of: ")
    choose(person, "inks")
    expect(note).to_contain_text("inks needs ink.safetensors, wash.safetensors, which are not here.")
    expect(note).to_contain_text("Put them into models/loras/, or choose another preset.")


def test_the_menu_by_keyboard_and_on_a_phone(server: Server, come: Callable[..., Person]) -> None:
    person = come(PHONE)
    opener = person.button("Preset actions")
    opener.focus()
    opener.press("Enter")
    dialog = person.page.get_by_role("dialog", name="Preset actions")
    expect(dialog).to_be_visible()
    box = dialog.bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= PHONE[0]
    for words in ("Save as preset…", "Settings from a picture…"):
        row = dialog.get_by_role("button", name=words).bounding_box()
        assert row and row["height"] >= 44
    person.page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    expect(opener).to_be_focused()
    choose(person, "Starter, fast")
    line = changed(person).bounding_box()
    assert line and line["x"] + line["width"] <= PHONE[0]
    assert person.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
