"""A contact sheet in the queue, as one picture, and what a style last looked like."""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFont

from fooocus_lite.database import ADDED, SCHEMA
from fooocus_lite.errors import NotFound
from fooocus_lite.events import Cancelled, Finished, ImageSaved
from fooocus_lite.lettering import SYSTEM_FONTS, Letters, cut_to
from fooocus_lite.library import load_library
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import load_settings
from fooocus_lite.sheet_picture import GROUND, Tile, compose_sheet, encode_sheet, make_grid
from fooocus_lite.sheets import Varies, make_sheet
from fooocus_lite.store import Store, open_store
from fooocus_lite.style_files import Style
from fooocus_lite.style_pictures import StylePictures, shipped_path
from tests.deeds.conftest import a_recipe

RECIPE = Recipe(prompt="a red star", seed=7, width=64, height=64)
COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]


def end_next(store: Store, folder: Path, colour: str = "#ff0000") -> str:
    """The next task in line is drawn: one flat colour."""
    task = store.queue.claim("w")
    assert task is not None
    path = folder / f"{task.id}.png"
    Image.new("RGB", (64, 64), colour).save(path)
    store.queue.finish(task.id, ImageSaved(path=str(path), width=64, height=64, size_bytes=1), Finished(), {})
    return task.id


def test_a_sheet_is_a_batch_with_labels(store: Store, tmp_path: Path) -> None:
    plain = store.queue.submit([a_recipe()])
    ids = store.queue.submit([a_recipe(), a_recipe()], labels=["Neon", "Ink"])
    store.queue.cancel(plain[0])
    assert [(task.id, task.label) for task in store.queue.sheet(ids[0])] == [(ids[0], "Neon"), (ids[1], "Ink")]
    with pytest.raises(NotFound):
        store.queue.sheet(plain[0])
    end_next(store, tmp_path)
    newer = store.queue.submit([a_recipe()], labels=["Neon"])
    heads = store.queue.sheets()
    assert [(head.first.id, head.cells, head.finished) for head in heads] == [(newer[0], 1, 0), (ids[0], 2, 1)]
    assert [head.first.id for head in store.queue.sheets(before=newer[0])] == [ids[0]]


def test_a_cell_that_is_tried_again_stays_where_it_was(store: Store) -> None:
    ids = store.queue.submit([a_recipe(), a_recipe()], labels=["Neon", "Ink"])
    store.queue.cancel(ids[0])
    again = store.queue.retry(ids[0])
    assert [(task.id, task.label, task.state) for task in store.queue.sheet(ids[0])] == [
        (again, "Neon", "waiting"),
        (ids[1], "Ink", "waiting"),
    ]
    assert store.queue.retry(ids[0]) == again, "two clicks, or two tabs"
    store.queue.cancel(again)
    assert store.queue.retry(again) not in (again, ids[0])


def old_store(folder: Path, version: int, **columns: Any) -> Store:
    """A queue as an earlier version left it, with one task in it, opened by this one."""
    folder.mkdir()
    values = {"id": "0a", "batch_id": "0a", "position": 1, "created_at": 1} | columns
    values |= {"recipe": '{"prompt": "x", "styles": ["Neon"]}'}
    old = sqlite3.connect(folder / "queue.db")
    old.executescript(f"{SCHEMA} {''.join(ADDED[: version - 1])} PRAGMA user_version={version};")
    old.execute(
        f"INSERT INTO tasks ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
    )
    old.commit()
    old.close()
    return open_store(folder)


def test_a_queue_of_the_first_version_is_kept(tmp_path: Path) -> None:
    store = old_store(tmp_path / "data", 1, state="finished", finished_at=2, image_path="/x.png")
    assert store.warnings == ()
    assert store.queue.get("0a").recipe.prompt == "x"
    assert store.queue.in_style("Neon") == [("0a", "/x.png")]
    store.close()


def test_what_a_style_looks_like_is_looked_up_in_an_index(store: Store, tmp_path: Path) -> None:
    recipes = [
        a_recipe(styles=["Neon"]),
        a_recipe(styles=["Neon"]),
        a_recipe(styles=["Neon", "Ink"]),
        a_recipe(prompt="a cat <style:Ink>", styles=["Neon"]),
        a_recipe(styles=["Ink"]),
        a_recipe(),
    ]
    ids = store.queue.submit(recipes)
    for _ in recipes[:-1]:
        end_next(store, tmp_path)
    assert [task_id for task_id, _ in store.queue.in_style("Neon")] == [ids[1], ids[0]]
    steps = store.database.read(
        "EXPLAIN QUERY PLAN SELECT id FROM tasks WHERE json_extract(recipe, '$.styles[0]') = ?"
        " AND state = 'finished' AND image_path IS NOT NULL"
        " AND json_array_length(recipe, '$.styles') = 1 AND instr(lower(recipe), '<style:') = 0"
        " ORDER BY finished_at DESC, id DESC LIMIT 5",
        ("Neon",),
    )
    assert ["USING" in step["detail"] and "tasks_by_style" in step["detail"] for step in steps] == [True]


