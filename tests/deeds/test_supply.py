"""From a picture whose model is not here to its end: a real hub over real sockets, a real queue and worker."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import MissingModel
from fooocus_lite.events import Downloading, fold
from fooocus_lite.library import Library
from fooocus_lite.live_library import LiveLibrary
from fooocus_lite.plan import resolve
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import LocalRunner
from fooocus_lite.settings import Settings, load_settings
from fooocus_lite.store import Store
from fooocus_lite.supply import Supply
from tests.deeds.conftest import until
from tests.fake_hub import FakeHub, Slow, Stall, Status, random_bytes

REPO, FILE = "somebody/big", "big.safetensors"
SIZE = 300_000


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as running:
        running.put(REPO, FILE, random_bytes(SIZE))
        running.put(REPO, "lora.safetensors", random_bytes(2_000, seed=1))
        yield running


@pytest.fixture
def settings(hub: FakeHub, tmp_path: Path) -> Settings:
    """One model that is here, one that can be had, and for a mode of both a LoRA that can be had."""
    here = tmp_path / "models" / "small"
    here.mkdir(parents=True)
    (here / "model_index.json").write_text("{}")
    rows = [
        {
            "name": "small", "family": "sdxl", "path": "small", "native_size": 64,
            "modes": {"lightning": {"lora": "fast"}},
        },
        {
            "name": "big", "label": "Big one", "family": "sdxl", "path": "checkpoints/big.safetensors",
            "native_size": 64, "files": [{"repo": REPO, "path": FILE, "size": SIZE}],
            "modes": {"lightning": {"lora": "fast"}},
        },
        {
            "name": "fast", "kind": "lora", "path": "loras/fast.safetensors",
            "files": [{"repo": REPO, "path": "lora.safetensors"}],
        },
    ]  # fmt: skip
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "catalog.json").write_text(json.dumps(rows))
    folders = {name: str(tmp_path / name.partition("_")[0]) for name in ("data_dir", "models_dir")}
    env = {f"FOOOCUS_{name.upper()}": path for name, path in folders.items()}
    return load_settings(env=env | {"FOOOCUS_HUB_ENDPOINT": hub.address}, root=tmp_path)


class Shop:
    """Supply and dispatcher on one store."""

    def __init__(self, store: Store, settings: Settings, runner: LocalRunner, outputs: Path) -> None:
        self.store, self.library = store, LiveLibrary(settings)
        self.supply = Supply(store, settings, self.library)
        self.dispatcher = Dispatcher(store, [runner], library=self.library, output_dir=outputs, supply=self.supply)
        self.supply.start()
        self.dispatcher.start()

    def submit(self, **fields: object) -> str:
        recipe = Recipe.model_validate({"prompt": "a star", "width": 64, "height": 64, "steps": 2, "seed": 1} | fields)
        return self.supply.submit([resolve(recipe, self.library(), 0)], self.library())[0]

    def state(self, task_id: str) -> str:
        return self.store.queue.get(task_id).state

    def close(self) -> None:
        self.dispatcher.close()
        self.supply.close()


@pytest.fixture
def shop(store: Store, settings: Settings, runner: LocalRunner, tmp_path: Path) -> Iterator[Shop]:
    opened = Shop(store, settings, runner, tmp_path / "outputs")
    yield opened
    opened.close()


def test_a_picture_waits_for_its_model_while_others_pass(shop: Shop, hub: FakeHub) -> None:
    hub.next(FILE, Stall(100_000))
    waiting = shop.submit(model="big")
    assert shop.store.queue.get(waiting).waits_for == "big"
    until(lambda: any(isinstance(event, Downloading) for event in shop.store.log.latest(waiting)), "the first news")
    other = shop.submit(model="small", prompt="another")
    until(lambda: shop.state(other) == "finished", "the picture that lacks nothing")
    result = fold([*shop.store.log.facts(waiting), *shop.store.log.latest(waiting)])
    assert (result.state, result.waits_for) == ("waiting", "big")
    assert result.download is not None and result.download.label == "Big one"
    assert result.download.sentence.startswith("waits for Big one: ")
    shop.supply.downloads.pause("big")
    until(lambda: "paused at" in getattr(shop.store.log.latest(waiting)[-1], "words", ""), "the news of the pause")
    shop.supply.downloads.resume("big")
    until(lambda: shop.state(waiting) == "finished", "the picture that waited")
    assert shop.store.queue.get(waiting).attempt == 1


def test_a_task_that_nobody_looked_at_before_is_put_back_by_its_worker(shop: Shop) -> None:
    recipe = resolve(Recipe(prompt="a star", model="big", steps=2, seed=1), shop.library(), 0)
    (task_id,) = shop.store.queue.submit([recipe])  # as `retry` does
    until(lambda: shop.state(task_id) == "finished", "its end")
    kinds = [event.kind for event in shop.store.log.facts(task_id)]
    assert kinds[:3] == ["queued", "started", "queued"]


def test_the_lora_of_a_mode_is_fetched_too(shop: Shop, hub: FakeHub) -> None:
    hub.always = Slow(1.0)
    task_id = shop.submit(mode="lightning", steps=None)
    assert shop.store.queue.get(task_id).waits_for == "fast"


def test_a_pause_ends_when_a_person_says_so_not_when_a_worker_looks(shop: Shop, hub: FakeHub) -> None:
    hub.next(FILE, Stall(100_000))
    task_id = shop.submit(model="big", mode="lightning")
    until(lambda: bool(shop.store.log.latest(task_id)), "the first news")
    downloads = shop.supply.downloads
    downloads.pause("fast")
    downloads.pause("big")
    downloads.resume("big")
    until(lambda: shop.store.queue.get(task_id).waits_for == "fast", "the model")
    assert (at := downloads.find("fast")) and at.state == "paused"
    shop.submit(model="small", mode="lightning")
    until(lambda: (at := downloads.find("fast")) is not None and at.state == "finished", "the LoRA")


def test_what_does_not_come_fails_its_tasks_with_the_reason(shop: Shop, hub: FakeHub) -> None:
    hub.always = Status(404)
    ids = [shop.submit(model="big"), shop.submit(model="big", seed=2)]
    until(lambda: all(shop.state(task_id) == "failed" for task_id in ids), "the failure")
    download = shop.supply.downloads.find("big")
    assert download is not None and download.state == "failed"
    error = shop.store.queue.get(ids[0]).error or {}
    assert (error["problem"], error["hint"], error["code"]) == (
        f"Big one could not be downloaded: {download.problem}",
        download.hint,
        download.code,
    )
    hub.always = None
    again = shop.supply.retry(ids[0])
    assert again not in ids
    until(lambda: shop.state(again) == "finished", "the second try")


def test_a_cancelled_download_fails_its_tasks(shop: Shop, hub: FakeHub) -> None:
    hub.always = Slow(1.0)
    task_id = shop.submit(model="big")
    until(lambda: bool(shop.store.log.latest(task_id)), "the first news")
    shop.supply.downloads.cancel("big")
    until(lambda: shop.state(task_id) == "failed", "the failure")
    assert (shop.store.queue.get(task_id).error or {})["problem"] == "The download of Big one was cancelled."


def test_files_that_come_another_way_let_the_task_go(shop: Shop, hub: FakeHub, settings: Settings) -> None:
    hub.always = Slow(1.0)
    task_id = shop.submit(model="big")
    until(lambda: bool(shop.store.log.latest(task_id)), "the first news")
    shop.supply.downloads.pause("big")
    (settings.models_dir / "checkpoints").mkdir(exist_ok=True)
    (settings.models_dir / "checkpoints" / "big.safetensors").write_bytes(random_bytes(SIZE))  # by hand
    until(lambda: shop.state(task_id) == "finished", "its end")


@pytest.mark.parametrize("is_known", [True, False], ids=["its download is known", "its download is forgotten"])
def test_after_a_restart_the_download_goes_on_and_the_task_finishes(
    store: Store, settings: Settings, runner: LocalRunner, hub: FakeHub, tmp_path: Path, is_known: bool
) -> None:
    hub.next(FILE, Stall(100_000))
    supply = Supply(store, settings, LiveLibrary(settings))
    supply.start()
    recipe = resolve(Recipe(prompt="a star", model="big", steps=2, seed=1), LiveLibrary(settings)(), 0)
    (task_id,) = supply.submit([recipe], LiveLibrary(settings)())
    until(lambda: (at := supply.downloads.find("big")) is not None and at.done_bytes > 0, "its beginning")
    supply.close()
    if not is_known:
        (settings.data_dir / "downloads.json").unlink()
    shop = Shop(store, settings, runner, tmp_path / "outputs")
    until(lambda: shop.state(task_id) == "finished", "its end")
    assert hub.gets(FILE)[-1].headers["range"].startswith("bytes=")
    shop.close()


def test_what_nobody_thought_of_does_not_end_the_thread(store: Store, settings: Settings) -> None:
    library, strange = LiveLibrary(settings), iter([RuntimeError("no such thing")])

    def read() -> Library:
        if threading.current_thread().name == "supply" and (exc := next(strange, None)):
            raise exc
        return library()

    supply = Supply(store, settings, read)
    supply.start()
    recipe = resolve(Recipe(prompt="a star", model="big", steps=2, seed=1), library(), 0)
    (task_id,) = supply.submit([recipe], library())
    until(lambda: store.queue.get(task_id).waits_for is None, "the files")
    assert next(strange, None) is None, "it came to that"
    supply.close()


def test_offline_a_model_that_is_not_here_is_missing(store: Store, settings: Settings) -> None:
    offline = dataclasses.replace(settings, offline=True)
    library = LiveLibrary(offline)
    recipe = resolve(Recipe(prompt="a star", model="big", seed=1), library(), 0)
    with pytest.raises(MissingModel, match="is not at"):
        Supply(store, offline, library).submit([recipe], library())
    assert store.queue.counts()["waiting"] == 0
