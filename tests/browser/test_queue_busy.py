"""The queue while somebody else changes it: a click lands on the row that it was meant for; what is told is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import PHONE
from tests.browser.person import Person
from tests.browser.test_queue import LETTERS, choose, edit, line, middle, paused, row, submit
from tests.faults.server import Server, until

__all__ = ["paused"]
#: Whether the page has heard that this stands first, drawn or not.
HEARD = """async (words) => {
  const { entryAt } = await import("/ui/line.js");
  return entryAt(0)?.row?.words === words;
}"""
SLOWER = 6  # times


@pytest.fixture
def slow(person: Person) -> Iterator[Person]:
    """Somebody at a slow machine."""
    throttle = person.context.new_cdp_session(person.page)
    throttle.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    yield person
    throttle.send("Emulation.setCPUThrottlingRate", {"rate": 1})


def to_front(server: Server, task_id: str) -> None:
    assert server.post("/v1/queue/move", {"ids": [task_id], "to": "first"})[0] == 200


def hear(page: Page, first: str) -> None:
    until(lambda: page.evaluate(HEARD, first), "the page to hear of it")


def test_nothing_moves_under_a_button_that_is_pressed(paused: Server, person: Person) -> None:
    ids = submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    mouse = person.page.mouse
    more = row(person, "cheese").get_by_role("button", name=re.compile("^More for"))
    mouse.move(*middle(more.bounding_box()))
    mouse.down()
    to_front(paused, ids[3])
    hear(person.page, "dates")
    expect(person.queue.nth(0)).to_contain_text("apple")
    mouse.up()
    expect(person.page.get_by_role("menu")).to_be_visible()
    expect(person.queue.nth(0)).to_contain_text("dates")
    person.page.get_by_role("menuitem", name="Move to the front").click()
    until(lambda: line(paused) == ["cheese", "dates", "apple", "bread"], "the one that was pressed in front")


def test_a_row_that_goes_while_it_is_pressed_hits_no_other(paused: Server, person: Person) -> None:
    ids = submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    mouse = person.page.mouse
    mouse.move(*middle(row(person, "apple").get_by_role("button", name="Cancel: apple").bounding_box()))
    mouse.down()
    paused.cancel(ids[0])
    hear(person.page, "bread")
    mouse.up()
    expect(person.queue).to_have_count(3)
    assert line(paused) == ["bread", "cheese", "dates"]


def test_an_open_menu_follows_the_line(paused: Server, person: Person) -> None:
    ids = submit(paused, *LETTERS[:3])
    expect(person.queue).to_have_count(3)
    row(person, "cheese").get_by_role("button", name=re.compile("^More for")).click()
    end = person.page.get_by_role("menuitem", name="Move to the end")
    expect(end).to_have_attribute("aria-disabled", "true")
    to_front(paused, ids[2])
    expect(end).not_to_have_attribute("aria-disabled", "true")
    end.click()
    until(lambda: line(paused) == ["apple", "bread", "cheese"], "the end")
    row(person, "apple").get_by_role("button", name=re.compile("^More for")).click()
    paused.cancel(ids[0])
    expect(person.page.get_by_role("menu")).to_contain_text("It waits no more.")
    expect(person.page.get_by_role("menuitem", name="Cancel")).to_have_attribute("aria-disabled", "true")
    assert line(paused) == ["bread", "cheese"]


def test_the_focus_stays_while_its_row_is_moved(paused: Server, person: Person) -> None:
    """A row that is taken out of the document and put back loses the focus for a moment, and a key that is down."""
    submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    button = row(person, "cheese").get_by_role("button", name=re.compile("^More for"))
    button.focus()
    button.evaluate("(node) => node.addEventListener('blur', () => { window.lost = true; })")
    for words in ("dates", "cheese", "bread"):
        (task_id,) = [
            one["first"]["id"] for one in paused.get("/v1/queue")[1]["groups"] if one["first"]["words"] == words
        ]
        to_front(paused, task_id)
        expect(person.queue.nth(0)).to_contain_text(words)
    expect(button).to_be_focused()
    assert person.page.evaluate("window.lost") is None


def test_the_menu_on_a_slow_machine(paused: Server, slow: Person) -> None:
    submit(paused, *LETTERS[:3], seed=5)
    for _ in range(3):
        choose(slow, "cheese", "Move to the front")
        until(lambda: line(paused) == ["cheese", "apple", "bread"], "the front")
        choose(slow, "cheese", "Move to the end")
        until(lambda: line(paused) == ["apple", "bread", "cheese"], "the end")


def test_a_batch_that_stands_apart_has_a_time_too(paused: Server, person: Person) -> None:
    paused.post("/v1/queue/resume")
    paused.wait(*submit(paused, "a first moon", "a measured moon"))
    ids = submit(paused, "a slow star", steps=200)
    paused.wait_until_drawing(ids[0])
    submit(paused, "a white moon", count=4, steps=200)
    submit(paused, "a red star", steps=200)
    expect(row(person, "a red star")).to_contain_text("done in")
    row(person, "a white moon").get_by_role("button", name="Show its pictures: a white moon").click()
    choose(person, "Picture 3 of 4", "Move to the end of the queue")
    expect(row(person, "a white moon")).to_contain_text("3 here, 1 further down · done in")
    paused.post("/v1/clear")
    paused.cancel(ids[0])


def test_one_picture_of_a_batch_goes_first(paused: Server, person: Person) -> None:
    submit(paused, "a blue house")
    ids = submit(paused, "a white moon", count=4)
    submit(paused, "a red star")
    batch = row(person, "a white moon")
    batch.get_by_role("button", name="Show its pictures: a white moon").click()
    expect(batch).to_contain_text("4 pictures")
    choose(person, "Picture 3 of 4", "Move to the front of the queue")
    until(lambda: line(paused) == ["a white moon", "a blue house", "a red star"], "the batch where its next one is")
    waiting = [task["id"] for task in paused.get("/v1/tasks")[1]["tasks"] if task["state"] == "waiting"]
    assert set(waiting) >= set(ids)
    expect(batch).to_contain_text("next · 1 here, 3 further down")
    expect(person.queue.nth(1)).to_contain_text("Picture 3 of 4")
    expect(row(person, "Picture 1 of 4")).to_contain_text("further down")
    row(person, "Picture 3 of 4").get_by_role("button", name=re.compile("^More for")).click()
    expect(person.page.get_by_role("menuitem", name="Move to the front of the queue")).to_have_attribute(
        "aria-disabled", "true"
    )
    person.page.get_by_role("menuitem", name="Move down in its batch").click()
    expect(batch).to_contain_text("4 pictures")


def test_nothing_is_said_before_it_is_known(paused: Server, person: Person) -> None:
    """The words that nothing waits come with the program's answer, not before it."""
    expect(person.page.get_by_text("Nothing is waiting.")).to_be_visible()
    submit(paused, "a red star")
    other, held = person.new_tab(), list[Route]()
    other.route("**/v1/queue?*", lambda route: held.append(route) if not held else route.continue_())
    other.goto(person.address)
    expect(other.locator("html[data-form=ready]")).to_be_attached()
    until(lambda: held or other.wait_for_timeout(1), "the question")
    expect(other.locator(".fl-unknown")).to_be_visible()
    expect(other.get_by_text("Nothing is waiting.")).not_to_be_visible()
    held[0].continue_()
    expect(other.get_by_role("treegrid", name="Queue").get_by_role("row")).to_contain_text("a red star")
    expect(other.locator(".fl-unknown")).not_to_be_visible()


