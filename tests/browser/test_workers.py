"""Who draws, as the page lists them: each worker's place, device, model and state, also of one that was killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import PHONE, WIDE
from tests.browser.person import Person
from tests.faults.server import Server, until
from tests.ray_cluster import Machines, needs_ray

#: Put the pictures of the page there.
SHOTS = os.environ.get("FOOOCUS_TEST_SHOTS", "")

#: A picture for each of two workers that takes as long as one may.
LONG: dict[str, object] = {"steps": 200, "sampler": "heun", "count": 2}


def look_at(person: Person, *, called: str) -> Locator:
    """The list, opened; its picture is kept where somebody wants it."""
    panel = person.page.get_by_role("dialog", name="Who draws")
    if not panel.is_visible():
        person.button("Who draws").click()
    expect(panel).to_be_visible()
    if SHOTS:
        person.page.screenshot(path=f"{SHOTS}/{called}.png")
    return panel


def row_of(person: Person, name: str) -> Locator:
    return person.page.get_by_role("dialog", name="Who draws").get_by_role("listitem").filter(has_text=name)


def is_drawn_again(server: Server, task_id: str) -> bool:
    task = server.task(task_id)
    return task["attempt"] == 2 and bool(task["progress"])


def is_inside(person: Person, panel: Locator) -> bool:
    """Whether all of it can be read without scrolling sideways."""
    return person.page.evaluate("document.documentElement.scrollWidth <= innerWidth") and panel.evaluate(
        "one => one.scrollWidth <= one.clientWidth && one.getBoundingClientRect().right <= innerWidth"
        " && one.getBoundingClientRect().left >= 0"
    )


def test_two_devices_of_this_machine(start: Callable[..., Server], come: Callable[..., Person]) -> None:
    server = start(device="cpu,cpu")
    person = come(server=server)
    panel = look_at(person, called="workers-new")
    rows = panel.get_by_role("listitem")
    expect(rows).to_have_count(2)
    ids = server.submit("a red circle", **LONG)
    for name in ("worker 1", "worker 2"):
        row = row_of(person, name)
        expect(row).to_contain_text("drawing")
        expect(row).to_contain_text(re.compile(r"CPU.*\d GB free.*starter"))
    assert is_inside(person, panel)
    look_at(person, called="workers-drawing")
    for pid in server.workers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: all(is_drawn_again(server, task) for task in ids), "the second attempts")
    expect(rows.filter(has_text="drawing")).to_have_count(2)
    for pid in server.workers():  # for the second time: the pictures fail, and nobody draws
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert {task["state"] for task in server.wait(*ids)} == {"failed"}
    expect(rows.filter(has_text="drawing")).to_have_count(0)
    server.wait(*server.submit("a red circle", steps=2, count=2))
    expect(rows.filter(has_text=re.compile("ready|starting"))).to_have_count(2)
    person.page.keyboard.press("Escape")
    expect(panel).not_to_be_visible()
    expect(person.button("Who draws")).to_be_focused()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    made = Machines()
    yield made
    made.close()


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("size, theme", [(WIDE, "dark"), (PHONE, "light")], ids=["wide", "phone"])
def test_machines_of_a_cluster(
    start: Callable[..., Server],
    come: Callable[..., Person],
    machines: Machines,
    size: tuple[int, int],
    theme: str,
) -> None:
    nodes: list[Any] = [machines.add(), machines.add()]
    server = start(engine="ray", ray_address=machines.address)
    person = come(size, theme, server=server)
    panel = look_at(person, called=f"machines-{theme}-new")
    rows = panel.get_by_role("listitem")
    expect(rows).to_have_count(2)
    ids = server.submit("a red circle", **LONG)
    for task in ids:
        server.wait_until_drawing(task)
    expect(rows.filter(has_text="drawing")).to_have_count(2)
    expect(rows.filter(has_text=re.compile(r".+ · worker \d.*CPU.*starter"))).to_have_count(2)
    assert is_inside(person, panel)
    look_at(person, called=f"machines-{theme}-drawing")
    machines.kill(nodes[0])
    expect(rows.filter(has_text="away")).to_have_count(1)
    expect(rows.filter(has_text="drawing")).to_have_count(1)
    assert is_inside(person, panel)
    look_at(person, called=f"machines-{theme}-away")
    for task in ids:
        server.cancel(task)
    server.wait(*ids)
    expect(rows.filter(has_text="ready")).to_have_count(1)
    machines.kill(nodes[1])
    expect(rows.filter(has_text="away")).to_have_count(2)
    expect(person.alert).to_contain_text("No machine that draws is in the Ray cluster")
    look_at(person, called=f"machines-{theme}-gone")
