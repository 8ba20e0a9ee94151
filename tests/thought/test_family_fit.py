"""What a family has no place for is said before a model is loaded, and greyed out with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.errors import BadValue
from fooocus_lite.families import FAMILIES
from fooocus_lite.family_fit import idle_fields, idle_reasons
from fooocus_lite.guidances import OFF
from fooocus_lite.library import Library
from fooocus_lite.plan import Plan, make_plan
from fooocus_lite.recipe import Recipe, parse_recipe
from tests.lora_header import lora_bytes


@pytest.fixture
def library(root: Path, load: Callable[[], Library]) -> Library:
    rows = json.loads((root / "models" / "catalog.json").read_text())
    for name in FAMILIES:
        (root / "models" / name).mkdir(exist_ok=True)
        (root / "models" / name / "model_index.json").write_text("{}")
        rows.append({"name": f"a-{name}", "family": name, "path": name, "native_size": 1024})
    (root / "models" / "catalog.json").write_text(json.dumps(rows))
    return load()


def plan(library: Library, **wish: Any) -> Plan:
    return make_plan(parse_recipe({"prompt": "a house"} | wish), library, seed=5)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_family_has_itself_needs_no_words(library: Library, name: str) -> None:
    made = plan(library, model=f"a-{name}")
    assert made.warnings == ()
    assert (made.steps, made.guidance_scale) == tuple(
        FAMILIES[name].defaults[field] for field in ("steps", "guidance_scale")
    )


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"sag_scale": 0.75}, "Self-attention guidance does nothing: this kind of model has no UNet"),
        ({"pag_scale": 3.0}, "Perturbed-attention guidance does nothing"),
        ({"freeu_b1": 1.3}, "FreeU does nothing"),
        ({"adm_positive": 1.5}, "ADM size scaling does nothing: this kind of model is told no sizes"),
        (
            {"perp_neg": 1.0, "negative_prompt": "red"},
            "Perp-Neg does nothing: this kind of model reads only the",
        ),
        ({"guidance_end": 0.5}, "Guidance interval does nothing: this kind of model reads the guidance scale at every"),
        ({"negative_prompt": "red"}, "The negative prompt does nothing: this kind of model reads only the prompt"),
        ({"clip_skip": 2}, "CLIP skip does nothing"),
    ],
)
def test_what_flux_has_no_place_for_is_a_sentence(library: Library, wish: dict[str, Any], words: str) -> None:
    made = plan(library, model="a-flux", **wish)
    assert sum(warning.startswith(words) for warning in made.warnings) == 1, made.warnings
    assert all("at guidance scale 1" not in warning for warning in made.warnings)


def test_a_styles_unwanted_words_are_nobodys_mistake(library: Library) -> None:
    assert plan(library, model="a-flux", styles=["Washes"]).warnings == ()


def test_flux_has_samplers_and_a_pipeline_its_own_walk(library: Library) -> None:
    assert plan(library, model="a-flux", sampler="dpmpp_2m", scheduler="beta").warnings == ()
    said = plan(library, model="a-z-image", sampler="dpmpp_2m", scheduler="beta").warnings
    assert [one.partition(" does")[0] for one in said] == ["The sampler", "The schedule"]
    with pytest.raises(BadValue, match="not made for how the model a-flux was trained"):
        plan(library, model="a-flux", sampler="tcd")


def test_some_pipelines_read_a_negative_prompt(library: Library) -> None:
    assert plan(library, model="a-sd35", negative_prompt="red").warnings == ()
    assert "The negative prompt does nothing" in plan(library, model="a-sana-sprint", negative_prompt="red").warnings[0]


def test_a_refiner_is_left_out_where_none_can_take_over(library: Library) -> None:
    made = plan(library, model="a-flux", refiner="a-flux")
    assert made.refiner is None


def test_modes_are_as_long_as_the_family_has_them(library: Library) -> None:
    assert plan(library, model="a-flux", mode="quality").steps == 50
    assert plan(library, model="a-flux", mode="speed").steps == 28
    assert plan(library, model="a-flux2-klein", mode="quality").steps == 4
    with pytest.raises(BadValue, match="not made for"):
        plan(library, model="a-flux", mode="lightning")


def test_loras_go_to_the_kind_they_were_made_for(library: Library, root: Path, load: Callable[[], Library]) -> None:
    (root / "models" / "loras").mkdir()
    (root / "models" / "loras" / "xl.safetensors").write_bytes(lora_bytes(2048))
    again = load()
    with pytest.raises(BadValue, match="was made for SDXL, and a-flux is another kind of model"):
        plan(again, model="a-flux", loras=[{"name": "xl"}])
    assert [lora.name for lora in plan(again, model="a-sdxl", loras=[{"name": "xl"}]).loras] == ["xl"]


@pytest.mark.parametrize("name", FAMILIES)
def test_reasons_are_sentences_about_fields(name: str) -> None:
    reasons = idle_reasons(name)
    assert set(reasons) <= set(Recipe.model_fields)
    assert all(reason[0].isupper() and reason.endswith(".") for reason in reasons.values())
    full = Recipe(**FAMILIES[name].defaults)
    assert list(idle_fields(full, name)) == []
    for field in set(reasons) & set(OFF) - {"adm_end", "guidance_scale"}:
        other = full.model_copy(update={field: 0.5})
        assert any("does nothing" in said for said in idle_fields(other, name)), field
