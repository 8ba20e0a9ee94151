"""Words for a prompt cross the pipe, are kept with their picture, and come while another picture is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import FooocusError, WorkerDied
from fooocus_lite.expansion import Expansion
from fooocus_lite.foreground import make_replay
from fooocus_lite.library import CatalogEntry, Library
from fooocus_lite.picture_text import read_picture
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import Store
from fooocus_lite.style_files import EXPAND_STYLE
from tests.deeds.conftest import a_recipe, until


def wish(text: str) -> Expansion:
    return Expansion(text, 3, "model", "words")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    entry = CatalogEntry(
        name="fake", label="Fake", family="sdxl", path=str(tmp_path), native_size=64, min_size=8, max_size=4096,
        size_multiple=8, defaults=Recipe(), aspect_sizes=((64, 64),), available=True,
    )  # fmt: skip
    return Library(models={"fake": entry}, styles={EXPAND_STYLE.name: EXPAND_STYLE})


def test_words_start_a_worker_and_problems_stay_what_they_are(runner: LocalRunner) -> None:
    assert runner.pid is None
    assert runner.expand(wish("a fox")) == "words 3"
    with pytest.raises(FooocusError, match=r"is missing\. Put it back\.") as caught:
        runner.expand(wish("wordless"))
    assert caught.value.code == "missing_model"


def test_a_worker_that_dies_over_them_is_a_sentence_and_is_replaced(runner: LocalRunner) -> None:
    with pytest.raises(WorkerDied, match="ended with code 3"):
        runner.expand(wish("leave"))
    assert runner.expand(wish("a fox")) == "words 3"


@pytest.mark.usefixtures("dispatcher")
def test_they_are_kept_with_the_picture_and_its_row(store: Store, library: Library) -> None:
    (task_id,) = store.queue.submit([a_recipe("a fox", 5, styles=("Fooocus V2",))])
    until(lambda: store.queue.get(task_id).finished_at, "the end")
    task = store.queue.get(task_id)
    info = read_picture(Path(task.image_path or ""))
    assert info.recipe.expansion == task.recipe.expansion == "words 5"
    assert info.texts == ("a fox", "a fox, words 5")
    again = make_replay(Path(task.image_path or ""), library).plan
    assert (again.texts, again.expansion) == (info.texts, None), "drawn again, nothing is chosen anew"
    with Image.open(task.image_path or "") as picture:
        assert picture.size == (32, 16)


def test_they_come_while_a_picture_is_drawn(store: Store, dispatcher: Dispatcher, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (task_id,) = store.queue.submit([a_recipe(f"gate {gate}")])
    until(lambda: store.queue.get(task_id).state == "running", "the start")
    assert dispatcher.words_for(a_recipe("a fox", 9)) == "words 9"
    assert store.queue.get(task_id).state == "running"
    gate.touch()
    until(lambda: store.queue.get(task_id).finished_at, "the end")
    with pytest.raises(FooocusError, match="nothing to expand"):
        dispatcher.words_for(a_recipe(" "))
