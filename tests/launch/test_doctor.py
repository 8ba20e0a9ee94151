"""The doctor finds what was really broken, and says how to mend it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from fooocus_lite import doctor, torch_build
from fooocus_lite.cli import main
from fooocus_lite.settings import load_settings
from tests.fake_hub import FakeHub

ROOT = Path(__file__).resolve().parents[2]
ENTRY = {"name": "mine", "family": "sdxl", "path": "mine", "native_size": 128, "size_multiple": 32}


WEIGHTS = [
    *(f"{name}/diffusion_pytorch_model.safetensors" for name in ("unet", "vae")),
    *(f"{name}/model.safetensors" for name in ("text_encoder", "text_encoder_2")),
]


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the person's own: the shipped one's folder without its weights, which the test writes."""
    monkeypatch.setenv("FOOOCUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FOOOCUS_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("FOOOCUS_MODELS_DIR", str(tmp_path / "models"))
    folder = tmp_path / "models" / "mine"
    shutil.copytree(ROOT / "models" / "starter", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.json").write_text(json.dumps([ENTRY]))
    return folder


def write_weights(path: Path, *, missing_bytes: int = 0) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16 - missing_bytes))


def test_a_healthy_machine_and_its_device(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json", "--device", "cpu"])
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["device"]["state"] == "ok" and "PyTorch" in found["device"]["text"]
    assert found["python"]["state"] == found["data_dir"]["state"] == found["output_dir"]["state"] == "ok"
    assert re.search(r"starter: \d+ files, \d+ MB, whole", found["model"]["text"])


def test_damaged_weights_are_found_without_reading_them(own_model: Path) -> None:
    write_all_weights(own_model)
    findings = list(doctor._models(load_settings()))
    assert [f.state for f in findings if f.text.startswith("mine")] == ["ok"]
    write_weights(own_model / "vae" / "diffusion_pytorch_model.safetensors", missing_bytes=1)
    (damaged,) = [f for f in doctor._models(load_settings()) if f.text.startswith("mine")]
    assert (
        damaged.state == "problem" and "diffusion_pytorch_model.safetensors is damaged" in damaged.text and damaged.hint
    )


def write_all_weights(folder: Path) -> None:
    for name in WEIGHTS:
        write_weights(folder / name)


@pytest.mark.parametrize(
    "name", [*WEIGHTS, "unet/config.json", "tokenizer_2/tokenizer.json", "scheduler/scheduler_config.json"]
)
def test_a_missing_file_is_a_problem(own_model: Path, name: str) -> None:
    write_all_weights(own_model)
    (own_model / name).unlink()
    (missing,) = [f for f in doctor._models(load_settings()) if f.text.startswith("mine")]
    assert missing.state == "problem" and missing.hint
    assert missing.text == f"mine: {own_model / name} is missing."


def test_every_shard_of_weights_is_looked_for(own_model: Path) -> None:
    write_all_weights(own_model)
    unet = own_model / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    shards = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1], "c": shards[1]}}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    write_weights(unet / shards[0])
    assert doctor.missing_files(own_model) == [unet / shards[1]]
    write_weights(unet / shards[1])
    assert doctor.missing_files(own_model) == []


def test_a_device_that_is_not_there_is_a_problem(own_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "xpu:9"]) == 1
    said = capsys.readouterr().out
    assert "not available here" in said and "Traceback" not in said


def test_a_build_that_cannot_use_the_card_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_build, "choose", lambda: ("cu130", "an NVIDIA card"))
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "2.13.0+cpu")
    (note,) = doctor._build()
    assert note.state == "note" and "cannot use an NVIDIA card" in note.text and ".venv" in note.hint


def test_versions_that_are_not_the_pinned_ones_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, versions = load_settings(), {"torch": "2.13.0+cu130", "gradio": "4.0.0", "pillow": ""}
    monkeypatch.setattr(doctor, "PACKAGES", tuple(versions))
    monkeypatch.setattr(doctor, "_version", versions.get)
    absent, other = doctor._versions(settings)
    assert absent.state == "problem" and "pillow" in absent.text
    assert other.state == "note" and "gradio 4.0.0 instead of" in other.text and "torch" not in other.text


def test_what_could_be_downloaded_and_was_begun(tmp_path: Path) -> None:
    with FakeHub() as hub:
        told = {"models_dir": str(tmp_path / "m"), "data_dir": str(tmp_path / "d"), "hub_endpoint": hub.address}
        settings = load_settings(told, env={})
        assert (doctor._hub(settings).state, hub.address in doctor._hub(settings).text) == ("ok", True)
        hub.seen.clear()
        assert "Offline" in doctor._hub(load_settings(told | {"offline": True}, env={})).text and hub.seen == []
    assert doctor._hub(settings).text == "127.0.0.1 cannot be reached."
    assert list(doctor._parts(settings)) == []
    entry = {"name": "pen", "kind": "lora", "path": "pen.safetensors", "files": [{"url": "https://x.example/pen"}]}
    for folder in (settings.data_dir, settings.models_dir):
        folder.mkdir()
    (settings.data_dir / "catalog.json").write_text(json.dumps([entry]))
    (settings.models_dir / "pen.safetensors.part").write_bytes(bytes(5000))
    (begun,) = doctor._parts(settings)
    assert begun.text == "pen: 5.0 kB of a download that has not ended." and "models download pen" in begun.hint
    (free,) = [finding for finding in doctor._folders(settings) if finding.name == "models_dir"]
    assert "free" in free.text
