"""Saving, changing and deleting a person's own styles, presets, favourites and default."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fooocus_lite.errors import BadFile, BadValue, DiskProblem, FooocusError, NotFound, UnknownName
from fooocus_lite.fooocus_presets import Need
from fooocus_lite.live_library import LiveLibrary
from fooocus_lite.own_files import OwnFiles
from fooocus_lite.recipe import Recipe, parse_recipe
from fooocus_lite.settings import Settings, load_settings
from fooocus_lite.style_files import Style
from tests import fooocus_like

FOG = Style("Foggy Morning", "{prompt} in fog", "clear sky")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A root with a style, a preset and a model, and a Fooocus folder in use."""
    for folder in ("styles", "presets", "models/tiny"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "styles" / "some.json").write_text('[{"name": "Dots", "prompt": "{prompt}, dots"}]')
    (tmp_path / "presets" / "starter.json").write_text('{"recipe": {"steps": 9}}')
    model = {"name": "tiny", "family": "sdxl", "path": "tiny", "native_size": 128}
    (tmp_path / "models" / "catalog.json").write_text(json.dumps([model]))
    fooocus = fooocus_like.write_fooocus(tmp_path / "Fooocus")
    return load_settings({"legacy_folder": str(fooocus)}, env={}, root=tmp_path)


@pytest.fixture
def library(settings: Settings) -> LiveLibrary:
    return LiveLibrary(settings)


@pytest.fixture
def own(settings: Settings, library: LiveLibrary) -> OwnFiles:
    return OwnFiles(settings, library)


def test_a_style_is_saved_changed_renamed_and_deleted(own: OwnFiles, library: LiveLibrary, settings: Settings) -> None:
    saved = own.add_style(FOG)
    assert (saved.name, saved.prompt, saved.negative_prompt, saved.source) == (
        *(FOG.name, FOG.prompt),
        "clear sky",
        "own",
    )
    assert library().find_style("foggy morning") == saved
    assert own.change_style("foggy-morning", Style("Foggy Morning", "{prompt} in mist")).prompt == "{prompt} in mist"
    assert own.change_style("Foggy Morning", Style("Mist", "mist, {prompt}")).name == "Mist"
    assert library().known_style("Foggy Morning") is None
    own.delete_style("MIST")
    assert library().known_style("Mist") is None
    assert json.loads((settings.data_dir / "styles" / "my_styles.json").read_text()) == []
    assert not list(settings.data_dir.rglob("*.part"))


def test_a_name_with_small_letters_stays_as_it_was_written(own: OwnFiles, library: LiveLibrary) -> None:
    assert own.add_style(Style("my fog", "{prompt} in fog")).name == "my fog"
    assert "my fog" in library().styles


@pytest.mark.parametrize(
    "name, why", [("dots", "their"), ("SAI-anime", "your Fooocus folder"), ("Foggy morning", "you have one")]
)
def test_a_taken_name_is_explained(own: OwnFiles, name: str, why: str) -> None:
    own.add_style(FOG)
    with pytest.raises(FooocusError) as caught:
        own.add_style(Style(name, "x {prompt}"))
    assert (caught.value.code, caught.value.field) == ("conflict", "name")
    assert "is taken" in caught.value.problem and (why == "their" or why in caught.value.problem)
    own.add_style(Style("Other", "{prompt}"))
    with pytest.raises(FooocusError, match="is taken"):
        own.change_style("Other", Style(name, "{prompt}"))


def test_changing_a_shipped_style_makes_an_own_one_and_deleting_brings_it_back(
    own: OwnFiles, library: LiveLibrary, settings: Settings
) -> None:
    shipped = (settings.root / "styles" / "some.json").read_bytes()
    theirs = (settings.root / "Fooocus" / "sdxl_styles" / "sdxl_styles_sai.json").read_bytes()
    for name in ("Dots", "SAI Anime"):
        before = library().find_style(name)
        assert own.change_style(name, Style(name, "mine {prompt}")).source == "own"
        own.delete_style(name)
        assert library().find_style(name) == before
        with pytest.raises(FooocusError, match="cannot be deleted"):
            own.delete_style(name)
    assert (settings.root / "styles" / "some.json").read_bytes() == shipped
    assert (settings.root / "Fooocus" / "sdxl_styles" / "sdxl_styles_sai.json").read_bytes() == theirs


