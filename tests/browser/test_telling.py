"""Telling who looks elsewhere: the tab's title and icon, a notification, a sound; each as one wants it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.person import Person
from tests.faults.server import Server, until

#: A real notification, written down; and every tone that is begun.
RECORD = """
  window.told = [];
  window.tones = 0;
  window.asked = 0;
  const Real = window.Notification;
  window.Notification = class extends Real {
    constructor(title, options) { super(title, options); window.told.push(`${title}: ${options.body}`); }
    static async requestPermission() { window.asked += 1; return Real.permission; }
  };
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (when) { window.tones += 1; return start.call(this, when); };
  document.hasFocus = () => false;
"""
ICON = 'link[rel~="icon"]'


def listen(person: Person) -> None:
    person.context.grant_permissions(["notifications"], origin=person.address.rstrip("/"))
    person.context.add_init_script(RECORD)
    person.page.reload()
    person.wait_until_alive()


def test_title_and_icon_show_how_far_it_is_unless_switched_off(person: Person) -> None:
    assert person.page.title() == "Fooocus Lite"
    icon = person.page.locator(ICON).first
    expect(icon).to_have_attribute("href", "/ui/favicon.svg")
    person.set_steps(200)
    person.page.get_by_role("spinbutton", name="Pictures").fill("3")
    person.generate("a yellow moon")
    until(lambda: re.fullmatch(r"[1-9]\d* % · 3 left – Fooocus Lite", person.page.title()), "progress in the title")
    expect(icon).to_have_attribute("href", re.compile("^data:image/png"))
    ring = icon.get_attribute("href")
    until(lambda: icon.get_attribute("href") != ring, "the ring goes on")
    person.open_advanced("Settings")
    box = person.page.get_by_role("checkbox", name="Show progress in the tab's title and icon")
    box.uncheck()
    expect(person.page).to_have_title("Fooocus Lite")
    expect(icon).to_have_attribute("href", "/ui/favicon.svg")
    person.page.reload()
    person.wait_until_alive()
    expect(box).not_to_be_checked()
    assert person.page.title() == "Fooocus Lite"
    person.button("Stop").click()
    expect(person.queue).to_have_count(0)


def test_all_done_is_told_once_and_only_to_who_asked(person: Person) -> None:
    listen(person)
    person.open_advanced("Settings")
    person.set_steps(2)
    person.generate("a quiet ring")
    person.see_picture("a quiet ring")
    expect(person.queue).to_have_count(0)
    assert person.page.evaluate("[told, tones, asked]") == [[], 0, 0]  # nobody switched anything on
    person.open_advanced("Settings")
    person.page.get_by_role("checkbox", name="Show a notification").check()
    assert person.page.evaluate("asked") == 1
    person.page.get_by_role("checkbox", name="Play a sound").check()
    assert person.page.evaluate("tones") == 2  # how it sounds
    person.page.get_by_role("spinbutton", name="Pictures").fill("3")
    person.generate("a loud ring")
    person.page.wait_for_function("told.length > 0")
    expect(person.queue).to_have_count(0)
    assert person.page.evaluate("told") == ["3 pictures are done: a loud ring"]
    person.page.wait_for_function("tones === 4")
    person.page.get_by_role("checkbox", name="Play a sound").uncheck()
    person.page.reload()
    person.wait_until_alive()
    person.open_advanced("Settings")
    expect(person.page.get_by_role("checkbox", name="Show a notification")).to_be_checked()
    expect(person.page.get_by_role("checkbox", name="Play a sound")).not_to_be_checked()
    person.generate("a mute ring")
    person.page.wait_for_function("told.length > 0")
    assert person.page.evaluate("tones") == 0


def test_a_failure_is_told_while_others_wait(person: Person, quiet_server: Server, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    catalog = quiet_server.data / "catalog.json"
    catalog.write_text(json.dumps([{"name": "hollow", "family": "sdxl", "path": str(tmp_path), "native_size": 128}]))
    try:
        listen(person)
        person.open_advanced("Settings")
        person.page.get_by_role("checkbox", name="Show a notification").check()
        quiet_server.post("/v1/queue/pause")
        ids = quiet_server.submit("a hollow star", model="hollow", count=2)
        ids += quiet_server.submit("a red star", steps=2)
        quiet_server.post("/v1/queue/resume")
        quiet_server.wait(*ids)
        person.page.wait_for_function("told.length > 1")
        told = person.page.evaluate("told")
        assert [words.split(":")[0] for words in told] == ["A picture failed", "Your picture is done, 2 failed"]
    finally:
        catalog.unlink()
