"""A Fooocus folder used in place, random styles, favourites and the saved default."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fooocus_lite.errors import MissingModel, UnknownName
from fooocus_lite.fooocus_folder import find_root, fooocus_wildcards, read_fooocus
from fooocus_lite.library import Library, load_library
from fooocus_lite.library_json import read_rows
from fooocus_lite.plan import expand, make_plan, resolve
from fooocus_lite.recipe import Recipe, parse_recipe
from fooocus_lite.settings import Settings, load_settings
from fooocus_lite.style_files import EXPAND_STYLE, RANDOM_STYLE, Style, read_styles
from tests import fooocus_like
from tests.thought.test_fooocus_presets import FACTS

Load = Callable[[], Library]


@pytest.fixture
def fooocus(tmp_path: Path) -> Path:
    """A Fooocus folder beside the app root."""
    return fooocus_like.write_fooocus(tmp_path / "outside" / "Fooocus")


@pytest.fixture
def legacy(root: Path, fooocus: Path) -> Settings:
    """The root's settings with that folder in use."""
    return load_settings({"preset": "plain", "legacy_folder": str(fooocus)}, env={}, root=root)


def test_styles_of_a_fooocus_folder_stand_in_its_order_under_its_names(legacy: Settings) -> None:
    library = load_library(legacy)
    theirs = [name for name, style in library.styles.items() if style.source == "fooocus"]
    assert theirs == fooocus_like.NAMES
    assert list(library.styles)[:5] == ["Expand prompt", "Random style", "Washes", "Dots", "plain-addition"]
    assert library.find_style("dots").prompt == "their {prompt}", "it takes the place of a shipped one"
    assert library.find_style("sai_anime").prompt == "cel shaded {prompt}", "Fooocus's own come last and count"
    assert library.styles["SAI Anime"].category == "Fooocus: sai"
    assert [problem for problem in library.problems if "sdxl_styles" in problem] == [
        "outside/Fooocus/sdxl_styles/sdxl_styles_sai.json, line 1, entry 1 ('SAI Anime') "
        "has the name of an earlier style."
    ]


def test_its_presets_fall_back_to_its_configuration(legacy: Settings) -> None:
    library = load_library(legacy)
    assert list(library.presets) == ["plain", "wide", "initial", "anime", "default"]
    anime = library.presets["anime"]
    assert (anime.recipe.model, anime.recipe.guidance_scale, anime.recipe.width) == ("anime", 6.0, 1152)
    assert anime.recipe.styles == ("SAI Anime",) and any("'Gone'" in warning for warning in anime.warnings)
    assert library.presets["default"].recipe.guidance_scale == 4.0
    assert library.presets["initial"].recipe.guidance_scale == 5.0, "config.txt is stronger than default.json"
    assert anime.kept["default_cfg_scale"] == 6.0
    assert anime.needs[0].older == ()
    assert library.presets["default"].recipe.styles == ("Expand prompt", "Fooocus Enhance", "Fooocus Sharp")
    assert not any("'Fooocus V2'" in warning for warning in library.presets["default"].warnings)


def test_a_preset_without_its_model_says_what_it_needs_and_where_it_is(legacy: Settings) -> None:
    library = load_library(legacy)
    with pytest.raises(MissingModel) as caught:
        make_plan(Recipe(prompt="x", preset="default"), library, 1)
    assert str(caught.value) == (
        "The preset default needs the model base.safetensors, which is not here. "
        "Get it at https://example.org/base.safetensors."
    )
    menu = library.menu()
    (need,) = next(row["needs"] for row in menu["presets"] if row["name"] == "default")
    assert (need["available"], need["older"]) == (False, ["older.safetensors"])
    (ours,) = next(row["needs"] for row in menu["presets"] if row["name"] == "plain")
    assert (ours["name"], ours["available"]) == ("tiny", True)


