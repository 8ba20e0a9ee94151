"""The Styles tab, and a prompt seen in several styles at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.app.client import ask_json
from tests.browser.conftest import PHONE
from tests.browser.person import Person
from tests.browser.test_page import REFUSAL
from tests.browser.test_stories import difference
from tests.faults.server import Server, until

PROMPT = "a red circle on a white background"


@pytest.fixture
def stylist(person: Person, quiet_server: Server) -> Iterator[Person]:
    """Somebody at the Styles tab; what they saved is gone afterwards."""
    person.open_advanced("Styles")
    expect(tile(person, "Neon")).to_be_visible()
    yield person
    ask_json(quiet_server.address, "PUT", "/v1/favourites", {"styles": []})
    for row in quiet_server.get("/v1/menu")[1]["styles"]:
        if row["source"] == "own":
            ask_json(quiet_server.address, "DELETE", f"/v1/styles/{row['name'].replace(' ', '%20')}")


def group(person: Person, name: str) -> Locator:
    return person.page.get_by_role("list", name=name, exact=True)


def tile(person: Person, name: str, within: str = "Starter") -> Locator:
    return group(person, within).get_by_role("button", name=name, exact=True)


def search(person: Person, words: str) -> None:
    person.page.get_by_role("searchbox", name="Search styles").fill(words)


def token(person: Person, name: str) -> Locator:
    """The style in the dropdown under the prompt."""
    return person.page.locator("#fl-styles .token").get_by_text(name, exact=True)


def sheet(page: Page) -> Locator:
    return page.get_by_role("region", name="Contact sheet", exact=True)


def test_search_by_name_and_by_group(stylist: Person) -> None:
    visible = stylist.page.locator(".fl-tile:visible .name")
    search(stylist, "WATER")
    expect(visible.first).to_have_text("Watercolor")
    words = visible.all_text_contents()
    assert "Watercolor" in words and "Night Watercolor" in words
    assert "Neon" not in words
    search(stylist, "film noir")
    assert [one for one in visible.all_text_contents() if "noir" in one.lower()], "of a group that was folded away"
    search(stylist, "photography")
    expect(group(stylist, "Photography").get_by_role("listitem").first).to_be_visible()
    assert len(visible.all_text_contents()) >= 10
    search(stylist, "nothing is called so")
    expect(stylist.page.get_by_text("No style is called so")).to_be_visible()
    search(stylist, "")
    expect(tile(stylist, "Neon")).to_be_visible()
    expect(group(stylist, "Photography")).to_be_hidden()


def test_chosen_ones_stand_on_top_and_in_the_form(stylist: Person) -> None:
    chosen = group(stylist, "Chosen styles")
    tile(stylist, "Neon").click()
    tile(stylist, "Watercolor").click()  # at once: the first click is not forgotten
    expect(token(stylist, "Neon")).to_be_visible()
    expect(token(stylist, "Watercolor")).to_be_visible()
    expect(chosen.get_by_role("listitem")).to_have_text(["Neon", "Watercolor"])
    expect(tile(stylist, "Neon")).to_have_attribute("aria-pressed", "true")
    chosen.get_by_role("button", name="Take out: Neon").click()
    expect(token(stylist, "Neon")).not_to_be_attached()
    expect(tile(stylist, "Neon")).to_have_attribute("aria-pressed", "false")
    stylist.button("Random style").click()
    expect(token(stylist, "Random style")).to_be_visible()
    stylist.choose_style("Blueprint")
    expect(tile(stylist, "Blueprint")).to_have_attribute("aria-pressed", "true")
    expect(stylist.page.locator("#fl-styles").get_by_role("button", name="Remove Blueprint")).to_be_visible()
    stylist.page.wait_for_function("localStorage.getItem('fl.draft').includes('Blueprint')")
    stylist.page.reload()
    stylist.wait_until_alive()
    expect(chosen.get_by_role("listitem").filter(has_text="Blueprint").locator("img")).to_be_visible()


def test_from_the_keyboard(stylist: Person) -> None:
    page = stylist.page
    tile(stylist, "Watercolor").focus()
    page.keyboard.press("ArrowRight")
    expect(tile(stylist, "Pixel Art")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(tile(stylist, "Pixel Art")).to_be_focused()
    page.keyboard.press("Space")
    expect(token(stylist, "Pixel Art")).to_be_visible()
    page.keyboard.press("Tab")
    expect(stylist.button("Favourite: Pixel Art")).to_be_focused()
    assert page.locator('.pick[tabindex="0"]').count() == 1, "one stop for the Tab key"


def test_a_favourite_stays_one(stylist: Person, come: Callable[..., Person], quiet_server: Server) -> None:
    stylist.page.get_by_role("button", name="Favourite: Oil Painting").click()
    stylist.page.get_by_role("button", name="Favourite: Neon").first.click()
    expect(group(stylist, "Favourites").locator(".name")).to_have_text(["Neon", "Oil Painting"])
    until(lambda: quiet_server.get("/v1/menu")[1]["favourites"] == ["Neon", "Oil Painting"], "both to be saved")
    stylist.page.reload()
    stylist.wait_until_alive()
    expect(group(stylist, "Favourites").locator(".name")).to_have_text(["Neon", "Oil Painting"])
    other = come()
    other.open_advanced("Styles")
    expect(group(other, "Favourites").locator(".name")).to_have_text(["Neon", "Oil Painting"])
    group(other, "Favourites").get_by_role("button", name="Favourite: Neon").click()
    expect(group(other, "Favourites").locator(".name")).to_have_text(["Oil Painting"])
    until(lambda: quiet_server.get("/v1/menu")[1]["favourites"] == ["Oil Painting"], "what the other one did")
    stylist.page.get_by_role("button", name="Favourite: Blueprint").first.click()
    expect(group(stylist, "Favourites").locator(".name")).to_have_text(["Blueprint", "Oil Painting"])


def test_a_favourite_survives_the_end_of_the_program(start: Callable[..., Server], come: Callable[..., Person]) -> None:
    server = start()
    person = come(server=server)
    person.open_advanced("Styles")
    person.page.get_by_role("button", name="Favourite: Oil Painting").click()
    until(lambda: server.get("/v1/menu")[1]["favourites"], "it to be saved")
    person.page.close()
    server.kill()
    person.move_to(start().address)
    person.open_advanced("Styles")
    expect(group(person, "Favourites").locator(".name")).to_have_text(["Oil Painting"])


def test_a_half_written_style_is_not_thrown_away(stylist: Person) -> None:
    stylist.button("New style").click()
    name = stylist.page.get_by_label("Name", exact=True)
    name.fill("Half a style")
    stylist.button("Make your own of it: Neon").first.click()
    expect(stylist.alert).to_contain_text("Save or cancel this style first.")
    expect(name).to_have_value("Half a style")
    stylist.button("Cancel").click()
    stylist.button("Make your own of it: Neon").first.click()
    expect(name).to_have_value("Neon")


def test_save_edit_and_delete_a_style(stylist: Person) -> None:
    page = stylist.page
    stylist.button("New style").click()
    page.get_by_label("Name", exact=True).fill("Neon")
    page.get_by_label("Style prompt").fill("{prompt} in fog")
    stylist.button("Save style").click()
    expect(stylist.alert).to_contain_text("The name 'Neon' is taken")
    page.get_by_label("Name", exact=True).fill("Foggy Morning")
    stylist.button("Save style").click()
    expect(tile(stylist, "Foggy Morning", "Your own")).to_be_focused()
    tile(stylist, "Foggy Morning", "Your own").click()
    expect(token(stylist, "Foggy Morning")).to_be_visible()
    stylist.button("Edit: Foggy Morning").click()
    expect(page.get_by_label("Style prompt")).to_have_value("{prompt} in fog")
    page.get_by_label("Name", exact=True).fill("Mist")
    stylist.button("Save style").click()
    expect(token(stylist, "Mist")).to_be_visible()
    expect(token(stylist, "Foggy Morning")).not_to_be_attached()
    stylist.button("Edit: Mist").click()
    stylist.button("Delete…").click()
    stylist.button("Delete").last.click()
    expect(tile(stylist, "Mist", "Your own")).not_to_be_attached()
    expect(token(stylist, "Mist")).not_to_be_attached()


def test_my_prompt_in_every_style(stylist: Person, quiet_server: Server) -> None:
    page = stylist.page
    stylist.set_steps(4)
    stylist.open_advanced("Styles")
    stylist.prompt.fill(PROMPT)
    expect(page.locator("#fl-every p > span")).to_contain_text("19 pictures")
    for name in ("Watercolor", "Blueprint", "Neon"):
        tile(stylist, name).click()
        expect(token(stylist, name)).to_be_visible()
    expect(page.locator("#fl-every p > span")).to_contain_text("3 pictures")
    sheets = len(quiet_server.get("/v1/sheets")[1]["sheets"])
    stylist.button("See my prompt in every style").dblclick()
    cells = sheet(page).get_by_role("listitem")
    expect(cells.locator(".name")).to_have_text(["Watercolor", "Blueprint", "Neon"])
    assert len(quiet_server.get("/v1/sheets")[1]["sheets"]) == sheets + 1, "one, also for two clicks"
    for name in ("Watercolor", "Blueprint", "Neon"):
        expect(sheet(page).get_by_role("button", name=f"Show: {name}")).to_be_visible()
    shown = [stylist.bytes_of(cell.locator(".open > img")) for cell in cells.all()]
    assert {picture.size for picture in shown} == {(128, 128)}
    assert difference(shown[0], shown[1]) > 5 and difference(shown[1], shown[2]) > 5
    page.reload()
    stylist.wait_until_alive()
    expect(cells).to_have_count(3)
    second = stylist.new_tab()
    stylist.open(second)
    expect(sheet(second).get_by_role("listitem")).to_have_count(3)
    with page.expect_download() as download:
        sheet(page).get_by_role("link", name="Save as one picture").click()
    assert download.value.suggested_filename.startswith("sheet-a-red-circle-on-a-white-background-")
    with Image.open(download.value.path()) as picture:
        assert picture.format == "JPEG" and picture.width > 3 * 128
    assert len({task["recipe"]["seed"] for task in quiet_server.get("/v1/tasks?limit=3")[1]["tasks"]}) == 1


def test_from_the_sheet_to_a_picture_and_back(stylist: Person, quiet_server: Server) -> None:
    page = stylist.page
    _, made = quiet_server.post(
        "/v1/sheets", {"recipe": {"prompt": PROMPT, "steps": 2}, "styles": ["Neon", "Low Poly"]}
    )
    quiet_server.wait(*(cell["id"] for cell in made["cells"]))
    page.reload()
    stylist.wait_until_alive()
    stylist.button("Contact sheets").click()
    sheet(page).get_by_role("button", name="Show: Neon").click()
    stylist.see_picture(PROMPT)
    expect(sheet(page)).to_be_hidden()
    stylist.button("Back to the contact sheet").click()
    sheet(page).get_by_role("button", name="Use this style: Low Poly").click()
    expect(token(stylist, "Low Poly")).to_be_visible()
    sheet(page).get_by_role("button", name="Show: Neon").focus()
    page.keyboard.press("ArrowRight")
    expect(sheet(page).get_by_role("button", name="Show: Low Poly")).to_be_focused()
    page.keyboard.press("Escape")
    expect(sheet(page)).to_be_hidden()


def test_a_sheet_of_samplers_and_modes(stylist: Person, quiet_server: Server) -> None:
    page = stylist.page
    wish = {"recipe": {"prompt": PROMPT, "steps": 2, "seed": 7}, "varies": ["sampler", "mode"]}
    _, made = quiet_server.post("/v1/sheets", wish)
    ask_json(quiet_server.address, "DELETE", f"/v1/sheets/{made['id']}")
    quiet_server.wait(*(cell["id"] for cell in made["cells"]))
    page.reload()
    stylist.wait_until_alive()
    stylist.button("Contact sheets").click()
    names = sheet(page).get_by_role("listitem").locator(".name")
    expect(names).to_have_text([cell["label"] for cell in made["cells"]])
    sheet(page).get_by_role("button", name="Use this sampler: Heun").click()
    page.wait_for_function("JSON.parse(localStorage.getItem('fl.draft')).sampler === 'heun'")
    sheet(page).get_by_role("button", name="Use this mode: Quality").click()
    expect(page.get_by_role("radio", name=re.compile("^Quality"))).to_be_checked()
    page.wait_for_function("JSON.parse(localStorage.getItem('fl.draft')).steps === 40")
    expect(sheet(page).get_by_role("listitem").filter(has_text="Heun")).to_have_attribute("data-chosen", "true")
    expect(token(stylist, "Heun")).not_to_be_attached()


def test_a_sheet_is_called_off_and_tried_again(come: Callable[..., Person], quiet_server: Server) -> None:
    _, made = quiet_server.post("/v1/sheets", {"recipe": {"prompt": PROMPT, "steps": 200}})
    person = come(PHONE, theme="light")
    person.button("Pictures").click()
    person.button("Contact sheets").click()
    cells = sheet(person.page).get_by_role("listitem")
    expect(cells).to_have_count(len(made["cells"]))
    person.button("Cancel the rest").click()

    def states_now() -> list[str]:
        return [cell["state"] for cell in quiet_server.get(f"/v1/sheets/{made['id']}")[1]["cells"]]

    def called_off() -> int:
        states = states_now()
        return 0 if {"waiting", "running"} & set(states) else states.count("cancelled")

    count = until(called_off, "the end of the sheet")  # a fast machine has finished some by then
    again = person.page.get_by_role("button", name=re.compile("^Try again: "))
    expect(again).to_have_count(count)
    again.last.click()
    expect(again).to_have_count(count - 1)
    until(lambda: states_now().count("cancelled") < count, "the retry")  # the page shows it before it is in line
    person.button("Cancel the rest").click()
    expect(again).to_have_count(until(called_off, "the end of what was tried again"))
    person.page.route("**/retry", lambda route: route.fulfill(status=409, json=REFUSAL))
    again.last.click()
    expect(person.alert).to_contain_text("The queue is locked.")
    person.alert.get_by_role("button", name="Dismiss").click()  # the sheet does not lie over it


def test_what_cannot_be_a_sheet_is_said(stylist: Person) -> None:
    stylist.prompt.fill("a star\n---\na moon")
    stylist.button("See my prompt in every style").click()
    expect(stylist.alert).to_contain_text("A contact sheet shows one prompt, not 2.")


def test_added_words_stay_on_in_every_cell(stylist: Person, quiet_server: Server) -> None:
    stylist.set_steps(2)
    stylist.open_advanced("Styles")
    stylist.prompt.fill(PROMPT)
    stylist.button("Expand prompt").click()
    for name in ("Neon", "Blueprint"):
        tile(stylist, name).click()
    for name in ("Expand prompt", "Neon", "Blueprint"):
        expect(token(stylist, name)).to_be_visible()
    expect(stylist.page.locator("#fl-every p > span")).to_contain_text("one seed · Expand prompt stays on")
    stylist.button("See my prompt in every style").click()
    for name in ("Neon", "Blueprint"):
        expect(sheet(stylist.page).get_by_role("button", name=f"Show: {name}")).to_be_visible()
    tasks = quiet_server.get("/v1/tasks?limit=2")[1]["tasks"]
    assert len({task["recipe"]["expansion"] for task in tasks}) == 1 and tasks[0]["recipe"]["expansion"]
    sheet(stylist.page).get_by_role("button", name="Use this style: Neon").click()
    expect(token(stylist, "Blueprint")).not_to_be_attached()
    expect(token(stylist, "Expand prompt")).to_be_visible()
