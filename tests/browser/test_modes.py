"""Speed modes in the page: change the mode, see the controls follow; what is missing is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.person import Person
from tests.faults.server import Server
from tests.lora_header import lora_bytes

PHONE = (390, 844)
WHY = "Extreme Speed keeps this: its LoRA was trained for LCM without guidance."


@pytest.fixture
def server(quiet_server: Server) -> Iterator[Server]:
    """The shared server, with a file where the starter's fast adapter lies; nobody draws with it here."""
    adapter = quiet_server.models / "adapters" / "starter-lcm.safetensors"
    adapter.parent.mkdir(exist_ok=True)
    adapter.write_bytes(lora_bytes())
    yield quiet_server
    adapter.unlink()


@pytest.fixture
def person(server: Server, come: Callable[..., Person]) -> Person:
    return come()


def mode(person: Person, label: str) -> Locator:
    """By how its words begin; how long it takes comes behind."""
    return person.page.get_by_role("radio", name=re.compile("^" + label.replace("/", ".")))


def steps(person: Person) -> Locator:
    return person.page.get_by_label("number input for Steps")


def test_the_controls_follow_the_mode(person: Person) -> None:
    guidance = person.page.get_by_label("number input for Guidance", exact=True)
    person.open_advanced()
    expect(mode(person, "Speed")).to_be_checked()
    expect(mode(person, "Quality · 2× as long")).to_be_visible()
    expect(mode(person, "Extreme Speed · 1/10 of the time")).to_be_visible()
    mode(person, "Quality").check()
    expect(steps(person)).to_have_value("40")
    expect(guidance).to_be_enabled()
    guidance.fill("5")
    mode(person, "Extreme Speed").check()
    expect(steps(person)).to_have_value("4")
    expect(guidance).to_have_value("1")
    expect(guidance).to_be_disabled()
    expect(person.page.locator("#fl-guidance_scale")).to_contain_text(WHY)
    expect(steps(person)).to_be_enabled()
    person.open_advanced("Expert")
    expect(person.page.get_by_role("combobox", name="Sampler")).to_be_disabled()
    expect(person.page.get_by_role("combobox", name="Sampler")).to_have_value("LCM")
    person.page.wait_for_function("localStorage.getItem('fl.draft').includes('extreme_speed')")
    person.page.reload()
    person.wait_until_alive()
    expect(mode(person, "Extreme Speed")).to_be_checked()
    person.open_advanced()
    expect(guidance).to_be_disabled()
    mode(person, "Speed").check()
    expect(steps(person)).to_have_value("20")
    expect(guidance).to_be_enabled()
    expect(guidance).to_have_value("3")  # as the preset has it: nobody set another since the page was opened
    expect(person.page.locator("#fl-guidance_scale")).to_contain_text("How closely the picture keeps to the words")


def test_what_a_mode_took_comes_back(person: Person) -> None:
    guidance = person.page.get_by_label("number input for Guidance", exact=True)
    person.open_advanced()
    guidance.fill("5")
    mode(person, "Extreme Speed").check()
    expect(guidance).to_have_value("1")
    mode(person, "Speed").check()
    expect(guidance).to_have_value("5")


def test_a_mode_that_cannot_be_had_says_why_and_leaves_the_former(person: Person) -> None:
    expect(mode(person, "Lightning · not for this model")).to_be_visible()
    mode(person, "Lightning").click()
    note = person.page.get_by_role("status").filter(has_text="Lightning is not made for Starter")
    expect(note).to_contain_text("Choose one of: Quality, Speed, Extreme Speed.")
    expect(mode(person, "Speed")).to_be_checked()
    mode(person, "Quality").check()
    expect(note).not_to_be_attached()


def test_a_picture_in_a_mode_says_so(person: Person, server: Server) -> None:
    person.open_advanced()
    mode(person, "Quality").check()
    steps(person).fill("3")
    person.generate("a red circle")
    person.see_picture("a red circle")
    task = server.get("/v1/pictures")[1]["pictures"][0]
    assert (task["recipe"]["mode"], task["recipe"]["steps"], task["recipe"]["mode_lora"]) == ("quality", 3, "none")


def test_the_modes_fit_on_a_phone(server: Server, come: Callable[..., Person]) -> None:
    person = come(PHONE)
    box = mode(person, "Quality").bounding_box()
    assert box and box["x"] >= 0
    assert person.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
