"""Whether a prompt is expanded, who chooses the words, and how they are put behind it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.events import PromptReady
from fooocus_lite.expansion import Expansion, expansion_model, with_words
from fooocus_lite.library import Library, load_library
from fooocus_lite.plan import Plan, expand, make_plan, plan_from_dict, resolve, with_expansion
from fooocus_lite.prompts import MAX_TEXTS
from fooocus_lite.recipe import MAX_EXPANSION_CHARS, parse_recipe
from fooocus_lite.settings import Settings, load_settings

EXPAND = "Expand prompt"


def plan(library: Library, **wish: object) -> Plan:
    return make_plan(parse_recipe({"prompt": "a red circle", "seed": 7, "styles": [EXPAND]} | wish), library, 0)


def test_the_style_lets_the_engine_choose(library: Library, settings: Settings) -> None:
    one = plan(library)
    folder = settings.root / "models" / "expansion"
    assert one.expansion == Expansion("a red circle", 7, str(folder), str(folder / "words.json"))
    assert one.texts == ("a red circle",), "what the person wrote is drawn in any case"
    assert plan(library, styles=["washes"]).expansion is None


@pytest.mark.parametrize("name", ["Fooocus V2", "expand-prompt"])
def test_by_its_other_names_and_as_a_tag(library: Library, name: str) -> None:
    assert plan(library, styles=[name]).expansion == plan(library).expansion
    assert plan(library, prompt=f"a red circle <style:{name}>", styles=[]).expansion == plan(library).expansion


def test_words_of_the_recipe_are_used_as_they_are(library: Library) -> None:
    one = plan(library, expansion="sharp\nand clear", styles=["washes", EXPAND], prompt="a cat\nin snow")
    assert one.expansion is None
    assert one.texts == ("washes of a cat, wet", "in snow", "a cat, sharp, and clear")
    assert plan(library, expansion="").texts == ("a red circle",) and plan(library, expansion="").expansion is None


def test_words_without_the_style_do_nothing_and_say_so(library: Library) -> None:
    one = plan(library, expansion="sharp", styles=[])
    assert one.texts == ("a red circle",) and any("only with the style Expand prompt" in say for say in one.warnings)


def test_nothing_is_no_subject(library: Library) -> None:
    assert plan(library, prompt=" , ").expansion is None
    assert plan(library, prompt="", expansion="sharp").texts == ("",)


def test_each_picture_of_a_batch_has_its_own_words(library: Library) -> None:
    wish = parse_recipe({"prompt": "[[a cat, a fox]] (big:1.2)", "styles": [EXPAND], "count": 2, "seed": 5})
    wishes = [make_plan(one, library, 0).expansion for one in expand(wish, library, 0)]
    assert [(one.text, one.seed) for one in wishes if one] == [("a cat (big:1.2)", 5), ("a fox (big:1.2)", 6)]


def test_it_is_not_a_style_that_the_model_should_have_learned(library: Library, root: Path) -> None:
    models = json.loads((root / "models" / "catalog.json").read_text())
    models[0]["styles"] = ["Some styles"]
    (root / "models" / "catalog.json").write_text(json.dumps(models))
    assert plan(library.refreshed()).warnings == plan(library.refreshed(), styles=[]).warnings
    assert all(EXPAND not in resolve(parse_recipe({"styles": ["Random style"]}), library, seed).styles or ()
               for seed in range(20))  # fmt: skip


def test_a_plan_with_a_wish_crosses_the_pipe(library: Library) -> None:
    one = plan(library)
    assert plan_from_dict(json.loads(json.dumps(asdict(one)))) == one


def test_what_the_engine_chose_is_kept_and_draws_the_same(library: Library) -> None:
    recipe = resolve(parse_recipe({"prompt": "a red circle", "seed": 7, "styles": [EXPAND, "dots"]}), library, 0)
    wanted = make_plan(recipe, library, 0)
    assert wanted.expansion is not None
    texts = wanted.expansion.added_to(wanted.texts, "sharp, calm")
    kept, decided = with_expansion(recipe, wanted, PromptReady(texts=texts, expansion="sharp, calm"))
    assert kept.expansion == "sharp, calm"
    assert make_plan(kept, library, 0) == decided == replace(wanted, texts=texts, expansion=None)


def test_words_that_could_not_be_chosen_are_not_chosen_later(library: Library) -> None:
    recipe = resolve(parse_recipe({"prompt": "a red circle", "styles": [EXPAND]}), library, 7)
    wanted = make_plan(recipe, library, 0)
    kept, _ = with_expansion(recipe, wanted, PromptReady(texts=wanted.texts, expansion=""))
    assert make_plan(kept, library, 0).expansion is None and make_plan(kept, library, 0).texts == wanted.texts
    assert with_expansion(recipe, wanted, PromptReady(texts=wanted.texts)) == (recipe, wanted), "nobody was asked"


def test_the_setting_names_a_folder_or_a_hub_model(root: Path) -> None:
    (root / "models" / "mine").mkdir()
    for value, model in {"mine": str(root / "models" / "mine"), "someone/gpt": "someone/gpt"}.items():
        settings = load_settings({"expansion_model": value}, env={}, root=root)
        words = str(root / "models" / "expansion" / "words.json")
        assert expansion_model(settings) == load_library(settings).expansion_model == (model, words)


def test_the_person_s_models_folder_comes_first(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own models"
    (own / "expansion").mkdir(parents=True)
    settings = load_settings({"models_dir": str(own)}, env={}, root=root)
    assert expansion_model(settings)[0] == str(own / "expansion")


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_person_s_line_is_never_changed(line: str, words: str) -> None:
    texts = with_words(("before",), line, words)
    assert texts[0] == "before" and all(text.startswith(line) for text in texts[1:])


def test_more_texts_than_a_picture_can_keep_are_not_made() -> None:
    assert with_words(("x",) * MAX_TEXTS, "a", "b") == ("x",) * MAX_TEXTS
    assert len("x" * MAX_EXPANSION_CHARS) == len(parse_recipe({"expansion": "x" * MAX_EXPANSION_CHARS}).expansion or "")
