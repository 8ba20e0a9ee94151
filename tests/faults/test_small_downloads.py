"""A disk that is too small for a download, and one that becomes full in the middle of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fooocus_lite.download_file import Tries, fetch_file
from fooocus_lite.download_offer import fetch_offer
from fooocus_lite.errors import DiskProblem
from fooocus_lite.http_streams import Halt, Patience
from fooocus_lite.model_files import ModelFile
from fooocus_lite.offers import Offer
from fooocus_lite.part_file import part_path
from fooocus_lite.settings import load_settings
from tests.fake_hub import FakeHub, Length, random_bytes
from tests.faults.conftest import fill

DATA = random_bytes(3_000_000)
SmallDisk = Callable[[str, str], Path]


def test_what_does_not_fit_is_not_begun(small_disk: SmallDisk, tmp_path: Path) -> None:
    disk = small_disk("models", "2m")
    settings = load_settings({"models_dir": str(disk)}, env={}, root=tmp_path)
    with FakeHub() as hub:
        files = [
            ModelFile(str(disk / f"{n}.bin"), url=hub.put_url(f"{n}.bin", DATA), size_bytes=3_000_000) for n in "ab"
        ]
        with pytest.raises(DiskProblem) as full:
            fetch_offer(Offer("a", "A", "checkpoint", "", tuple(files)), settings, Halt(), lambda _: None)
        assert hub.seen == [] and list(disk.iterdir()) == []
    assert full.value.problem == f"6.0 MB are to come, and the disk that holds {disk} has 2.1 MB left."
    assert full.value.hint.startswith("Free 3.9 MB there, ")


def test_a_disk_that_becomes_full_keeps_what_arrived(small_disk: SmallDisk, tmp_path: Path) -> None:
    disk = small_disk("models", "4m")
    ballast = fill(disk)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - 3_000_000 * 37 // 100)
    settings = load_settings({"models_dir": str(disk)}, env={}, root=tmp_path)
    place = disk / "a.bin"
    with FakeHub() as hub:
        hub.put("", "a.bin", DATA)
        file = ModelFile(str(place), url=f"{hub.address}/files/a.bin")
        hub.next("a.bin", Length(None))  # nobody says how much is to come
        with pytest.raises(DiskProblem) as full:
            fetch_file(file, settings, Tries(Halt(), Patience(), lambda _: None))
        assert full.value.code == "disk_full" and "have arrived and are kept" in full.value.problem
        arrived = part_path(place).read_bytes()
        assert 900_000 < len(arrived) < 1_110_000 and arrived == DATA[: len(arrived)]
        assert not place.exists()
        ballast.unlink()
        fetch_file(file, settings, Tries(Halt(), Patience(), lambda _: None))
        assert place.read_bytes() == DATA and [path.name for path in disk.iterdir()] == ["a.bin"]
        assert hub.gets("a.bin")[-1].sent == len(DATA) - len(arrived)


def test_a_folder_that_cannot_be_written_is_one_sentence(small_disk: SmallDisk, tmp_path: Path) -> None:
    disk = small_disk("models", "4m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    settings = load_settings({"models_dir": str(disk)}, env={}, root=tmp_path)
    with FakeHub() as hub:
        file = ModelFile(str(disk / "a" / "a.bin"), url=hub.put_url("a.bin", DATA))
        with pytest.raises(DiskProblem, match="cannot be written to") as failed:
            fetch_file(file, settings, Tries(Halt(), Patience(), lambda _: None))
        assert failed.value.code == "not_writable" and "FOOOCUS_MODELS_DIR" in failed.value.hint
        assert hub.seen == []
