"""A queue out of a file and into one, by the page's own buttons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.person import Person
from tests.browser.test_queue import line, paused, submit
from tests.faults.server import Server

__all__ = ["paused"]
TEXT = """# what I want tonight
a red star

  a blue house, watercolor
a green heart <b>bold</b>
"""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "chosen"
    folder.mkdir()
    yield folder


def import_file(person: Person, path: Path) -> None:
    person.button("More for the queue").click()
    with person.page.expect_file_chooser() as chooser:
        person.button("Import prompts or a queue…").click()
    chooser.value.set_files(path)


def export_file(person: Person, path: Path) -> bytes:
    person.button("More for the queue").click()
    with person.page.expect_download() as download:
        person.button("Export the queue").click()
    assert download.value.suggested_filename == "fooocus-queue.json"
    download.value.save_as(path)
    return path.read_bytes()


def test_a_text_is_one_picture_a_line(paused: Server, person: Person, files: Path) -> None:
    (files / "prompts.txt").write_text(TEXT, encoding="utf-8")
    person.set_steps(3)
    import_file(person, files / "prompts.txt")
    expect(person.queue).to_have_count(3)
    expect(person.page.get_by_text("3 pictures lined up from prompts.txt")).to_be_visible()
    assert line(paused) == ["a red star", "a blue house, watercolor", "a green heart <b>bold</b>"]
    tasks = [task for task in paused.get("/v1/tasks")[1]["tasks"] if task["state"] == "waiting"]
    assert {task["recipe"]["steps"] for task in tasks} == {3}  # what a line leaves open is as the form has it


def test_what_is_exported_comes_back_equal(paused: Server, person: Person, files: Path) -> None:
    submit(paused, "a red star", count=3, seed=9)
    submit(paused, "a blue house", styles=["Watercolor"], steps=7, seed=2**63 - 1)
    expect(person.queue).to_have_count(2)
    first = export_file(person, files / "queue.json")
    person.button("More for the queue").click()
    person.button("Cancel everything that waits").click()
    expect(person.queue).to_have_count(0)
    expect(person.page.get_by_text("4 pictures cancelled")).to_be_visible()
    import_file(person, files / "queue.json")
    expect(person.queue).to_have_count(2)
    assert json.loads(export_file(person, files / "again.json")) == json.loads(first)


def test_a_bad_file_is_refused_whole(paused: Server, person: Person, files: Path) -> None:
    (files / "queue.json").write_text(
        '{"fooocus_lite_queue": 1, "tasks": [{"recipe": {"prompt": "x"}}, {"recipe": {"steps": -1}}]}'
    )
    import_file(person, files / "queue.json")
    expect(person.alert).to_be_visible()
    assert line(paused) == []


def test_a_text_that_is_dropped_on_the_queue_is_lined_up(paused: Server, person: Person) -> None:
    drop = """(place) => {
      const data = new DataTransfer();
      data.items.add(new File(["a red star\\na blue star"], "list.txt", {type: "text/plain"}));
      for (const type of ["dragenter", "dragover", "drop"])
        place.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: data}));
    }"""
    person.page.get_by_role("region", name="Queue").evaluate(drop)
    expect(person.queue).to_have_count(2)
    assert line(paused) == ["a red star", "a blue star"]
