"""Logging in and out in a browser, as somebody at another device of the network does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.commands.access import own_addresses
from tests.app.closed import listening, minted
from tests.browser.conftest import PHONE, WIDE
from tests.browser.person import expect
from tests.faults.server import Server

#: Put the pictures of the page there.
SHOTS = os.environ.get("FOOOCUS_TEST_SHOTS", "")


@pytest.fixture(scope="module")
def closed(web_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with listening(tmp_path_factory.mktemp("closed"), web_models) as server:
        yield server


def _shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png")


def _log_in(page: Any, password: str) -> None:
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")])
def test_the_page_needs_nothing_but_itself(browser: Any, closed: Server, size: tuple[int, int], theme: str) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, java_script_enabled=False
    )
    try:
        page, asked, troubles = context.new_page(), list[str](), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: troubles.append(message.text))
        page.goto(closed.address)
        name = f"login-{size[0]}-{theme}"
        _shot(page, name)
        assert page.get_by_label("Name").evaluate("field => field === document.activeElement")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        _log_in(page, "<b>wrong</b>")
        expect(page.get_by_role("alert")).to_have_text("That name and password do not go together.")
        expect(page.get_by_label("Name")).to_have_value("admin")
        expect(page.get_by_label("Password")).to_have_value("")
        expect(page.get_by_label("Password")).to_be_focused()
        _shot(page, f"{name}-wrong")
        assert {url for url in asked if not url.startswith("data:")} <= {
            f"{closed.address}/",
            f"{closed.address}/login",
        }
        assert [words for words in troubles if "status of 401" not in words] == []
    finally:
        context.close()


def test_in_and_out(browser: Any, closed: Server) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"{closed.address}/docs")
        _log_in(page, minted(closed))
        page.wait_for_url("**/docs")
        expect(page.get_by_role("heading", name="Fooocus Lite").first).to_be_visible()
        page.goto(closed.address)
        expect(page.locator("html[data-form=ready]")).to_be_attached(timeout=300_000)
        expect(page.get_by_text("Reconnecting…")).not_to_be_attached()
        _shot(page, "page-logged-in")
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        _shot(page, "page-logged-in-phone")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        expect(page.get_by_role("button", name="Log out")).to_be_in_viewport()
        page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"] > 0) == (True, "Strict", True)
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
        page.goto(f"{closed.address}/v1/menu")
        assert "You are not logged in." in page.content()
    finally:
        context.close()


def test_another_device_of_the_network(browser: Any, closed: Server) -> None:
    """Under a number and plain HTTP browsers allow less; the page has to do with that."""
    numbers = own_addresses()
    if not numbers:
        pytest.skip("this machine is in no network")
    context = browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]}, has_touch=True)
    try:
        page, troubles = context.new_page(), list[str]()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(closed.address.replace("127.0.0.1", numbers[0]))
        _log_in(page, minted(closed))
        expect(page.locator("html[data-form=ready]")).to_be_attached(timeout=300_000)
        expect(page.get_by_text("Reconnecting…")).not_to_be_attached()
        page.get_by_role("button", name="Generate").click()
        expect(page.get_by_role("button", name="Stop")).to_have_attribute("aria-disabled", "false")
        _shot(page, "page-lan-phone")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
        assert troubles == []
    finally:
        context.close()


def test_a_session_that_ends_elsewhere_ends_here(browser: Any, closed: Server) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(closed.address)
        _log_in(page, minted(closed))
        expect(page.locator("html[data-form=ready]")).to_be_attached(timeout=300_000)
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        other = context.new_page()
        other.goto(f"{closed.address}/docs")
        assert other.evaluate("fetch('/logout', {method: 'POST'}).then((answer) => answer.status)") == 204
        page.get_by_role("textbox", name="Prompt", exact=True).fill("a green heart")  # it asks what that would take
        expect(page.get_by_role("button", name="Log in")).to_be_visible(timeout=60_000)
        _log_in(page, minted(closed))
        expect(page.locator("html[data-form=ready]")).to_be_attached(timeout=300_000)
        expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("a green heart")
    finally:
        context.close()


def test_a_link_on_another_website_finds_who_is_logged_in(browser: Any, closed: Server) -> None:
    """Browsers keep a strict cookie back behind such a link: the page loads itself anew, and then has it."""
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"{closed.address}/docs")
        _log_in(page, minted(closed))
        page.wait_for_url("**/docs")
        page.route("http://evil.example/", lambda route: route.fulfill(body=f'<a href="{closed.address}/docs">in</a>'))
        page.goto("http://evil.example/")
        page.get_by_role("link", name="in").click()
        expect(page.get_by_role("heading", name="Fooocus Lite").first).to_be_visible()
        expect(page.get_by_role("button", name="Log in")).not_to_be_attached()
    finally:
        context.close()
