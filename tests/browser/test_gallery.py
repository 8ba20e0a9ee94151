"""The morning after a long night: more pictures than the gallery loads at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from fooocus_lite.events import Finished, ImageReady
from fooocus_lite.images import save_image
from fooocus_lite.library import load_library
from fooocus_lite.picture_text import describe_picture
from fooocus_lite.plan import expand, make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import load_settings
from fooocus_lite.store import open_store
from tests.browser.person import Person
from tests.faults.server import ROOT, Server

PICTURES = 130  # three pages of 48
TO_THE_END = "(list) => list.scrollTo(0, list.scrollHeight)"


def fill_night(server: Server) -> None:
    """Finished pictures, as a server would have left them; nothing is drawn for this."""
    settings = load_settings(env={"FOOOCUS_DATA_DIR": str(server.data), "FOOOCUS_OUTPUT_DIR": str(server.outputs)})
    library, store = load_library(settings), open_store(settings.data_dir)
    try:
        store.queue.submit(expand(Recipe(prompt="a red star", width=64, height=64, count=PICTURES - 30), library, 1))
        store.queue.submit(expand(Recipe(prompt="a blue star", width=64, height=64, count=30), library, 1))
        while task := store.queue.claim("a worker of last night"):
            image = ImageReady(width=64, height=64, rgb=bytes(64 * 64 * 3))
            info = describe_picture(task.recipe, make_plan(task.recipe, library, 0), {})
            saved = save_image(image, info, task_id=task.id, output_dir=settings.output_dir)
            store.queue.finish(task.id, saved, Finished(), {})
    finally:
        store.close()


@pytest.fixture
def morning(browser: Browser, tmp_path: Path) -> Iterator[Person]:
    """Somebody opens the page on a tall, wide screen."""
    server = Server(tmp_path, ROOT / "models")
    fill_night(server)
    server.start()
    context = browser.new_context(viewport={"width": 1600, "height": 1200})
    context.set_default_timeout(300_000)
    expect.set_options(timeout=300_000)
    person = Person(context, server.address)
    person.open()
    yield person
    context.close()
    server.end()
    assert person.troubles == []


def test_the_gallery_has_every_picture(morning: Person) -> None:
    pictures = morning.gallery.get_by_role("button", name="star")
    expect(pictures.first).to_be_visible()
    morning.button("Show all").click()
    shown = 0
    while shown < PICTURES:
        morning.gallery.locator(".fl-scroll").evaluate(TO_THE_END)
        expect(pictures.nth(shown)).to_be_attached()
        shown = pictures.count()
    assert shown == PICTURES


def test_an_error_is_seen_over_the_open_gallery(morning: Person) -> None:
    morning.button("Show all").click()
    morning.page.get_by_role("textbox", name="Seed").fill("abc")
    morning.generate()
    expect(morning.alert).to_be_in_viewport(ratio=1)
    expect(morning.alert).to_contain_text("“Seed” cannot be 'abc'.")


def test_another_tab_moves_nothing_here(morning: Person) -> None:
    morning.button("Show all").click()
    pictures = morning.gallery.get_by_role("button", name="star")
    while (shown := pictures.count()) <= 96:
        morning.gallery.locator(".fl-scroll").evaluate(TO_THE_END)
        expect(pictures.nth(shown)).to_be_attached()
    chosen = pictures.nth(90)
    chosen.click()
    expect(chosen).to_have_attribute("aria-current", "true")
    shown = pictures.count()
    asked: list[str] = []
    morning.page.on("request", lambda request: asked.append(request.url))
    morning.open(morning.new_tab())
    morning.page.evaluate("new Promise(requestAnimationFrame)")
    assert not [url for url in asked if "/v1/pictures" in url]  # the newcomer was told alone
    assert pictures.count() >= shown
    expect(chosen).to_have_attribute("aria-current", "true")
