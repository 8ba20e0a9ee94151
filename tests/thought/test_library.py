"""Styles, presets and models as they are found in folders, broken ones included."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from fooocus_lite import library as library_module
from fooocus_lite import library_files as files
from fooocus_lite import live_library
from fooocus_lite.commands.library import presets_text, styles_text
from fooocus_lite.errors import MissingModel, UnknownName
from fooocus_lite.library import Library, load_library
from fooocus_lite.library_files import CatalogEntry, aspect_sizes
from fooocus_lite.live_library import LiveLibrary
from fooocus_lite.menu import size_label
from fooocus_lite.offers import Offer
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import Settings, load_settings

Load = Callable[[], Library]
SDXL_SIZES = [
    "704x1408 704x1344 768x1344 768x1280 832x1216 832x1152 896x1152 896x1088 960x1088 960x1024 1024x1024 1024x960",
    "1088x960 1088x896 1152x896 1152x832 1216x832 1280x768 1344x768 1344x704 1408x704 1472x704 1536x640 1600x640",
    "1664x576 1728x576",
]


def test_everything_is_found_in_file_order(library: Library) -> None:
    assert list(library.styles) == ["Expand prompt", "Random style", "Washes", "Dots", "plain-addition"]
    assert list(library.presets) == ["plain", "wide"]
    assert list(library.models) == ["tiny", "big"]
    assert library.problems == ()
    assert library.styles["Washes"].category == "Some styles"
    assert library.models["tiny"].available and not library.models["big"].available


@pytest.mark.parametrize("name", ["Plain Addition", "plain_addition", " PLAIN-ADDITION"])
def test_names_are_found_however_they_are_written(library: Library, name: str) -> None:
    assert library.find_style(name).name == "plain-addition"


@pytest.mark.parametrize(
    "find, name, field, hint",
    [
        ("find_style", "Washed", "styles", "Did you mean Washes?"),
        ("find_style", "zzz", "styles", "Choose one of: Expand prompt, Random style, Washes, Dots, plain-addition."),
        ("find_preset", "wied", "preset", "wide"),
        ("find_model", "", "model", "tiny, big"),
        pytest.param("find_model", "\x00" * 500, "model", "tiny, big", id="long"),
    ],
)
def test_an_unknown_name_comes_with_near_ones(library: Library, find: str, name: str, field: str, hint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        getattr(library, find)(name)
    assert caught.value.field == field and hint in caught.value.hint and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "place, text, problem",
    [
        (
            "styles/bad.json",
            '[\n {"name": "A", "prompt": "x"},\n {"name": B}\n]',
            "styles/bad.json, line 3, entry 2: Expecting value",
        ),
        ("styles/bad.json", '[{"prompt": "x"}]', "styles/bad.json, line 1, entry 1: name is missing."),
        (
            "styles/bad.json",
            '[{"name": "A", "prompt": 7}]',
            "styles/bad.json, line 1, entry 1 ('A'): prompt is not text.",
        ),
        ("styles/bad.json", '[{"name": " "}]', "styles/bad.json, line 1, entry 1: name is empty."),
        ("styles/twice.json", '[{"name": "dots"}]', "entry 1 ('dots') has the name of an earlier style."),
        ("styles/bad.json", "[7]", "styles/bad.json, line 1, entry 1: it is not a JSON object."),
        ("styles/bad.json", "{}", "styles/bad.json is not a list of styles."),
        ("styles/bad.json", "", "styles/bad.json, line 1, entry 1: Expecting a list"),
        pytest.param(
            "styles/bad.json", "[" * 100_000, "styles/bad.json, entry 1 holds something that is no style", id="deep"
        ),
        pytest.param(
            "styles/bad.json", f"[{'9' * 5000}]", "styles/bad.json, entry 1 holds something that is no style", id="long"
        ),
        ("presets/bad.json", '{\n"recipe": {\n"steps": 5,\n}}', "presets/bad.json, line 4:"),
        ("presets/bad.json", '{"steps": 5}', "presets/bad.json: recipe is missing; a preset is {"),
        ("presets/bad.json", '{"recipe": {"steps": 0}}', "presets/bad.json, recipe: steps cannot be 0."),
        ("presets/bad.json", '{"recipe": {"stepps": 5}}', "presets/bad.json, recipe: There is no field 'stepps'."),
        ("presets/bad.json", '{"recipe": {"preset": "x"}}', "a preset cannot name another preset."),
        ("presets/bad.json", '{"recipe": {"styles": ["X"]}}', "Preset bad: There is no style 'X'."),
        ("presets/bad.json", '{"recipe": {"sampler": "X"}}', "Preset bad: There is no sampler 'X'."),
        ("presets/bad.json", '{"recipe": {"model": "X"}}', "Preset bad: There is no model 'X'."),
        ("presets/bad.json", "[]", "presets/bad.json: it is not a JSON object;"),
        ("data/catalog.json", "{}", "data/catalog.json is not a list of models."),
        ("data/catalog.json", '[{"name": "m"}]', "data/catalog.json, line 1, entry 1 ('m'): path is missing."),
        (
            "data/catalog.json",
            '[{"name": "m", "family": "x", "path": "m", "native_size": 64}]',
            "data/catalog.json, line 1, entry 1 ('m'): There is no family 'x'.",
        ),
        (
            "data/catalog.json",
            '[{"name": "m", "family": "sdxl", "path": "m", "native_size": 64, "aspect_sizes": [[64, 7]]}]',
            "7 is no possible side. Allowed: multiples of 8 from 32 to 128.",
        ),
        (
            "data/catalog.json",
            '[{"name": "m", "family": "sdxl", "path": "m", "native_size": 64, "defaults": {"steps": 0}}]',
            "data/catalog.json, line 1, entry 1 ('m'): steps cannot be 0.",
        ),
    ],
)
def test_a_broken_file_is_named_and_the_rest_loads(root: Path, load: Load, place: str, text: str, problem: str) -> None:
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_text(text)
    library = load()
    assert len(library.problems) == 1 and problem in library.problems[0], library.problems
    assert {"Washes", "Dots"} <= set(library.styles)
    assert {"plain", "wide"} <= set(library.presets) and {"tiny", "big"} <= set(library.models)


def test_good_entries_beside_a_bad_one_load(root: Path, load: Load) -> None:
    (root / "styles" / "mixed.json").write_text('[{"name": "A"}, 3, {"name": "B", "thumbnail": "other program"}]')
    library = load()
    assert {"A", "B"} <= set(library.styles) and len(library.problems) == 1


def test_other_bytes_than_utf8_are_named_and_a_byte_order_mark_is_fine(root: Path, load: Load) -> None:
    (root / "styles" / "latin.json").write_bytes('[{"name": "é"}]'.encode("latin-1"))
    (root / "styles" / "mark.json").write_bytes(b'\xef\xbb\xbf[{"name": "Marked"}]')
    library = load()
    assert library.problems == ("styles/latin.json is not UTF-8 text; save it as UTF-8.",)
    assert "Marked" in library.styles


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows file names that are no UTF-8")
def test_half_characters_in_files_and_their_names_can_still_be_sent(root: Path, load: Load) -> None:
    """An archive from another system leaves such names; a page that cannot be sent would show nothing at all."""
    for folder in ("wildcards", "models/loras"):
        (root / folder).mkdir(parents=True)
    written = {
        "styles/%s.json": '[{"name": "half \\ud83e", "prompt": "\\udd8a \\ud83e\\udd8a \\\\ud83e {prompt}"}]',
        "presets/%s.json": '{"label": "\\ud83e", "recipe": {"styles": ["half \\udd8a"]}}',
        "presets/their %s.json": '{"default_model": "\\ud83e.safetensors", "default_\\ud83e": 1}',
        "wildcards/%s.txt": "tin",
        "models/loras/%s.safetensors": "x",
    }
    for name, text in written.items():
        (root / os.fsdecode(name.encode() % b"r\xe9d")).write_text(text)
    library = load()
    json.dumps([library.menu(), list(library.loras)], ensure_ascii=False).encode()
    assert library.find_style("half \ufffd").prompt == "\ufffd \N{FOX FACE} \\ud83e {prompt}"
    assert library.find_preset("r\ufffdd").recipe.styles == ("half \ufffd",) and "r\ufffdd" in library.word_lists
    assert styles_text(library, as_json=False) and presets_text(library, as_json=True)


def test_names_move_no_cursor(root: Path, load: Load) -> None:
    (root / "styles" / "odd.json").write_text('[{"name": "a \\u001b[2J b", "prompt": "x"}]')
    assert "a \ufffd[2J b" in styles_text(load(), as_json=False)


def test_an_unreadable_file_is_named(root: Path, load: Load) -> None:
    (root / "styles" / "folder.json").mkdir()
    assert "styles/folder.json cannot be read" in load().problems[0]


def test_own_files_take_the_place_of_shipped_ones(root: Path, load: Load) -> None:
    for folder in ("styles", "presets"):
        (root / "data" / folder).mkdir(parents=True)
    (root / "data" / "styles" / "mine.json").write_text('[{"name": "dots", "prompt": "my {prompt}"}, {"name": "New"}]')
    (root / "data" / "presets" / "wide.json").write_text('{"label": "Mine", "recipe": {"steps": 3}}')
    (root / "data" / "catalog.json").write_text('[{"name": "m", "family": "sdxl", "path": "m", "native_size": 512}]')
    library = load()
    assert (library.find_style("Dots").prompt, library.find_style("dots").source) == ("my {prompt}", "own")
    assert list(library.styles) == ["Expand prompt", "Random style", "Washes", "Dots", "plain-addition", "New"]
    assert (library.presets["wide"].label, library.presets["wide"].source) == ("Mine", "own")
    assert list(library.models) == ["tiny", "big", "m"]
    assert library.problems == ()


def test_the_same_snapshot_until_something_changes(root: Path, library: Library) -> None:
    assert library.refreshed() is library
    (root / "styles" / "new.json").write_text('[{"name": "New"}]')
    newer = library.refreshed()
    assert "New" in newer.styles and "New" not in library.styles
    assert newer.refreshed() is newer


def test_changes_gone_files_and_arriving_weights_are_seen(root: Path, library: Library) -> None:
    path = root / "presets" / "wide.json"
    path.write_text(path.read_text().replace('"steps": 9', '"steps": 4'))  # no other size, only another time
    os.utime(path, (1, 1))
    changed = library.refreshed()
    assert changed.presets["wide"].recipe.steps == 4
    path.unlink()
    gone = changed.refreshed()
    assert "wide" not in gone.presets
    (root / "models" / "big.safetensors").write_bytes(b"weights")
    assert gone.refreshed().models["big"].available


def test_weights_that_arrive_while_the_folders_are_read_are_seen(
    root: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last file of a download, between the look at the models and the one that later changes are seen by."""
    real = files.signature

    def signs(settings: Settings, models: Collection[CatalogEntry], offers: Collection[Offer]) -> object:
        if models:
            (root / "models" / "big.safetensors").write_bytes(b"weights")
        return real(settings, models, offers)

    assert library.settings is not None
    with monkeypatch.context() as patch:
        patch.setattr(files, "signature", signs)
        read = library_module.load_library(library.settings)
    assert not read.models["big"].available
    seen = read.refreshed()
    assert seen.models["big"].available
    assert seen.refreshed() is seen


