"""Word lists and LoRA files as they are found in folders, broken ones included."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fooocus_lite import prompt_files
from fooocus_lite.library import Library
from fooocus_lite.prompt_files import ByName
from fooocus_lite.settings import Settings

Load = Callable[[], Library]


@pytest.fixture
def write(root: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file below the app root."""

    def to(place: str, content: str | bytes) -> Path:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to


Write = Callable[[str, "str | bytes"], Path]


def test_lists_are_lines_of_text_files_in_any_folder(write: Write, load: Load) -> None:
    write("wildcards/colour.txt", "\ufeffred\r\n\r\n  dark blue \n# no comment\n\n")
    write("wildcards/nature/Wild Flower.txt", "rose")
    write("wildcards/README.md", "not a list")
    lists = load().word_lists
    assert {name: row.words for name, row in lists.items()} == {
        "colour": ("red", "dark blue", "# no comment"),
        "nature/Wild Flower": ("rose",),
    }
    assert all(row.source == "shipped" for row in lists.values()) and load().problems == ()


def test_an_own_list_takes_the_place_of_a_shipped_one(write: Write, load: Load) -> None:
    write("wildcards/time_of_day.txt", "noon")
    write("data/wildcards/Time-of-Day.txt", "night")
    (row,) = load().word_lists.values()
    assert (row.words, row.source) == (("night",), "own")


@pytest.mark.parametrize(
    "name, found",
    [
        ("flower", "top"),
        ("FLOWER", "top"),
        ("nature/flower", "deep"),
        ("Nature/Flower", "deep"),
        ("wild_tree", "tree"),
        ("wild-tree", "tree"),
        ("nature/wild tree", "tree"),
        ("tree", None),
        ("nature", None),
        ("", None),
    ],
)
def test_names_are_paths_or_bare_names(name: str, found: str | None) -> None:
    files = ByName({"nature/flower": "deep", "flower": "top", "nature/wild-tree": "tree"})
    assert files.find(name) == found


def test_near_names_help() -> None:
    assert ByName({"nature/flower": 1, "colour": 2}).near("flowr") == ["nature/flower"]
    assert ByName[int]().near("flower") == []


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"\xff\xfe\x00", "wildcards/bad.txt is not UTF-8 text; save it as UTF-8."),
        (b" \n\n", "wildcards/bad.txt holds no words."),
        (b"", "wildcards/bad.txt holds no words."),
        (b"x" * 8_000_001, "wildcards/bad.txt is larger than 8 MB."),
    ],
    ids=["not text", "spaces", "empty", "large"],
)
def test_a_broken_list_is_named_and_the_others_load(write: Write, load: Load, content: bytes, problem: str) -> None:
    write("wildcards/bad.txt", content)
    write("wildcards/good.txt", "word")
    library = load()
    assert list(library.word_lists) == ["good"] and library.problems == (problem,)


def test_all_lists_together_have_a_limit(write: Write, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_files, "MAX_LISTS_BYTES", 10)
    write("wildcards/a.txt", "12345678")
    write("wildcards/b.txt", "12345678")
    library = load()
    assert list(library.word_lists) == ["a"]
    assert [problem.startswith("wildcards/b.txt is left out") for problem in library.problems] == [True]


def test_a_new_list_or_lora_appears_without_a_restart(write: Write, load: Load) -> None:
    library = load()
    assert library.refreshed() is library
    write("data/wildcards/new.txt", "word")
    library = library.refreshed()
    assert "new" in library.word_lists and library.refreshed() is library
    path = write("models/loras/sub/ink.safetensors", b"")
    library = library.refreshed()
    assert library.loras.find("ink") == library.loras.find("sub/ink") == str(path)
    write("data/wildcards/new.txt", "another")
    assert library.refreshed().word_lists["new"].words == ("another",)


def test_the_menu_names_them(write: Write, load: Load) -> None:
    write("wildcards/a.txt", "1")
    write("data/wildcards/b/c.txt", "2")
    assert load().menu()["wildcards"] == ["b/c", "a"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_folder_that_holds_itself_does_no_harm(settings: Settings, write: Write, load: Load) -> None:
    write("wildcards/a.txt", "1")
    os.symlink(settings.root / "wildcards", settings.root / "wildcards" / "loop", target_is_directory=True)
    assert load().word_lists["a"].words == ("1",)


def test_of_two_files_that_are_called_alike_the_nearer_one_is_suggested() -> None:
    assert ByName({"colour": 1, "starter/colour": 2}).near("colourz") == ["colour"]
    assert ByName({"a/colour": 1, "b/colour": 2}).near("colourz")[0] == "a/colour"
