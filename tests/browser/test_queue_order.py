"""The order that the page shows while its questions and its moves cross on their way."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest
from playwright.sync_api import Route, expect

from tests.browser.person import Person
from tests.browser.test_queue import LETTERS, line, paused, submit
from tests.faults.server import Server, until

__all__ = ["paused"]
ORDER = """async () => {
  const { entryAt } = await import("/ui/line.js");
  return [0, 1, 2, 3].map((at) => entryAt(at)?.row?.words);
}"""


@pytest.fixture
def questions(person: Person) -> Iterator[list[Route]]:
    """What the page asks of the line, from now on kept back."""
    kept: list[Route] = []
    yield kept
    person.page.unroute_all(behavior="ignoreErrors")


def test_an_answer_from_before_a_move_does_not_undo_it(paused: Server, person: Person, questions: list[Route]) -> None:
    ids = submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    page, asked = person.page, Event()

    def keep(route: Route) -> None:
        questions.append(route)
        asked.set()

    page.route("**/v1/queue?*", keep)
    paused.post("/v1/queue/edit", {"ids": ids[3:], "recipe": {"steps": 3}})  # so that the page asks
    until(lambda: page.wait_for_timeout(20) or asked.is_set(), "a question of the page")
    old = questions[0].fetch()
    person.queue.nth(0).focus()
    page.keyboard.press("Alt+ArrowDown")
    until(lambda: line(paused)[0] == "bread", "the move")
    expect(person.queue.nth(0)).to_contain_text("bread")
    questions[0].fulfill(response=old)
    until(lambda: page.wait_for_timeout(20) or len(questions) > 1, "another question, as that answer was too old")
    assert page.evaluate(ORDER) == ["bread", "apple", "cheese", "dates"]
