"""What the page promises beyond the stories: it keeps still, marks what is wrong, and remembers."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Route, expect

from tests.browser.person import Person
from tests.faults.server import Server

FORMING = re.compile("^Forming: ")
PHONE = (390, 844)
REFUSAL = {"code": "conflict", "problem": "The queue is locked.", "hint": "Try again."}
FORBID_STORAGE = """Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("forbidden by its owner", "SecurityError"); },
});"""


def test_a_browser_that_forbids_storage_shows_the_page(come: Callable[..., Person]) -> None:
    person = come(theme="light")
    person.context.add_init_script(FORBID_STORAGE)
    person.page.reload()
    person.wait_until_alive()
    expect(person.page.locator("html[data-theme=light][data-advanced=closed]")).to_be_attached()


def test_the_wrong_field_is_marked_until_it_is_right(person: Person) -> None:
    person.open_advanced()
    width = person.page.get_by_label("Width (pixels)")
    line = "(field) => getComputedStyle(field).borderColor"
    quiet = width.evaluate(line)
    width.fill("7")
    person.generate()
    expect(person.alert).to_contain_text("“Width (pixels)” cannot be 7.")
    expect(width).to_have_attribute("aria-invalid", "true")
    assert width.evaluate(line) != quiet
    width.fill("128")
    expect(width).not_to_have_attribute("aria-invalid", "true")
    expect(person.alert).not_to_be_attached()
    person.set_steps(2)
    person.generate("a red star")
    person.see_picture("a red star")


def test_a_notice_lies_over_the_column_of_a_tablet(come: Callable[..., Person]) -> None:
    person = come((900, 800))
    person.open_advanced()
    width = person.page.get_by_label("Width (pixels)")
    width.fill("7")
    person.generate()
    person.open_advanced("Expert")
    person.button("Show the field").click()  # a browser's click, which what lies above would catch
    expect(width).to_be_focused()
    person.alert.get_by_role("button", name="Dismiss").click()
    expect(person.alert).not_to_be_attached()


def test_open_details_stay_when_a_picture_forms(person: Person) -> None:
    person.set_steps(2)
    person.generate("a blue ring")
    person.see_picture("a blue ring")
    person.button("Details").click()
    details = person.stage.get_by_role("complementary", name="This picture")
    expect(details).to_contain_text("a blue ring")
    box = person.stage.get_by_role("img", name="a blue ring").bounding_box()
    person.set_steps(200)
    person.generate("a green cross")
    forming = person.stage.get_by_role("img", name=FORMING)
    expect(forming).to_be_visible()
    assert forming.bounding_box() == box
    expect(details).to_contain_text("a green cross")
    assert "null" not in details.inner_text()
    person.button("Stop").click()
    expect(forming).not_to_be_attached()


def test_details_show_what_was_drawn_and_old_words_are_said(person: Person, quiet_server: Server) -> None:
    folder = quiet_server.data / "wildcards"
    folder.mkdir(exist_ok=True)
    (folder / "hue.txt").write_text("<b>teal</b>\n")
    person.set_steps(2)
    prompt = "a __hue__ ring <lora:starter-pop-art:0.5>"
    person.generate(prompt)
    person.see_picture(prompt)
    person.button("Details").click()
    details = person.stage.get_by_role("complementary", name="This picture")
    expect(details).to_contain_text("Wordsa <b>teal</b> ring")
    expect(details).to_contain_text("LoRAsstarter-pop-art 0.5")
    changed = person.page.locator("#fl-changed")
    person.button("Use these settings").click()
    expect(changed).not_to_be_empty()
    expect(changed).not_to_contain_text("A style or word list")
    (folder / "hue.txt").write_text("mauve\n")
    person.button("Use these settings").click()
    expect(changed).to_contain_text("A style or word list has changed since; the new words are used.")
    expect(changed).to_contain_text("README.md")


def test_the_list_of_styles_goes_after_a_choice(person: Person) -> None:
    box = person.page.get_by_role("combobox", name="Styles")
    box.click()
    person.page.get_by_role("option", name="Watercolor", exact=True).click()
    expect(person.page.get_by_role("listbox")).not_to_be_attached()
    box.click()
    box.fill("Neon")
    box.press("Enter")
    expect(person.page.get_by_role("listbox")).not_to_be_attached()
    expect(box).to_be_focused()
    for name in ("Watercolor", "Neon"):
        expect(person.page.locator("#fl-styles").get_by_text(name)).to_be_visible()


def test_fewest_steps_follow_the_sampler(person: Person) -> None:
    person.open_advanced("Expert")
    steps = person.page.get_by_label("number input for Steps")
    expect(steps).to_have_attribute("min", "2")  # DPM++ 2M looks one step back
    sampler = person.page.get_by_role("combobox", name="Sampler")
    sampler.click()
    person.page.get_by_role("option", name="Euler", exact=True).click()
    expect(steps).to_have_attribute("min", "1")
    person.set_steps(1)
    person.open_advanced("Expert")
    sampler.click()
    person.page.get_by_role("option", name="DPM++ 2M", exact=True).click()
    expect(steps).to_have_value("2")


def test_the_schedule_auto_says_what_it_is(person: Person) -> None:
    person.page.evaluate("localStorage.setItem('fl.draft', JSON.stringify({sampler: 'dpmpp_2m_sde_karras'}))")
    person.page.reload()  # with what was kept before sampler and schedule were chosen apart
    person.wait_until_alive()
    person.open_advanced("Expert")
    sampler = person.page.get_by_role("combobox", name="Sampler")
    schedule = person.page.get_by_role("combobox", name="Scheduler")
    expect(sampler).to_have_value("DPM++ 2M SDE")
    expect(schedule).to_have_value("Karras")
    sampler.click()
    person.page.get_by_role("option", name="Euler", exact=True).click()
    expect(person.page.get_by_text("Auto is Normal.")).to_be_visible()
    schedule.click()
    person.page.get_by_role("option", name="EDM", exact=True).click()
    person.generate("a red circle")
    expect(person.alert).to_contain_text("The scheduler EDM is not made for how the model starter was trained.")
    person.alert.get_by_role("button", name="Show the field").click()
    expect(schedule).to_be_focused()


def test_alt_s_stops_the_batch(person: Person) -> None:
    person.set_steps(200)
    person.page.get_by_role("spinbutton", name="Pictures").fill("3")
    person.generate("a white moon")
    expect(person.queue).to_contain_text("2 more")
    person.prompt.press("Alt+s")
    expect(person.queue).to_have_count(0)
    expect(person.prompt).to_have_value("a white moon")


def test_a_skip_is_seen_at_once(person: Person) -> None:
    held: list[Route] = []
    person.page.route("**/v1/skip", lambda route: held.append(route))
    person.set_steps(200)
    person.generate("a white moon")
    person.generate("a white star")
    expect(person.queue).to_have_count(2)
    person.button("Skip").click()
    expect(person.stage).to_contain_text("stopping")
    expect(person.queue.nth(0)).to_contain_text("stopping")
    expect(person.queue.nth(1)).to_contain_text("next")
    held[0].continue_()
    expect(person.queue).to_have_count(1)
    person.button("Stop").click()
    expect(person.queue).to_have_count(0)


def test_a_refused_cancel_is_taken_back(person: Person) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=409, json=REFUSAL)

    person.set_steps(200)
    person.generate("a red house")
    person.generate("a blue house")
    expect(person.queue).to_have_count(2)
    person.page.route("**/v1/queue/cancel", refuse)
    person.button("Cancel: a blue house").click()
    expect(person.alert).to_contain_text("The queue is locked.")
    expect(person.queue.nth(1)).to_contain_text("next")
    person.page.unroute("**/v1/queue/cancel")
    person.button("Cancel: a blue house").click()
    expect(person.queue).to_have_count(1)
    person.button("Stop").click()
    expect(person.queue).to_have_count(0)


def test_the_open_tab_comes_back(person: Person) -> None:
    person.open_advanced("Expert")
    person.page.reload()
    person.wait_until_alive()
    expect(person.page.get_by_role("tab", name="Expert")).to_have_attribute("aria-selected", "true")


def test_the_prompt_can_be_copied(person: Person) -> None:
    person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.set_steps(2)
    person.generate("a gray cross, <b>bold</b>")
    person.see_picture("a gray cross, <b>bold</b>")
    if person.stage.get_by_role("complementary", name="This picture").count() == 0:
        person.button("Details").click()
    person.button("Copy the prompt").click()
    expect(person.button("Copied")).to_be_visible()
    assert person.page.evaluate("navigator.clipboard.readText()") == "a gray cross, <b>bold</b>"


def test_a_phone_shows_skip_and_stop_and_closes_its_sheets(come: Callable[..., Person]) -> None:
    person = come(PHONE)
    bar = person.page.locator("#fl-bar").bounding_box()
    assert bar
    for name in ("Skip", "Stop"):
        box = person.button(name).bounding_box()
        assert box and box["y"] + box["height"] <= bar["y"]
    last, generate = person.button("Advanced").last.bounding_box(), person.button("Generate").bounding_box()
    assert last and generate and last["x"] + last["width"] + 8 <= generate["x"]
    for sheet in ("Queue", "Pictures", "Advanced"):
        person.page.locator("#fl-bar").get_by_role("button", name=sheet).click()
        person.button("Close").click()
        expect(person.page.locator("html[data-sheet='']")).to_be_attached()
