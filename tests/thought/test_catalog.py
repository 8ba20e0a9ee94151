"""Catalog entries that can be fetched: what they offer, where their files go, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.library import Library, load_library
from fooocus_lite.live_library import LiveLibrary
from fooocus_lite.settings import Settings

Load = Callable[[], Library]
FILE = {"repo": "somebody/some-model", "revision": "a" * 40, "path": "unet/model.safetensors"}
MODEL = {"name": "m", "family": "sdxl", "path": "m", "native_size": 512, "files": [FILE]}


def write(root: Path, *rows: dict[str, Any]) -> None:
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / "catalog.json").write_text(json.dumps(rows))


def lay(path: str, size: int) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(bytes(size))


def test_a_model_with_files_is_on_offer_and_here_once_all_of_them_are(root: Path, settings: Settings) -> None:
    second = {"url": "https://example.org/some/thing%20a.json?x=1", "size": 7, "sha256": "0" * 64}
    said = {"licence": "MIT", "licence_url": "https://example.org/licence", "gated": True, "memory_gb": 2.5}
    write(root, MODEL | said | {"files": [FILE | {"size": 3}, second]})
    library = LiveLibrary(settings)
    offer, entry = library().downloadable["m"], library().models["m"]
    assert (offer.kind, offer.licence, offer.is_gated, offer.memory_bytes) == ("checkpoint", "MIT", True, 2_500_000_000)
    assert (entry.files, entry.licence_url, entry.is_gated) == (offer.files, offer.licence_url, True)
    places = [Path(file.path).relative_to(settings.models_dir).as_posix() for file in offer.files]
    assert places == ["m/unet/model.safetensors", "m/thing a.json"]
    assert offer.size_bytes == 10 and len(offer.missing) == 2 and not entry.available
    lay(offer.files[0].path, 3)
    lay(offer.files[1].path, 6)
    assert not library().models["m"].available, "one of them is short"
    lay(offer.files[1].path, 7)
    assert library().models["m"].available and offer.missing == ()


def test_other_things_than_models_are_on_offer_too(root: Path, load: Load) -> None:
    row = {"name": "quick", "kind": "lora", "path": "loras/quick.safetensors", "files": [FILE]}
    write(root, row, {"name": "nothing", "kind": "vae", "path": "vae/x"})
    library = load()
    assert library.problems == () and list(library.downloadable) == ["quick"] and "quick" not in library.models
    assert library.downloadable["quick"].files[0].path == str(root / "models" / "loras" / "quick.safetensors")
    assert library.downloadable["quick"].size_bytes is None


def test_a_lora_that_arrives_is_seen_at_once(root: Path, settings: Settings) -> None:
    write(root, {"name": "quick", "kind": "lora", "path": "loras/quick.safetensors", "files": [FILE]})
    library = LiveLibrary(settings)
    assert library().loras.find("quick") is None
    lay(library().downloadable["quick"].files[0].path, 5)
    assert library().loras.find("quick") is not None


def test_a_part_that_another_entry_offers_is_fetched_with_the_model(root: Path, load: Load) -> None:
    vae = {"name": "v", "kind": "vae", "path": "vae/v", "files": [FILE | {"path": "v.safetensors"}]}
    write(root, MODEL | {"parts": {"vae": "vae/v"}, "configs": "families/sdxl"}, vae)
    library = load()
    entry = library.models["m"]
    assert entry.parts == (("vae", str(root / "models" / "vae" / "v")),)
    assert entry.configs == str(root / "models" / "families" / "sdxl")
    assert [Path(file.path).name for file in entry.files] == ["model.safetensors", "v.safetensors"]
    assert library.downloadable["v"].files[0] is entry.files[1]


def test_an_own_entry_takes_the_place_of_a_shipped_one_of_any_kind(root: Path, load: Load) -> None:
    write(root, MODEL | {"name": "tiny"}, {"name": "big", "kind": "vae", "path": "vae/x", "files": [FILE]})
    library = load()
    assert set(library.models) == {"tiny"} and set(library.downloadable) == {"tiny", "big"}


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"path": "../m"}, "'../m' is no place below the models folder."),
        ({"path": "/m"}, "'/m' is no place below"),
        ({"path": "C:/m"}, "'C:/m' is no place below"),
        ({"path": "a\\..\\..\\m"}, "is no place below"),
        ({"files": [FILE | {"path": "../../x"}]}, "'../../x' is no place below"),
        ({"files": [FILE | {"to": "a/../../x"}]}, "'a/../../x' is no place below"),
        ({"files": [FILE | {"to": "nul.txt"}]}, "'nul.txt' is no place below"),
        ({"files": [FILE | {"to": "x."}]}, "'x.' is no place below"),
        ({"files": [FILE | {"to": "x\0y"}]}, "is no place below"),
        ({"files": [{"url": "https://example.org/a/%2e%2e"}]}, "'..' is no place below"),
        ({"files": [{"url": "https://example.org/a/"}]}, "'' is no place below"),
        ({"files": [{"url": "file:///etc/passwd"}]}, "files.0.url: string should match"),
        ({"files": [FILE | {"url": "https://example.org/x"}]}, "A file has repo and path, or url."),
        ({"files": [{"repo": "a/b"}]}, "A file has repo and path, or url."),
        ({"files": [{}]}, "A file has repo and path, or url."),
        ({"files": [FILE | {"repo": "../b"}]}, "files.0.repo: string should match"),
        ({"files": [FILE | {"repo": "a/.."}]}, "files.0.repo: string should match"),
        ({"files": [FILE | {"sha256": "xyz"}]}, "files.0.sha256: string should match"),
        ({"files": [FILE | {"size": 0}]}, "files.0.size: input should be greater"),
        ({"files": [FILE, FILE | {"to": "UNET/Model.safetensors"}]}, "Two of its files would lie in the same place."),
        ({"path": "m.safetensors", "files": [FILE, FILE]}, "m.safetensors is one file, and has no places for others."),
        ({"kind": "magic"}, "kind: input should be 'checkpoint'"),
        ({"licence_url": "javascript:alert(1)"}, "licence_url: string should match"),
        ({"memory_gb": -1}, "memory_gb: input should be greater"),
    ],
)
def test_an_entry_that_cannot_be_trusted_is_one_sentence(
    root: Path, load: Load, change: dict[str, Any], problem: str
) -> None:
    write(root, MODEL | change)
    library = load()
    assert len(library.problems) == 1 and problem in library.problems[0], library.problems
    assert "m" not in library.downloadable and "m" not in library.models and "tiny" in library.models


def test_a_model_elsewhere_on_the_disk_needs_no_files(root: Path, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model_index.json").write_text("{}")
    write(root, MODEL | {"path": str(tmp_path / "elsewhere"), "files": []})
    library = load_library(settings)
    assert library.problems == () and library.models["m"].available and "m" not in library.downloadable
