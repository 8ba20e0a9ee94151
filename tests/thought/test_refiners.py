"""The second model of a picture, as far as it can be judged before anything is loaded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.errors import BadValue, MissingModel, UnknownName
from fooocus_lite.library import Library
from fooocus_lite.menu import make_menu
from fooocus_lite.missing_files import missing_offers
from fooocus_lite.model_files import ModelFile
from fooocus_lite.offers import Offer
from fooocus_lite.plan import Plan, make_plan, plan_from_dict, resolve
from fooocus_lite.recipe import parse_recipe


def plan(library: Library, **wish: Any) -> Plan:
    return make_plan(parse_recipe(wish), library, seed=5)


def test_a_refiner_is_checked_before_anything_is_loaded(library: Library) -> None:
    tiny = library.models["tiny"]
    models = {**library.models, "fine": dataclasses.replace(tiny, name="fine", label="Fine", path="/there/fine")}
    models["flow"] = dataclasses.replace(tiny, name="flow", label="Flow", noise="flow")
    models["other"] = dataclasses.replace(tiny, name="other", label="Other", family="flux")
    both = dataclasses.replace(library, models=models)
    made = plan(both, refiner="FINE")
    assert made.refiner and (made.refiner.name, made.refiner.path) == ("fine", "/there/fine")
    assert made.refiner_switch == 0.8
    assert resolve(parse_recipe({"refiner": "FINE"}), both, 0).refiner == "fine"
    for never in ({"refiner": "none"}, {"refiner": "fine", "refiner_switch": 1}, {"refiner": "Tiny"}, {}):
        assert plan(both, **never).refiner is None
    assert plan(both, refiner="fine", refiner_switch=0.98, steps=20).refiner is None, "half a step is none"
    assert plan_from_dict(json.loads(json.dumps(dataclasses.asdict(made)))) == made
    with pytest.raises(UnknownName, match="There is no refiner 'fin'") as unknown:
        plan(both, refiner="fin")
    assert unknown.value.field == "refiner" and unknown.value.hint.startswith("Did you mean fine?")
    with pytest.raises(MissingModel, match="The refiner big is not at") as gone:
        plan(both, refiner="big")
    assert gone.value.field == "refiner"
    for name, what in (("other", "its family is flux, not sdxl"), ("flow", "its kind of noise is flow, not table")):
        with pytest.raises(BadValue, match=what) as wrong:
            plan(both, refiner=name)
        assert (wrong.value.field, wrong.value.hint) == ("refiner", "Choose one of: none, fine.")
    for switch in (-0.1, 1.5, True, "late"):
        with pytest.raises(BadValue, match="refiner_switch cannot be") as out:
            plan(both, refiner_switch=switch)
        assert out.value.hint == "Allowed is a number from 0 to 1."


def test_a_refiner_that_can_be_had_is_offered(library: Library) -> None:
    tiny = library.models["tiny"]
    file = ModelFile("/away/fine.safetensors", url="https://example.org/fine.safetensors", size_bytes=1)
    models = {**library.models, "fine": dataclasses.replace(tiny, name="fine", label="Fine", available=False)}
    models["gone"] = dataclasses.replace(models["fine"], name="gone", label="Gone")
    models["flux"] = dataclasses.replace(tiny, name="flux", label="Flux", family="flux")
    offers = {"fine": Offer("fine", "Fine", "checkpoint", "", (file,))}
    both = dataclasses.replace(library, models=models, downloadable=offers)
    words = {row["name"]: row["as_refiner"] for row in make_menu(both)["models"]}
    assert {name: words[name] for name in ("tiny", "fine", "gone", "flux")} == {
        "tiny": tiny.label, "fine": "Fine (is downloaded)", "gone": "", "flux": "",
    }  # fmt: skip
    made = plan(both, refiner="fine")
    assert [offer.name for offer in missing_offers(made, both)] == ["fine"]
    with pytest.raises(BadValue) as wrong:
        plan(both, refiner="flux")
    assert wrong.value.hint == "Choose one of: none, fine."


@pytest.mark.parametrize(
    "file, refiner", [("tiny.safetensors", "none"), ("fine.safetensors", "fine"), ("no.ckpt", "none")]
)
def test_a_preset_of_fooocus_brings_its_refiner_or_does_without(
    root: Path, load: Callable[[], Library], file: str, refiner: str
) -> None:
    (root / "models" / "fine").mkdir()
    (root / "models" / "fine" / "model_index.json").write_text("{}")
    catalog = root / "models" / "catalog.json"
    rows = json.loads(catalog.read_text())
    catalog.write_text(json.dumps([*rows, rows[0] | {"name": "fine", "path": "fine"}]))
    said = {"default_model": "tiny.safetensors", "default_refiner": file, "default_refiner_switch": 0.75}
    (root / "presets" / "sai.json").write_text(json.dumps(said))
    full = resolve(parse_recipe({"preset": "sai"}), load(), 0)
    assert (full.refiner, full.refiner_switch) == (refiner, 0.75)
    notes = load().presets["sai"].warnings
    assert ("The refiner 'no' is not here; the model draws all the steps." in notes) == (file == "no.ckpt")


def test_a_preset_whose_refiner_is_not_there_says_so_in_the_menu(root: Path, load: Callable[[], Library]) -> None:
    for name, refiner in (("gone", "fin"), ("there", "Tiny"), ("without", "None")):
        (root / "presets" / f"{name}.json").write_text(json.dumps({"recipe": {"refiner": refiner}}))
    problems = [problem for problem in load().menu()["problems"] if "refiner" in problem]
    assert problems == ["Preset gone: There is no refiner 'fin'."]
