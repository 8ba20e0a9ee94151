"""What a person does at the queue while an answer is on its way, or while the line goes on: nothing of it is lost."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.person import Person
from tests.browser.test_queue import LETTERS, choose, drag, edit, line, middle, paused, row, submit
from tests.browser.test_queue_busy import hear, to_front
from tests.faults.server import Server, until

__all__ = ["paused"]
#: How many wait, as far as the page has heard.
WAITING = """async () => (await import("/ui/store.js")).state.waiting"""
#: Somebody types into the prompt while the focus is elsewhere, as a program that writes for people does.
TYPE = """(words) => {
  const box = document.querySelector("#fl-prompt textarea");
  box.value = words;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}"""
#: All that was due is painted.
FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
TO_THE_END = "(list) => list.parentNode.scrollTo(0, list.scrollHeight)"


def hold(page: Page, address: str | re.Pattern[str], method: str = "GET") -> Callable[[], Route]:
    """Keep the next question of this kind back; gives a way to wait for it."""
    held: list[Route] = []

    def take(route: Route) -> None:
        if held or route.request.method != method:
            route.continue_()
        else:
            held.append(route)

    page.route(address, take)

    def wait() -> Route:
        until(lambda: held or page.wait_for_timeout(1), "the question")
        return held[0]

    return wait


def bar(person: Person) -> Locator:
    return person.page.get_by_role("region", name="Editing")


def save_slowly(person: Person, task_id: str, words: str) -> Route:
    """Save a picture that is edited, with other words; the program's answer waits."""
    held = hold(person.page, f"**/v1/tasks/{task_id}", "PATCH")
    person.prompt.fill(words)
    person.button("Save changes").click()
    return held()


# What is edited.


def test_what_of_a_batch_still_waits_is_edited(paused: Server, person: Person) -> None:
    ids = submit(paused, "a red star", count=3, steps=200)
    held = hold(person.page, "**/v1/queue/batches/**")
    choose(person, "a red star", "Edit settings…")
    question = held()
    answer = question.fetch()
    paused.post("/v1/queue/resume")
    paused.wait_until_drawing(ids[0])
    paused.post("/v1/queue/pause")
    question.fulfill(response=answer)
    expect(bar(person)).to_contain_text("Editing 2 waiting pictures")
    expect(person.prompt).to_have_value("a red star")
    person.prompt.fill("a blue star")
    person.button("Save changes").click()
    expect(bar(person)).not_to_be_attached()
    assert [paused.task(one)["recipe"]["prompt"] for one in ids] == ["a red star", "a blue star", "a blue star"]


def test_it_is_said_that_what_has_begun_is_not_edited(paused: Server, person: Person) -> None:
    (task_id,) = submit(paused, "a red star", steps=200)
    person.prompt.fill("my words")
    held = hold(person.page, f"**/v1/tasks/{task_id}")
    choose(person, "a red star", "Edit settings…")
    question = held()
    paused.post("/v1/queue/resume")
    paused.wait_until_drawing(task_id)
    question.continue_()
    expect(person.alert).to_contain_text("It has begun already and is drawn as it was asked for.")
    expect(person.alert).to_contain_text("“Use settings” in History")
    expect(bar(person)).not_to_be_attached()
    expect(person.prompt).to_have_value("my words")


def test_what_is_being_saved_is_not_left(paused: Server, person: Person) -> None:
    (task_id,) = submit(paused, "a red star")
    person.prompt.fill("my words")
    edit(person, "a red star")
    question = save_slowly(person, task_id, "a blue star")
    person.page.keyboard.press("Escape")
    expect(bar(person)).to_be_visible()
    expect(person.button("Cancel editing")).to_have_attribute("aria-disabled", "true")
    question.continue_()
    expect(bar(person)).not_to_be_attached()
    expect(person.prompt).to_have_value("my words")
    assert paused.task(task_id)["recipe"]["prompt"] == "a blue star"


