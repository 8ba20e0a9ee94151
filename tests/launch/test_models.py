"""`fooocus-lite models` as people use it, against a hub that is a real server, in a process that is really killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.cli import main
from fooocus_lite.part_file import part_path
from fooocus_lite.settings import SETTINGS
from tests import stand_ins
from tests.deeds.conftest import until
from tests.fake_hub import FakeHub, Other, Stall, Status, random_bytes

ROOT = Path(__file__).resolve().parents[2]
REPO = "painter/brushes"
DATA = random_bytes(4_000_000)
SMALL = b'{"_class_name": "Brush"}'


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as running:
        running.put(REPO, "big.safetensors", DATA)
        running.put(REPO, "config.json", SMALL, is_lfs=False)
        yield running


@pytest.fixture(autouse=True)
def folders(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything is; the hub is found as the hub's own library finds it."""
    for row in SETTINGS.values():
        monkeypatch.delenv(row.env, raising=False)
    monkeypatch.setenv("FOOOCUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FOOOCUS_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "models").mkdir()
    rows = [
        {"name": "brush", "kind": "lora", "path": "loras/brush", "licence": "MIT", "files": [
            {"repo": REPO, "path": "config.json"}, {"repo": REPO, "path": "big.safetensors", "size": len(DATA)},
        ]},
        {"name": "pencil", "kind": "lora", "path": "loras/brush", "files": [{"repo": REPO, "path": "config.json"}]},
    ]  # fmt: skip
    write_catalog(tmp_path / "data", rows)
    return tmp_path


def write_catalog(data_dir: Path, rows: list[dict[str, Any]]) -> None:
    data_dir.mkdir(exist_ok=True)
    (data_dir / "catalog.json").write_text(json.dumps(rows))


@pytest.fixture
def place(folders: Path) -> Path:
    return folders / "models" / "loras" / "brush" / "big.safetensors"


Said = Callable[..., tuple[str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        assert main(["models", *arguments]) == code, capsys.readouterr()
        return capsys.readouterr()

    return run


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fooocus_lite", "models", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_list_says_what_is_here(said: Said, place: Path) -> None:
    rows = {row["name"]: row for row in json.loads(said("list", "--json")[0])}
    assert rows["starter"]["state"] == "here"
    assert (rows["brush"]["state"], rows["brush"]["licence"], rows["brush"]["kind"]) == ("missing", "MIT", "lora")
    place.parent.mkdir(parents=True)
    part_path(place).write_bytes(b"x")
    assert {row["name"]: row["state"] for row in json.loads(said("--json")[0])}["brush"] == "partly"
    assert "brush" in said()[0]


def test_a_download_says_what_it_brings(said: Said, place: Path) -> None:
    out, err = said("download", "brush")
    assert out == "" and place.read_bytes() == DATA
    first, *_, last = err.splitlines()
    assert first.startswith("brush: size not published, licence: MIT; ") and " free in " in first
    assert last == "✓ brush is here (4.0 MB)."
    lines = [json.loads(line) for line in said("download", "brush", "--json")[0].splitlines()]
    assert [line["state"] for line in lines] == ["finished"]


def test_a_failed_one_does_not_keep_the_next_one_from_coming(said: Said, place: Path, hub: FakeHub) -> None:
    hub.next("big.safetensors", Status(404))
    _, err = said("download", "brush", "pencil", code=1)
    assert "✗ brush: painter/brushes does not have this file any more." in err and "✓ pencil is here" in err
    _, err = said("download", "brsh", code=2)
    assert err.startswith("There is nothing to download called 'brsh'. Did you mean brush?")


def test_a_killed_download_goes_on_and_reads_no_byte_again(said: Said, place: Path, hub: FakeHub) -> None:
    here = len(DATA) * 37 // 100
    hub.next("big.safetensors", Stall(here))
    process = started("download", "brush")
    until(lambda: part_path(place).exists() and part_path(place).stat().st_size == here, "37 %")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not place.exists()
    said("download", "brush")
    assert place.read_bytes() == DATA
    assert sorted(path.name for path in place.parent.iterdir()) == ["big.safetensors", "config.json"]
    first, second = hub.gets("big.safetensors")
    assert (first.headers.get("range"), second.headers["range"]) == (None, f"bytes={here}-")
    assert second.headers["if-range"] == hub.files[REPO]["big.safetensors"].etag
    assert first.sent + second.sent == len(DATA)


def test_ctrl_c_says_how_to_go_on(place: Path, hub: FakeHub) -> None:
    hub.next("big.safetensors", Stall(1_000_000))
    process = started("download", "brush")
    until(lambda: part_path(place).exists() and part_path(place).stat().st_size == 1_000_000, "the stall")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "What has arrived is kept. Go on with: fooocus-lite models download brush" in err
    assert "Traceback" not in err
    assert part_path(place).stat().st_size == 1_000_000


def test_two_programs_share_one_download(place: Path, hub: FakeHub) -> None:
    hub.next("big.safetensors", Stall(1_000_000))
    first = started("download", "brush")
    until(lambda: part_path(place).exists() and part_path(place).stat().st_size == 1_000_000, "the stall")
    second = started("download", "brush")
    said: list[str] = []
    assert second.stderr
    for line in second.stderr:
        said.append(line)
        if "Another program is downloading the same file." in line:
            break
    first.kill()
    first.communicate()
    assert second.wait(300) == 0, said
    second.communicate()
    assert place.read_bytes() == DATA
    assert sum(seen.sent for seen in hub.gets("big.safetensors")) == len(DATA)


def test_what_is_removed_belongs_to_nothing_else(said: Said, place: Path, folders: Path) -> None:
    said("download", "brush")
    _, err = said("remove", "brush", code=2)
    assert "--yes" in err and place.exists()
    out, _ = said("remove", "brush", "--yes")
    assert out.startswith("brush: 4.0 MB are free again.\n  kept ") and "pencil needs it too" in out
    assert not place.exists() and (place.parent / "config.json").exists()
    assert json.loads(said("remove", "--json", "--yes", "brush")[0])[0]["removed"] == []


def test_what_is_being_downloaded_is_not_removed(said: Said, place: Path, hub: FakeHub) -> None:
    hub.next("big.safetensors", Stall(1_000_000))
    process = started("download", "brush")
    until(lambda: part_path(place).exists() and part_path(place).stat().st_size == 1_000_000, "the stall")
    _, err = said("remove", "brush", "--yes", code=2)
    assert err == "big.safetensors is being downloaded by another program. Cancel the download there first.\n"
    assert part_path(place).stat().st_size == 1_000_000
    process.kill()
    process.communicate()
    said("remove", "brush", "--yes")
    assert [path.name for path in place.parent.iterdir()] == ["config.json"]  # neither part nor lock


def test_what_lies_elsewhere_is_not_removed(said: Said, place: Path, folders: Path) -> None:
    elsewhere = folders / "big-disk"
    elsewhere.mkdir()
    (folders / "models" / "loras").symlink_to(elsewhere)
    said("download", "brush")
    out, _ = said("remove", "brush", "--yes")
    assert "it lies outside" in out and place.read_bytes() == DATA


def test_what_is_damaged_is_named_and_mended(said: Said, place: Path, hub: FakeHub) -> None:
    said("download", "brush")
    assert "✓ brush: 2 files, whole" in said("verify")[0]
    place.write_bytes(DATA[:-1] + b"?")
    (place.parent / "config.json").write_bytes(SMALL.replace(b"B", b"b"))
    out, _ = said("verify", "brush", code=1)
    assert out.count("is not what was published") == 2
    assert out.endswith("→ fooocus-lite models verify --mend brush\n")
    out, _ = said("verify", "brush", "--mend")
    assert "✓ brush" in out and place.read_bytes() == DATA
    assert sorted(path.name for path in place.parent.iterdir()) == ["big.safetensors", "config.json"]
    place.unlink()
    rows = json.loads(said("verify", "brush", "--json", code=1)[0])
    assert {Path(file["path"]).name: file["state"] for file in rows[0]["files"]} == {
        "big.safetensors": "missing", "config.json": "whole",
    }  # fmt: skip


def test_a_file_of_another_program_is_not_touched(
    said: Said, hub: FakeHub, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOOCUS_EXTRA_MODEL_FOLDERS", str(folders / "ComfyUI"))
    theirs = stand_ins.write_safetensors(folders / "ComfyUI" / "ours.safetensors", stand_ins.SDXL)
    data = theirs.read_bytes()
    hub.put(REPO, "ours.safetensors", data[:-1] + b"?")
    file = {"repo": REPO, "path": "ours.safetensors", "size": len(data)}
    write_catalog(
        folders / "data", [{"name": "ours", "kind": "lora", "path": "loras/ours.safetensors", "files": [file]}]
    )
    out, err = said("verify", "ours", "--mend", code=1)
    assert f"{theirs} is not what was published" in out and "belongs to another program" in err
    assert theirs.read_bytes() == data and [path.name for path in theirs.parent.iterdir()] == [theirs.name]


def test_a_mend_that_fails_keeps_the_damaged_file_aside(said: Said, place: Path, hub: FakeHub) -> None:
    said("download", "brush")
    place.write_bytes(DATA[:-1] + b"?")
    hub.next("big.safetensors", Other(DATA[::-1]))
    said("verify", "brush", "--mend", code=1)
    assert not place.exists() and place.with_name("big.safetensors.damaged").exists()


def test_offline_is_one_sentence(said: Said, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    _, err = said("download", "brush", "--offline", code=1)
    assert "✗ brush: Nothing is downloaded, because the setting offline is on." in err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, err = said("download", "brush", code=1)
    assert "✗ brush: Nothing is downloaded, because HF_HUB_OFFLINE is on." in err
    assert hub.seen == []


def header(names: dict[str, list[int]], **metadata: str) -> bytes:
    """The head of a safetensors file with tensors of these shapes, and as many zeros as that takes."""
    rows: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in names.items():
        size = 2
        for side in shape:
            size *= side
        rows[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(rows).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


SDXL = header({
    "model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3],
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": [8, 2048],
    "conditioner.embedders.0.x": [1], "first_stage_model.decoder.conv_in.weight": [4, 4, 3, 3], "v_pred": [1],
})  # fmt: skip


@pytest.mark.parametrize("form", ["path", "page", "repo", "url"])
def test_a_model_is_added_by_its_first_bytes(said: Said, hub: FakeHub, folders: Path, form: str) -> None:
    hub.put("artist/oils", "oils.safetensors", SDXL)
    url = hub.put_url("oils.safetensors", SDXL)
    what = {
        "path": "artist/oils/oils.safetensors",
        "page": "https://huggingface.co/artist/oils/blob/main/oils.safetensors",
        "repo": "artist/oils",
        "url": url,
    }[form]
    row = json.loads(said("add", what, "--json")[0])
    assert (row["name"], row["kind"], row["family"], row["native_size"]) == ("oils", "checkpoint", "sdxl", 1024)
    assert (row["path"], row["prediction"]) == ("checkpoints/oils.safetensors", "v_prediction")
    assert row["files"][0]["size"] == len(SDXL)
    if form != "url":
        assert (
            row["licence"] == "mit" and row["files"][0]["sha256"] == hub.files["artist/oils"]["oils.safetensors"].sha256
        )
    assert len(json.loads((folders / "data" / "catalog.json").read_text())) == 3
    assert "There is already a model called 'oils'" in said("add", what, code=2)[1]
    said("download", "oils")
    assert (folders / "models" / "checkpoints" / "oils.safetensors").read_bytes() == SDXL


def test_a_folder_of_diffusers_is_added_whole(said: Said, hub: FakeHub, folders: Path) -> None:
    index = b'{"_class_name": "StableDiffusionXLPipeline"}'
    small = ("unet/config.json", "vae/config.json", "tokenizer/vocab.json", "scheduler/scheduler_config.json")
    for path in ("model_index.json", *small, "README.md", "unet/model.onnx"):
        hub.put("artist/oils", path, index if path == "model_index.json" else b"{}", is_lfs=False)
    for path in (
        "unet/m.safetensors",
        "unet/m.fp16.safetensors",
        "vae/m.fp16.safetensors",
        "text_encoder/m.safetensors",
    ):
        hub.put("artist/oils", path, path.encode())
    hub.put("artist/oils", "oils.safetensors", SDXL)
    row = json.loads(said("add", "artist/oils", "--json", "--name", "mine")[0])
    assert (row["name"], row["family"], row["path"]) == ("mine", "sdxl", "oils")
    assert [file["path"] for file in row["files"]] == [
        *sorted(("model_index.json", *small)),
        "text_encoder/m.safetensors", "unet/m.fp16.safetensors", "vae/m.fp16.safetensors",
    ]  # fmt: skip
    said("download", "mine")
    assert (folders / "models" / "oils" / "vae" / "m.fp16.safetensors").read_bytes() == b"vae/m.fp16.safetensors"


@pytest.mark.parametrize(
    "what, words",
    [
        ("nonsense", "'nonsense' is not a repository of the hub."),
        ("../..", "is not a repository of the hub"),
        ("ftp://x/y.safetensors", "is not an address to download from"),
        ("painter/nobody", "painter/nobody is not there, or not for everybody."),
        ("painter/brushes/none.safetensors", "has no file none.safetensors"),
        ("painter/brushes/old.ckpt", "is a pickle"),
        ("painter/brushes/config.json", "is no file of weights"),
        ("painter/many", "painter/many has 2 files of weights. Name one of them: painter/many/a.safetensors"),
        ("painter/brushes", "cannot be used: it is no safetensors file"),
        ("URL/a%2F..%2F..%2Fup.safetensors", "is no place below the models folder"),
        ("URL/con.safetensors", "is no place below the models folder"),
        ("painter/strange", "What strange.safetensors is, does not show in its first bytes."),
    ],
)
def test_what_cannot_be_added_is_one_sentence(said: Said, hub: FakeHub, folders: Path, what: str, words: str) -> None:
    before = (folders / "data" / "catalog.json").read_text()
    hub.put(REPO, "old.ckpt", b"x")
    hub.put("painter/many", "a.safetensors", b"x")
    hub.put("painter/many", "b.safetensors", b"x")
    hub.put("painter/strange", "strange.safetensors", header({"a.b.c": [2, 2, 2]}))
    for name in ("a/../../up.safetensors", "con.safetensors"):
        hub.put_url(name, SDXL)
    _, err = said("add", what.replace("URL", f"{hub.address}/files"), code=2)
    assert words in err and err.count("\n") == 1
    assert (folders / "data" / "catalog.json").read_text() == before


def test_a_broken_list_is_not_written_over(said: Said, hub: FakeHub, folders: Path) -> None:
    hub.put("artist/oils", "oils.safetensors", SDXL)
    for text in ("{", "{}"):
        (folders / "data" / "catalog.json").write_text(text)
        assert main(["models", "add", "artist/oils"]) == 2
        assert (folders / "data" / "catalog.json").read_text() == text
