"""The folded group of guidance: opened, changed, drawn with, switched off, and shown where something in it is wrong."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.browser.person import Person

NEWEST = "async () => (await (await fetch('/v1/pictures?limit=1')).json()).pictures[0].recipe"


def number(person: Person, label: str) -> Locator:
    return person.page.get_by_label(f"number input for {label}")


def test_guidance_is_folded_says_what_is_on_and_goes_off(person: Person) -> None:
    person.set_steps(4)
    person.open_advanced("Expert")
    fold, pag = person.button("More guidance"), number(person, "Perturbed-attention guidance")
    expect(person.page.get_by_text("All of it is off.")).to_be_visible()
    expect(pag).not_to_be_visible()
    fold.click()
    expect(fold).to_have_attribute("aria-expanded", "true")
    pag.fill("2")
    number(person, "Guidance until").fill("0.5")
    on = person.page.get_by_text("On: Guidance until, Perturbed-attention guidance")
    expect(on).to_be_visible()
    person.generate("a green star on a white background")
    person.see_picture("a green star on a white background")
    recipe = person.page.evaluate(NEWEST)
    assert (recipe["pag_scale"], recipe["guidance_end"], recipe["perp_neg"]) == (2, 0.5, 0)
    person.button("All off").click()
    expect(person.page.get_by_text("All of it is off.")).to_be_visible()
    expect(pag).to_have_value("0")
    person.button("Undo: guidance as before").click()
    expect(on).to_be_visible()
    person.page.wait_for_function("() => JSON.parse(localStorage.getItem('fl.draft'))?.pag_scale === 2")
    person.page.reload()
    person.wait_until_alive()
    expect(pag).to_be_visible()
    expect(pag).to_have_value("2")


def test_a_wrong_interval_is_shown_where_it_is(person: Person) -> None:
    person.open_advanced("Expert")
    person.button("More guidance").click()
    number(person, "Guidance from").fill("0.8")
    number(person, "Guidance until").fill("0.2")
    person.button("More guidance").click()
    expect(number(person, "Guidance from")).not_to_be_visible()
    person.generate("a green star on a white background")
    expect(person.alert).to_contain_text("“Guidance from” cannot be 0.8.")
    expect(person.alert).to_contain_text("It must be below “Guidance until”, which is 0.2")
    person.button("Show the field").click()
    expect(number(person, "Guidance from")).to_be_visible()
    number(person, "Guidance until").fill("0.9")  # the other end mends it, too
    expect(person.alert).not_to_be_attached()
    expect(number(person, "Guidance from")).not_to_have_attribute("aria-invalid", "true")
