"""A Fooocus outputs folder becomes history: every picture once, at its time, with the settings its log holds."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fooocus_lite.metadata.outputs import import_outputs
from fooocus_lite.recipe import Recipe
from fooocus_lite.store import Store
from tests.deeds import foreign as f
from tests.deeds.conftest import a_recipe

ROW = {"Prompt": "a fox / 100% \u2605", "Negative Prompt": "", "Styles": "['SAI Anime']", "Performance": "Speed",
       "Resolution": "(1152, 896)", "Seed": "7", "LoRA 1": "ink : 0.5", "Version": "Fooocus v2.5.5"}  # fmt: skip


def log_of(**rows: dict[str, Any]) -> str:
    """A day's log: a part for each picture, its settings behind the Copy button, its values unescaped as they come."""
    parts = [
        f'<div id="{name}" class="image-container"><table><tr><td><script>alert("{row.get("Prompt")}")</script></td>'
        f"<td><button onclick=\"to_clipboard('{quote(json.dumps(row))}')\">Copy to Clipboard</button></td></tr></div>"
        for name, row in rows.items()
    ]
    return f"<html><!--fooocus-log-split-->{''.join(parts)}<!--fooocus-log-split--></html>"


def a_day(folder: Path) -> Path:
    day = folder / "2024-02-03"
    day.mkdir(parents=True)
    name = "2024-02-03_04-05-{:02}_1234"
    (day / f"{name.format(1)}.png").write_bytes(f.png())
    (day / f"{name.format(2)}.png").write_bytes(f.png(parameters=f.as_json(f.FOOOCUS), fooocus_scheme="fooocus"))
    (day / f"{name.format(3)}.webp").write_bytes(f.with_exif("WEBP", {f.USER_COMMENT: f.A1111}))
    (day / f"{name.format(4)}.png").write_bytes(f.png())
    (day / f"{name.format(5)}.png").write_bytes(f.png(parameters=f.A1111)[:-20])
    (day / "not of fooocus.png").write_bytes(f.png())
    rows = {f"{name.format(1)}_png": ROW, f"{name.format(5)}_png": ROW, "../../x_png": ROW}
    (day / "log.html").write_text(log_of(**rows), "utf-8")
    return day


def test_every_picture_is_in_the_history_once(tmp_path: Path, store: Store) -> None:
    day = a_day(tmp_path / "outputs")
    own = store.queue.submit([a_recipe()])[0]
    result = import_outputs(tmp_path / "outputs", store.queue, f.LIBRARY)
    assert (result.added, result.known, result.bare) == (4, 0, 1)
    assert len(result.problems) == 1 and "is cut short; it is left out." in result.problems[0]
    tasks = store.queue.pictures()
    assert [task.recipe.seed for task in tasks] == [None, 1234567890, 8123456789012345678, 7], "newest first"
    oldest = tasks[-1]
    assert oldest.recipe.prompt == "a fox / 100% \u2605" and oldest.recipe.styles == ("SAI Anime",)
    assert oldest.finished_at == datetime(2024, 2, 3, 4, 5, 1).timestamp()
    assert oldest.image_path == str(day / "2024-02-03_04-05-01_1234.png")
    assert (oldest.width, oldest.height) == f.SIZE
    assert tasks[0].recipe == Recipe(width=f.SIZE[0], height=f.SIZE[1])
    assert store.queue.page(limit=1)[0].id == own, "what is drawn here comes before all of them"
    assert [event.kind for event in store.log.facts(oldest.id)] == ["finished"]
    assert store.queue.counts()["finished"] == 4


def test_a_log_without_the_button_is_read_from_its_table(tmp_path: Path, store: Store) -> None:
    day = tmp_path / "2024-02-03"
    day.mkdir()
    cells = {
        "Prompt": "a <lora:ink:0.5> <script>fox</b> & hen </br> on ice", "Negative Prompt": "", "Seed": "7",
        "Styles": "['SAI Anime']", "Performance": "Speed", "Resolution": "(1152, 896)", "Guidance Scale": "4.0",
        "Sharpness": "2.0", "Sampler": "euler", "Scheduler": "karras", "LoRA 1": "wash : 0.3", "Version": "v2.1.0",
    }  # fmt: skip
    rows = "".join(f"<tr><td class='label'>{k}</td><td class='value'>{v}</td></tr>\n" for k, v in cells.items())
    parts = ""
    for number in (1, 2):
        name = f"2024-02-03_04-05-0{number}_1234"
        (day / f"{name}.png").write_bytes(f.png())
        parts += f'<div id="{name}_png" class="image-container"><table><tr><td><img src="x.png"></td><td>'
        cut = "<![x[<tr><td class=label>Prompt"
        parts += f"<table class='metadata'>{rows if number == 1 else cut}</table></td></tr>"
    (day / "log.html").write_text(f"<html>{parts}</html>", "utf-8")
    assert import_outputs(tmp_path, store.queue, f.LIBRARY).bare == 1
    bare, read = store.queue.pictures()
    assert bare.recipe == Recipe(width=f.SIZE[0], height=f.SIZE[1])
    recipe = read.recipe
    assert recipe.prompt == "a <lora:ink:0.5> <script>fox</b> & hen\non ice"
    assert (recipe.seed, recipe.styles, recipe.width, recipe.guidance_scale) == (7, ("SAI Anime",), 1152, 4)
    assert (recipe.sampler, recipe.scheduler, recipe.mode) == ("euler", "karras", "speed")
    assert [lora.name for lora in recipe.loras or ()] == ["wash"]


def test_a_second_time_adds_only_what_is_new(tmp_path: Path, store: Store) -> None:
    day = a_day(tmp_path / "outputs")
    import_outputs(tmp_path / "outputs", store.queue)
    (day / "2024-02-03_04-05-01_9999.png").write_bytes(f.png())  # the same second as another
    result = import_outputs(tmp_path / "outputs", store.queue)
    assert (result.added, result.known) == (1, 4)
    assert len({task.id for task in store.queue.pictures()}) == 5


def test_pictures_that_a_person_moved_are_found_with_the_log_of_their_day(tmp_path: Path, store: Store) -> None:
    day = a_day(tmp_path / "outputs")
    best = day.with_name("the best")
    best.mkdir()
    for number, place in ((1, best), (4, best.parent)):
        name = f"2024-02-03_04-05-0{number}_1234.png"
        (day / name).rename(place / name)
    assert import_outputs(tmp_path / "outputs", store.queue, f.LIBRARY).added == 4
    moved = next(task for task in store.queue.pictures() if str(best) in (task.image_path or ""))
    assert moved.recipe.prompt == "a fox / 100% \u2605"
    assert import_outputs(tmp_path / "outputs", store.queue, f.LIBRARY).added == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows file names that are no UTF-8")
def test_a_folder_whose_name_is_no_utf8_is_named_and_the_others_come(tmp_path: Path, store: Store) -> None:
    day = a_day(tmp_path / "outputs")
    odd = Path(os.fsdecode(bytes(day.parent) + b"/b\xe9st"))
    odd.mkdir()
    picture = day / "2024-02-03_04-05-01_1234.png"
    picture.rename(odd / picture.name)
    result = import_outputs(tmp_path / "outputs", store.queue, f.LIBRARY)
    assert result.added == 3 and "b\ufffdst is no name in UTF-8" in result.problems[0]


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path, store: Store) -> None:
    result = import_outputs(tmp_path / "gone", store.queue)
    assert result.added == 0 and "gone cannot be read" in result.problems[0]
