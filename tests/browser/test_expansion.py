"""A few words become more: asked for, read, changed, drawn, and seen again beside the picture."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.person import Person


def test_words_are_seen_before_and_after(person: Person) -> None:
    field = person.page.get_by_role("textbox", name="Expansion")
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
    person.button("Details").click()
    expect(person.page.get_by_text(words, exact=True)).to_be_visible()
    expect(person.prompt).to_have_value("a red circle")
