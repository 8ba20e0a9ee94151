"""A few words become more: asked for, read, changed, drawn, and seen again beside the picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, expect

from tests.browser.person import Person
from tests.browser.test_settings_in import paste
from tests.faults.server import Server


def words_field(person: Person) -> Locator:
    return person.page.get_by_role("textbox", name="Expansion")


def test_words_are_seen_before_and_after(person: Person) -> None:
    field = words_field(person)
    expect(field).not_to_be_visible()
    person.set_steps(2)
    person.prompt.fill("a red circle")
    person.choose_style("Expand prompt")
    expect(field).to_have_value("")
    person.button("Expand").click()
    expect(field).not_to_have_value("", timeout=120_000)
    field.fill(f"{field.input_value()}, of my own")
    words = field.input_value()
    person.generate()
    person.see_picture("a red circle")
    person.open_advanced("Styles")
    expect(person.button("Take out: Expand prompt")).to_be_visible()
    expect(person.page.locator("#fl-chosen img")).to_have_count(0)  # it stands for no look
    person.button("Details").click()
    expect(person.page.get_by_text(words, exact=True)).to_be_visible()
    expect(person.prompt).to_have_value("a red circle")


def test_words_of_ones_own_are_not_lost(person: Person) -> None:
    field = words_field(person)
    person.prompt.fill("a red circle")
    person.choose_style("Expand prompt")
    field.fill("typed by hand")
    person.button("Expand").click()
    expect(field).not_to_have_value("typed by hand")
    expect(person.page.get_by_role("status").filter(has_text="Changed:")).to_contain_text("Changed: added words")
    person.button("Undo").click()
    expect(field).to_have_value("typed by hand")
    person.page.route("**/v1/expand", lambda route: (field.fill("typed meanwhile"), route.continue_()))
    person.button("Expand").click()
    expect(person.page.get_by_text("Your own words stay.")).to_be_visible()
    expect(field).to_have_value("typed meanwhile")


def test_settings_from_elsewhere_give_the_words_back_when_undone(person: Person) -> None:
    person.choose_style("Expand prompt")
    words_field(person).fill("typed by hand")
    paste(person.page.locator("body"), '{"prompt": "a boat", "steps": 6}')
    expect(person.prompt).to_have_value("a boat")
    expect(words_field(person)).not_to_be_visible()
    person.button("Undo").click()
    expect(words_field(person)).to_have_value("typed by hand")


def test_without_the_language_model_one_is_told_and_the_picture_comes(
    start: Callable[..., Server], come: Callable[..., Person], tmp_path: Path
) -> None:
    person = come(server=start(expansion_model=tmp_path))
    person.set_steps(2)
    person.choose_style("Expand prompt")
    person.generate("a red circle")
    note = person.page.get_by_role("status").filter(has_text="The prompt was not expanded.")
    expect(note).to_contain_text("is missing")
    person.see_picture("a red circle")
    expect(person.button("Older picture")).to_have_count(0)  # it is the only one
    person.button("Details").click()
    expect(person.page.get_by_role("complementary", name="This picture")).to_contain_text("Expansionnone")
