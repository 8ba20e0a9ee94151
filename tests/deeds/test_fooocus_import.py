"""Taking over a Fooocus folder, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fooocus_lite.choices import MAX_FAVOURITES
from fooocus_lite.errors import NotFound
from fooocus_lite.fooocus_import import import_fooocus
from fooocus_lite.library import load_library
from fooocus_lite.settings import Settings, load_settings
from fooocus_lite.store import open_store
from tests import fooocus_like
from tests.deeds.foreign import png


@pytest.fixture
def fooocus(tmp_path: Path) -> Path:
    return fooocus_like.write_fooocus(tmp_path / "outer" / "Fooocus")


def in_their_place(fooocus: Path) -> list[str]:
    """What is said each time of the models, which are not copied."""
    return [f"1 checkpoint in {fooocus / 'models/checkpoints'}, used from there: leave the folder where it is."]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    root = tmp_path / "app"
    (root / "styles").mkdir(parents=True)
    (root / "styles" / "some.json").write_text('[{"name": "Ours", "prompt": "{prompt}"}]')
    (root / "presets").mkdir()
    (root / "presets" / "starter.json").write_text('{"recipe": {}}')
    return load_settings(env={}, root=root)


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_found_afterwards_and_nothing_there_has_changed(fooocus: Path, settings: Settings) -> None:
    before = everything(fooocus)
    report = import_fooocus(fooocus.parent, settings)
    assert everything(fooocus) == before
    library = load_library(settings)
    assert [name for name, style in library.styles.items() if style.source == "own"] == fooocus_like.NAMES
    assert library.find_style("SAI Anime").prompt == "cel shaded {prompt}", "as in Fooocus, its own files count"
    assert {"default", "anime", "fooocus-initial"} <= set(library.presets)
    assert library.favourites == ("Expand prompt", "Fooocus Sharp", "SAI Anime")
    assert (settings.data_dir / "wildcards" / "deep" / "metal.txt").read_text() == "tin\n"
    assert report.done == [
        "6 styles.",
        "3 presets.",
        "2 lists of words for wildcards.",
        "1 language: xx. The setting language chooses one.",
        *in_their_place(fooocus),
        "3 favourites.",
    ]
    left = "\n".join(report.left)
    assert "models/checkpoints" not in left and "language" not in left
    assert "'Fooocus V2'" not in left, "it was moved to the top too, and has another name here"


def test_pictures_are_in_the_history_once_and_stay_where_they_lie(fooocus: Path, settings: Settings) -> None:
    picture = fooocus / "outputs" / "2024-02-03" / "2024-02-03_04-05-06_7890.png"
    picture.parent.mkdir()
    picture.write_bytes(png(parameters='a fox\nSteps: 5, Sampler: Euler, Seed: 7, Size: 48x32, Styles: ["SAI Anime"]'))
    assert "1 picture in the history." in import_fooocus(fooocus, settings).done
    again = import_fooocus(fooocus / ".." / fooocus.name, settings)
    assert again.done == in_their_place(fooocus), "the same folder, written otherwise"
    store = open_store(settings.data_dir)
    (task,) = store.queue.pictures()
    assert (task.image_path, task.recipe.seed, task.recipe.styles) == (str(picture), 7, ("SAI Anime",))
    try:
        (sentence,) = (one for one in import_fooocus(fooocus, settings).left if "not in the history yet" in one)
    finally:
        store.close()
    assert str(picture.parent.parent) in sentence, "a running server holds the history"


@pytest.mark.parametrize(("number", "say"), [(1, "1 of the pictures says"), (2, "2 of the pictures say")])
def test_pictures_without_settings_are_counted(fooocus: Path, settings: Settings, number: int, say: str) -> None:
    for at in range(number):
        (fooocus / "outputs" / f"2024-02-03_04-05-06_000{at}.png").write_bytes(png())
    assert any(one.startswith(f"{say} nothing about how ") for one in import_fooocus(fooocus, settings).left)


def test_imported_presets_stand_alone(fooocus: Path, settings: Settings) -> None:
    in_place = load_library(load_settings({"legacy_folder": str(fooocus)}, env={}, root=settings.root)).presets
    import_fooocus(fooocus, settings)
    imported = load_library(settings).presets
    for name in ("default", "anime"):
        assert imported[name].recipe == in_place[name].recipe
        assert imported[name].needs == in_place[name].needs
    assert imported["fooocus-initial"].recipe == in_place["initial"].recipe
    assert imported["anime"].needs[0].older == ()


def test_again_adds_nothing_and_overwrites_nothing(fooocus: Path, settings: Settings) -> None:
    import_fooocus(fooocus, settings)
    mine = settings.data_dir / "presets" / "anime.json"
    mine.write_text('{"recipe": {"steps": 3}}')
    before = everything(settings.data_dir)
    report = import_fooocus(fooocus, settings)
    assert everything(settings.data_dir) == before
    assert report.done == in_their_place(fooocus)
    assert f"{mine} is there already and differs; it was left as it is." in report.left


def test_broken_files_are_named_and_the_rest_comes(fooocus: Path, settings: Settings) -> None:
    (fooocus / "sdxl_styles" / "sdxl_styles_sai.json").write_text('[{"name": "A", "prompt": "{prompt}"}, {"name"')
    (fooocus / "presets" / "anime.json").write_text("{")
    (fooocus / "config.txt").write_bytes(b"\xff\xfe")
    (fooocus / "sorted_styles.json").write_text('{"a": 1}')
    report = import_fooocus(fooocus, settings)
    assert [sentence.split(":")[0] for sentence in report.left[:3]] == [
        "Fooocus/config.txt is not UTF-8 text; save it as UTF-8.",
        "Fooocus/sdxl_styles/sdxl_styles_sai.json, line 1, entry 2",
        "Fooocus/presets/anime.json, line 1",
    ]
    library = load_library(settings)
    assert "A" in library.styles and "default" in library.presets and library.favourites == ()


def test_what_is_broken_is_named_once_and_stays_behind(fooocus: Path, settings: Settings) -> None:
    rows = [{"name": "My Ink", "prompt": "ink {prompt}"}, {"name": "Bad"}, {"prompt": "x {prompt}"}]
    (fooocus / "sdxl_styles" / "zink.json").write_text(json.dumps(rows, indent=1))
    (fooocus / "presets" / "list.json").write_text("[]")
    (fooocus / "my-lists" / "bin.txt").write_bytes(b"\xff\xfe")
    (fooocus / "my-lists" / "empty.txt").write_text("\n")
    report = import_fooocus(fooocus, settings)
    assert report.left[1:5] == [
        "Fooocus/sdxl_styles/zink.json, line 9, entry 3: name is missing.",
        "Fooocus/presets/list.json is not a JSON object.",
        "Fooocus/my-lists/bin.txt is not UTF-8 text; save it as UTF-8.",
        "Fooocus/my-lists/empty.txt holds no words.",
    ]
    assert report.done[:3] == ["8 styles.", "3 presets.", "2 lists of words for wildcards."]
    library = load_library(settings)
    assert library.find_style("My Ink").prompt == "ink {prompt}" and "Bad" in library.styles
    assert not [one for one in library.problems if "has the name of an earlier style" not in one]


def test_own_favourites_stay_first(fooocus: Path, settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / "choices.json").write_text(json.dumps({"favourites": ["Ours"], "preset": "starter"}))
    import_fooocus(fooocus, settings)
    library = load_library(settings)
    assert (
        library.favourites == ("Ours", "Expand prompt", "Fooocus Sharp", "SAI Anime")
        and library.default_preset == "starter"
    )


def test_a_folder_without_fooocus(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(NotFound, match="Give the folder in which sdxl_styles, presets, wildcards lie"):
        import_fooocus(tmp_path / "outer", settings)
    assert not settings.data_dir.exists()


def test_what_may_not_be_read_is_named_and_the_rest_comes(
    fooocus: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of another person of this computer; root, who runs tests, may read all of them."""
    shut = {fooocus / "sdxl_styles" / "sdxl_styles_sai.json", fooocus / "my-lists" / "color.txt"}
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path in shut:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    report = import_fooocus(fooocus, settings)
    assert {f"{path} cannot be read (Permission denied)." for path in shut} <= set(report.left)
    assert "1 list of words for wildcards." in report.done and "3 presets." in report.done
    assert "Fooocus Sharp" in load_library(settings).styles


