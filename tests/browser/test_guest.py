"""Somebody who is no admin: what only admins may change is not offered, and what they may do works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app.closed import listening
from tests.app.test_login import ANA, peopled_folder
from tests.faults.server import Server

ROOT = "root and its password"


@pytest.fixture(scope="module")
def peopled(web_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this machine alone that has users."""
    with listening(peopled_folder(tmp_path_factory.mktemp("guests")), web_models, listen=False) as server:
        yield server


def log_in(page: Page, server: Server, name: str, password: str) -> None:
    page.goto(server.address)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("html[data-form=ready]")).to_be_attached(timeout=300_000)
    expect(page.get_by_text("Reconnecting…")).not_to_be_attached()


def offered(page: Page) -> dict[str, bool]:
    """By name, whether a button can be seen and pressed."""
    page.get_by_role("button", name="Preset actions").click()
    found = {
        name: page.get_by_role("button", name=name).is_visible()
        for name in ("Save as preset…", "Make this my default", "Settings from a picture…", "Paste settings…")
    }
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Advanced", exact=True).click()
    page.get_by_role("tab", name="Styles").click()
    tile = page.get_by_role("button", name="Watercolor", exact=True)
    tile.hover()
    for name in ("New style", "Favourite: Watercolor", "Make your own of it: Watercolor"):
        found[name] = page.get_by_role("button", name=name).is_visible()
    page.get_by_role("tab", name="Models").click()
    expect(page.get_by_text("Not downloaded yet")).to_be_visible()
    found["Download"] = page.get_by_role("button", name="Download: ").first.is_visible()
    page.get_by_role("tab", name="Expert").click()
    found["A1111"] = page.get_by_role("checkbox", name="Settings as A1111's text, too").is_enabled()
    found["Pause"] = page.get_by_role("button", name="Pause the queue").is_visible()
    return found


def test_what_only_admins_may_change_is_offered_to_them_alone(browser: Any, peopled: Server) -> None:
    seen: dict[str, dict[str, bool]] = {}
    for name, password in (("ana", ANA), ("root", ROOT)):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        try:
            page = context.new_page()
            log_in(page, peopled, name, password)
            seen[name] = offered(page)
        finally:
            context.close()
    everybody = {"Settings from a picture…", "Paste settings…"}
    assert {name for name, is_there in seen["ana"].items() if is_there} == everybody
    assert {name for name, is_there in seen["root"].items() if is_there} >= seen["ana"].keys() - {
        "Make this my default"
    }


def test_a_guest_hears_who_looks_after_the_presets(browser: Any, peopled: Server) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        log_in(page, peopled, "ana", ANA)
        page.get_by_role("button", name="Preset actions").click()
        expect(page.get_by_text("an admin saves and deletes them")).to_be_visible()
    finally:
        context.close()
