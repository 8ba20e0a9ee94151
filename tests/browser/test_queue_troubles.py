"""What the queue says when something goes wrong: the program is away, a file is none, a picture or a repeat failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from tests.browser.conftest import PHONE
from tests.browser.person import Person
from tests.browser.test_queue import LETTERS, drag, edit, line, paused, row, submit
from tests.browser.test_queue_files import files, import_file
from tests.faults.server import Server, until

__all__ = ["files", "paused"]
AWAY = "The program does not answer."
#: Whether no letter of a node is cut off.
IS_WHOLE = "(node) => node.scrollWidth <= node.clientWidth && node.scrollHeight <= node.clientHeight"


def go_away(person: Person) -> None:
    """From here on the program does not answer: as a page finds it whose server was ended."""
    person.context.set_offline(True)


def come_back(person: Person) -> None:
    person.context.set_offline(False)
    person.troubles[:] = [one for one in person.troubles if "ERR_INTERNET_DISCONNECTED" not in one]


def order(person: Person) -> list[str]:
    return [one.inner_text() for one in person.queue.locator(".what").all()]


def test_a_move_that_nobody_heard_is_taken_back(paused: Server, person: Person) -> None:
    submit(paused, *LETTERS)
    expect(person.queue).to_have_count(4)
    go_away(person)
    drag(person, "dates", above="apple")
    expect(person.alert).to_contain_text(AWAY)
    until(lambda: order(person) == [*LETTERS], "the order as it is")
    come_back(person)
    drag(person, "dates", above="apple")
    until(lambda: line(paused) == ["dates", "apple", "bread", "cheese"], "the new order")


def test_what_was_edited_while_the_program_was_away_is_saved_afterwards(paused: Server, person: Person) -> None:
    ids = submit(paused, "a red star", count=2)
    edit(person, "a red star")
    person.prompt.fill("a blue star")
    go_away(person)
    person.button("Save changes").click()
    expect(person.alert).to_contain_text(AWAY)
    expect(person.prompt).to_have_value("a blue star")
    come_back(person)
    person.button("Save changes").click()
    expect(row(person, "a blue star")).to_be_visible()
    assert {paused.task(one)["recipe"]["prompt"] for one in ids} == {"a blue star"}


def test_that_it_was_away_is_forgotten_when_it_is_back(
    start: Callable[..., Server], come: Callable[..., Person]
) -> None:
    server = start()
    person = come(server=server)
    address = server.address
    server.kill()
    expect(person.page.get_by_text("Reconnecting…")).to_be_visible()
    person.button("Pause the queue").click()
    expect(person.alert).to_contain_text(AWAY)
    try:
        server.start(int(address.rpartition(":")[2]))
        assert server.address == address
        expect(person.page.get_by_text("Reconnecting…")).not_to_be_attached()
        expect(person.alert).not_to_be_attached()
    finally:
        person.page.close()
        server.kill()
    person.troubles[:] = [one for one in person.troubles if "ERR_CONNECTION" not in one and "ERR_INCOMPLETE" not in one]


def test_a_picture_is_no_list_of_prompts(paused: Server, person: Person, files: Path) -> None:
    Image.new("RGB", (8, 8)).save(files / "star.png")
    import_file(person, files / "star.png")
    expect(person.alert).to_contain_text("star.png is no text.")
    assert line(paused) == []


def test_a_text_of_windows_is_read(paused: Server, person: Person, files: Path) -> None:
    (files / "list.txt").write_bytes("a red star\r\nein grüner Stern\r\n".encode("utf-16"))
    import_file(person, files / "list.txt")
    expect(person.queue).to_have_count(2)
    assert line(paused) == ["a red star", "ein grüner Stern"]


@pytest.fixture
def hollow(quiet_server: Server, tmp_path: Path) -> Iterator[str]:
    """A model without weights, in a folder with a long name: its pictures fail. One of another ends it."""
    folder = tmp_path / "a folder with a rather long name that somebody chose for the models"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    catalog = quiet_server.data / "catalog.json"
    name = "a model with a long name"
    entry = {"name": name, "family": "sdxl", "path": str(folder), "native_size": 128}
    catalog.write_text(json.dumps([entry]))
    yield name
    catalog.unlink()
    quiet_server.wait(*quiet_server.submit("a star", steps=2))


def is_whole(words: Locator) -> bool:
    return words.evaluate(IS_WHOLE)


@pytest.mark.parametrize("size", [(1440, 900), PHONE])
def test_why_something_failed_can_be_read_whole(
    quiet_server: Server, hollow: str, come: Callable[..., Person], size: tuple[int, int]
) -> None:
    wish = {"recipe": {"prompt": "a long story of a star", "model": hollow, "steps": 2}, "times": None}
    assert quiet_server.post("/v1/repeats", wish)[0] == 201
    (repeat,) = until(
        lambda: [one for one in quiet_server.get("/v1/repeats")[1]["repeats"] if one["error"]], "the repeat's end"
    )
    problem = repeat["error"]["problem"]
    person = come(size)
    person.alert.get_by_role("button", name="Dismiss").click()
    if size == PHONE:
        person.page.locator("#fl-bar [data-sheet=queue]").click()
    stopped = person.page.get_by_role("region", name="Queue").get_by_role("list", name="Running again and again")
    expect(stopped).to_contain_text(problem)
    assert is_whole(stopped.locator(".how"))
    person.page.get_by_role("button", name="History").click()
    person.page.get_by_role("button", name="Why: a long story of a star").first.click()
    expect(person.alert).to_contain_text(problem)
    expect(person.alert).to_contain_text(repeat["error"]["hint"])
    expect(person.alert.get_by_role("button", name="Try again")).to_be_in_viewport()
    person.alert.get_by_role("button", name="Dismiss").click()
    person.page.get_by_role("button", name="History").click()
    stopped.get_by_role("button", name="Dismiss: a long story of a star").click()
    expect(stopped).not_to_be_visible()