def test_what_else_the_configuration_says_is_named(fooocus: Path, settings: Settings) -> None:
    config = json.loads((fooocus / "config.txt").read_text())
    (fooocus / "config.txt").write_text(json.dumps(config | {"default_output_format": "jpeg", "temp_path": "/tmp/x"}))
    assert (
        "What config.txt says of these is not used here: default_output_format."
        in import_fooocus(fooocus, settings).left
    )


def test_favourites_too_many_are_no_reason_to_stop(fooocus: Path, settings: Settings) -> None:
    names = [f"Style {number}" for number in range(MAX_FAVOURITES + 5)]
    rows = [{"name": name, "prompt": "x"} for name in names]
    (fooocus / "sdxl_styles" / "many.json").write_text(json.dumps(rows))
    (fooocus / "sorted_styles.json").write_text(json.dumps([*names[::-1], "SAI Anime"]))
    report = import_fooocus(fooocus, settings)
    assert len(load_library(settings).favourites) == MAX_FAVOURITES and len(report.done) == 6


def test_languages_come_along_but_replace_nothing(fooocus: Path, settings: Settings) -> None:
    (fooocus / "language" / "de.json").write_text('{"Seed": "Keim"}')
    (fooocus / "language" / "broken.json").write_text('{"Seed":\n')
    own = settings.languages_dir / "de.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"Seed": "Same"}')
    report = import_fooocus(fooocus, settings)
    assert sorted(path.name for path in own.parent.iterdir()) == ["de.json", "xx.json"]
    assert f"{own} is there already and differs; it was left as it is." in report.left
    assert any(sentence.startswith("Fooocus/language/broken.json, line 2: ") for sentence in report.left)
    chosen = load_library(load_settings({"language": "de"}, env={}, root=settings.root)).language
    assert chosen.words == {"Seed": "Same"}