def test_a_style_shows_what_ships_then_what_was_drawn_here(store: Store, tmp_path: Path) -> None:
    settings = load_settings({"data_dir": str(tmp_path / "data")}, env={})
    pictures = StylePictures(settings, store.queue)
    ours, shipped = Style("Neon Fog", "{prompt}", source="own"), Style("Watercolor", "{prompt}")
    assert pictures.small(ours) is None and pictures.version(ours) is None
    store.queue.submit([a_recipe(styles=["Neon Fog"])] * 2 + [a_recipe(styles=["Watercolor"])])
    first, second, _ = end_next(store, tmp_path), end_next(store, tmp_path), end_next(store, tmp_path)
    found = pictures.small(ours)
    assert found and found[0] == second
    with Image.open(found[1]) as small:
        assert max(small.size) <= 96 and small.getpixel((5, 5))[0] > 240
    assert found[1].stat().st_size <= 4_000
    (tmp_path / f"{second}.png").unlink()
    assert pictures.version(ours) == first
    path = shipped_path(settings.styles_dirs[0], "Watercolor")
    expected = path if path.is_file() else None
    assert (pictures.small(shipped) or ("", None))[1] == expected or expected is None
    assert pictures.version(Style("Random style", "", kind="random")) is None


def test_every_picture_lies_over_its_name(tmp_path: Path) -> None:
    tiles: list[Tile] = []
    for name, colour in zip(("One", "Two", "Three"), COLOURS, strict=False):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
        tiles.append(Tile(name, tmp_path / f"{name}.png"))
    tiles.append(Tile("Four", None, "waiting"))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    tiles.append(Tile("Five", tmp_path / "broken.png"))
    sheet = compose_sheet(RECIPE, tiles, model="Starter")
    grid = make_grid(len(tiles), 64, 64)
    assert sheet.size == grid.size
    middle = [(x + 20, y + grid.height // 4) for x, y in map(grid.place, range(len(tiles)))]
    shown = [sheet.getpixel(point) for point in middle]
    assert shown == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (35, 35, 39), (35, 35, 39)]
    ground = tuple(int(GROUND[at : at + 2], 16) for at in (1, 3, 5))
    for x, y in map(grid.place, range(len(tiles))):
        below = sheet.crop((x, y + grid.height + 1, x + grid.width, y + grid.height + grid.gap // 2 + grid.small))
        assert len(below.getcolors(100_000) or []) > 5, "letters"
    assert sheet.getpixel((1, 1)) == ground
    with Image.open(io.BytesIO(encode_sheet(sheet))) as read:
        assert (read.format, read.size) == ("JPEG", sheet.size)


def test_names_that_are_too_long_are_cut(tmp_path: Path) -> None:
    assert cut_to("ab  cd\nef", 100, len) == "ab cd ef"
    assert cut_to("abcdefgh", 5, len) == "abcd…"
    assert cut_to("abc def", 5, len) == "abc…", "no space before the sign"
    compose_sheet(RECIPE.model_copy(update={"prompt": "x" * 20_000}), [Tile("y" * 500, None)] * 2, model="m")


def on_this_machine(name: str) -> bool:
    try:
        ImageFont.truetype(name, 16)
    except OSError:
        return False
    return True


def test_words_without_their_font_lose_accents_and_pictographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fooocus_lite.lettering.SYSTEM_FONTS", ("no-such-font.ttf",))
    assert Letters().fitting("a caf\u00e9 \U0001f415 in  Z\u00fcrich", 20)[1] == "a cafe in Zurich"
    assert Letters().fitting("\u6c34\u5f69", 20)[1] == "\u6c34\u5f69", "a box still says that something stands there"


@pytest.mark.skipif(not any(map(on_this_machine, SYSTEM_FONTS)), reason="no font but Pillow's own")
@pytest.mark.parametrize(
    "text",
    [
        "caf\u00e9 cr\u00e8me",
        "\u0141\u00f3d\u017a",
        "\u0430\u043a\u0432\u0430\u0440\u0435\u043b\u044c",
        "\u03bd\u03ad\u03bf\u03bd",
    ],
)
def test_words_are_written_in_a_font_that_has_them(text: str) -> None:
    font, line = Letters().fitting(text, 20)
    box = bytes(font.getmask("\uffff"))
    assert line == text
    assert all(bytes(font.getmask(sign)) != box for sign in text if sign != " ")
    plain = Letters().fitting("plain words", 20)[0]
    assert plain.getname() == ImageFont.load_default(20).getname(), "what Pillow's own has is written in it"


@pytest.mark.parametrize("count", [1, 2, 7, 10, 160, 500])
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (4096, 64), (1024, 1024)])
def test_a_sheet_is_never_too_large(count: int, size: tuple[int, int]) -> None:
    grid = make_grid(count, *size)
    assert grid.columns * grid.rows >= count > grid.columns * (grid.rows - 1)
    assert grid.size[0] < 20_000 and grid.size[0] * grid.size[1] < 40_000_000


def test_every_style_that_ships_fits_on_one_sheet(store: Store, tmp_path: Path) -> None:
    library = load_library(load_settings({"data_dir": str(tmp_path / "data")}, env={}))
    cells = make_sheet(Recipe(prompt="a red star"), "all", library, seed=7).cells
    assert len(cells) >= 135
    ids = store.queue.submit([cell.recipe for cell in cells], labels=[cell.label for cell in cells])
    assert [end_next(store, tmp_path) for _ in cells] == ids, "drawn in the order of the menu"
    tasks = store.queue.sheet(ids[0])
    assert [(task.label, task.state) for task in tasks] == [(cell.label, "finished") for cell in cells]
    tiles = [Tile(task.label or "", Path(task.image_path or "")) for task in tasks]
    sheet = compose_sheet(tasks[0].recipe, tiles, model="Starter")
    grid = make_grid(len(tiles), tasks[0].recipe.width or 0, tasks[0].recipe.height or 0)
    x, y = grid.place(len(tiles) - 1)
    assert sheet.getpixel((x + grid.width // 2, y + grid.height // 2)) == (255, 0, 0), "down to the last one"


def test_what_a_cell_shows_is_kept(store: Store) -> None:
    ids = store.queue.submit([a_recipe(), a_recipe()], labels=["Heun", "Speed"], varies=["sampler", "mode"])
    store.queue.cancel(ids[1])
    store.queue.retry(ids[1])
    assert [(task.label, task.varies) for task in store.queue.sheet(ids[0])] == [("Heun", "sampler"), ("Speed", "mode")]


def test_a_sheet_of_before_shows_styles(tmp_path: Path) -> None:
    store = old_store(tmp_path / "data", 3, label="Neon")
    assert [(task.label, task.varies) for task in store.queue.sheet("0a")] == [("Neon", "style")]
    assert store.warnings == ()
    store.close()


@pytest.mark.parametrize(
    ("kinds", "styles", "said"),
    [
        (["style", "style"], ("Neon",), "seed 7 · Starter · 2 styles"),
        (["style", "style"], ("Neon", "Expand prompt"), "seed 7 · Starter · 2 styles · Expand prompt"),
        (["sampler", "sampler", "mode"], ("Neon",), "seed 7 · Starter · 2 samplers, 1 mode · Neon"),
        (["sampler", "style"], ("Neon",), "seed 7 · Starter · 1 sampler, 1 style"),
    ],
)
def test_the_sheet_says_what_varies(
    monkeypatch: pytest.MonkeyPatch, kinds: list[Varies], styles: tuple[str, ...], said: str
) -> None:
    written: list[str] = []
    write = Letters.write

    def listening(self: Letters, pen: Any, at: Any, text: str, *more: Any, **options: Any) -> None:
        written.append(text)
        write(self, pen, at, text, *more, **options)

    monkeypatch.setattr(Letters, "write", listening)
    tiles = [Tile(f"Tile {at}", None, varies=kind) for at, kind in enumerate(kinds)]
    compose_sheet(RECIPE.model_copy(update={"styles": styles}), tiles, model="Starter")
    assert said in written


def test_cancelling_a_sheet_leaves_it_there(store: Store) -> None:
    ids = store.queue.submit([a_recipe(), a_recipe()], labels=["Neon", "Ink"])
    assert store.queue.cancel_batch(ids[0]) == 2
    assert {task.state for task in store.queue.sheet(ids[0])} == {"cancelled"}
    assert not store.queue.end(ids[0], Cancelled())
