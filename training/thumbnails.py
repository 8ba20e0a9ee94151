"""Draws, with the starter that ships, what the page shows of its styles, and the README's contact sheets.

To be run again whenever ``models/starter`` changes, the sheet of samplers also when samplers or modes do.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from fooocus_lite.commands.draw import DrawnSheet, draw_sheet
from fooocus_lite.library import load_library
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import Settings, app_root, load_settings
from fooocus_lite.sheets import Varies, Wanted
from fooocus_lite.style_pictures import SIDE, shipped_path
from fooocus_lite.teller import Teller

SEED = 7
MAX_BYTES = 4_000
README_PROMPT = "a red heart on a yellow background"
#: Those in the README, which the starter was taught by name; the others are scenes and mixtures.
IN_README = (
    *("Watercolor", "Pixel Art", "Line Drawing", "Neon", "Stained Glass"),
    *("Paper Cutout", "Blueprint", "Oil Painting", "Chalkboard", "Low Poly"),
)
#: What shows a style best: one shape, unless the style says where things are.
PROMPTS = {"White Backdrop": "a red heart", "Black Backdrop": "a red heart"} | dict.fromkeys(IN_README, README_PROMPT)
SCENE = "a house and a tree"
#: A scene on which samplers part company: most of all over the windows.
SAMPLERS_PROMPT, SAMPLERS_SEED = "a house, a tree and a mountain", 5
SHEET_BYTES = 120_000


def main() -> None:
    """Write ``styles/thumbnails/*.webp``, ``docs/styles-sheet.jpg`` and ``docs/samplers-sheet.jpg``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=None, help="as the model and its modes say when left out")
    parser.add_argument("--only", choices=("styles", "samplers"))
    options = parser.parse_args()
    root = app_root()
    with tempfile.TemporaryDirectory() as folder:
        # Of a person's own styles and pictures nothing may get in here.
        settings = load_settings({"data_dir": f"{folder}/data", "output_dir": f"{folder}/outputs"}, env={})
        recipe = Recipe(model="starter", steps=options.steps)
        if options.only != "samplers":
            draw_styles(recipe, settings, root)
        if options.only != "styles":
            draw_samplers(recipe, settings, root / "docs" / "samplers-sheet.jpg")


def draw_styles(recipe: Recipe, settings: Settings, root: Path) -> None:
    """Every style that the starter has learned, with what shows it best; the README's ones also as a sheet."""
    library = load_library(settings)
    learned = library.find_model("starter").style_categories
    styles = [style.name for style in library.styles.values() if style.category in learned]
    pictures: dict[str, Path] = {}
    sheet = b""
    for prompt in dict.fromkeys((README_PROMPT, *PROMPTS.values(), SCENE)):
        names = [name for name in styles if PROMPTS.get(name, SCENE) == prompt]
        one = recipe.model_copy(update={"prompt": prompt, "seed": SEED})
        drawn = draw(one, settings, ["style"], names)
        pictures |= drawn.pictures
        if prompt == README_PROMPT:
            sheet = drawn.path.read_bytes()
    for name, picture in pictures.items():
        path = shipped_path(root / "styles", name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(small(picture))
        print(path.relative_to(root), path.stat().st_size)
    (root / "docs" / "styles-sheet.jpg").write_bytes(sheet)
    print("docs/styles-sheet.jpg", len(sheet))


def draw_samplers(recipe: Recipe, settings: Settings, path: Path) -> None:
    """One prompt and seed in every sampler and in every mode that the starter has, as a sheet at ``path``."""
    one = recipe.model_copy(update={"prompt": SAMPLERS_PROMPT, "seed": SAMPLERS_SEED})
    drawn = draw(one, settings, ["sampler", "mode"])
    path.write_bytes(packed(drawn.path))
    print(path.name, path.stat().st_size)


def draw(recipe: Recipe, settings: Settings, varies: Sequence[Varies], styles: Wanted = "fitting") -> DrawnSheet:
    """A contact sheet, whole."""
    teller = Teller(0, as_json=False, debug=True, tells_paths=False)
    out = settings.output_dir / "sheet.jpg"
    drawn = draw_sheet(recipe, styles, load_library(settings), settings, teller, out=out, varies=varies)
    if not drawn.is_whole:
        raise SystemExit("Not every picture could be drawn.")
    return drawn


def packed(sheet: Path) -> bytes:
    """The sheet as a JPEG of at most ``SHEET_BYTES``."""
    with Image.open(sheet) as opened:
        picture = opened.convert("RGB")
    return fitting(picture, "JPEG", SHEET_BYTES, optimize=True, progressive=True)


def small(picture: Path) -> bytes:
    """A WebP of ``SIDE`` x ``SIDE`` pixels and at most ``MAX_BYTES``."""
    with Image.open(picture) as opened:
        shrunk = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return fitting(shrunk, "WEBP", MAX_BYTES, method=6)


def fitting(picture: Image.Image, kind: str, size: int, **options: object) -> bytes:
    """The file of the best quality that fits into ``size`` bytes."""
    for quality in range(90, 10, -5):
        buffer = io.BytesIO()
        picture.save(buffer, kind, quality=quality, **options)
        if buffer.tell() <= size:
            return buffer.getvalue()
    raise ValueError(f"the picture does not fit into {size} bytes")


if __name__ == "__main__":
    main()
