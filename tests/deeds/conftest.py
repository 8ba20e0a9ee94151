"""A queue in a temporary folder, a library with one model, and a dispatcher with a real child process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.library import CatalogEntry, Library
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import Store, open_store

FAKE = "tests.deeds.fake_engine:FakeEngine"
DEADLINE_S = 300.0


def until(condition: Callable[[], object], what: str = "it") -> None:
    """Wait for a condition of another thread or process; the deadline only keeps a broken test from hanging."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in {DEADLINE_S:.0f} s"
        time.sleep(0.01)


def a_recipe(prompt: str = "a red circle", seed: int = 1, **fields: object) -> Recipe:
    return Recipe.model_validate({"prompt": prompt, "seed": seed, "width": 32, "height": 16, "steps": 2} | fields)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "data")
    yield opened
    opened.close()


def make_library(path: Path) -> Library:
    entry = CatalogEntry(
        name="fake", label="Fake", family="sdxl", path=str(path), native_size=64, min_size=8, max_size=4096,
        size_multiple=8, defaults=Recipe(), aspect_sizes=((64, 64),), available=True,
    )  # fmt: skip
    return Library(models={"fake": entry})


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return make_library(tmp_path)


@pytest.fixture
def runner() -> Iterator[LocalRunner]:
    made = LocalRunner(FAKE, stop_timeout_s=0.5)
    yield made
    made.close()


@pytest.fixture
def dispatcher(store: Store, runner: LocalRunner, library: Library, tmp_path: Path) -> Iterator[Dispatcher]:
    made = Dispatcher(store, [runner], library=lambda: library, output_dir=tmp_path / "outputs")
    made.start()
    yield made
    made.close()