def test_a_list_that_changes_while_it_is_read_is_read_again(
    root: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.read_catalogs
    path = root / "models" / "catalog.json"

    def reads(settings: Settings, problems: list[str]) -> object:
        catalog = real(settings, problems)
        path.write_text(path.read_text().replace('"tiny"', '"tinier"', 1))
        return catalog

    assert library.settings is not None
    with monkeypatch.context() as patch:
        patch.setattr(files, "read_catalogs", reads)
        read = library_module.load_library(library.settings)
    assert "tinier" not in read.models
    assert "tinier" in read.refreshed().models


def test_a_live_library_is_always_the_newest(root: Path, settings: Settings) -> None:
    live = LiveLibrary(settings)
    assert live() is live()
    (root / "styles" / "new.json").write_text('[{"name": "New"}]')
    assert "New" in live().styles


def test_a_change_is_read_once_whoever_asks(root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    live, real, read = LiveLibrary(settings), library_module.load_library, list[Library]()
    before = live()

    def reads(settings: Settings) -> Library:
        time.sleep(0.05)  # as slow as a large folder: all the others ask meanwhile
        read.append(real(settings))
        return read[-1]

    monkeypatch.setattr(library_module, "load_library", reads)
    (root / "styles" / "new.json").write_text('[{"name": "New", "prompt": "{prompt}, new"}]')
    with ThreadPoolExecutor(8) as askers:
        got = list(askers.map(lambda _: live(), range(8)))
    assert len(read) == 1 and "New" not in before.styles
    assert all("New" in library.styles for library in got)


def test_who_draws_sees_no_less_than_who_asked_and_no_old_times(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(live_library, "time", SimpleNamespace(monotonic=lambda: now[0]))
    live = LiveLibrary(settings)
    (root / "styles" / "new.json").write_text('[{"name": "New"}]')
    asked = live()
    assert "New" in asked.styles and live.lately() is asked
    (root / "styles" / "newer.json").write_text('[{"name": "Newer"}]')
    assert live.lately() is asked, "nobody looks again for who draws at once"
    now[0] += 2 * live_library.LATELY_S
    assert "Newer" in live.lately().styles


def test_models_are_looked_for_in_the_own_folder_first(root: Path) -> None:
    settings = load_settings({"preset": "plain", "models_dir": str(root / "elsewhere")}, env={}, root=root)
    assert load_library(settings).models["tiny"].path == str(root / "models" / "tiny")
    (root / "elsewhere" / "tiny").mkdir(parents=True)
    entry = load_library(settings).models["tiny"]
    assert entry.path == str(root / "elsewhere" / "tiny") and not entry.available


def test_missing_weights_are_one_sentence(library: Library) -> None:
    assert library.check_available("TINY").name == "tiny"
    with pytest.raises(MissingModel, match="The model big is not at "):
        library.check_available("big")


def test_an_unknown_default_preset_is_a_problem_not_an_end(root: Path) -> None:
    library = load_library(load_settings(env={"FOOOCUS_PRESET": "nope"}, root=root))
    assert library.problems == ("There is no preset 'nope' (setting preset, from FOOOCUS_PRESET).",)
    assert library.filled(Recipe()).model == "tiny"


def test_an_empty_root_loads_and_says_so(tmp_path: Path) -> None:
    library = load_library(load_settings(env={}, root=tmp_path))
    assert library.menu()["styles"] == []
    with pytest.raises(MissingModel, match=r"There is no model\."):
        library.filled(Recipe())


def test_the_menu_is_json_and_complete(library: Library) -> None:
    menu = json.loads(json.dumps(library.menu()))
    assert menu["styles"][2] == {
        "name": "Washes",
        "category": "Some styles",
        "source": "shipped",
        "kind": "text",
        "has_negative": True,
        "favourite": False,
    }
    assert menu["presets"][1]["recipe"] == {"styles": ["dots"], "model": "tiny", "width": 192, "steps": 9, "count": 3}
    assert menu["models"][0]["sizes"][0].keys() == {"width", "height", "label"}
    assert menu["limits"]["steps"] | {"description": ""} == {
        "description": "",
        "allowed": "a whole number from 1 to 200",
        "min": 1,
        "max": 200,
    }
    assert menu["limits"]["image_format"]["allowed"] == "png, jpeg or webp"
    assert menu["defaults"]["guidance_scale"] == 3.0 and menu["default_preset"] == "plain"
    assert "euler" in [row["id"] for row in menu["samplers"]]


@pytest.mark.parametrize(
    "preset", [{"default_model": "far.safetensors"}, {"recipe": {"model": "gone"}}], ids=["fooocus", "ours"]
)
def test_a_default_preset_whose_model_is_gone_leaves_the_menu_there(root: Path, preset: dict[str, object]) -> None:
    """Else one click on "Make this my default" would take the page away for good."""
    (root / "data" / "presets").mkdir(parents=True)
    (root / "data" / "presets" / "far.json").write_text(json.dumps(preset))
    (root / "data" / "choices.json").write_text('{"preset": "far"}')
    library = load_library(load_settings(env={}, root=root))
    with pytest.raises((MissingModel, UnknownName)):
        library.filled(Recipe())
    menu = library.menu()
    assert menu["default_preset"] == "far" and menu["defaults"]["model"] == "tiny"
    assert menu["defaults"]["steps"] == 20 and menu["defaults"]["width"] == 128


def test_styles_a_model_has_learned_come_first(root: Path, settings: Settings) -> None:
    (root / "styles" / "zebra.json").write_text('[{"name": "Stripes"}]')
    models = json.loads((root / "models" / "catalog.json").read_text())
    models[0]["styles"] = ["Zebra"]
    (root / "models" / "catalog.json").write_text(json.dumps(models))
    assert list(load_library(settings).styles) == [
        "Expand prompt",
        "Random style",
        "Stripes",
        "Washes",
        "Dots",
        "plain-addition",
    ]


def test_sizes_for_1024_are_the_26_that_sdxl_programs_share() -> None:
    assert [f"{w}x{h}" for w, h in aspect_sizes(1024, 8)] == " ".join(SDXL_SIZES).split()


@pytest.mark.parametrize("native, multiple", [(128, 32), (128, 16), (256, 32), (512, 8), (768, 64)])
def test_offered_sizes_are_possible_and_about_the_native_area(native: int, multiple: int) -> None:
    sizes = aspect_sizes(native, multiple)
    assert (native, native) in sizes
    for width, height in sizes:
        assert width % multiple == height % multiple == 0
        assert 0.9 <= width * height / native**2 <= 1 and 0.5 <= width / height <= 3


def test_size_labels() -> None:
    assert size_label(1152, 896) == "1152×896 · 9:7"
