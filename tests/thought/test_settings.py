"""The machine's ladder: defaults < fooocus.toml < environment < command line."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from fooocus_lite.errors import BadFile, BadValue, UnknownName
from fooocus_lite.settings import SETTINGS, Settings, app_root, load_settings


def test_defaults_need_no_file(tmp_path: Path) -> None:
    settings = load_settings(env={}, root=tmp_path)
    assert (settings.host, settings.port, settings.open_browser, settings.preset) == (
        "127.0.0.1",
        7865,
        True,
        "starter",
    )
    assert settings.output_dir == tmp_path / "outputs"
    assert set(settings.sources.values()) == {"default"}


def test_each_rung_wins_over_the_one_below(tmp_path: Path) -> None:
    (tmp_path / "fooocus.toml").write_text("port = 7001\npreview_fps = 2\nhost = 'toml'\n")
    settings = load_settings(
        {"port": 7003, "host": None}, env={"FOOOCUS_PORT": "7002", "FOOOCUS_HOST": "environment"}, root=tmp_path
    )
    assert (settings.port, settings.host, settings.preview_fps, settings.device) == (7003, "environment", 2.0, "auto")
    assert [settings.sources[name] for name in ("port", "host", "preview_fps", "device")] == [
        "--port",
        "FOOOCUS_HOST",
        "fooocus.toml",
        "default",
    ]


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    assert load_settings(env={"FOOOCUS_PORT": ""}, root=tmp_path).sources["port"] == "default"


def test_folders_stand_in_the_app_root_unless_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    given = {
        "FOOOCUS_DATA_DIR": "here/../d", "FOOOCUS_OUTPUT_DIR": "~/pictures", "FOOOCUS_MODELS_DIR": str(tmp_path / "m"),
    }  # fmt: skip
    settings = load_settings(env=given, root=tmp_path)
    assert settings.data_dir == tmp_path / "d"
    assert settings.output_dir == tmp_path / "home" / "pictures"
    assert settings.models_dir == tmp_path / "m"
    assert settings.styles_dirs == (tmp_path / "styles", tmp_path / "d" / "styles")


def test_folders_on_the_command_line_stand_where_the_person_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "app"
    settings = load_settings({"data_dir": "./d", "output_dir": "../o"}, env={"FOOOCUS_MODELS_DIR": "m"}, root=root)
    assert (settings.data_dir, settings.output_dir) == (tmp_path / "d", tmp_path.parent / "o")
    assert settings.models_dir == root / "m"


def test_no_fooocus_folder_unless_one_is_named(tmp_path: Path) -> None:
    assert load_settings(env={}, root=tmp_path).legacy_folder is None
    assert load_settings(env={"FOOOCUS_LEGACY_FOLDER": "old"}, root=tmp_path).legacy_folder == tmp_path / "old"


@pytest.mark.parametrize("text, value", [("1", True), ("Yes", True), ("off", False), ("false", False)])
def test_yes_and_no(tmp_path: Path, text: str, value: bool) -> None:
    assert load_settings(env={"FOOOCUS_OPEN_BROWSER": text}, root=tmp_path).open_browser is value


@pytest.mark.parametrize(
    "name, value",
    [
        ("port", "0"),
        ("port", 65536),
        ("port", "-1"),
        ("port", "7865.5"),
        ("port", "abc"),
        ("port", True),
        pytest.param("port", "9" * 5000, id="port-long"),
        ("preview_fps", "5.1"),
        ("preview_fps", "nan"),
        ("preview_fps", -1),
        ("device", "gpu"),
        ("device", "cuda:"),
        ("dtype", "int8"),
        ("log_level", "loud"),
        ("open_browser", "perhaps"),
        ("host", ""),
        ("host", "http://x/"),
        ("data_dir", "a\0b"),
        ("data_dir", " "),
        ("data_dir", 7),
        pytest.param(
            "data_dir", "~no-such-person/x", marks=pytest.mark.skipif(sys.platform == "win32", reason="guesses")
        ),
    ],
)
def test_a_value_out_of_range_names_setting_source_and_range(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(BadValue) as caught:
        load_settings({name: value}, env={}, root=tmp_path)
    assert caught.value.field == name
    assert name in caught.value.problem and SETTINGS[name].flag in caught.value.problem
    assert SETTINGS[name].allowed in caught.value.hint
    assert len(str(caught.value)) < 250


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(BadValue, match=r"FOOOCUS_DATA_DIR.*that is a file"):
        load_settings(env={"FOOOCUS_DATA_DIR": "taken"}, root=tmp_path)


def test_an_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "fooocus.toml").write_text("prot = 1\n")
    with pytest.raises(UnknownName, match=r"'prot' \(in fooocus.toml\). Did you mean port\?"):
        load_settings(env={}, root=tmp_path)


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "fooocus.toml").write_text("port = 1\nhost =\n")
    with pytest.raises(BadFile, match=r"fooocus.toml.*line 2"):
        load_settings(env={}, root=tmp_path)
    (tmp_path / "fooocus.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match=r"fooocus.toml cannot be read"):
        load_settings(env={}, root=tmp_path)


def test_a_settings_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="There is no settings file"):
        load_settings(env={}, toml_path=tmp_path / "mine.toml", root=tmp_path)


def test_the_table_is_the_dataclass() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert fields - {"root", "sources"} == set(SETTINGS)
    assert all(row.help.endswith(".") and row.allowed for row in SETTINGS.values())
    assert len({row.flag for row in SETTINGS.values()}) == len(SETTINGS)


def test_describe_lists_every_setting_with_its_source(tmp_path: Path) -> None:
    rows = load_settings({"port": 1}, env={}, root=tmp_path).describe()
    assert [row.name for row, _, _ in rows] == list(SETTINGS)
    assert ("port", 1, "--port") in [(row.name, value, source) for row, value, source in rows]


def test_the_app_root_holds_the_content() -> None:
    assert all((app_root() / name).is_dir() for name in ("presets", "styles", "models"))


def test_several_folders_are_a_list_or_a_text(tmp_path: Path) -> None:
    def folders(**given: object) -> tuple[Path, ...]:
        return load_settings(root=tmp_path, **given).extra_model_folders  # type: ignore[arg-type]

    assert folders(env={}) == ()
    text = os.pathsep.join(("one", "/two", "", "one"))
    assert folders(env={"FOOOCUS_EXTRA_MODEL_FOLDERS": text}) == (tmp_path / "one", Path("/two"))
    (tmp_path / "fooocus.toml").write_text('extra_model_folders = ["a b", "~/c"]')
    assert folders(env={}) == (tmp_path / "a b", Path.home() / "c")
    assert folders(env={}, cli={"extra_model_folders": "here"}) == (Path.cwd() / "here",)
    for wrong in ("[3]", "7", "true", '"a\\u0000b"'):
        (tmp_path / "fooocus.toml").write_text(f"extra_model_folders = {wrong}")
        with pytest.raises(BadValue, match="extra_model_folders cannot be"):
            folders(env={})


def test_the_variable_of_the_hub_is_heard_where_nobody_says_otherwise(tmp_path: Path) -> None:
    def offline(**env: str) -> tuple[bool, str]:
        settings = load_settings(env=env, root=tmp_path)
        return settings.offline, settings.sources["offline"]

    for said in ("1", "on", "YES", "True"):
        assert offline(HF_HUB_OFFLINE=said) == (True, "HF_HUB_OFFLINE")
    for said in ("", "0", "no", "nonsense"):
        assert offline(HF_HUB_OFFLINE=said) == (False, "default")
    assert offline(HF_HUB_OFFLINE="1", FOOOCUS_OFFLINE="no") == (False, "FOOOCUS_OFFLINE")
