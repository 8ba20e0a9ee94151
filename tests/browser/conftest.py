"""A real browser on a real server. A console error, or a request to anywhere else, fails the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser.person import Person
from tests.faults.server import Server
from tests.run import VARIABLE, installed_browser

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
WIDE, PHONE = (1440, 900), (390, 844)
PATIENCE_MS = 300_000  # only ever waited for by a test that fails


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., playwright.Browser]]:
    """Starts the system's browser, or Playwright's own, with more arguments of the test's."""
    path = os.environ.get(VARIABLE, installed_browser() or "playwright")
    if not path:
        pytest.skip("there is no browser")
    arguments = ["--disable-background-networking", "--disable-component-update"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    where = {} if path == "playwright" else {"executable_path": path}
    with playwright.sync_playwright() as started:
        yield lambda *more: started.chromium.launch(args=[*arguments, *more], **where)


@pytest.fixture(scope="session")
def browser(launch: Callable[..., playwright.Browser]) -> Iterator[playwright.Browser]:
    """The browser of all tests that need no other."""
    opened = launch()
    yield opened
    opened.close()


@pytest.fixture
def come(browser: playwright.Browser, quiet_server: Server) -> Iterator[Callable[..., Person]]:
    """Somebody opens the page, as ``come()`` or ``come(PHONE)``; what they saw go wrong is checked at the end."""
    people: list[Person] = []

    def open_page(size: tuple[int, int] = WIDE, theme: str = "dark", server: Server = quiet_server) -> Person:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme, has_touch=size == PHONE
        )
        context.set_default_timeout(PATIENCE_MS)
        playwright.expect.set_options(timeout=PATIENCE_MS)
        person = Person(context, server.address)
        people.append(person)
        person.open()
        return person

    yield open_page
    for person in people:
        person.context.close()
    assert [trouble for person in people for trouble in person.troubles] == []


@pytest.fixture
def start(web_models: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of the test's own, in the same folders each time, and ends them after it.

    A test names it before ``come``: a page that is still open complains when its server goes.
    """
    with ExitStack() as ends:

        def start_one(**settings: object) -> Server:
            running = Server(tmp_path, web_models, **settings).start()
            assert running.process
            ends.callback(running.process.wait)
            ends.callback(running.process.kill)
            return running

        yield start_one


@pytest.fixture
def person(come: Callable[..., Person]) -> Person:
    """One person at a wide screen."""
    return come()