def test_a_save_that_comes_too_late_says_so_to_who_wants_to_leave(paused: Server, person: Person) -> None:
    (task_id,) = submit(paused, "a red star", steps=200)
    edit(person, "a red star")
    question = save_slowly(person, task_id, "a blue star")
    person.page.keyboard.press("Escape")
    paused.post("/v1/queue/resume")
    paused.wait_until_drawing(task_id)
    question.continue_()
    expect(person.alert).to_contain_text("is being drawn already")
    expect(person.alert).to_contain_text("What you typed is still in the form")
    expect(person.prompt).to_have_value("a blue star")
    expect(bar(person)).not_to_be_attached()


def test_another_is_edited_once_the_first_is_saved(paused: Server, person: Person) -> None:
    first, second = submit(paused, "apple", "bread", width=128, height=64)
    person.prompt.fill("my words")
    edit(person, "apple")
    question = save_slowly(person, first, "a blue apple")
    with person.page.expect_response(f"**/v1/tasks/{second}"):
        choose(person, "bread", "Edit settings…")
    question.continue_()
    expect(row(person, "a blue apple")).to_be_visible()
    expect(bar(person)).to_contain_text("bread")
    expect(person.prompt).to_have_value("bread")
    before = paused.task(second)["recipe"]
    person.prompt.fill("rye")
    person.button("Save changes").click()
    expect(bar(person)).not_to_be_attached()
    expect(person.prompt).to_have_value("my words")
    assert line(paused) == ["a blue apple", "rye"]
    assert paused.task(second)["recipe"] == before | {"prompt": "rye"}


def test_what_is_typed_while_it_is_saved_stays(paused: Server, person: Person) -> None:
    (task_id,) = submit(paused, "a red star", seed=7)
    person.prompt.fill("my words")
    edit(person, "a red star")
    person.page.get_by_role("checkbox", name="Random").check()
    question = save_slowly(person, task_id, "a blue star")
    person.prompt.fill("a blue star and a moon")
    question.continue_()
    expect(bar(person)).to_contain_text("a blue star")
    expect(person.button("Save changes")).not_to_have_attribute("aria-disabled", "true")
    expect(person.prompt).to_have_value("a blue star and a moon")
    saved = paused.task(task_id)["recipe"]
    assert saved["prompt"] == "a blue star"
    assert saved["seed"] != 7
    expect(person.page.get_by_role("textbox", name="Seed")).to_have_value(str(saved["seed"]))
    person.button("Save changes").click()
    expect(bar(person)).not_to_be_attached()
    expect(person.prompt).to_have_value("my words")
    assert paused.task(task_id)["recipe"] == saved | {"prompt": "a blue star and a moon"}


def test_what_is_typed_while_a_batch_is_saved_stays(paused: Server, person: Person) -> None:
    ids = submit(paused, "a red star", count=3, seed=7)
    person.prompt.fill("my words")
    edit(person, "a red star")
    held = hold(person.page, "**/v1/queue/edit", "POST")
    person.prompt.fill("a blue star")
    person.button("Save changes").click()
    question = held()
    person.prompt.fill("a blue star and a moon")
    question.continue_()
    expect(bar(person)).to_contain_text("a blue star")
    expect(person.button("Save changes")).not_to_have_attribute("aria-disabled", "true")
    expect(person.prompt).to_have_value("a blue star and a moon")
    assert {paused.task(one)["recipe"]["prompt"] for one in ids} == {"a blue star"}
    person.button("Save changes").click()
    expect(bar(person)).not_to_be_attached()
    expect(person.prompt).to_have_value("my words")
    recipes = [paused.task(one)["recipe"] for one in ids]
    assert [(one["prompt"], one["seed"]) for one in recipes] == [("a blue star and a moon", seed) for seed in (7, 8, 9)]


