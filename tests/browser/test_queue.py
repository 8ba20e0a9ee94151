"""The queue in the page: moved, edited, duplicated, cancelled, paused, repeated; the server's order is what counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PHONE
from tests.browser.person import Person
from tests.faults.server import Server, until

LETTERS = ("apple", "bread", "cheese", "dates")


@pytest.fixture
def paused(quiet_server: Server) -> Iterator[Server]:
    """The shared server, which begins nothing until the test lets it."""
    assert quiet_server.post("/v1/queue/pause")[0] == 200
    yield quiet_server
    quiet_server.post("/v1/clear")
    quiet_server.post("/v1/queue/resume")


def line(server: Server) -> list[str]:
    """How the prompts wait, as the server has them."""
    return [group["first"]["words"] for group in server.get("/v1/queue?limit=50")[1]["groups"]]


def submit(server: Server, *prompts: str, **fields: Any) -> list[str]:
    return [task_id for prompt in prompts for task_id in server.submit(prompt, **({"steps": 2} | fields))]


def row(person: Person, words: str) -> Locator:
    return person.queue.filter(has_text=words)


def choose(person: Person, words: str, action: str) -> None:
    """An action of the menu of a row."""
    row(person, words).get_by_role("button", name=re.compile("^More for")).click()
    person.page.get_by_role("menuitem", name=action).click()


def edit(person: Person, words: str) -> None:
    """Take the settings of a row into the form, and wait until they are there: what was typed before would be gone."""
    choose(person, words, "Edit settings…")
    expect(person.page.get_by_role("region", name="Editing")).to_be_visible()
    expect(person.prompt).to_have_value(words)


def middle(box: Any) -> tuple[float, float]:
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(person: Person, words: str, above: str) -> None:
    """By its handle, to just above another row."""
    x, y = middle(row(person, words).locator(".grip").bounding_box())
    to = row(person, above).bounding_box()
    assert to
    person.page.mouse.move(x, y)
    person.page.mouse.down()
    person.page.mouse.move(x, (y + to["y"]) / 2)
    person.page.mouse.move(x, to["y"] + 4)
    expect(person.page.locator(".fl-drop-here")).to_be_visible()
    person.page.mouse.up()


def test_rows_are_dragged_to_another_place(paused: Server, person: Person) -> None:
    submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    drag(person, "dates", above="bread")
    until(lambda: line(paused) == ["apple", "dates", "bread", "cheese"], "the new order")
    expect(person.queue.nth(1)).to_contain_text("dates")
    drag(person, "cheese", above="apple")
    until(lambda: line(paused) == ["cheese", "apple", "dates", "bread"], "the new order")
    expect(person.queue.nth(0)).to_contain_text("next")


def test_a_finger_drags_a_row(paused: Server, come: Callable[..., Person]) -> None:
    submit(paused, *LETTERS)
    person = come(PHONE)
    person.page.get_by_role("button", name=re.compile("^Queue")).click()
    x, y = middle(row(person, "dates").locator(".grip").bounding_box())
    to = row(person, "apple").bounding_box()
    finger = person.context.new_cdp_session(person.page)
    places = [("touchStart", y), ("touchMove", y - 20), ("touchMove", to["y"] + 30), ("touchMove", to["y"] + 4)]
    for kind, place in places:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": place}]})
    expect(person.page.locator(".fl-drop-here")).to_be_visible()
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    until(lambda: line(paused) == ["dates", "apple", "bread", "cheese"], "the new order")


def test_the_keyboard_moves_and_cancels_and_keeps_its_place(paused: Server, person: Person) -> None:
    submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    keys = person.page.keyboard
    person.queue.nth(0).focus()
    keys.press("Alt+ArrowDown")
    until(lambda: line(paused) == ["bread", "apple", "cheese", "dates"], "one down")
    expect(row(person, "apple")).to_be_focused()
    keys.press("End")
    expect(row(person, "dates")).to_be_focused()
    keys.press("Alt+ArrowUp")
    until(lambda: line(paused) == ["bread", "apple", "dates", "cheese"], "one up")
    keys.press("Enter")
    expect(person.page.get_by_role("menuitem", name="Edit settings…")).to_be_focused()
    keys.press("ArrowUp")
    keys.press("ArrowUp")
    expect(person.page.get_by_role("menuitem", name="Move to the end")).to_be_focused()
    keys.press("Escape")
    expect(row(person, "dates")).to_be_focused()
    keys.press("Home")
    keys.press("Delete")
    until(lambda: line(paused) == ["apple", "dates", "cheese"], "the cancelled one is gone")
    expect(row(person, "apple")).to_be_focused()
    expect(person.queue.nth(0)).to_have_attribute("aria-setsize", "3")


def test_the_menu_moves_to_both_ends_and_duplicates(paused: Server, person: Person) -> None:
    submit(paused, *LETTERS[:3], seed=5)
    choose(person, "cheese", "Move to the front")
    until(lambda: line(paused) == ["cheese", "apple", "bread"], "the front")
    choose(person, "cheese", "Move to the end")
    until(lambda: line(paused) == ["apple", "bread", "cheese"], "the end")
    choose(person, "bread", "Move up")
    until(lambda: line(paused) == ["bread", "apple", "cheese"], "one up")
    choose(person, "bread", "Duplicate with a new seed")
    expect(row(person, "bread")).to_have_count(2)
    seeds = [task["recipe"]["seed"] for task in paused.get("/v1/tasks")[1]["tasks"] if task["state"] == "waiting"]
    assert len(seeds) == 4 and seeds.count(5) == 3


def test_a_batch_is_one_row_that_unfolds(paused: Server, person: Person) -> None:
    submit(paused, "a white moon", count=12)
    submit(paused, "a blue house")
    expect(person.queue).to_have_count(2)
    batch = row(person, "a white moon")
    expect(batch).to_contain_text("12 pictures")
    expect(batch).to_have_attribute("aria-expanded", "false")
    batch.get_by_role("button", name="Show its pictures: a white moon").click()
    expect(row(person, "Picture 2 of 12")).to_have_attribute("aria-level", "2")
    expect(row(person, "Picture 2 of 12")).to_have_attribute("aria-setsize", "12")
    row(person, "Picture 1 of 12").get_by_role("button", name="Cancel: a white moon").click()
    expect(row(person, "Picture 1 of 12")).to_have_count(0)
    expect(batch).to_contain_text("11 of 12 left")
    batch.first.focus()
    person.page.keyboard.press("ArrowLeft")
    expect(person.queue).to_have_count(2)
    person.button("Cancel 11 pictures: a white moon").click()
    expect(person.queue).to_have_count(1)
    expect(person.page.get_by_text("11 pictures cancelled")).to_be_visible()
    assert line(paused) == ["a blue house"]


def test_an_edited_picture_is_drawn_as_it_was_edited(paused: Server, person: Person) -> None:
    (task_id,) = submit(paused, "a red star", seed=4, styles=["Watercolor"])
    person.prompt.fill("words that were in the form")
    edit(person, "a red star")
    bar = person.page.get_by_role("region", name="Editing")
    expect(bar).to_contain_text("Editing a waiting picture")
    expect(person.prompt).to_have_value("a red star")
    person.prompt.fill("a blue star")
    person.set_steps(3)
    bar.get_by_role("button", name="Save changes").click()
    expect(bar).not_to_be_attached()
    expect(person.prompt).to_have_value("words that were in the form")
    expect(row(person, "a blue star")).to_be_visible()
    recipe = paused.task(task_id)["recipe"]
    assert (recipe["prompt"], recipe["steps"], recipe["seed"]) == ("a blue star", 3, 4)
    person.button("Resume the queue").click()
    person.see_picture("a blue star")
    (task,) = paused.wait(task_id)
    assert (task["recipe"]["steps"], task["recipe"]["styles"]) == (3, ["Watercolor"])


def test_editing_comes_back_after_a_reload_and_can_be_left(paused: Server, person: Person) -> None:
    (task_id,) = submit(paused, "a red star")
    person.prompt.fill("my words")
    edit(person, "a red star")
    person.prompt.fill("half typed")
    person.page.wait_for_function("JSON.parse(localStorage.getItem('fl.draft'))?.prompt === 'half typed'")
    person.page.reload()
    person.wait_until_alive()
    bar = person.page.get_by_role("region", name="Editing")
    expect(bar).to_contain_text("a red star")
    expect(person.prompt).to_have_value("half typed")
    bar.get_by_role("button", name="Cancel editing").click()
    expect(person.prompt).to_have_value("my words")
    assert paused.task(task_id)["recipe"]["prompt"] == "a red star"


def test_what_was_edited_too_late_is_not_lost(paused: Server, person: Person) -> None:
    (task_id,) = submit(paused, "a red star", steps=200)
    edit(person, "a red star")
    person.prompt.fill("a blue star")
    paused.post("/v1/queue/resume")
    paused.wait_until_drawing(task_id)
    person.button("Save changes").click()
    expect(person.alert).to_contain_text("is being drawn already")
    expect(person.alert).to_contain_text("What you typed is still in the form")
    expect(person.prompt).to_have_value("a blue star")
    expect(person.page.get_by_role("region", name="Editing")).not_to_be_attached()
    person.button("Stop").click()
    expect(person.queue).to_have_count(0)


def saved_after_another(come: Callable[..., Person]) -> tuple[Person, Person]:
    """Two edit the same, and both save: who saved last, blue, and who was first, green."""
    one, other = come(), come()
    for person in (one, other):
        edit(person, "a red star")
    other.prompt.fill("a green star")
    other.button("Save changes").click()
    expect(row(one, "a green star")).to_be_visible()
    one.prompt.fill("a blue star")
    one.button("Save changes").click()
    return one, other


def test_two_who_edit_the_same_hear_of_it(paused: Server, come: Callable[..., Person]) -> None:
    (task_id,) = submit(paused, "a red star")
    one, other = saved_after_another(come)
    expect(one.alert).to_contain_text("changed by somebody else")
    expect(one.prompt).to_have_value("a blue star")
    one.button("Save changes").click()
    expect(row(other, "a blue star")).to_be_visible()
    assert paused.task(task_id)["recipe"]["prompt"] == "a blue star"


def test_two_who_edit_the_same_batch_hear_of_it(paused: Server, come: Callable[..., Person]) -> None:
    ids = submit(paused, "a red star", count=3, seed=7)
    one, other = saved_after_another(come)
    expect(one.alert).to_contain_text("These pictures were changed by somebody else")
    expect(one.page.get_by_role("region", name="Editing")).to_contain_text("Editing 3 waiting pictures")
    expect(one.prompt).to_have_value("a blue star")
    one.button("Save changes").click()
    expect(row(other, "a blue star")).to_be_visible()
    recipes = [paused.task(task_id)["recipe"] for task_id in ids]
    assert [(each["prompt"], each["seed"]) for each in recipes] == [("a blue star", seed) for seed in (7, 8, 9)]


def test_what_somebody_changed_of_a_batch_can_be_changed_over(paused: Server, person: Person) -> None:
    ids = submit(paused, "a red star", count=4, seed=7)
    edit(person, "a red star")
    paused.cancel(ids[3])
    assert paused.post("/v1/queue/edit", {"ids": [ids[1]], "recipe": {"prompt": "a green star"}})[0] == 200
    person.prompt.fill("a blue star")
    person.set_seed(70)
    person.button("Save changes").click()
    expect(person.alert).to_contain_text("1 of 4 was changed by somebody else meanwhile.")
    expect(person.alert).to_contain_text("2 have the new settings. 1 had begun or ended. What you typed is still here")
    expect(person.page.get_by_role("region", name="Editing")).to_contain_text("Editing a waiting picture")
    assert paused.task(ids[1])["recipe"]["prompt"] == "a green star"
    person.button("Save changes").click()
    expect(person.page.get_by_role("region", name="Editing")).not_to_be_attached()
    recipes = [paused.task(task_id)["recipe"] for task_id in ids[:3]]
    assert [(each["prompt"], each["seed"]) for each in recipes] == [("a blue star", seed) for seed in (7, 8, 9)]


def test_a_batch_is_edited_as_a_whole_and_keeps_its_seeds(paused: Server, person: Person) -> None:
    ids = submit(paused, "a red star", count=3, seed=7)
    edit(person, "a red star")
    bar = person.page.get_by_role("region", name="Editing")
    expect(bar).to_contain_text("Editing 3 waiting pictures")
    person.prompt.fill("a blue star")
    bar.get_by_role("button", name="Save changes").click()
    expect(row(person, "a blue star")).to_be_visible()
    recipes = [paused.task(task_id)["recipe"] for task_id in ids]
    assert [(one["prompt"], one["seed"]) for one in recipes] == [("a blue star", seed) for seed in (7, 8, 9)]


def test_a_batch_of_which_some_is_gone_says_how_many_stayed(paused: Server, person: Person) -> None:
    ids = submit(paused, "a red star", count=3)
    edit(person, "a red star")
    paused.cancel(ids[0])
    person.prompt.fill("a blue star")
    person.button("Save changes").click()
    expect(person.alert).to_contain_text("1 of 3 stayed as they were")
    expect(row(person, "a blue star")).to_be_visible()
    assert [paused.task(one)["recipe"]["prompt"] for one in ids] == ["a red star", "a blue star", "a blue star"]


def test_a_pause_outlives_reload_and_restart(start: Callable[..., Server], come: Callable[..., Person]) -> None:
    server = start()
    person = come(server=server)
    person.button("Pause the queue").click()
    sign = person.page.get_by_text("Paused: nothing new is begun").first
    expect(sign).to_be_visible()
    person.set_steps(2)
    person.generate("a red circle")
    expect(row(person, "a red circle")).to_contain_text("next")
    person.page.reload()
    person.wait_until_alive()
    expect(sign).to_be_visible()
    person.page.close()
    server.kill()
    person.move_to(start().address)
    expect(person.page.get_by_text("Paused: nothing new is begun").first).to_be_visible()
    expect(row(person, "a red circle")).to_contain_text("next")
    person.page.get_by_role("button", name="Resume", exact=True).first.click()
    person.see_picture("a red circle")


def open_repeats(page: Page) -> Locator:
    page.get_by_role("button", name="Run again and again").click()
    return page.get_by_role("dialog", name="Run again and again")


def test_three_times_are_three_seeds(quiet_server: Server, person: Person) -> None:
    person.set_steps(2)
    person.prompt.fill("a repeated ring")
    panel = open_repeats(person.page)
    panel.get_by_label("How many times").fill("3")
    panel.get_by_role("button", name="Run 3 times").click()
    expect(person.gallery.get_by_role("button", name="a repeated ring")).to_have_count(3)
    expect(person.page.get_by_role("list", name="Running again and again")).not_to_be_visible()
    tasks = [one for one in quiet_server.get("/v1/tasks")[1]["tasks"] if one["recipe"]["prompt"] == "a repeated ring"]
    assert len(tasks) == len({one["recipe"]["seed"] for one in tasks}) == 3


def test_forever_ends_when_somebody_stops_it(quiet_server: Server, person: Person) -> None:
    person.set_steps(2)
    person.prompt.fill("an endless ring")
    open_repeats(person.page).get_by_role("button", name="Run forever").click()
    running = person.page.get_by_role("list", name="Running again and again")
    expect(running).to_contain_text(re.compile(r"[2-9] so far"))
    running.get_by_role("button", name="Stop repeating: an endless ring").click()
    expect(running).not_to_be_visible()
    assert quiet_server.get("/v1/repeats")[1]["repeats"] == []


def test_history_says_why_and_tries_again(quiet_server: Server, person: Person) -> None:
    (done,) = submit(quiet_server, "a done ring")
    quiet_server.wait(done)
    quiet_server.post("/v1/queue/pause")
    (gone,) = submit(quiet_server, "a cancelled ring")
    quiet_server.cancel(gone)
    person.button("History").click()
    rows = person.page.get_by_role("treegrid", name="History").get_by_role("row")
    expect(rows.nth(0)).to_contain_text("a cancelled ring")
    expect(rows.nth(0)).to_contain_text("cancelled")
    expect(rows.nth(1)).to_contain_text("done")
    person.page.get_by_label("Which of them").select_option(label="Done")
    expect(rows.nth(0)).to_contain_text("a done ring")
    rows.nth(0).get_by_role("button", name="Use settings: a done ring").click()
    expect(person.prompt).to_have_value("a done ring")
    person.page.get_by_label("Which of them").select_option(label="Cancelled")
    rows.nth(0).get_by_role("button", name="Try again: a cancelled ring").click()
    until(lambda: line(quiet_server) == ["a cancelled ring"], "the retry")
    person.button("History").click()
    expect(row(person, "a cancelled ring")).to_contain_text("next")
    quiet_server.post("/v1/clear")
    quiet_server.post("/v1/queue/resume")
