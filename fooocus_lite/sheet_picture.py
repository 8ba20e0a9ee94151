"""A contact sheet as one picture: every cell with its name under it, the prompt above all."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from fooocus_lite.errors import FooocusError
from fooocus_lite.images import open_small
from fooocus_lite.lettering import Letters
from fooocus_lite.recipe import Recipe
from fooocus_lite.sheets import Varies, count_words
from fooocus_lite.style_files import EXPAND_STYLE

#: Longest side of a cell in pixels: larger pictures are made smaller, smaller ones are enlarged.
LEAST_SIDE, MOST_SIDE = 192, 512
MAX_PIXELS = 16_000_000  # of all cells together: many styles make small cells
WIDE = 1.6  # width ÷ height that a sheet comes near to
EMPTY_COSTS = 0.5  # a last row that is empty counts as much as a sheet this much too wide (natural logarithm)
GROUND, HOLE, BRIGHT, DIM = "#151517", "#232327", "#ededf0", "#a5a5b0"
_ROUND_IN = 4  # corners are drawn this much larger, then made smaller, so that they are smooth


@dataclass(frozen=True)
class Tile:
    """What stands in a cell that shows what ``varies``: the picture at ``path``, or the ``words`` that say why not."""

    label: str
    path: Path | None
    words: str = ""
    varies: Varies = "style"


@dataclass(frozen=True)
class _Grid:
    """Where everything lies, in pixels."""

    columns: int
    rows: int
    width: int  # of a cell's picture
    height: int
    gap: int
    small: int  # size of the labels' letters
    large: int  # size of the title's

    @property
    def head(self) -> int:
        return 2 * self.gap + self.large + self.small + self.gap // 2

    @property
    def line(self) -> int:
        """From the upper edge of a picture to that of the one below it."""
        return self.height + self.gap // 2 + self.small + self.gap

    @property
    def size(self) -> tuple[int, int]:
        across = self.columns * (self.width + self.gap) + self.gap
        return across, self.head + self.rows * self.line + self.gap // 2

    def place(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.columns)
        return self.gap + column * (self.width + self.gap), self.head + row * self.line


def compose_sheet(recipe: Recipe, tiles: Sequence[Tile], *, model: str) -> Image.Image:
    """The sheet as RGB.

    Args:
        recipe: Of any of its pictures: the prompt is the title; one of another shape is fitted in.
        tiles: At least one, in reading order.
        model: What drew it, for the line under the title.
    """
    title = recipe.prompt.strip() or "No words"
    shows_styles = any(tile.varies == "style" for tile in tiles)
    shared = [name for name in recipe.styles or () if name == EXPAND_STYLE.name or not shows_styles]
    counted = count_words(tile.varies for tile in tiles)
    note = " · ".join([f"seed {recipe.seed}", model, counted, *shared])
    grid = make_grid(len(tiles), recipe.width or LEAST_SIDE, recipe.height or LEAST_SIDE)
    sheet = Image.new("RGB", grid.size, GROUND)
    pen, letters = ImageDraw.Draw(sheet), Letters()
    room = grid.size[0] - 2 * grid.gap
    letters.write(pen, (grid.gap, grid.gap), title, grid.large, colour=BRIGHT, room=room)
    below = (grid.gap, grid.gap + grid.large + grid.gap // 2)
    letters.write(pen, below, note, grid.small, colour=DIM, room=room)
    corners = _corners(grid.width, grid.height, max(4, grid.gap // 2))
    for index, tile in enumerate(tiles):
        x, y = grid.place(index)
        sheet.paste(_tile_picture(tile, grid, letters), (x, y), corners)
        name_at = (x, y + grid.height + grid.gap // 4)
        letters.write(pen, name_at, tile.label, grid.small, colour=BRIGHT, room=grid.width)
    return sheet


def encode_sheet(sheet: Image.Image) -> bytes:
    """The file: a JPEG, which takes a tenth of what a PNG would."""
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=90, subsampling=0, optimize=True)
    return buffer.getvalue()


def make_grid(count: int, width: int, height: int) -> _Grid:
    """The arrangement of ``count`` pictures that comes nearest to a wide page without a gap at its end."""
    longest = max(width, height)
    side = min(MOST_SIDE, max(LEAST_SIDE, longest))
    side = min(side, math.isqrt(int(MAX_PIXELS / count * longest * longest / (width * height))))
    across, down = max(1, side * width // longest), max(1, side * height // longest)
    gap = max(8, across // 12)
    small = max(11, across // 13)
    grids = [
        _Grid(columns, math.ceil(count / columns), across, down, gap, small, small * 8 // 5)
        for columns in range(1, count + 1)
    ]
    return min(grids, key=lambda grid: _awkwardness(grid, count))


def _awkwardness(grid: _Grid, count: int) -> float:
    wide, high = grid.size
    cells = grid.columns * grid.rows
    return abs(math.log(wide / high / WIDE)) + EMPTY_COSTS * (cells - count) / grid.columns


def _tile_picture(tile: Tile, grid: _Grid, letters: Letters) -> Image.Image:
    size = (grid.width, grid.height)
    ground = Image.new("RGB", size, HOLE)
    words = tile.words
    if tile.path is not None:
        try:
            picture = open_small(tile.path, *size)
        except FooocusError:
            words = "cannot be shown"
        else:
            scale = min(grid.width / picture.width, grid.height / picture.height)
            fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture = picture.resize(fitted, Image.Resampling.LANCZOS, reducing_gap=2.0)
            ground.paste(picture, ((grid.width - fitted[0]) // 2, (grid.height - fitted[1]) // 2))
            return ground
    middle, room = (grid.width // 2, grid.height // 2), grid.width - grid.gap
    letters.write(ImageDraw.Draw(ground), middle, words, grid.small, colour=DIM, room=room, anchor="mm")
    return ground


def _corners(width: int, height: int, radius: int) -> Image.Image:
    mask = Image.new("L", (width * _ROUND_IN, height * _ROUND_IN), 0)
    box = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * _ROUND_IN, fill=255)
    return mask.resize((width, height), Image.Resampling.LANCZOS)