def test_a_style_is_changed_in_the_file_where_it_stands(own: OwnFiles, settings: Settings) -> None:
    path = settings.data_dir / "styles" / "found.json"
    path.parent.mkdir(parents=True)
    path.write_text('[{"name": "a"}, {"name": "b", "prompt": "x", "thumbnail": "kept"}, 7]')
    own.change_style("B", Style("B", "y {prompt}"))
    assert json.loads(path.read_text()) == [
        {"name": "a"},
        {"name": "B", "prompt": "y {prompt}", "thumbnail": "kept", "negative_prompt": ""},
        7,
    ]
    assert not (settings.data_dir / "styles" / "my_styles.json").exists()


def test_what_was_saved_from_the_page_stays_when_fooocus_files_are_imported(
    own: OwnFiles, library: LiveLibrary, settings: Settings
) -> None:
    own.change_style("SAI Anime", Style("SAI Anime", "mine of {prompt}"))
    imported = [{"name": "sai-anime", "prompt": "theirs of {prompt}"}]
    (settings.data_dir / "styles" / "sdxl_styles_sai.json").write_text(json.dumps(imported))
    assert library().find_style("SAI Anime").prompt == "mine of {prompt}"
    own.delete_style("SAI Anime")
    assert library().find_style("SAI Anime").prompt == "theirs of {prompt}"


def test_a_broken_file_is_not_overwritten(own: OwnFiles, settings: Settings) -> None:
    path = settings.data_dir / "styles" / "my_styles.json"
    path.parent.mkdir(parents=True)
    path.write_text('[{"name": "Half"')
    with pytest.raises(BadFile, match=r"my_styles\.json, line 1.*Mend the file"):
        own.add_style(FOG)
    assert path.read_text() == '[{"name": "Half"'