def test_what_is_typed_while_a_batch_is_saved_reaches_all_of_it(paused: Server, person: Person) -> None:
    """Also where somebody else had changed one of them: what is saved already is saved again with the rest."""
    ids = submit(paused, "a red star", count=3, seed=7)
    edit(person, "a red star")
    assert paused.post("/v1/queue/edit", {"ids": [ids[1]], "recipe": {"prompt": "a green star"}})[0] == 200
    held = hold(person.page, "**/v1/queue/edit", "POST")
    person.prompt.fill("a blue star")
    person.button("Save changes").focus()
    person.page.keyboard.press("Enter")
    question = held()
    person.page.evaluate(TYPE, "a blue star and a moon")
    question.continue_()
    expect(person.alert).to_contain_text("1 of 3 was changed by somebody else meanwhile.")
    expect(bar(person)).to_contain_text("Editing 3 waiting pictures")
    expect(person.button("Save changes")).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(bar(person)).not_to_be_attached()
    recipes = [paused.task(one)["recipe"] for one in ids]
    assert [(one["prompt"], one["seed"]) for one in recipes] == [("a blue star and a moon", seed) for seed in (7, 8, 9)]


def test_what_is_on_a_contact_sheet_is_not_offered_to_be_edited(paused: Server, person: Person) -> None:
    assert paused.post("/v1/sheets", {"recipe": {"prompt": "a red star"}, "styles": ["Neon", "Blueprint"]})[0] == 201
    submit(paused, "a blue star")
    person.button("Show the whole queue").click()
    offers = re.compile("^Edit: ")
    expect(row(person, "a blue star").get_by_role("button", name=offers)).to_have_count(1)
    expect(row(person, "a red star").first).to_be_visible()
    expect(row(person, "a red star").get_by_role("button", name=offers)).to_have_count(0)


# What has ended.


def past(person: Person) -> Locator:
    return person.page.get_by_role("treegrid", name="History").get_by_role("row")


def test_history_has_both_that_end_close_together(paused: Server, person: Person) -> None:
    ids = submit(paused, *LETTERS)
    paused.cancel(ids[3])
    person.button("History").click()
    expect(past(person).first).to_contain_text("dates")
    held = hold(person.page, "**/v1/history?*")
    paused.cancel(ids[0])
    question = held()
    answer = question.fetch()
    paused.cancel(ids[1])
    until(lambda: person.page.evaluate(WAITING) == 1, "the page to hear of the second")
    question.fulfill(response=answer)
    expect(past(person).nth(1)).to_contain_text("apple")
    expect(past(person).nth(0)).to_contain_text("bread")


def test_a_choice_there_and_back_begins_at_the_newest(paused: Server, person: Person) -> None:
    submit(paused, "an older ring", count=70)
    paused.post("/v1/clear")
    (newest,) = submit(paused, "the newest ring")
    paused.cancel(newest)
    person.button("History").click()
    kind = person.page.get_by_label("Which of them")
    kind.select_option(label="Cancelled")
    expect(past(person).first).to_contain_text("the newest ring")
    held = hold(person.page, "**/v1/history?*&before=*")
    person.page.get_by_role("treegrid", name="History").evaluate(TO_THE_END)
    question = held()
    kind.select_option(label="Failed")
    kind.select_option(label="Cancelled")
    question.continue_()
    expect(past(person).first).to_be_visible()
    expect(past(person).first).to_contain_text("the newest ring")


# The list.


def test_a_right_press_stops_nothing(paused: Server, person: Person) -> None:
    ids = submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    mouse = person.page.mouse
    mouse.move(*middle(row(person, "cheese").locator(".what").bounding_box()))
    mouse.down(button="right")
    to_front(paused, ids[3])
    hear(person.page, "dates")
    expect(person.queue.nth(0)).to_contain_text("dates")
    mouse.up(button="right")


