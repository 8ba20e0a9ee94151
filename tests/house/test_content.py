"""Every style, preset, model and registry row that ships is complete and usable."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
from typing import Any

import pytest

from fooocus_lite.errors import FooocusError
from fooocus_lite.families import FAMILIES
from fooocus_lite.guidances import GUIDANCES, KNOBS, OFF, Weights
from fooocus_lite.library import Library, load_library
from fooocus_lite.modes import MODES
from fooocus_lite.plan import make_plan
from fooocus_lite.prompts import PLACEHOLDER, make_texts, normal_name
from fooocus_lite.recipe import Recipe, number_range, parse_recipe
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from fooocus_lite.sampler_names import find_pair
from fooocus_lite.settings import app_root, load_settings
from fooocus_lite.style_files import Style
from tests.house.code import ROOT

# A data folder that is not there: a person's own files are not ours to judge.
LIBRARY: Library = load_library(load_settings({"data_dir": "no-such-folder"}, env={}))
STYLES = [style for style in LIBRARY.styles.values() if style.kind == "text"]
STARTER = [style for style in STYLES if style.category == "Starter"]
THEMED = [style for style in STYLES if style.category != "Starter"]
THEMES = [
    "3D",
    "Craft",
    "Design",
    "Era",
    "Film",
    "Games",
    "Illustration",
    "Material",
    "Mood",
    "Painting",
    "Photography",
    "Print",
]
MAX_STYLE_WORDS = 60
MAX_SHARED_WORDS = 0.3


def test_all_shipped_files_load() -> None:
    assert LIBRARY.problems == ()


def test_there_is_enough_to_choose_from() -> None:
    assert len(STARTER) >= 12 and len(THEMED) >= 125
    assert sorted({style.category for style in THEMED}) == THEMES
    assert min(sum(style.category == theme for style in THEMED) for theme in THEMES) >= 10
    assert {"starter", "starter-fast"} <= set(LIBRARY.presets)
    assert STYLES[0].category == "Starter", "what the first model can show comes first"


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_style(style: Style) -> None:
    assert style.prompt.count(PLACEHOLDER) == 1
    assert "\n" not in style.prompt + style.negative_prompt
    assert PLACEHOLDER not in style.negative_prompt
    assert len(f"{style.prompt} {style.negative_prompt}".split()) <= MAX_STYLE_WORDS
    assert re.fullmatch(r"[A-Z0-9][\w ]{2,39}", style.name)
    assert not re.search(r"\b(by|style of) [A-Z]", style.prompt), "no artist's name"
    assert not re.search(r"  |,,| ,|^\s|\s$", style.prompt + "|" + style.negative_prompt)


@pytest.mark.parametrize("style", THEMED, ids=lambda style: style.name)
def test_a_themed_style_says_enough_and_not_too_much(style: Style) -> None:
    """The starter's are as short as the words it was trained on."""
    assert 60 <= len(style.prompt) <= 300
    assert style.negative_prompt
    assert make_texts(["a cat"], [], [(style.prompt, "")])[0][0].count("a cat") == 1


def test_no_two_styles_say_the_same() -> None:
    assert len({normal_name(style.name) for style in STYLES}) == len(STYLES)
    assert len({style.prompt.casefold() for style in STYLES}) == len(STYLES)


def test_no_two_styles_say_nearly_the_same() -> None:
    words = {
        style.name: set(re.findall(r"[a-z]{4,}", style.prompt.casefold())) - {"prompt", "with"} for style in THEMED
    }
    near = [
        (one, other)
        for one, other in itertools.combinations(words, 2)
        if len(words[one] & words[other]) > MAX_SHARED_WORDS * len(words[one] | words[other])
    ]
    assert near == []


def training_words() -> Any:
    """The module with what the starter was taught to say."""
    spec = importlib.util.spec_from_file_location("training_words", ROOT / "training" / "words.py")
    assert spec and spec.loader
    words = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = words  # dataclasses look their module up
    spec.loader.exec_module(words)
    return words


