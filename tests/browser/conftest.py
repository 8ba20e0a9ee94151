"""A real browser on a real server. A console error, or a request to anywhere else, fails the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.browser.person import Person
from tests.faults.server import Server
from tests.run import VARIABLE, installed_browser

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
WIDE, PHONE = (1440, 900), (390, 844)
PATIENCE_MS = 300_000  # only ever waited for by a test that fails


@contextmanager
def opened_browser(*more: str) -> Iterator[playwright.Browser]:
    """The system's browser, or Playwright's own, started with these arguments, too."""
    path = os.environ.get(VARIABLE, installed_browser() or "playwright")
    if not path:
        pytest.skip("there is no browser")
    arguments = ["--disable-background-networking", "--disable-component-update", *more]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with playwright.sync_playwright() as started:
        where = {} if path == "playwright" else {"executable_path": path}
        opened = started.chromium.launch(args=arguments, **where)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[playwright.Browser]:
    """The browser of all tests that need no other."""
    with opened_browser() as opened:
        yield opened


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