@pytest.mark.parametrize("size", [(1440, 900), (900, 1100)])
def test_the_editing_bar_lies_over_nothing_of_the_queue(
    paused: Server, come: Callable[..., Person], size: tuple[int, int]
) -> None:
    submit(paused, *LETTERS)
    person = come(size)
    person.button("Show the whole queue").click()
    edit(person, "bread")
    bar = person.page.get_by_role("region", name="Editing").bounding_box()
    shelf = person.page.get_by_role("region", name="Queue").bounding_box()
    prompt = person.prompt.bounding_box()
    assert bar and shelf and prompt
    assert prompt["y"] + prompt["height"] <= bar["y"] and bar["y"] + bar["height"] <= shelf["y"]
    person.button("Resume the queue").click(trial=True)
    row(person, "apple").get_by_role("button", name="Cancel: apple").click(trial=True)


def test_the_whole_queue_of_a_tablet_has_room(paused: Server, come: Callable[..., Person]) -> None:
    submit(paused, *LETTERS)
    person = come((900, 1100))
    person.button("Show the whole queue").click()
    shelf = person.page.get_by_role("region", name="Queue").bounding_box()
    assert shelf and shelf["height"] > 1100 / 2
    person.open_advanced()
    person.page.get_by_label("Width (pixels)").click(trial=True)
    person.button("Generate").click(trial=True)
    person.button("Back to the picture").click(trial=True)


@pytest.mark.parametrize("size", [(1440, 900), PHONE])
def test_a_bad_value_leaves_a_batch_and_the_form_as_they_are(
    paused: Server, come: Callable[..., Person], size: tuple[int, int]
) -> None:
    ids = submit(paused, "a red star", count=12)
    person = come(size)
    if size == PHONE:
        person.page.locator("#fl-bar [data-sheet=queue]").click()
    edit(person, "a red star")
    bar = person.page.get_by_role("region", name="Editing")
    expect(bar).to_contain_text("Editing 12 waiting pictures")
    person.prompt.fill("a blue star")
    if size == PHONE:
        person.page.locator("#fl-bar [data-sheet=advanced]").click()
    else:
        person.open_advanced()
    width = person.page.get_by_label("Width (pixels)")
    width.fill("7")
    save = bar.get_by_role("button", name="Save changes")
    save.click()
    expect(person.alert).to_contain_text("“Width (pixels)” cannot be 7.")
    expect(width).to_have_attribute("aria-invalid", "true")
    expect(person.prompt).to_have_value("a blue star")
    expect(save).to_be_in_viewport()
    assert {paused.task(one)["recipe"]["prompt"] for one in ids} == {"a red star"}
    width.fill("128")
    expect(person.alert).not_to_be_attached()
    save.click()
    expect(bar).not_to_be_attached()
    assert {paused.task(one)["recipe"]["prompt"] for one in ids} == {"a blue star"}


def test_a_batch_that_is_gone_before_it_is_saved_keeps_what_was_typed(paused: Server, person: Person) -> None:
    ids = submit(paused, "a red star", count=3)
    edit(person, "a red star")
    for task_id in ids:
        paused.cancel(task_id)
    person.prompt.fill("a blue star")
    person.button("Save changes").click()
    expect(person.alert).to_contain_text("None of these pictures can be changed")
    expect(person.alert).to_contain_text("What you typed is still in the form")
    expect(person.prompt).to_have_value("a blue star")