def test_starter_styles_use_the_words_the_starter_was_trained_on() -> None:
    shipped = {style.prompt for style in STYLES if style.category == "Starter"}
    assert set(training_words().STYLE_TEMPLATES.values()) <= shipped


@pytest.mark.parametrize("name", LIBRARY.word_lists)
def test_word_list(name: str) -> None:
    words = LIBRARY.word_lists[name].words
    assert re.fullmatch(r"[a-z_]+(/[a-z_]+)?", name), "written the same in a prompt"
    assert len(words) >= 6 and len({word.casefold() for word in words}) == len(words)
    assert all(len(word) <= 100 and not re.search(r"  |,$|\t|[<>\[\]{}]", word) for word in words)
    for seed in range(20):
        plan = make_plan(Recipe(prompt=f"__{name}__", model="starter"), LIBRARY, seed)
        assert plan.warnings == () and "__" not in plan.texts[0], "the lists it names are there"


def test_starter_words_are_those_the_starter_was_trained_on() -> None:
    words = training_words()
    assert set(LIBRARY.word_lists["starter/colour"].words) == set(words.COLOURS)
    assert set(LIBRARY.word_lists["starter/shape"].words) == set(words.SHAPES)


@pytest.mark.parametrize("name", LIBRARY.presets)
def test_preset_makes_a_plan_without_a_word(name: str) -> None:
    preset = LIBRARY.presets[name]
    plan = make_plan(Recipe(prompt="a red circle", preset=name), LIBRARY, seed=1)
    assert preset.label and preset.description.endswith(".")
    assert [warning for warning in plan.warnings if "not on this disk" not in warning] == []


@pytest.mark.parametrize("name", LIBRARY.models)
def test_every_size_on_offer_can_be_drawn(name: str) -> None:
    entry = LIBRARY.models[name]
    assert (entry.native_size, entry.native_size) in entry.aspect_sizes
    assert set(entry.style_categories) <= {style.category for style in STYLES}
    for width, height in entry.aspect_sizes:
        plan = make_plan(Recipe(prompt="x", model=name, width=width, height=height), LIBRARY, seed=1)
        assert [warning for warning in plan.warnings if "not on this disk" not in warning] == []


@pytest.mark.parametrize("name", LIBRARY.downloadable)
def test_what_can_be_fetched_is_described(name: str) -> None:
    offer = LIBRARY.downloadable[name]
    assert offer.label and offer.description.endswith(".") and offer.licence and offer.memory_bytes
    assert offer.licence_url.startswith("https://") and "huggingface.co" in offer.licence_url
    assert ("non-commercial" in offer.description.casefold()) == ("non-commercial" in offer.licence.casefold())
    assert all(file.repo and file.path_in_repo for file in offer.files), "the hub checks what nobody has published"
    line = next(row for row in document("models.md") if row.startswith(f"| `{name}` |"))
    assert offer.licence_url in line and ("gated" in line) == offer.is_gated


