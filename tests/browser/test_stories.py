"""What people do, from the first click on."""

from __future__ import annotations

import re
from collections.abc import Callable

from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import expect

from tests.browser.person import Person
from tests.faults.server import Server, is_shipped, until

FIRST = "a red star on a blue background"
FORMING = re.compile("^Forming: ")


def share(picture: Image.Image, colour: str) -> float:
    """Part of the pixels in which one channel rules."""
    channel = "RGB".index(colour)
    pixels = zip(*(band.tobytes() for band in picture.convert("RGB").split()), strict=True)
    others = [one for one in range(3) if one != channel]
    hits = sum(
        1 for pixel in pixels if pixel[channel] > 90 and pixel[channel] > 1.6 * max(pixel[one] for one in others)
    )
    return hits / (picture.width * picture.height)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference per channel, 0 … 255."""
    stat = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    return sum(stat.mean) / 3


def test_first_click_gives_a_picture(person: Person) -> None:
    expect(person.prompt).to_have_value(FIRST)
    person.generate()
    picture = person.see_picture(FIRST)
    assert picture.size == (128, 128)
    if is_shipped():
        assert share(picture, "R") > 0.04
        assert share(picture, "B") > 0.3
    expect(person.gallery.get_by_role("button", name=FIRST).first).to_be_visible()
    expect(person.queue).to_have_count(0)


def test_while_it_runs_one_sees_it_forming(person: Person) -> None:
    person.set_steps(200)
    person.generate("a yellow moon")
    forming = person.stage.get_by_role("img", name=FORMING)
    preview = person.bytes_of(forming)
    assert preview.format == "JPEG"
    expect(person.stage).to_contain_text(re.compile(r"step \d+/200"))
    until(lambda: re.fullmatch(r"\d+ % · 1 left – Fooocus Lite", person.page.title()), "the progress in the title")
    assert person.page.locator('link[rel~="icon"]').first.get_attribute("href").startswith("data:image/png")
    box = person.stage.get_by_role("button", name="Enlarge the picture").bounding_box()
    person.button("Stop").click()
    expect(forming).not_to_be_attached()
    assert box


def test_a_preview_shifts_nothing(person: Person) -> None:
    person.set_steps(60)
    before = [person.button(name).bounding_box() for name in ("Generate", "Skip", "Stop")]
    person.generate("a green tree")
    expect(person.stage.get_by_role("img", name=FORMING)).to_be_visible()
    assert [person.button(name).bounding_box() for name in ("Generate", "Skip", "Stop")] == before
    box = person.stage.get_by_role("img").bounding_box()
    expect(person.stage.get_by_role("img", name="a green tree", exact=True)).to_be_visible()
    assert person.stage.get_by_role("img").bounding_box() == box
    assert [person.button(name).bounding_box() for name in ("Generate", "Skip", "Stop")] == before


def test_a_style_changes_the_picture(person: Person) -> None:
    person.set_steps(10)
    person.set_seed(5)
    person.generate("a red circle on a white background")
    plain = person.see_picture("a red circle on a white background")
    person.choose_style("Blueprint")
    person.generate()
    expect(person.gallery.get_by_role("button", name="a red circle on a white background")).to_have_count(2)
    expect(person.queue).to_have_count(0)
    if person.stage.get_by_role("complementary", name="This picture").count() == 0:
        person.button("Details").click()
    expect(person.stage.get_by_role("complementary", name="This picture")).to_contain_text("Blueprint")
    styled = person.see_picture("a red circle on a white background")
    assert difference(plain, styled) > 5


def test_queue_three_and_cancel_the_middle_one(person: Person, quiet_server: Server) -> None:
    person.set_steps(200)
    person.generate("a red ring")
    expect(person.queue).to_have_count(1)
    person.set_steps(4)
    person.generate("a blue square")
    person.generate("a green star")
    expect(person.queue).to_have_count(3)
    expect(person.queue.nth(0)).to_contain_text("a red ring")
    expect(person.queue.nth(1)).to_contain_text("next")
    expect(person.page.get_by_role("region", name="Queue")).to_contain_text("2 waiting")
    person.button("Cancel: a blue square").click()
    expect(person.queue).to_have_count(2)
    person.button("Skip").click()
    person.see_picture("a green star")
    tasks = quiet_server.get("/v1/tasks?limit=3")[1]["tasks"]
    states = {task["recipe"]["prompt"]: task["state"] for task in tasks}
    assert states == {"a red ring": "cancelled", "a blue square": "cancelled", "a green star": "finished"}
    assert {task["recipe"]["prompt"]: task["recipe"]["steps"] for task in tasks}["a red ring"] == 200


def test_a_batch_is_counted(person: Person) -> None:
    person.set_steps(40)
    person.page.get_by_role("spinbutton", name="Pictures").fill("3")
    person.generate("a white heart")
    expect(person.stage).to_contain_text("1 of 3")
    expect(person.queue).to_have_count(1)
    expect(person.queue).to_contain_text("1 of 3")
    expect(person.queue).to_contain_text("2 more")
    person.button("More for the queue").click()
    person.button("Cancel everything that waits").click()
    expect(person.queue).not_to_contain_text("more")
    expect(person.queue).to_have_count(1)


def test_reload_and_second_tab_take_up_where_it_is(person: Person) -> None:
    person.set_steps(200)
    person.generate("a purple diamond")
    expect(person.stage.get_by_role("img", name=FORMING)).to_be_visible()
    person.generate("an orange cross")
    person.prompt.fill("a draft nobody sent")
    person.page.wait_for_function("JSON.parse(localStorage.getItem('fl.draft'))?.prompt === 'a draft nobody sent'")
    person.page.reload()
    person.wait_until_alive()
    for page in (person.page, person.new_tab()):
        if page is not person.page:
            person.open(page)
            person.page = page
        expect(person.stage.get_by_role("img", name="Forming: a purple diamond")).to_be_visible()
        expect(person.stage).to_contain_text(re.compile(r"step \d+/200"))
        expect(person.queue).to_have_count(2)
        expect(person.queue.nth(1)).to_contain_text("an orange cross")
        expect(person.prompt).to_have_value("a draft nobody sent")
        expect(person.page.get_by_label("number input for Steps")).to_be_visible()  # Advanced stayed open
    person.button("Stop").click()
    expect(person.queue).to_have_count(1)


def test_two_tabs_see_the_same(person: Person) -> None:
    first, second = person.page, person.new_tab()
    person.open(second)
    person.page = second
    person.set_steps(2)
    person.generate("a gray triangle")
    person.see_picture("a gray triangle")
    person.page = first
    expect(person.gallery.get_by_role("button", name="a gray triangle").first).to_be_visible()


def test_an_error_says_problem_and_hint(person: Person) -> None:
    person.open_advanced()
    person.page.get_by_label("Width (pixels)").fill("7")
    person.generate()
    expect(person.alert).to_contain_text("“Width (pixels)” cannot be 7.")
    expect(person.alert).to_contain_text("Allowed for starter")
    person.button("Advanced").click()
    person.alert.get_by_role("button", name="Show the field").click()
    expect(person.page.get_by_label("Width (pixels)")).to_be_focused()
    person.page.get_by_label("Width (pixels)").fill("128")
    person.generate("a red star")
    expect(person.alert).not_to_be_attached()
    person.see_picture("a red star")


def test_a_bad_seed_is_explained(person: Person) -> None:
    person.page.get_by_role("textbox", name="Seed").fill("abc")
    person.generate()
    expect(person.alert).to_contain_text("“Seed” cannot be 'abc'.")
    expect(person.alert).to_contain_text("a whole number from 0 to 9223372036854775807")


def test_long_seeds_come_back_exactly(person: Person) -> None:
    person.set_steps(2)
    person.set_seed(2**63 - 1)
    person.generate("a cyan ring")
    person.see_picture("a cyan ring")
    expect(person.stage).to_contain_text(f"seed {2**63 - 1}")
    person.page.get_by_role("textbox", name="Seed").fill("")
    person.button("Use these settings").click()
    expect(person.page.get_by_role("textbox", name="Seed")).to_have_value(str(2**63 - 1))


def test_use_these_settings(person: Person) -> None:
    person.set_steps(3)
    person.choose_style("Neon")
    person.generate("a pink heart at night")
    person.see_picture("a pink heart at night")
    person.set_steps(9)
    person.prompt.fill("something else")
    person.button("Use these settings").click()
    expect(person.prompt).to_have_value("a pink heart at night")
    expect(person.page.get_by_label("number input for Steps")).to_have_value("3")
    expect(person.page.get_by_role("checkbox", name="Random")).not_to_be_checked()


def test_a_preset_fills_the_fields(person: Person) -> None:
    person.open_advanced()
    steps = person.page.get_by_label("number input for Steps")
    expect(steps).to_have_value("20")
    person.page.get_by_role("combobox", name="Preset").click()
    person.page.get_by_role("option", name="Starter, fast").click()
    expect(steps).to_have_value("4")
    expect(person.prompt).to_have_value(FIRST)


def test_keyboard_alone(person: Person) -> None:
    person.set_steps(3)
    person.prompt.fill("a brown house")
    person.prompt.press("Control+Enter")
    person.see_picture("a brown house")
    person.prompt.fill("")
    person.prompt.press("ArrowUp")
    expect(person.prompt).to_have_value("a brown house")
    person.generate("a black tree")
    person.see_picture("a black tree")
    person.gallery.get_by_role("button", name="a black tree").first.press("Enter")
    person.page.keyboard.press("ArrowRight")
    person.see_picture("a brown house")
    person.page.keyboard.press("ArrowLeft")
    person.see_picture("a black tree")
    person.set_steps(200)
    person.generate("a red sun")
    expect(person.queue).to_have_count(1)
    person.prompt.press("Escape")
    expect(person.queue).to_have_count(0)


def test_delete_can_be_undone(person: Person, quiet_server: Server) -> None:
    person.set_steps(2)
    person.generate("a yellow cross")
    person.see_picture("a yellow cross")
    before = person.gallery.get_by_role("button", name="a yellow cross").count()
    person.button("Delete").click()
    expect(person.gallery.get_by_role("button", name="a yellow cross")).to_have_count(before - 1)
    person.button("Undo").click()
    expect(person.gallery.get_by_role("button", name="a yellow cross")).to_have_count(before)
    assert quiet_server.get("/v1/pictures?limit=1")[1]["pictures"][0]["recipe"]["prompt"] == "a yellow cross"


def test_a_browser_that_keeps_nothing_draws_all_the_same(person: Person) -> None:
    person.page.evaluate(
        """() => {
          for (let text = "x".repeat(1 << 20); text;) {
            try { localStorage.setItem(`full ${localStorage.length}`, text); }
            catch { text = text.slice(0, text.length >> 1); }
          }
        }"""
    )
    person.set_steps(2)
    person.generate("a gray ring")
    person.see_picture("a gray ring")


def test_what_people_type_is_only_text(person: Person) -> None:
    person.set_steps(2)
    nasty = "<img src=x onerror=\"document.title='hacked'\"> <b>bold</b>"
    person.generate(nasty)
    person.see_picture(nasty)
    if person.stage.get_by_role("complementary", name="This picture").count() == 0:
        person.button("Details").click()
    expect(person.stage.get_by_role("complementary", name="This picture")).to_contain_text("<b>bold</b>")
    assert person.page.title() != "hacked"


def test_everything_is_in_reach_on_a_phone(come: Callable[..., Person]) -> None:
    person = come((390, 844))
    assert person.page.evaluate("document.documentElement.scrollWidth") <= 390
    box = person.button("Generate").bounding_box()
    assert box and box["y"] + box["height"] <= 844 and box["x"] + box["width"] <= 390 and box["height"] >= 44
    person.generate("a red circle")
    person.see_picture("a red circle")
    person.button("Pictures").click()
    person.gallery.get_by_role("button", name="a red circle").first.click()
    expect(person.gallery).not_to_be_visible()
    person.page.get_by_role("button", name=re.compile("^Queue")).click()
    expect(person.page.get_by_role("region", name="Queue")).to_be_visible()
    person.button("Advanced").last.click()
    expect(person.page.get_by_label("number input for Steps")).to_be_visible()


def test_dark_and_light(come: Callable[..., Person]) -> None:
    person = come(theme="light")
    colour = "getComputedStyle(document.body).color"
    light = person.page.evaluate(colour)
    person.button("Dark theme").click()
    dark = person.page.evaluate(colour)
    assert light != dark
    person.page.reload()
    person.wait_until_alive()
    assert person.page.evaluate(colour) == dark