def test_the_tab_key_stops_at_one_row(paused: Server, person: Person) -> None:
    """Also at a row that got the focus while the line that was told is not shown yet."""
    ids = submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    mouse = person.page.mouse
    mouse.move(*middle(row(person, "cheese").locator(".what").bounding_box()))
    mouse.down()
    to_front(paused, ids[3])
    hear(person.page, "dates")
    row(person, "bread").focus()
    mouse.up()
    expect(person.queue.nth(0)).to_contain_text("dates")
    row(person, "cheese").focus()
    expect(person.page.locator('#fl-rows [role=row][tabindex="0"]')).to_have_text(re.compile("cheese"))


def test_a_drag_ends_wherever_it_is_let_go(paused: Server, person: Person) -> None:
    """Also one whose row has ended meanwhile."""
    ids = submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    mouse = person.page.mouse
    x, y = middle(row(person, "apple").locator(".grip").bounding_box())
    mouse.move(x, y)
    mouse.down()
    mouse.move(x, y + 20)
    mark = person.page.locator(".fl-drop-here")
    expect(mark).to_be_visible()
    paused.cancel(ids[0])
    expect(person.queue).to_have_count(3)
    expect(mark).not_to_be_visible()
    mouse.move(*middle(person.stage.bounding_box()))
    mouse.up()
    drag(person, "dates", above="bread")
    until(lambda: line(paused) == ["dates", "bread", "cheese"], "the new order")


# What is repeated.


def repeat(server: Server, *prompts: str) -> None:
    for prompt in prompts:
        assert server.post("/v1/repeats", {"recipe": {"prompt": prompt, "steps": 2}, "times": None})[0] == 201


def test_a_stop_that_is_pressed_while_the_rounds_go_on_stops_it(quiet_server: Server, person: Person) -> None:
    repeat(quiet_server, "an endless ring")
    running = person.page.get_by_role("list", name="Running again and again")
    stop = running.get_by_role("button", name="Stop repeating: an endless ring")
    stop.hover()
    mouse = person.page.mouse
    mouse.down()
    said = running.inner_text()
    expect(running).not_to_have_text(said, use_inner_text=True)
    mouse.up()
    expect(running).not_to_be_visible()
    assert quiet_server.get("/v1/repeats")[1]["repeats"] == []


def test_the_focus_stays_with_its_repeat(quiet_server: Server, person: Person) -> None:
    repeat(quiet_server, "a first ring", "a second ring")
    running = person.page.get_by_role("list", name="Running again and again")
    second = running.get_by_role("button", name="Stop repeating: a second ring")
    second.focus()
    said = running.inner_text()
    expect(running).not_to_have_text(said, use_inner_text=True)
    expect(second).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(second).not_to_be_attached()
    first = running.get_by_role("button", name="Stop repeating: a first ring")
    expect(first).to_be_focused()
    person.page.keyboard.press("Enter")
    expect(running).not_to_be_visible()


def test_a_row_in_sight_stays_while_its_page_is_asked_for_again(paused: Server, person: Person) -> None:
    """Those in sight are on two pages of the line, and the second one is slow: who has the focus there keeps it."""
    many = "\n".join(f"picture number {n}" for n in range(60))
    assert paused.post("/v1/queue/import", {"text": many, "recipe": {"steps": 2}})[0] in (200, 201)
    person.button("Show the whole queue").click()
    expect(person.queue.first).to_have_attribute("aria-setsize", "60")
    person.queue.first.focus()
    person.page.keyboard.press("End")
    last = row(person, "picture number 59")
    expect(last).to_be_focused()
    held = hold(person.page, re.compile(r"/v1/queue\?.*after="))
    person.page.keyboard.press("Alt+ArrowUp")
    question = held()
    person.page.wait_for_function(FRAME)
    expect(last).to_be_focused()
    expect(last).to_have_attribute("aria-posinset", "59")
    question.continue_()
    expect(row(person, "picture number 58")).to_have_attribute("aria-posinset", "60")
    expect(last).to_be_focused()