def document(name: str) -> list[str]:
    return (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines()


def test_everything_that_a_mode_or_preset_needs_can_be_fetched_or_ships() -> None:
    loras = {lora.name for mode in MODES.values() for lora in mode.loras.values()}
    assert {name for name in loras if LIBRARY.downloadable[name].kind == "lora"} == loras
    for preset in LIBRARY.presets.values():
        entry = LIBRARY.find_model(preset.recipe.model or "")
        assert entry.available or entry.name in LIBRARY.downloadable
    assert LIBRARY.default_preset == "starter", "the page draws at once"


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_row(name: str) -> None:
    row = SAMPLERS[name]
    assert re.fullmatch(r"[a-z0-9_]+", name) and row.label and row.paper and row.good_for
    assert row.min_steps >= max(1, row.calls) and row.scheduler in SCHEDULERS
    assert set(row.noise) & set(SCHEDULERS[row.scheduler].noise), "its usual schedule goes with it"
    assert {find_pair(written).sampler for written in (name, row.label, row.label.upper(), *row.aliases)} == {name}
    module, _, function = row.solver.partition(":")
    assert f"def {function}(" in (ROOT / "fooocus_lite" / "engine" / f"{module}.py").read_text(encoding="utf-8")
    assert f"| `{name}` |" in (ROOT / "docs" / "samplers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler_row(name: str) -> None:
    row = SCHEDULERS[name]
    assert re.fullmatch(r"[a-z0-9_]+", name) and row.label and row.paper and row.good_for
    written = (name, row.label, row.label.upper(), *row.aliases)
    assert {find_pair("euler", one).scheduler for one in written} == {name}
    assert f"def {row.schedule}(" in (ROOT / "fooocus_lite" / "engine" / "schedules.py").read_text(encoding="utf-8")
    assert f"| `{name}` |" in (ROOT / "docs" / "samplers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GUIDANCES)
def test_guidance_row(name: str) -> None:
    row = GUIDANCES[name]
    assert row.label and row.good_for and row.cost and row.paper and row.text_name
    document = (ROOT / "docs" / "guidance.md").read_text(encoding="utf-8")
    line = next(line for line in document.splitlines() if line.startswith(f"| {row.label} |"))
    for field in row.fields:
        low, high = number_range(field)
        assert low <= OFF[field] <= high and f"`{field}`" in line
        knob = KNOBS.get(field)
        assert field == "guidance_scale" or (knob and knob.label and knob.info.endswith(".") and knob.step > 0)
    assert not row.is_on(Weights())


def test_every_field_of_guidance_is_in_one_row() -> None:
    assert sorted(field for row in GUIDANCES.values() for field in row.fields) == sorted(OFF)
    assert KNOBS.keys() == OFF.keys() - {"guidance_scale"}


@pytest.mark.parametrize("key", MODES)
def test_mode_row(key: str) -> None:
    row = MODES[key]
    pair = find_pair(str(row.values.get("sampler", "euler")), row.values.get("scheduler"))
    assert row.values["steps"] >= SAMPLERS[pair.sampler].min_steps
    assert set(row.keeps) <= set(row.values) and bool(row.keeps) == bool(row.why) == bool(row.loras)
    assert parse_recipe(dict(row.values)).sampler in (None, pair.sampler)
    walk = f"`{pair.sampler}`, `{pair.scheduler}`" if "sampler" in row.values else "yours"
    guidance = f"{row.values['guidance_scale']:g}" if "guidance_scale" in row.values else "yours"
    lora = row.loras.get("sdxl")
    at = f" at {lora.weight:g}" if lora and lora.weight != 1 else ""
    written = f"[`{lora.name}`]({lora.url}){at}" if lora else "none"
    line = f"| `{key}` | {row.label} | {row.good_for} | {row.values['steps']} | {walk} | {guidance} | {written} |"
    assert line in (ROOT / "docs" / "modes.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", LIBRARY.models)
def test_every_mode_of_a_model_can_be_drawn_or_says_why_not(name: str) -> None:
    for row in LIBRARY.menu()["models"][list(LIBRARY.models).index(name)]["modes"]:
        wish = Recipe(prompt="a red circle", model=name, mode=row["id"])
        if row["available"]:
            assert make_plan(wish, LIBRARY, 1).steps == row["values"]["steps"]
        else:
            with pytest.raises(FooocusError) as caught:
                make_plan(wish, LIBRARY, 1)
            assert (caught.value.problem, caught.value.hint, caught.value.field) == (
                row["problem"],
                row["hint"],
                "mode",
            )


@pytest.mark.parametrize("name", FAMILIES)
def test_family_row(name: str) -> None:
    row = FAMILIES[name]
    module, _, attribute = row.engine.partition(":")
    source = (app_root() / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    assert f"class {attribute}" in source
    filled = Recipe(**row.defaults)
    open_fields = {field for field in Recipe.model_fields if getattr(filled, field) is None}
    nobodys = {"styles", "loras", "preset", "model", "seed", "expansion", "mode_lora"}
    assert open_fields == nobodys, "a family's defaults fill everything else"
    assert find_pair(filled.sampler or "", filled.scheduler) and filled.width and filled.width % row.size_multiple == 0
