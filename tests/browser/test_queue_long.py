"""Ten thousand batches wait: of which only those in sight are in the document, wherever somebody looks."""

from __future__ import annotations

import math
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import PHONE
from tests.browser.person import Person
from tests.browser.test_queue import paused, row
from tests.faults.server import Server

__all__ = ["paused"]
MANY = 10_000
SPARE = 4  # rows beyond each edge, as static/vlist.js keeps ready
SCROLL = "(list, top) => { list.parentNode.scrollTop = top; }"


def most_rows(person: Person) -> int:
    """What fits into the list's window, a row cut at each edge, the spare ones, and the one that has the focus."""
    high, tall = person.page.locator("#fl-rows").evaluate(
        "(list) => [list.parentNode.clientHeight, parseFloat(getComputedStyle(list).getPropertyValue('--row'))]"
    )
    return math.ceil(high / tall) + 1 + 2 * SPARE + 1


def nodes(person: Person) -> int:
    return person.page.evaluate("document.querySelectorAll('*').length")


def test_only_what_is_in_sight_is_there(paused: Server, come: Callable[..., Person]) -> None:
    few = "\n".join(f"picture number {n}" for n in range(200))
    assert paused.post("/v1/queue/import", {"text": few, "recipe": {"steps": 2}})[0] in (200, 201)
    person = come()
    person.button("Show the whole queue").click()
    expect(person.queue.first).to_have_attribute("aria-setsize", "200")
    with_few = nodes(person)
    rest = "\n".join(f"picture number {n}" for n in range(200, MANY))
    assert paused.post("/v1/queue/import", {"text": rest, "recipe": {"steps": 2}})[0] in (200, 201)
    expect(person.queue.first).to_have_attribute("aria-setsize", str(MANY))
    assert nodes(person) <= with_few
    list_of = person.page.locator("#fl-rows")
    person.queue.nth(2).focus()
    for top in (38 * 100, 38 * MANY // 2, 38 * MANY):
        list_of.evaluate(SCROLL, top)
        at = min(top // 38, MANY - 1)
        wanted = row(person, f"picture number {at - 2}").filter(has_text=str(at - 1))
        expect(wanted.first).to_have_attribute("aria-posinset", str(at - 1))
        assert person.queue.count() <= most_rows(person)
        assert person.page.evaluate("document.activeElement.getAttribute('aria-posinset')") == "3"
    person.page.keyboard.press("Home")
    expect(person.queue.first).to_be_focused()
    person.page.keyboard.press("End")
    expect(row(person, f"picture number {MANY - 1}")).to_be_focused()
    person.page.keyboard.press("Alt+ArrowUp")
    expect(row(person, f"picture number {MANY - 1}")).to_have_attribute("aria-posinset", str(MANY - 1))
    expect(row(person, f"picture number {MANY - 1}")).to_be_focused()
    person.page.keyboard.press("Delete")
    expect(row(person, f"picture number {MANY - 2}")).to_be_focused()
    expect(row(person, f"picture number {MANY - 2}")).to_have_attribute("aria-setsize", str(MANY - 1))
    phone = come(PHONE)
    phone.page.locator("#fl-bar [data-sheet=queue]").click()
    expect(phone.queue.first).to_be_visible()
    assert phone.queue.count() <= most_rows(phone)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
