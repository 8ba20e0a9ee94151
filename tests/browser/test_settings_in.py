"""Settings from elsewhere: pictures dropped or picked, texts pasted; and what is not what it seems."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import JSHandle, Locator, expect

from tests.app.client import ask
from tests.browser.person import Person
from tests.deeds import foreign
from tests.faults.server import Server

PICTURES = Path(__file__).parents[1] / "deeds" / "pictures"
A1111_PICTURE = (PICTURES / "a1111_scheme.png").read_bytes()
TEXT = """a fox <img src=x onerror="document.title='hacked'">
Negative prompt: ugly
Steps: 28, Sampler: Euler a, Seed: 8123456789012345678, Size: 128x128, Model hash: 31e35c80fc, Model: far"""
CARRY = """(files) => {
  const carried = new DataTransfer();
  for (const [name, type, text] of files) {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    carried.items.add(new File([bytes], name, { type }));
  }
  return carried;
}"""
CARRY_ZEROS = """(size) => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(size)], "large.png", { type: "image/png" }));
  return carried;
}"""
PASTE = """(field, text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
  if (!field.dispatchEvent(event) || !("value" in field)) return;
  field.setRangeText(text, 0, field.value.length, "end");
  field.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def carry(person: Person, *files: tuple[str, bytes]) -> JSHandle:
    """A drag that brings files from outside the browser."""
    rows = [(name, "image/png", base64.b64encode(data).decode()) for name, data in files]
    return person.page.evaluate_handle(CARRY, rows)


def drop(person: Person, *files: tuple[str, bytes], on: str = "#fl-stage") -> None:
    carried = carry(person, *files)
    for kind in ("dragenter", "dragover", "drop"):
        person.page.dispatch_event(on, kind, {"dataTransfer": carried})


def paste(field: Locator, text: str) -> None:
    """What the browser does at Ctrl+V; a real clipboard belongs to the whole machine."""
    field.evaluate(PASTE, text)


def note(person: Person) -> Locator:
    return person.page.get_by_role("status").filter(has_text="Settings of")


def half_a_head(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and then ends."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize("place", ["#fl-stage", "#fl-prompt textarea", "#fl-grid"])
def test_a_dropped_picture_fills_the_form_and_can_be_undone(person: Person, place: str) -> None:
    person.prompt.fill("before")
    drop(person, ("cat.png", A1111_PICTURE), on=place)
    expect(person.prompt).to_have_value("red cat\nsecond line")
    expect(person.page.get_by_role("textbox", name="Seed")).to_have_value("12345")
    expect(note(person)).to_contain_text("Settings of cat.png, as A1111 writes them")
    expect(note(person)).to_contain_text("The model juggernaut-xl is known here, but not on this disk yet.")
    expect(note(person)).to_contain_text("is not here")
    expect(person.page.get_by_role("status").filter(has_text="Changed:")).to_contain_text("steps 20 → 30")
    person.button("Undo").click()
    expect(person.prompt).to_have_value("before")
    expect(person.page.get_by_role("textbox", name="Seed")).to_have_value("")
    expect(note(person)).not_to_be_attached()


def test_a_drag_is_framed_and_moves_nothing(person: Person) -> None:
    frame = person.page.get_by_text("Drop it: the settings in it are used")
    places = [person.stage.bounding_box(), person.button("Generate").bounding_box()]
    carried = carry(person, ("cat.png", A1111_PICTURE))
    person.page.dispatch_event("#fl-stage", "dragenter", {"dataTransfer": carried})
    expect(frame).to_be_visible()
    assert [person.stage.bounding_box(), person.button("Generate").bounding_box()] == places
    person.page.dispatch_event("#fl-stage", "dragleave", {"dataTransfer": carried})
    expect(frame).not_to_be_visible()
    person.page.dispatch_event("#fl-stage", "dragstart", {"dataTransfer": carried})  # out of our own gallery
    person.page.dispatch_event("#fl-prompt textarea", "dragover", {"dataTransfer": carried})
    expect(frame).not_to_be_visible()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (A1111_PICTURE[:60], "<b>x</b>.png"),
        (half_a_head(50_000, 50_000), "<b>x</b>.png"),
        (b"hello", "<b>x</b>.png holds no settings that are known here."),
        (b"", "<b>x</b>.png"),
    ],
    ids=["half", "huge", "words", "empty"],
)
def test_what_is_no_picture_with_settings_is_one_sentence(person: Person, data: bytes, sentence: str) -> None:
    person.prompt.fill("before")
    drop(person, ("<b>x</b>.png", data))
    expect(person.alert).to_contain_text(sentence)
    expect(person.alert.get_by_role("button", name="Dismiss")).to_be_visible()
    expect(person.prompt).to_have_value("before")


def test_a_file_that_is_too_large_is_not_even_sent(person: Person) -> None:
    sent: list[str] = []
    person.page.on("request", lambda request: sent.append(request.url))
    carried = person.page.evaluate_handle(CARRY_ZEROS, 64_000_001)
    person.page.dispatch_event("#fl-stage", "drop", {"dataTransfer": carried})
    expect(person.alert).to_contain_text("large.png has more than 64 MB.")
    assert not [url for url in sent if "/v1/read" in url]


