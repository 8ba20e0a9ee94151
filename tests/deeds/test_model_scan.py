"""Models in folders of any program are found, told apart, and used where they lie."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fooocus_lite import model_scan
from fooocus_lite.library import Library, load_library
from fooocus_lite.live_library import LiveLibrary
from fooocus_lite.model_headers import FileFacts
from fooocus_lite.model_index import index_path, read_index
from fooocus_lite.model_scan import ModelScan, scan_models
from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import Settings, load_settings
from tests import stand_ins as s
from tests.lora_header import lora_bytes

STARTER = {"name": "starter", "family": "sdxl", "path": "starter", "native_size": 128}
CATALOG = {
    "name": "jugger",
    "family": "sdxl",
    "path": "checkpoints/juggernautXL_v8Rundiffusion.safetensors",
    "native_size": 1024,
    "files": [{"repo": "a/b", "path": "x.safetensors", "size": 0}],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An app root with an empty model, and configurations for SDXL and SD 1.5."""
    root = tmp_path / "app"
    for folder in ("presets", "models/starter", "models/families/sdxl/unet", "models/families/sd15/unet"):
        (root / folder).mkdir(parents=True)
    (root / "models" / "starter" / "model_index.json").write_text("{}")
    (root / "models" / "families" / "sdxl" / "unet" / "config.json").write_text('{"cross_attention_dim": 2048}')
    (root / "models" / "catalog.json").write_text(json.dumps([STARTER]))
    (root / "presets" / "plain.json").write_text('{"recipe": {"model": "starter"}}')
    return root


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    """A folder of another program."""
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    return tmp_path / "ComfyUI" / "models"


@pytest.fixture
def settings(root: Path, extra: Path) -> Settings:
    return load_settings({"preset": "plain", "extra_model_folders": [str(extra)]}, env={}, root=root)


@pytest.fixture
def look(settings: Settings) -> Callable[[], Library]:
    """Scan, then read."""

    def looked() -> Library:
        scan_models(settings)
        return load_library(settings)

    return looked


def test_a_dropped_in_checkpoint_is_a_model(root: Path, look: Callable[[], Library]) -> None:
    path = s.write_safetensors(root / "models" / "checkpoints" / "my_own XL.safetensors", {**s.SDXL, "v_pred": ()})
    library = look()
    entry = library.models["my_own XL"]
    assert library.problems == () and entry.available and entry.path == str(path)
    assert (entry.family, entry.native_size, entry.prediction) == ("sdxl", 1024, "v_prediction")
    assert entry.configs == str(root / "models" / "families" / "sdxl") and entry.context_width == 2048
    assert make_plan(Recipe(prompt="x", model="my_own XL"), library, seed=1).warnings == ()


@pytest.mark.parametrize("name", ["juggernautXL_v8Rundiffusion.safetensors", "JuggernautXL-v8rundiffusion", "jugger"])
def test_models_are_found_as_other_programs_write_them(root: Path, settings: Settings, name: str) -> None:
    row = {key: value for key, value in CATALOG.items() if key != "files"}
    (root / "models" / "catalog.json").write_text(json.dumps([STARTER, row]))
    assert load_library(settings).find_model(name).name == "jugger"


def test_a_catalog_entry_uses_the_file_where_another_program_has_it(
    root: Path, extra: Path, look: Callable[[], Library]
) -> None:
    path = s.write_safetensors(extra / "checkpoints" / "juggernautXL_v8Rundiffusion.safetensors", s.SDXL)
    file = {"repo": "a/b", "path": "x.safetensors", "size": path.stat().st_size}
    (root / "models" / "catalog.json").write_text(json.dumps([STARTER, CATALOG | {"files": [file]}]))
    library = look()
    assert library.models["jugger"].available and library.models["jugger"].path == str(path)
    assert list(library.models) == ["starter", "jugger"], "and it is not there a second time"
    assert library.downloadable["jugger"].missing == (), "nor need it be fetched"
    other = CATALOG | {"files": [file | {"size": 5}]}
    (root / "models" / "catalog.json").write_text(json.dumps([STARTER, other]))
    library = look()
    assert not library.models["jugger"].available, "a file of another length is another file"
    assert library.models["juggernautXL_v8Rundiffusion"].available


