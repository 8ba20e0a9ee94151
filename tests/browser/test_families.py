"""A model of another family in the page: what does nothing with it is greyed out with its reason, and it draws."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.person import Person
from tests.engine.tiny_flux import write_flux
from tests.faults.server import Server

NO_UNET = "This kind of model has no UNet, which it works on."


@pytest.fixture
def server(quiet_server: Server, tmp_path: Path) -> Iterator[Server]:
    """The shared server with a tiny FLUX model and a preset of it. Afterwards it is as it was."""
    folder = write_flux(tmp_path / "flux")
    catalog = quiet_server.data / "catalog.json"
    row = {"name": "tiny-flux", "family": "flux", "path": str(folder), "native_size": 128, "size_multiple": 16}
    catalog.write_text(json.dumps([row]))
    preset = quiet_server.data / "presets" / "tiny-flux.json"
    preset.parent.mkdir(exist_ok=True)
    preset.write_text(json.dumps({"label": "Tiny FLUX", "recipe": {"model": "tiny-flux", "steps": 2}}))
    yield quiet_server
    catalog.unlink()
    preset.unlink()
    quiet_server.wait(*quiet_server.submit("a star", steps=2))


def knob(person: Person, name: str) -> Locator:
    return person.page.get_by_label(f"number input for {name}", exact=True)


def test_what_does_nothing_is_greyed_out_with_its_reason_and_the_model_draws(server: Server, person: Person) -> None:
    box = person.page.get_by_role("combobox", name="Preset")
    person.open_advanced("Expert")
    expect(knob(person, "Self-attention guidance")).to_be_enabled()
    box.click()
    person.page.get_by_role("option", name="Tiny FLUX", exact=True).click()
    expect(knob(person, "Self-attention guidance")).to_be_disabled()
    expect(person.page.locator("#fl-sag_scale")).to_contain_text(NO_UNET)
    expect(person.page.get_by_role("combobox", name="Sampler")).to_be_enabled()
    expect(person.page.get_by_role("combobox", name="Sampler")).to_have_value("Euler")
    person.generate("a red circle")
    assert person.see_picture("a red circle").size == (128, 128)
    box.click()
    person.page.get_by_role("option", name="Starter", exact=True).click()
    expect(knob(person, "Self-attention guidance")).to_be_enabled()