def test_hostile_words_stay_words(person: Person) -> None:
    nasty = "<img src=x onerror=\"document.title='hacked'\">"
    drop(person, (f"{nasty}.png", foreign.png(parameters=TEXT.replace("Model: far", f"Model: {nasty}"))))
    expect(note(person)).to_contain_text(f"Settings of {nasty}.png")
    expect(person.prompt).to_have_value(re.compile(re.escape(nasty)))  # the form fills after the note
    assert person.page.locator("img[src=x]").count() == 0
    assert person.page.title() != "hacked"


def test_of_several_files_the_first_with_settings_is_taken(person: Person) -> None:
    drop(person, ("note.txt", b"hello"), ("cat.png", A1111_PICTURE), ("other.png", foreign.png(parameters=TEXT)))
    expect(note(person)).to_contain_text("Settings of cat.png")
    expect(note(person)).to_contain_text("The first of 3 files that has settings.")
    expect(person.prompt).to_have_value("red cat\nsecond line")
    drop(person, ("note.txt", b"hello"), ("half.png", A1111_PICTURE[:60]))
    expect(person.alert).to_contain_text("None of these 2 files has settings that can be read.")
    expect(person.alert).to_contain_text("half.png")


def test_our_own_picture_brings_everything_back(person: Person, quiet_server: Server) -> None:
    person.set_steps(3)
    person.choose_style("Neon")
    person.generate("a pink heart")
    person.see_picture("a pink heart")
    (task,) = quiet_server.get("/v1/tasks?limit=1")[1]["tasks"]
    person.prompt.fill("something else")
    person.set_steps(9)
    drop(person, ("heart.png", quiet_server.picture(task["id"]).read_bytes()))
    expect(note(person)).to_contain_text("as Fooocus Lite writes them")
    expect(person.prompt).to_have_value("a pink heart")
    expect(person.page.get_by_label("number input for Steps")).to_have_value("3")
    expect(person.page.get_by_role("textbox", name="Seed")).to_have_value(str(task["recipe"]["seed"]))


def test_a_picture_in_a_style_that_is_gone_can_be_used_without_it(person: Person, quiet_server: Server) -> None:
    assert quiet_server.post("/v1/styles", {"name": "Gone Soon", "prompt": "{prompt} in fog"})[0] == 201
    (task_id,) = quiet_server.submit("a red boat", steps=2, styles=["Gone Soon", "Neon"])
    quiet_server.wait(task_id)
    assert ask(quiet_server.address, "DELETE", "/v1/styles/Gone%20Soon")[0] == 204
    person.page.reload()
    person.wait_until_alive()
    person.button("Use these settings").click()
    expect(person.page.get_by_text("No style here is called Gone Soon; it was left out.")).to_be_visible()
    expect(person.page.locator("#fl-styles").get_by_text("Neon")).to_be_visible()
    person.generate("a red boat again")
    person.see_picture("a red boat again")


def test_every_warning_is_there_not_only_the_first(person: Person) -> None:
    person.prompt.fill("a __nowhere__ star <lora:nobody:1>")
    warning = person.page.locator("#fl-warning")
    expect(warning).to_contain_text("more)")
    warning.locator("summary").click()
    for word in ("nowhere", "nobody"):
        expect(warning.get_by_text(word).first).to_be_visible()


def test_settings_pasted_into_the_prompt_are_offered_not_forced(person: Person) -> None:
    person.prompt.fill("before")
    paste(person.prompt, "a fox in the snow, steps: 3")
    expect(person.button("Use them")).not_to_be_attached()
    person.prompt.fill("before")
    paste(person.prompt, TEXT)
    expect(person.prompt).to_have_value(TEXT)
    person.button("Use them").click()
    expect(person.prompt).to_have_value(TEXT.split("\n")[0])
    expect(person.page.get_by_role("textbox", name="Seed")).to_have_value("8123456789012345678")
    expect(note(person)).to_contain_text("The model 'far' is not here (hash 31e35c80fc)")
    expect(note(person)).to_contain_text("Starter draws it instead.")
    person.button("Undo").click()
    expect(person.prompt).to_have_value("before")


def test_settings_pasted_beside_the_fields_are_used(person: Person) -> None:
    paste(person.page.locator("body"), '{"prompt": "a boat", "steps": 6}')
    expect(person.prompt).to_have_value("a boat")
    expect(note(person)).to_contain_text("as Fooocus Lite writes them")


def test_the_paste_box_says_what_it_cannot_read(come: Callable[..., Person]) -> None:
    person = come((390, 844))
    person.button("Preset actions").click()
    person.button("Paste settings…").click()
    box = person.page.get_by_role("textbox", name="Settings to paste")
    expect(box).to_be_focused()
    box.fill("hello")
    person.button("Use them").click()
    expect(person.alert).to_contain_text("The text holds no settings that are known here.")
    box.fill(TEXT)
    person.button("Use them").click()
    expect(box).not_to_be_visible()
    expect(person.prompt).to_have_value(TEXT.split("\n")[0])


def test_a_picked_picture_fills_the_form(person: Person) -> None:
    person.button("Preset actions").click()
    with person.page.expect_file_chooser() as chooser:
        person.button("Settings from a picture…").click()
    chooser.value.set_files(PICTURES / "fooocus_scheme.jpeg")
    expect(person.prompt).to_have_value("red cat\nsecond line")
    expect(note(person)).to_contain_text("Settings of fooocus_scheme.jpeg, as Fooocus writes them")