def test_what_ships_is_no_model_wherever_the_folder_was_moved_to(root: Path, settings: Settings) -> None:
    moved = root / "moved"
    for name in ("families/sdxl", "checkpoints/mine"):
        (moved / name).mkdir(parents=True)
        (moved / name / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    settings = replace(settings, models_dir=moved)
    scan_models(settings)
    assert [Path(path).name for path in read_index(settings).found] == ["mine"]


def test_layouts_of_other_programs(extra: Path, look: Callable[[], Library]) -> None:
    """ComfyUI, A1111 and Forge, InvokeAI, and the hub's cache with its links."""
    s.write_safetensors(extra / "checkpoints" / "sub" / "comfy.safetensors", s.SDXL)
    s.write_safetensors(extra / "Stable-diffusion" / "webui.safetensors", s.SD15)
    s.write_safetensors(extra / "sdxl" / "main" / "0f3a" / "model.safetensors", {**s.SDXL, "x": (1,)})
    snapshot = extra / "hub" / "models--somebody--fine-model" / "snapshots" / "abc"
    blob = s.write_safetensors(extra / "hub" / "models--somebody--fine-model" / "blobs" / "123", {**s.SDXL, "y": (9,)})
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    (snapshot / "again.safetensors").symlink_to(blob)
    whole = extra / "hub" / "models--owner--whole" / "snapshots" / "def"
    whole.mkdir(parents=True)
    (whole / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    s.write_safetensors(whole / "unet" / "diffusion_pytorch_model.safetensors", s.SDXL_UNET)
    (extra / "Lora").mkdir()
    (extra / "Lora" / "ink.safetensors").write_bytes(lora_bytes(2048))
    s.write_safetensors(extra / "embeddings" / "calm.safetensors", {"clip_l": (2, 768), "clip_g": (2, 1280)})
    s.write_safetensors(extra / "vae" / "some_vae.safetensors", s.VAE)
    library = look()
    assert library.problems == ()
    assert set(library.models) == {"starter", "comfy", "webui", "0f3a", "again", "whole"}
    assert library.models["whole"].path == str(whole) and library.models["webui"].family == "sd15"
    assert library.loras.find("ink") == str(extra / "Lora" / "ink.safetensors")
    assert library.find_embedding("calm") == str(extra / "embeddings" / "calm.safetensors")
    kinds = {os.path.basename(one.path): one.facts.kind for one in library.found}
    assert kinds["some_vae.safetensors"] == "vae" and kinds["ink.safetensors"] == "lora"


def test_names_that_are_taken_get_their_folders(root: Path, extra: Path, look: Callable[[], Library]) -> None:
    s.write_safetensors(root / "models" / "checkpoints" / "same.safetensors", s.SDXL)
    s.write_safetensors(extra / "one" / "same.safetensors", s.SD15)
    s.write_safetensors(extra / "two" / "Same.safetensors", {**s.SD15, "x": (1,)})
    s.write_safetensors(extra / "two" / "starter.safetensors", {**s.SD15, "y": (1,)})
    assert list(look().models) == ["starter", "same", "same (one)", "Same (two)", "starter (two)"]


def test_what_cannot_be_used_is_one_sentence_each(extra: Path, look: Callable[[], Library]) -> None:
    s.write_safetensors(extra / "checkpoints" / "cut.safetensors", s.SDXL, missing=100)
    (extra / "checkpoints" / "page.safetensors").write_bytes(b"<!doctype html><p>please log in")
    s.write_safetensors(extra / "unet" / "flux_only.safetensors", s.FLUX)
    s.write_safetensors(extra / "unet" / "aura.safetensors", {"double_layers.0.attn.w1q.weight": (9,)})
    s.write_safetensors(extra / "checkpoints" / "fine.safetensors", s.SDXL)
    with (extra / "checkpoints" / "old.ckpt").open("wb") as file:
        file.truncate(model_scan.MIN_PICKLE_BYTES)
    (extra / "small.pt").write_bytes(b"PK\x03\x04")
    library = look()
    assert set(library.models) == {"starter", "fine"}
    said = "\n".join(library.problems)
    assert len(library.problems) == 5 and "Traceback" not in said
    assert "cut.safetensors cannot be used: it is cut short" in said
    assert "page.safetensors cannot be used: it is a web page" in said
    assert "1 file is no model to draw with yet (AuraFlow): aura.safetensors." in said
    assert "flux_only.safetensors" in said
    assert f'fooocus-lite models convert "{extra / "checkpoints" / "old.ckpt"}"' in said and "small.pt" not in said


def test_a_network_alone_borrows_from_a_whole_model_of_its_kind(extra: Path, look: Callable[[], Library]) -> None:
    s.write_gguf(extra / "unet" / "dev-Q4.gguf", "flux", {**s.FLUX, **s.GUIDANCE})
    s.write_gguf(extra / "unet" / "schnell-Q4.gguf", "flux", s.FLUX)
    s.write_safetensors(extra / "checkpoints" / "riddle.safetensors", {"layer": (1, 2, 3)})
    assert set(look().models) == {"starter"}
    whole = extra / "FLUX.1-dev"
    for part in ("text_encoder", "text_encoder_2", "transformer", "vae"):
        s.write_safetensors(whole / part / "model.safetensors", {"x": (1,)})
    (whole / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    (whole / "transformer" / "config.json").write_text('{"guidance_embeds": true}')
    library = look()
    assert set(library.models) == {"starter", "FLUX.1-dev", "dev-Q4"}
    entry = library.models["dev-Q4"]
    assert entry.configs == str(whole) and entry.path.endswith("dev-Q4.gguf")
    assert dict(entry.parts) == {part: str(whole / part) for part in ("text_encoder", "text_encoder_2", "vae")}
    said = "\n".join(library.problems)
    assert "(FLUX.1, without text encoders and VAE: fetch a whole model of its kind once" in said
    assert "(no known kind of model): riddle.safetensors." in said


def test_links_in_circles_and_folders_that_are_shut(extra: Path, look: Callable[[], Library]) -> None:
    s.write_safetensors(extra / "a" / "one.safetensors", s.SDXL)
    (extra / "a" / "loop").symlink_to(extra)
    (extra / "self.safetensors").symlink_to(extra / "self.safetensors")
    (extra / "gone.safetensors").symlink_to(extra / "nowhere")
    (extra / "shut").mkdir()
    (extra / "shut").chmod(0)
    library = look()
    (extra / "shut").chmod(0o700)
    assert set(library.models) == {"starter", "one"} and library.problems == ()


def test_an_extra_folder_that_is_not_there_is_said(extra: Path, look: Callable[[], Library]) -> None:
    shutil.rmtree(extra)
    assert look().problems == (
        f"The folder {extra} is not there (setting extra_model_folders, from --extra-model-folders).",
    )


def test_each_head_is_read_once(settings: Settings, extra: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [s.write_safetensors(extra / f"{number}.safetensors", {**s.SDXL, str(number): (1,)}) for number in range(5)]
    read: list[str] = []
    real = model_scan.identify
    monkeypatch.setattr(model_scan, "identify", lambda path: (read.append(path), real(path))[1])
    scan_models(settings)
    assert sorted(read) == sorted(map(str, paths))
    stamp = index_path(settings).stat().st_mtime_ns
    scan_models(settings)
    assert len(read) == 5 and index_path(settings).stat().st_mtime_ns == stamp, "nothing changed, nothing is written"
    os.utime(paths[2], ns=(1, 1))
    paths[3].unlink()
    scan_models(settings)
    assert read[5:] == [str(paths[2])] and len(read_index(settings).found) == 4


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 99}', b'{"version":1,"found":[{"path":3}]}', b"\xff\xfe"]
)
def test_a_broken_list_is_made_anew(settings: Settings, extra: Path, content: bytes) -> None:
    path = s.write_safetensors(extra / "x.safetensors", s.SDXL)
    settings.data_dir.mkdir()
    index_path(settings).write_bytes(content)
    assert set(load_library(settings).models) == {"starter"}
    scan_models(settings)
    assert read_index(settings).found[str(path)].facts == FileFacts("checkpoint", "sdxl", "", "fp16")


def test_no_folder_of_models_no_list(settings: Settings) -> None:
    scan_models(settings)
    assert not settings.data_dir.exists()


def test_doubles_are_offered_once_and_only_what_looks_alike_is_read(
    settings: Settings, extra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = s.write_safetensors(extra / "a" / "model_a.safetensors", s.SD15)
    shutil.copy(first, extra / "b.safetensors")
    other = s.write_safetensors(extra / "c.safetensors", s.SD15)
    with other.open("r+b") as file:  # of the same length, and another in its middle
        file.seek(other.stat().st_size // 2)
        file.write(b"another")
    s.write_safetensors(extra / "d.safetensors", s.SDXL)
    hashed: list[str] = []
    real = model_scan.hash_file
    monkeypatch.setattr(model_scan, "hash_file", lambda path, stop: (hashed.append(path), real(path, stop))[1])
    scan_models(settings)
    assert hashed == [] and len(load_library(settings).models) == 5, "not before somebody has time"
    samples: model_scan.Samples = {}
    looked_into: list[str] = []
    sample = model_scan._sample
    monkeypatch.setattr(model_scan, "_sample", lambda path, size: (looked_into.append(path), sample(path, size))[1])
    scan_models(settings, samples=samples)
    assert sorted(map(os.path.basename, hashed)) == ["b.safetensors", "model_a.safetensors"]
    assert set(load_library(settings).models) == {"starter", "b", "c", "d"}
    scan_models(settings, samples=samples)
    assert len(hashed) == 2 and len(looked_into) == 3, "and a second look opens nothing"


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def test_a_file_dropped_in_while_the_program_runs_appears(settings: Settings, extra: Path) -> None:
    scan = ModelScan(settings)
    library = LiveLibrary(settings, asked=scan.wake)
    scan.start()
    try:
        s.write_safetensors(extra / "late.safetensors", s.SDXL, missing=9)
        until(lambda: any("cut short" in problem for problem in library().problems))
        s.write_safetensors(extra / "late.safetensors", s.SDXL)
        until(lambda: "late" in library().models)
        assert library().problems == ()
        (extra / "late.safetensors").unlink()
        until(lambda: "late" not in library().models)
    finally:
        scan.close()
    assert not any(thread.name == "model-scan" for thread in threading.enumerate())


def test_a_file_that_nobody_thought_of_does_not_end_the_thread(
    settings: Settings, extra: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = iter([RuntimeError("no such thing")])
    real = model_scan.identify

    def identify(path: str) -> FileFacts:
        if exc := next(strange, None):
            raise exc
        return real(path)

    monkeypatch.setattr(model_scan, "identify", identify)
    s.write_safetensors(extra / "x.safetensors", s.SDXL)
    scan = ModelScan(settings)
    library = LiveLibrary(settings, asked=scan.wake)
    scan.start()
    try:
        until(lambda: "x" in library().models)
    finally:
        scan.close()


def test_a_fooocus_in_use_lends_its_checkpoints(root: Path, tmp_path: Path) -> None:
    fooocus = tmp_path / "Fooocus"
    s.write_safetensors(fooocus / "models" / "checkpoints" / "realistic.safetensors", s.SDXL)
    (fooocus / "config.txt").write_text("{}")
    settings = load_settings({"preset": "plain", "legacy_folder": str(fooocus)}, env={}, root=root)
    scan_models(settings)
    assert "realistic" in load_library(settings).models