@pytest.mark.parametrize("there, said", [("base", 0), ("older", 1)])
def test_the_model_or_an_older_one_that_serves_is_found_by_its_file(
    root: Path, legacy: Settings, there: str, said: int
) -> None:
    entry = {"name": f"My {there}", "family": "sdxl", "path": f"{there}.safetensors", "native_size": 1024}
    (root / "data").mkdir()
    (root / "data" / "catalog.json").write_text(json.dumps([entry]))
    (root / "models" / f"{there}.safetensors").write_bytes(b"x")
    library = load_library(legacy)
    assert library.has(library.presets["default"].needs[0])
    plan = make_plan(Recipe(prompt="x", preset="default"), library, 1)
    assert plan.model.name == f"My {there}" and (plan.width, plan.height, plan.steps) == (1152, 896, 30)
    assert sum("which the preset allows, is used" in warning for warning in plan.warnings) == said
    assert plan.texts == ("crisp x",) and plan.negative_texts == ("blurry", "soft")
    with pytest.raises(MissingModel, match=r"anime\.safetensors"):
        make_plan(Recipe(prompt="x", preset="anime"), library, 1)  # it must not take another preset's older model


def test_the_outer_folder_and_config_file_lead_there_too(fooocus: Path, tmp_path: Path) -> None:
    assert find_root(fooocus) == find_root(fooocus.parent) == find_root(fooocus / "config.txt") == fooocus
    assert find_root(tmp_path / "nowhere") is None
    settings = load_settings({"legacy_folder": str(fooocus.parent)}, env={}, root=tmp_path)
    assert fooocus_wildcards(settings) == fooocus / "my-lists"
    assert fooocus_wildcards(load_settings(env={}, root=tmp_path)) is None
    found = read_fooocus(fooocus)
    assert found.wildcards == fooocus / "my-lists" and found.outputs == fooocus / "outputs"
    for folder in ("models/loras", "more"):
        (fooocus / folder).mkdir()
    assert found.models["path_loras"] == (fooocus / "models/loras", fooocus / "more")
    assert found.models["path_vae"] == (fooocus / "models/vae",)


def test_word_lists_stand_between_the_shipped_and_the_own(legacy: Settings, fooocus: Path, root: Path) -> None:
    for folder, word in (("wildcards", "shipped"), ("data/wildcards", "own")):
        (root / folder).mkdir(parents=True)
        (root / folder / "metal.txt").write_text(word)
    (root / "wildcards" / "color.txt").write_text("shipped")
    lists = load_library(legacy).word_lists
    assert (lists["color"].words, lists["color"].source) == (("red", "blue"), "fooocus")
    assert lists["metal"].words == ("own",) and lists["deep/metal"].words == ("tin",)
    library = load_library(legacy)
    (fooocus / "my-lists" / "wood.txt").write_text("oak")
    assert library.refreshed().word_lists["wood"].words == ("oak",)


@pytest.mark.parametrize("said", ["D:\\\\Fooocus\\\\wildcards", "/gone/wildcards", "no/such/folder"])
def test_a_folder_that_was_moved_is_found_where_it_usually_lies(legacy: Settings, fooocus: Path, said: str) -> None:
    """Fooocus writes whole paths into its configuration, and uses its own folders where those are gone."""
    (fooocus / "wildcards").mkdir()
    (fooocus / "wildcards" / "metal.txt").write_text("zinc\n")
    (fooocus / "config.txt").write_text(f'{{"path_wildcards": "{said}", "path_outputs": "{said}"}}')
    library = load_library(legacy)
    assert library.word_lists["metal"].words == ("zinc",)
    assert f"which is not there; {fooocus / 'wildcards'} is used." in "\n".join(library.problems)
    assert read_fooocus(fooocus).outputs == fooocus / "outputs"


@pytest.mark.parametrize("config", ["{", "[]", '{"path_wildcards": 7, "path_loras": [null, "a\\u0000b"]}'])
def test_a_broken_config_is_named_and_the_rest_is_used(legacy: Settings, fooocus: Path, config: str) -> None:
    (fooocus / "config.txt").write_text(config)
    library = load_library(legacy)
    assert any("config.txt" in problem for problem in library.problems)
    assert "SAI Anime" in library.styles and "anime" in library.presets
    assert read_fooocus(fooocus).wildcards == fooocus / "wildcards"


