"""What was asked for is fetched in order, paused, stopped, kept over a restart; over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fooocus_lite.download_state import Download
from fooocus_lite.downloads import Downloads, find_offer
from fooocus_lite.errors import NotFound, UnknownName
from fooocus_lite.http_streams import Patience
from fooocus_lite.library import Library
from fooocus_lite.model_files import ModelFile
from fooocus_lite.offers import Offer
from fooocus_lite.part_file import part_bytes
from fooocus_lite.settings import Settings, load_settings
from tests.deeds.conftest import make_library, until
from tests.fake_hub import Cut, FakeHub, Slow, Stall, Status, random_bytes

REPO = "painter/brushes"
SIZE = 1_500_000
FOR_EVER = Patience(stall_s=3600, tries=2, first_wait_s=0.01)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as running:
        for number, name in enumerate(("one", "two", "three")):
            running.put(REPO, f"{name}.safetensors", random_bytes(SIZE, seed=number))
            running.put(REPO, f"{name}.json", b"{}", is_lfs=False)
        yield running


@pytest.fixture
def settings(hub: FakeHub, tmp_path: Path) -> Settings:
    return load_settings(
        {"models_dir": str(tmp_path / "models"), "data_dir": str(tmp_path / "data"), "hub_endpoint": hub.address},
        env={},
        root=tmp_path,
    )


@pytest.fixture
def library(settings: Settings) -> Library:
    def offer(name: str) -> Offer:
        paths = [f"{name}.json", f"{name}.safetensors"]
        files = [ModelFile(str(settings.models_dir / path), repo=REPO, path_in_repo=path) for path in paths]
        return Offer(name, name.title(), "checkpoint", "", tuple(files))

    return Library(downloadable={name: offer(name) for name in ("one", "two", "three")})


Make = Callable[[], Downloads]


@pytest.fixture
def make(settings: Settings, library: Library) -> Iterator[Make]:
    """Another start of the program."""
    made: list[Downloads] = []

    def start() -> Downloads:
        downloads = Downloads(settings, lambda: library, patience=FOR_EVER)
        made.append(downloads)
        downloads.start()
        return downloads

    yield start
    for downloads in made:
        downloads.close()


def state(downloads: Downloads, name: str) -> str:
    found = downloads.find(name)
    return found.state if found else ""


def ended(downloads: Downloads, name: str) -> Download:
    until(lambda: state(downloads, name) in ("finished", "failed"), f"the end of {name}")
    found = downloads.find(name)
    assert found is not None
    return found


def is_whole(settings: Settings, name: str, number: int) -> bool:
    return (settings.models_dir / f"{name}.safetensors").read_bytes() == random_bytes(SIZE, seed=number)


def stalled(settings: Settings, name: str, size: int = 700_000) -> None:
    """Wait until the download hangs, with all that came on the disk."""
    until(lambda: part_bytes(settings.models_dir / f"{name}.safetensors") == size, "the stall")


def test_several_come_one_after_the_other(make: Make, hub: FakeHub, settings: Settings) -> None:
    hub.next("one.safetensors", Slow(SIZE * 4))
    downloads = make()
    for name in ("one", "two", "three"):
        assert downloads.request(name).state == "waiting"
    assert downloads.request("two").state == "waiting"
    assert [row.name for row in downloads.all()] == ["one", "two", "three"]
    for number, name in enumerate(("one", "two", "three")):
        done = ended(downloads, name)
        assert (done.state, done.done_bytes, done.total_bytes, done.problem) == ("finished", SIZE + 2, SIZE + 2, "")
        assert is_whole(settings, name, number)
    order = [seen.path.split("?")[0].rsplit("/", 1)[1] for seen in hub.seen if "/cdn/" in seen.path]
    assert order == ["one.safetensors", "two.safetensors", "three.safetensors"]
    assert len(hub.asked("paths-info")) == 3  # one question for all the files of an offer


def test_a_finished_one_is_looked_at_again(make: Make, hub: FakeHub, settings: Settings) -> None:
    downloads = make()
    downloads.request("one")
    ended(downloads, "one")
    hub.seen.clear()
    assert downloads.request("one").state == "waiting"
    assert ended(downloads, "one").state == "finished" and hub.seen == []
    (settings.models_dir / "one.json").unlink()
    downloads.request("one")
    assert ended(downloads, "one").state == "finished"
    assert (settings.models_dir / "one.json").exists()


def test_nobody_offers_it(make: Make) -> None:
    downloads = make()
    with pytest.raises(UnknownName, match="Did you mean three"):
        downloads.request("thre")
    for order in (downloads.pause, downloads.resume, downloads.cancel):
        with pytest.raises(NotFound):
            order("one")


def test_a_model_of_ones_own_was_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"Fake is here, but not from a download\. It lies at "):
        find_offer(make_library(tmp_path), "fake")


def test_everybody_is_told(settings: Settings, library: Library, hub: FakeHub) -> None:
    hub.next("one.safetensors", Slow(SIZE))
    told: list[Download] = []

    def look() -> None:
        found = downloads.find("one")
        told.extend([found] if found else [])

    downloads = Downloads(settings, lambda: library, on_change=look, patience=FOR_EVER)
    downloads.start()
    downloads.request("one")
    ended(downloads, "one")
    until(lambda: told[-1].state == "finished", "the last word")
    downloads.close()
    assert [told[0].state, told[-1].state] == ["waiting", "finished"]
    on_its_way = [row for row in told if row.state == "running" and row.bytes_per_s]
    assert on_its_way and all(row.seconds_left is not None for row in on_its_way)
    sizes = [row.done_bytes for row in told]
    assert sizes == sorted(sizes) and len(told) < 40


def test_a_pause_comes_at_once_and_loses_nothing(make: Make, hub: FakeHub, settings: Settings) -> None:
    hub.next("one.safetensors", Stall(700_000))
    downloads = make()
    downloads.request("one")
    downloads.request("two")
    stalled(settings, "one")
    assert downloads.pause("one").state == "paused"
    assert ended(downloads, "two").state == "finished"  # the next one does not wait for it
    assert state(downloads, "one") == "paused"
    assert downloads.resume("one").state == "waiting"
    assert ended(downloads, "one").state == "finished" and is_whole(settings, "one", 0)
    assert [seen.headers.get("range") for seen in hub.gets("one.safetensors")] == [None, "bytes=700000-"]
    assert sum(seen.sent for seen in hub.gets("one.safetensors")) == SIZE


def test_a_cancelled_one_leaves_nothing(make: Make, hub: FakeHub, settings: Settings) -> None:
    hub.next("one.safetensors", Stall(700_000))
    downloads = make()
    downloads.request("one")
    stalled(settings, "one")
    downloads.cancel("one")
    assert downloads.find("one") is None
    until(lambda: not list(settings.models_dir.glob("one.safetensors*")), "an empty folder")
    assert json.loads((settings.data_dir / "downloads.json").read_text()) == []
    downloads.request("one")
    assert ended(downloads, "one").state == "finished"


def test_a_failed_one_stays_and_can_be_tried_again(make: Make, hub: FakeHub, settings: Settings) -> None:
    hub.next("one.safetensors", Cut(700_000), Status(404))
    downloads = make()
    downloads.request("one")
    downloads.request("two")
    failed = ended(downloads, "one")
    assert (failed.state, failed.code) == ("failed", "download_failed") and failed.hint
    assert ended(downloads, "two").state == "finished"
    downloads.close()
    again = make()
    assert again.find("one") == Download(
        "one", "One", "failed", 700_002, None, problem=failed.problem, hint=failed.hint, code=failed.code
    )
    assert again.find("two") is None
    again.resume("one")
    assert ended(again, "one").state == "finished" and is_whole(settings, "one", 0)
    assert hub.gets("one.safetensors")[-1].headers["range"] == "bytes=700000-"


def test_the_end_of_the_program_does_not_wait_for_a_read(make: Make, hub: FakeHub, settings: Settings) -> None:
    hub.next("one.safetensors", Stall(700_000))
    first = make()
    for name in ("one", "two", "three"):
        first.request(name)
    first.pause("three")
    stalled(settings, "one")
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "downloads"]
    first.close()
    assert not thread.is_alive()  # although the read would have waited for an hour
    second = make()
    assert ended(second, "one").state == "finished" and ended(second, "two").state == "finished"
    assert state(second, "three") == "paused"
    assert is_whole(settings, "one", 0)
    assert sum(seen.sent for seen in hub.gets("one.safetensors")) == SIZE


def test_a_request_before_the_start_forgets_nothing(
    make: Make, hub: FakeHub, settings: Settings, library: Library
) -> None:
    hub.next("one.safetensors", Stall(0))
    first = make()
    first.request("one")
    first.pause("one")
    first.close()
    early = Downloads(settings, lambda: library)
    early.request("two")
    assert [(row.name, row.state) for row in early.all()] == [("one", "paused"), ("two", "waiting")]


ENDLESS = "[" * 100_000  # brackets as deep as nobody's stack
ROW = '{"type": "file", "path": "one.safetensors", "oid": "", "size": %s}'


@pytest.mark.parametrize("said", ["", "<html>", "[1]", ENDLESS, f"[{ROW % '1e999'}]", f"[{ROW % '[]'}]"])
def test_a_hub_that_answers_nonsense_fails_one_download_only(make: Make, hub: FakeHub, said: str) -> None:
    hub.next(f"{REPO} paths-info", Status(200, {"Content-Type": "application/json"}, said.encode()))
    downloads = make()
    downloads.request("one")
    downloads.request("two")
    assert ended(downloads, "two").state == "finished"
    failed = ended(downloads, "one")
    assert failed.state == "failed" and failed.problem == "127.0.0.1 does not answer as a model hub does."


def test_what_nobody_thought_of_fails_one_download_only(settings: Settings, library: Library, hub: FakeHub) -> None:
    strange = iter([RuntimeError("no such thing")])

    def read() -> Library:
        if threading.current_thread().name == "downloads" and (exc := next(strange, None)):
            raise exc
        return library

    downloads = Downloads(settings, read, patience=FOR_EVER)
    downloads.start()
    try:
        downloads.request("one")
        downloads.request("two")
        assert ended(downloads, "two").state == "finished"
        failed = ended(downloads, "one")
        assert (failed.state, failed.code) == ("failed", "download_failed") and "RuntimeError" in failed.problem
        downloads.resume("one")
        until(lambda: state(downloads, "one") == "finished", "the second try")
    finally:
        downloads.close()


@pytest.mark.parametrize("text", ["", "nonsense", ENDLESS, "[1]", '{"a": 1}', '[{"name": "gone", "state": "running"}]'])
def test_a_strange_list_does_not_keep_it_from_starting(make: Make, settings: Settings, text: str) -> None:
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / "downloads.json").write_text(text)
    downloads = make()
    downloads.request("one")
    assert ended(downloads, "one").state == "finished"
    assert all(row.state in ("finished", "failed") for row in downloads.all())
