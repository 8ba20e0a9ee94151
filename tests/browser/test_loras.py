"""The LoRA tab: found, switched on, weighed, its words put into the prompt; and what was made for another model."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from fooocus_lite.prompt_files import ByName
from tests.app.client import ask_json
from tests.app.test_loras import starter_lora
from tests.browser.conftest import PHONE
from tests.browser.person import Person
from tests.browser.test_stories import difference
from tests.faults.server import Server
from tests.lora_header import lora_bytes

PROMPT = "a red star, twice, on a white background"  # other stories fill the same gallery


@pytest.fixture
def trainer(person: Person, quiet_server: Server) -> Iterator[Person]:
    """Somebody with three LoRAs, at the tab."""
    folder = quiet_server.models / "loras"
    folder.mkdir(exist_ok=True)
    starter_lora(quiet_server.models, folder / "ink.safetensors")
    Image.new("RGB", (200, 200), "navy").save(folder / "ink.png")
    (folder / "Soft Lines.safetensors").write_bytes(lora_bytes(2048, metadata={"modelspec.title": "<b>Soft</b> lines"}))
    (folder / "cut.safetensors").write_bytes(lora_bytes()[:-3])
    person.open_advanced("LoRA")
    expect(row(person, "Ink")).to_be_visible()
    yield person
    for path in folder.iterdir():
        path.unlink()


def row(person: Person, title: str) -> Locator:
    return person.page.get_by_role("list", name="LoRAs", exact=True).get_by_role("listitem").filter(has_text=title)


def switch(person: Person, title: str) -> Locator:
    return row(person, title).locator("button.pick")


def chosen(person: Person) -> list[dict[str, object]]:
    return json.loads(person.page.locator("#fl-loralist textarea, #fl-loralist input").first.input_value())


def test_a_lora_is_switched_on_weighed_and_drawn_with(trainer: Person) -> None:
    trainer.set_steps(4)
    trainer.set_seed(5)
    trainer.generate(PROMPT)
    plain = trainer.see_picture(PROMPT)
    trainer.open_advanced("LoRA")
    switch(trainer, "Ink").click()
    expect(switch(trainer, "Ink")).to_have_attribute("aria-pressed", "true")
    weight = row(trainer, "Ink").get_by_label("Weight of Ink as a number")
    weight.fill("1.5")
    weight.press("Enter")
    expect(trainer.page.get_by_text("1 on", exact=True)).to_be_visible()
    expect(row(trainer, "Ink").get_by_role("slider")).to_have_value("1.5")
    trainer.page.wait_for_function(
        "() => document.querySelector('#fl-loralist textarea, #fl-loralist input').value.includes('1.5')"
    )
    assert chosen(trainer) == [{"name": "ink", "weight": 1.5, "enabled": True}]
    weight.fill("")
    weight.press("Tab")
    expect(weight).to_have_value("1.5")
    row(trainer, "Ink").get_by_role("button", name="Put into the prompt: inkwash").click()
    expect(trainer.prompt).to_have_value(f"{PROMPT}, inkwash")
    trainer.prompt.fill(PROMPT)
    drawn = trainer.gallery.get_by_role("button", name=PROMPT)
    expect(drawn).to_have_count(1)
    trainer.generate()
    expect(drawn).to_have_count(2, timeout=600_000)
    assert difference(trainer.see_picture(PROMPT), plain) > 1
    switch(trainer, "Ink").click()
    expect(switch(trainer, "Ink")).to_have_attribute("aria-pressed", "false")
    expect(row(trainer, "Ink").get_by_role("slider")).to_be_hidden()


def test_what_was_made_for_another_model_says_so(trainer: Person) -> None:
    soft = row(trainer, "<b>Soft</b> lines")  # as text, never as markup
    expect(soft).to_contain_text("Made for SDXL; Starter is another kind.")
    expect(switch(trainer, "<b>Soft</b> lines")).to_be_disabled()
    expect(row(trainer, "cut")).to_contain_text("is damaged")
    box = trainer.page.get_by_role("searchbox", name="Search LoRAs")
    box.fill("INKWASH")
    expect(soft).to_be_hidden()
    expect(row(trainer, "Ink")).to_be_visible()
    box.fill("nothing is called so")
    expect(trainer.page.get_by_text("No LoRA is called so.")).to_be_visible()


def test_names_mean_what_they_mean_to_the_library(person: Person) -> None:
    person.open()
    names = ["my-style", "my_style", "sub/Soft Lines", "sub/my style"]
    typed = ["my_style", "my-style", "MY STYLE", "Sub\\MY-style.safetensors", "soft_lines", "ink"]
    found = person.page.evaluate(
        """async ([names, typed]) => {
            const { byName } = await import("/ui/loralist.js");
            const find = byName(names.map((name) => ({ name })));
            return typed.map((name) => find(name)?.name ?? null);
        }""",
        [names, typed],
    )
    assert found == ["my_style", "my-style", "my-style", "sub/my style", "sub/Soft Lines", None]
    library = ByName({name: name for name in names})
    assert [library.find(name) for name in typed if "." not in name] == [name for name in found if name != names[3]]


def test_one_that_a_preset_names_and_is_not_here_can_be_taken_out(trainer: Person, quiet_server: Server) -> None:
    recipe = {"loras": [{"name": "gone", "weight": 0.5}, {"name": "INK", "weight": -0.5}]}
    assert ask_json(quiet_server.address, "POST", "/v1/presets", {"label": "Inky", "recipe": recipe})[0] == 201
    try:
        trainer.open()
        trainer.page.get_by_role("combobox", name="Preset").click()
        trainer.page.get_by_role("option", name="Inky").click()
        trainer.open_advanced("LoRA")
        expect(trainer.page.get_by_text("gone is not here; pictures are made without it.")).to_be_visible()
        expect(row(trainer, "Ink").get_by_role("slider")).to_have_value("-0.5")
        trainer.button("Take out: gone").click()
        expect(trainer.page.get_by_text("gone is not here")).to_be_hidden()
        trainer.page.wait_for_function(
            "() => !document.querySelector('#fl-loralist textarea, #fl-loralist input').value.includes('gone')"
        )
        assert chosen(trainer) == [{"name": "INK", "weight": -0.5, "enabled": True}]
    finally:
        ask_json(quiet_server.address, "DELETE", "/v1/presets/inky")


@pytest.mark.parametrize("size", [(1440, 900), PHONE], ids=["wide", "phone"])
def test_the_tab_fits_every_screen(trainer: Person, size: tuple[int, int]) -> None:
    trainer.page.set_viewport_size({"width": size[0], "height": size[1]})
    switch(trainer, "Ink").click() if size[0] > 1000 else None
    panel = trainer.page.locator("#fl-loras")
    assert panel.evaluate("node => node.scrollWidth <= node.clientWidth")