def test_a_folder_without_fooocus_is_a_problem_not_an_end(root: Path, tmp_path: Path) -> None:
    settings = load_settings({"preset": "plain"}, env={"FOOOCUS_LEGACY_FOLDER": str(tmp_path / "gone")}, root=root)
    (problem,) = load_library(settings).problems
    assert problem.endswith("gone holds no Fooocus (setting legacy_folder, from FOOOCUS_LEGACY_FOLDER).")


def test_a_folder_that_may_not_be_looked_into_is_a_problem_not_an_end(
    root: Path, fooocus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one in another person's home; root, who runs tests, may look into all of them."""
    real = os.stat

    def stat(path: Any, **how: Any) -> os.stat_result:
        if str(path).startswith(str(fooocus)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **how)

    monkeypatch.setattr(os, "stat", stat)
    library = load_library(load_settings({"legacy_folder": str(fooocus)}, env={}, root=root))
    assert library.problems[0].startswith(f"{fooocus} holds no Fooocus")


def test_changes_in_the_folder_are_seen(legacy: Settings, fooocus: Path) -> None:
    library = load_library(legacy)
    assert library.refreshed() is library
    (fooocus / "config.txt").write_text("{}")
    newer = library.refreshed()
    assert newer is not library and "initial" not in newer.presets


def test_names_of_fooocus_without_its_files(library: Library) -> None:
    for name in ("SAI Anime", "sai-anime", "Fooocus Sharp"):
        with pytest.raises(UnknownName, match="set legacy_folder to your Fooocus folder, or run import-fooocus"):
            library.find_style(name)
    assert library.find_style("fooocus-v2").kind == "expand"
    names, warnings = library.known_styles(["Fooocus V2", "dots", "SAI Anime", "nope"])
    assert (
        names == ("Expand prompt", "Dots") and len(warnings) == 2 and all(warning.endswith(".") for warning in warnings)
    )


def test_own_style_names_without_capitals_are_shown_as_fooocus_would(root: Path, load: Load) -> None:
    (root / "data" / "styles").mkdir(parents=True)
    rows = [{"name": name, "prompt": "{prompt}"} for name in FACTS["style_name_examples"]]
    (root / "data" / "styles" / "sdxl_styles_x.json").write_text(json.dumps(rows))
    (root / "data" / "styles" / "mine.json").write_text('[{"name": "misc-disco"}, {"name": "NASA blue"}]')
    styles = [name for name, style in load().styles.items() if style.source == "own"]
    assert styles == [*("Misc Disco", "NASA blue"), *FACTS["style_name_examples"].values()]


# Random style


@pytest.mark.parametrize("seed", [0, 1, 42, 12345, 2**63 - 1])
def test_a_random_style_is_the_one_that_fooocus_would_pick_from_the_same_list(library: Library, seed: int) -> None:
    """Observed: Fooocus asks ``random.Random(seed).choice`` over its styles in reading order."""
    names = [name for name in library.styles if library.styles[name].kind == "text"]
    full = resolve(parse_recipe({"prompt": "a cat", "styles": ["random-style"], "seed": seed}), library, 0)
    assert full.styles == (random.Random(seed).choice(names),)


def test_what_a_random_style_became_is_what_is_kept(library: Library) -> None:
    wish = parse_recipe({"prompt": "a cat", "styles": ["Random style"], "seed": 3, "count": 8})
    batch = expand(wish, library, 0)
    assert len({one.styles for one in batch}) > 1, "each picture has its own"
    for one in batch:
        assert one.styles and RANDOM_STYLE.name not in one.styles
        assert resolve(one, library, 99) == one
        assert make_plan(one, library, 0).texts == make_plan(parse_recipe(one.set_fields()), library, 7).texts
    assert expand(wish, library, 1) == batch


def test_random_styles_pick_nothing_twice_and_only_what_the_model_has_learned(library: Library, root: Path) -> None:
    full = resolve(parse_recipe({"styles": ["Random style", "dots", "Random style", "Random style"]}), library, 5)
    assert sorted(full.styles or ()) == ["Dots", "Washes", "plain-addition"], "there were two left to pick"
    (root / "styles" / "zebra.json").write_text('[{"name": "Stripes"}]')
    models = json.loads((root / "models" / "catalog.json").read_text())
    models[0]["styles"] = ["Zebra"]
    (root / "models" / "catalog.json").write_text(json.dumps(models))
    newer = library.refreshed()
    picked = {one.styles for one in expand(parse_recipe({"styles": ["Random style"], "count": 9}), newer, 1)}
    assert picked == {("Stripes",)}


@pytest.mark.parametrize("style", [RANDOM_STYLE, EXPAND_STYLE], ids=lambda style: style.kind)
def test_no_style_may_take_the_name(root: Path, load: Load, style: Style) -> None:
    (root / "styles" / "bad.json").write_text(json.dumps([{"name": style.name.lower(), "prompt": "x"}]))
    library = load()
    assert library.styles[style.name].kind == style.kind
    assert f"is called {style.name}, which is a style of the program" in library.problems[0]


# What was chosen once and for all


def test_favourites_and_default_are_read_and_gone_names_forgotten(root: Path, settings: Settings) -> None:
    write_choices(root, {"favourites": ["dots", "Gone", "Washes", "DOTS"], "preset": "wide", "newer": 1})
    library = load_library(settings)
    assert library.favourites == ("Dots", "Washes")
    assert [row["name"] for row in library.menu()["styles"] if row["favourite"]] == ["Washes", "Dots"]
    assert library.default_preset == "plain", "the preset was set for this start, which is stronger"
    assert load_library(load_settings(env={}, root=root)).default_preset == "wide", "stronger than what ships"
    assert load_library(load_settings(env={"FOOOCUS_PRESET": "plain"}, root=root)).default_preset == "plain"


def test_a_saved_default_that_is_gone_is_named(root: Path) -> None:
    write_choices(root, {"preset": "gone"})
    library = load_library(load_settings(env={}, root=root))
    assert library.problems == ("There is no preset 'gone' (setting preset, from saved as default).",)


@pytest.mark.parametrize("text", ["{", "[]", '{"favourites": 7}', '{"preset": 7}'])
def test_broken_choices_count_as_none(root: Path, settings: Settings, text: str) -> None:
    (root / "data").mkdir()
    (root / "data" / "choices.json").write_text(text)
    library = load_library(settings)
    assert library.favourites == () and len(library.problems) == 1 and "data/choices.json" in library.problems[0]


def write_choices(root: Path, data: dict[str, Any]) -> None:
    (root / "data").mkdir()
    (root / "data" / "choices.json").write_text(json.dumps(data))


# Whatever a file holds


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(), st.text(alphabet='[]{}",: \n\\0aeé'), st.lists(st.dictionaries(st.text(), st.text())).map(json.dumps)
    )
)
def test_any_file_is_styles_and_sentences(root: Path, settings: Settings, text: str) -> None:
    path = root / "styles" / "any.json"
    path.write_text(text, encoding="utf-8", errors="replace")
    problems: list[str] = []
    styles = read_styles(settings, problems)
    assert {"Washes", "Dots", "plain-addition"} <= set(styles)
    assert all(problem.startswith("styles/any.json") and problem.endswith(".") for problem in problems)
    try:
        is_json = isinstance(json.loads(text), list)
    except ValueError:
        is_json = False
    assert is_json or problems


@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["name", "prompt"]), st.text(max_size=5)), max_size=6), data=st.data()
)
def test_rows_are_those_that_json_reads_and_their_places_are_right(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], data: st.DataObject
) -> None:
    text = json.dumps(rows, indent=data.draw(st.sampled_from([None, 0, 2])))
    path = tmp_path_factory.mktemp("rows") / "x.json"
    path.write_text(text)
    problems: list[str] = []
    found = list(read_rows(path, path.parent, "styles", problems))
    assert [row for _, row in found] == rows and problems == []
    for number, (where, _) in enumerate(found, start=1):
        line = int(where.split("line ")[1].split(",")[0])
        assert where == f"x.json, line {line}, entry {number}"
        assert text.splitlines()[line - 1].lstrip("[ ").startswith("{")