@pytest.mark.parametrize(
    "style, field",
    [
        (Style("", "{prompt}"), "name"),
        (Style("-_ ", "{prompt}"), "name"),
        (Style("..", "{prompt}"), "name"),
        (Style("x" * 61, "{prompt}"), "name"),
        (Style("Random  STYLE", "{prompt}"), "name"),
        (Style("Nothing", "  "), "prompt"),
        (Style("Long", "x" * 20_001), "prompt"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name[:12],
)
def test_what_no_style_can_be(own: OwnFiles, style: Style, field: str) -> None:
    with pytest.raises(BadValue) as caught:
        own.add_style(style)
    assert caught.value.field == field and caught.value.hint


def test_strange_text_is_cleaned_and_kept(own: OwnFiles) -> None:
    saved = own.add_style(Style("Nebel\x00 \ud800 am  Morgen 🦊", " {prompt},\n\x1bzweite Zeile ", "\ud800"))
    assert (saved.name, saved.prompt) == ("Nebel am Morgen 🦊", "{prompt},\nzweite Zeile")


def test_what_is_not_there(own: OwnFiles) -> None:
    for act in (own.delete_style, own.delete_preset, lambda name: own.change_style(name, FOG)):
        with pytest.raises(NotFound):
            act("nope")
    with pytest.raises(NotFound):
        own.change_style("Random style", FOG)
    with pytest.raises(NotFound):
        own.change_preset("nope", "x", "", Recipe())


def test_a_preset_is_saved_changed_and_deleted(own: OwnFiles, library: LiveLibrary, settings: Settings) -> None:
    recipe = parse_recipe({"steps": 5, "styles": ["dots"], "width": 128})
    saved = own.add_preset("Wide & calm!", "For  evenings.", recipe)
    assert (saved.name, saved.label, saved.description, saved.source) == (
        "wide-calm",
        "Wide & calm!",
        "For evenings.",
        "own",
    )
    assert saved.recipe == recipe
    assert "prompt" not in saved.recipe.model_fields_set
    assert own.change_preset("wide-calm", "Other", "", parse_recipe({"steps": 6})).recipe.steps == 6
    with pytest.raises(FooocusError, match="is taken: you have one"):
        own.add_preset("wide calm", "", recipe)
    own.delete_preset("WIDE-calm")
    assert "wide-calm" not in library().presets
    assert not list((settings.data_dir / "presets").iterdir())


def test_a_shipped_preset_is_covered_and_uncovered(own: OwnFiles, library: LiveLibrary) -> None:
    with pytest.raises(FooocusError, match="is taken: it ships"):
        own.add_preset("Starter", "", Recipe())
    assert own.change_preset("starter", "Mine", "", parse_recipe({"steps": 3})).source == "own"
    own.delete_preset("starter")
    assert library().presets["starter"].recipe.steps == 9
    for name in ("starter", "anime"):
        with pytest.raises(FooocusError, match="cannot be deleted"):
            own.delete_preset(name)


def test_a_preset_file_that_cannot_be_read_is_not_replaced(own: OwnFiles, settings: Settings) -> None:
    broken = settings.data_dir / "presets" / "wide.json"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"recipe": {"steps": 7},}')
    with pytest.raises(FooocusError, match=r"wide.json is there already, and cannot be read as a preset\. Mend it"):
        own.add_preset("Wide", "", Recipe())
    assert broken.read_text() == '{"recipe": {"steps": 7},}'


def test_a_changed_preset_still_names_the_files_that_it_needs(own: OwnFiles, settings: Settings) -> None:
    url = "https://example.org/tiny.safetensors"
    path = settings.data_dir / "presets" / "night.json"
    path.parent.mkdir(parents=True)
    said = {
        "default_model": "tiny.safetensors",
        "previous_default_models": ["older.safetensors"],
        "default_loras": [["stars.safetensors", 0.5]],
        "checkpoint_downloads": {"tiny.safetensors": url},
    }
    path.write_text(json.dumps(said))
    model, lora = Need("model", "tiny.safetensors", url, ("older.safetensors",)), Need("lora", "stars.safetensors")
    assert own.change_preset("night", "Night", "", parse_recipe({"model": "tiny", "steps": 4})).needs == (model, lora)
    assert own.change_preset("night", "Night", "", parse_recipe({"steps": 5})).needs == (lora,), "any model will do"


@pytest.mark.parametrize("label, name", [("CON", "con-preset"), ("../../etc/passwd", "etc-passwd"), ("Ü — 水", "ü-水")])
def test_labels_become_safe_file_names(own: OwnFiles, settings: Settings, label: str, name: str) -> None:
    assert own.add_preset(label, "", Recipe()).name == name
    assert [path.name for path in (settings.data_dir / "presets").iterdir()] == [f"{name}.json"]


@pytest.mark.parametrize(
    "fields, label",
    [
        ({"styles": ["nope"]}, "x"),
        ({"model": "nope"}, "x"),
        ({"width": 7}, "x"),
        ({"preset": "starter"}, "x"),
        ({}, "!!"),
    ],
)
def test_a_preset_that_could_not_be_drawn_is_refused(
    own: OwnFiles, settings: Settings, fields: dict[str, object], label: str
) -> None:
    with pytest.raises((BadValue, UnknownName)):
        own.add_preset(label, "", parse_recipe(fields))
    assert not (settings.data_dir / "presets").exists()


def test_favourites_survive_and_keep_their_order(own: OwnFiles, library: LiveLibrary, settings: Settings) -> None:
    own.add_style(FOG)
    assert own.set_favourites(["foggy morning", "DOTS", "dots"]) == ("Foggy Morning", "Dots")
    assert library().favourites == LiveLibrary(settings)().favourites == ("Foggy Morning", "Dots")
    with pytest.raises(UnknownName):
        own.set_favourites(["Dots", "nope"])
    assert library().favourites == ("Foggy Morning", "Dots")
    assert own.set_favourites([]) == library().favourites == ()


def test_the_default_preset_survives_and_what_was_set_is_stronger(
    own: OwnFiles, library: LiveLibrary, settings: Settings
) -> None:
    own.set_favourites(["Dots"])
    saved = own.add_preset("Mine", "", parse_recipe({"steps": 4}))
    assert own.set_default_preset("MINE") == ("mine", "")
    assert library().default_preset == saved.name and library().favourites == ("Dots",)
    stronger = load_settings(env={"FOOOCUS_PRESET": "starter"}, root=settings.root)
    name, note = OwnFiles(stronger, LiveLibrary(stronger)).set_default_preset("mine")
    assert name == "starter" and note == "mine is saved, but FOOOCUS_PRESET says preset = starter, which is stronger."
    assert own.set_default_preset(None) == ("starter", "")
    assert library().default_preset == "starter"


def test_a_favourite_stays_one_under_its_new_name(own: OwnFiles, library: LiveLibrary) -> None:
    own.add_style(FOG)
    own.set_favourites(["Foggy Morning", "Dots"])
    own.change_style("foggy morning", Style("Mist", "mist, {prompt}"))
    assert library().favourites == ("Mist", "Dots")
    own.change_style("Dots", Style("My Dots", "{prompt}, my dots"))
    assert library().favourites == ("Mist", "Dots"), "the one that ships is still there"


def test_a_default_preset_that_is_deleted_is_none_any_more(own: OwnFiles, library: LiveLibrary) -> None:
    own.add_preset("Mine", "", parse_recipe({"steps": 4}))
    own.set_default_preset("mine")
    own.delete_preset("mine")
    assert library().default_preset == "starter" and not [one for one in library().problems if "mine" in one]
    own.change_preset("starter", "Mine", "", parse_recipe({"steps": 3}))
    own.set_default_preset("starter")
    own.delete_preset("starter")
    assert library().default_preset == "starter"


def test_the_second_text_in_pictures_can_be_left_out(own: OwnFiles, library: LiveLibrary, settings: Settings) -> None:
    assert library().a1111_text
    assert own.set_a1111_text(False) == (False, "")
    assert not library().a1111_text and not LiveLibrary(settings)().a1111_text
    stronger = load_settings(env={"FOOOCUS_A1111_TEXT": "yes"}, root=settings.root)
    in_force, note = OwnFiles(stronger, LiveLibrary(stronger)).set_a1111_text(False)
    said = "It is saved, but FOOOCUS_A1111_TEXT says a1111_text = true, which is stronger."
    assert (in_force, note) == (True, said)
    assert own.set_a1111_text(None) == (True, "")


def test_a_damaged_file_of_choices_is_kept_aside(own: OwnFiles, library: LiveLibrary, settings: Settings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "choices.json").write_text("{half")
    assert own.set_favourites(["Dots"]) == library().favourites == ("Dots",)
    assert (settings.data_dir / "choices.json.damaged").read_text() == "{half"


def test_many_at_once_lose_nothing(own: OwnFiles, library: LiveLibrary) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: own.add_style(Style(f"Style {number}", "{prompt}")), range(24)))
    assert sum(style.source == "own" for style in library().styles.values()) == 24


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(own: OwnFiles, settings: Settings) -> None:
    settings.data_dir.mkdir(mode=0o500)
    with pytest.raises(DiskProblem, match="FOOOCUS_DATA_DIR"):
        own.add_style(FOG)


def test_a_file_in_the_way_of_the_data_folder_is_named(own: OwnFiles, settings: Settings) -> None:
    settings.data_dir.write_text("")
    acts: list[Callable[[], object]] = [lambda: own.add_style(FOG), lambda: own.set_favourites(["Dots"])]
    for act in acts:
        with pytest.raises(DiskProblem, match="FOOOCUS_DATA_DIR"):
            act()
