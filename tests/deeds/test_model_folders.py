"""LoRAs and embeddings of a Fooocus folder, found where they lie: used in place, and after an import."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite import doctor
from fooocus_lite.fooocus_folder import MAX_FOLDERS, read_fooocus
from fooocus_lite.fooocus_import import import_fooocus
from fooocus_lite.library import load_library
from fooocus_lite.lora_files import preview_path
from fooocus_lite.model_scan import scan_models
from fooocus_lite.settings import Settings, load_settings
from tests import fooocus_like, stand_ins
from tests.lora_header import lora_bytes


@pytest.fixture
def fooocus(tmp_path: Path) -> Path:
    """One that keeps its LoRAs in two folders, of which one lies beside it."""
    folder = fooocus_like.write_fooocus(tmp_path / "outer" / "Fooocus")
    configure(folder, path_loras=["models/loras", "../shared"])
    put(folder / "models/loras/sub/ink.safetensors")
    put(folder / "models/loras/old.ckpt")
    put(tmp_path / "outer/shared/lines.safetensors")
    put(folder / "models/embeddings/soft.safetensors")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    root = tmp_path / "app"
    (root / "presets").mkdir(parents=True)
    (root / "presets" / "starter.json").write_text('{"recipe": {}}')
    return load_settings(env={}, root=root)


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lora_bytes())
    return path


def configure(folder: Path, **config: Any) -> None:
    (folder / "config.txt").write_text(json.dumps(config))


def in_place(settings: Settings, fooocus: Path) -> Settings:
    return load_settings({"legacy_folder": str(fooocus)}, env={}, root=settings.root)


def list_of(settings: Settings) -> dict[str, list[str]]:
    return json.loads((settings.data_dir / "model_folders.json").read_text())


def test_an_import_finds_what_a_folder_used_in_place_finds(fooocus: Path, settings: Settings) -> None:
    before = load_library(settings)
    assert not before.loras and not before.embeddings
    report = import_fooocus(fooocus, settings)
    imported, used = before.refreshed(), load_library(in_place(settings, fooocus))
    shared = str(fooocus.parent / "shared")
    assert imported.loras.find("ink") == str(fooocus / "models/loras/sub/ink.safetensors")
    assert imported.loras.find("lines") == os.path.join(shared, "lines.safetensors")
    assert imported.find_embedding("soft") == str(fooocus / "models/embeddings/soft.safetensors")
    assert dict(imported.loras) == dict(used.loras) and dict(imported.embeddings) == dict(used.embeddings)
    loras = str(fooocus / "models/loras")
    named = {"loras": [loras, shared], "embeddings": [str(fooocus / "models/embeddings")]}
    assert list_of(settings) == named | {"checkpoints": [str(fooocus / "models/checkpoints")], "vae": []}
    assert f"1 LoRA in {loras}, used from there: leave the folder where it is." in report.done
    assert f"1 LoRA in {shared}, used from there: leave the folder where it is." in report.done
    assert sum("1 embedding in " in sentence for sentence in report.done) == 1
    (pickles,) = (sentence for sentence in report.left if "stranger" in sentence)
    assert pickles.startswith(f"1 pickle in {loras}: ")
    assert not any("checkpoints" in one for one in report.left)


def test_an_import_finds_checkpoints_where_they_lie(fooocus: Path, settings: Settings) -> None:
    shutil.rmtree(fooocus / "models/checkpoints")
    configure(fooocus, path_checkpoints=["models/checkpoints", "../big"])
    path = stand_ins.write_safetensors(fooocus / "models/checkpoints/sub/real.safetensors", stand_ins.SDXL)
    other = stand_ins.write_safetensors(fooocus.parent / "big/old.safetensors", stand_ins.SD15)
    (fooocus.parent / "big/older.ckpt").write_bytes(b"\x80")
    for family in ("sdxl", "sd15"):
        (settings.root / "models/families" / family).mkdir(parents=True)
    report = import_fooocus(fooocus, settings)
    assert f"1 checkpoint in {path.parents[1]}, used from there: leave the folder where it is." in report.done
    assert f"1 checkpoint in {other.parent}, used from there: leave the folder where it is." in report.done
    (pickle,) = (sentence for sentence in report.left if sentence.startswith(f"1 pickle in {other.parent}: "))
    assert "fooocus-lite models convert" in pickle
    scan_models(settings)
    models = load_library(settings).models
    assert {name: (models[name].path, models[name].family) for name in ("real", "old")} == {
        "real": (str(path), "sdxl"), "old": (str(other), "sd15"),
    }  # fmt: skip
    shutil.rmtree(other.parent)
    (said,) = (problem for problem in load_library(settings).problems if "imported" in problem)
    assert str(other.parent) in said


def test_own_files_come_before_imported_ones(fooocus: Path, settings: Settings) -> None:
    own_lora = put(settings.loras_dir / "lines.safetensors")
    own_embedding = put(settings.embeddings_dir / "soft.safetensors")
    import_fooocus(fooocus, settings)
    library = load_library(settings)
    assert library.loras.find("lines") == str(own_lora) and library.find_embedding("soft") == str(own_embedding)
    assert library.loras.find("ink") is not None


def test_new_files_are_seen_and_a_new_import_replaces_the_list(fooocus: Path, settings: Settings) -> None:
    import_fooocus(fooocus, settings)
    library = load_library(settings)
    put(fooocus / "models/loras/new.safetensors")
    assert library.refreshed().loras.find("new") is not None
    configure(fooocus, path_loras="../shared")
    import_fooocus(fooocus, settings)
    assert list_of(settings)["loras"] == [str(fooocus.parent / "shared")]
    assert load_library(settings).loras.find("ink") is None


def test_a_folder_that_is_gone_is_one_sentence_and_no_end(fooocus: Path, settings: Settings) -> None:
    import_fooocus(fooocus, settings)
    fooocus.rename(fooocus.with_name("Elsewhere"))
    library = load_library(settings)
    assert list(library.loras) == ["lines"] and not library.embeddings
    (said,) = [finding for finding in doctor._models(settings) if "imported" in finding.text]
    assert (said.state, said.hint) == ("problem", "") and said.text == (
        f"What was imported from Fooocus is not there any more: the folder {fooocus / 'models/loras'} and 2 more. "
        "Bring it back, or run import-fooocus again."
    )


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"loras": 7}', '{"loras": ["a\\u0000b"], "embeddings": ["models"]}', '{"embeddings": [["/"]]}']
)
def test_a_broken_list_is_one_sentence_and_no_end(settings: Settings, text: str) -> None:
    put(settings.root / "models/loras/own.safetensors")
    settings.data_dir.mkdir()
    (settings.data_dir / "model_folders.json").write_text(text)
    library = load_library(settings)
    assert list(library.loras) == ["own"] and len(library.problems) == 1


def test_nothing_outside_the_folders_is_reached(fooocus: Path, settings: Settings) -> None:
    outside = fooocus.parent / "outside"
    loras = fooocus / "models/loras"
    for name in ("secret.safetensors", "secret.png"):
        put(outside / name)
    (loras / "file.safetensors").symlink_to(outside / "secret.safetensors")
    (loras / "folder").symlink_to(outside)
    (loras / "same.safetensors").symlink_to(loras / "sub/ink.safetensors")
    (loras / "sub/ink.png").symlink_to(outside / "secret.png")
    import_fooocus(fooocus, settings)
    library = load_library(settings)
    assert set(library.loras) == {"old", "same", "sub/ink", "lines"}
    for name in ("../../../outside/secret", "..\\secret", str(outside / "secret.safetensors"), "folder/secret"):
        assert library.loras.find(name) is None
        assert library.find_embedding(name) is None
    assert preview_path(str(loras / "sub/ink.safetensors")) is None
    (loras / "sub/ink.png").unlink()
    put(loras / "sub/other.png")
    (loras / "sub/ink.png").symlink_to(loras / "sub/other.png")
    assert preview_path(str(loras / "sub/ink.safetensors")) is not None


@pytest.mark.parametrize(
    "said, problem",
    [
        (7, "config.txt says path_loras is 7, which is no folder; "),
        (["a\0b", {"x": 1}], r"config.txt says path_loras is 'a\x00b', which is no folder, and 1 more like it; "),
        ("/", "config.txt says path_loras is '/', which is a whole disk, or Fooocus itself lies in it; "),
        ("..", "config.txt says path_loras is '..', which is a whole disk, or Fooocus itself lies in it; "),
        ("x" * 100_000, f"config.txt says path_loras is '{'x' * 78}…, which is not there; "),
    ],
    ids=["number", "null byte", "disk", "around", "long"],
)
def test_a_hostile_configuration_is_one_sentence(fooocus: Path, settings: Settings, said: Any, problem: str) -> None:
    configure(fooocus, path_loras=said)
    found = read_fooocus(fooocus)
    assert found.problems == (f"{problem}{fooocus / 'models/loras'} is used.",)
    assert problem in "\n".join(import_fooocus(fooocus, settings).left)
    assert list_of(settings)["loras"] == [str(fooocus / "models/loras")]


def test_thousands_of_folders_are_few(fooocus: Path, settings: Settings) -> None:
    names = [f"many/{number}" for number in range(MAX_FOLDERS + 3)]
    for name in names:
        put(fooocus / name / "same.safetensors")
    configure(fooocus, path_loras=[*names, *(["many/0"] * 5_000)])
    report = import_fooocus(fooocus, settings)
    assert list_of(settings)["loras"] == [str(fooocus / name) for name in names[:MAX_FOLDERS]]
    (said,) = [sentence for sentence in report.left if "path_loras" in sentence]
    assert said == "config.txt names 5,023 folders as path_loras; only the first 20 are looked at."
    assert list(load_library(settings).loras) == ["same"]
