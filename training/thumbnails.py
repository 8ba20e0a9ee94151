"""Draws, with the starter that ships, what the page shows of its styles, and the README's contact sheet.

To be run again whenever ``models/starter`` changes: a thumbnail shows what the present weights make of a style.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

from fooocus_lite.commands.draw import draw_sheet
from fooocus_lite.library import load_library
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import app_root, load_settings
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


def main() -> None:
    """Write ``styles/thumbnails/*.webp`` and ``docs/styles-sheet.jpg``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=None, help="as the model says when left out")
    options = parser.parse_args()
    root = app_root()
    with tempfile.TemporaryDirectory() as folder:
        # Of a person's own styles and pictures nothing may get in here.
        settings = load_settings({"data_dir": f"{folder}/data", "output_dir": f"{folder}/outputs"}, env={})
        library = load_library(settings)
        learned = library.find_model("starter").style_categories
        styles = [style.name for style in library.styles.values() if style.category in learned]
        pictures: dict[str, Path] = {}
        sheet = b""
        for prompt in dict.fromkeys((README_PROMPT, *PROMPTS.values(), SCENE)):
            recipe = Recipe(prompt=prompt, seed=options.seed, model="starter", steps=options.steps)
            names = [name for name in styles if PROMPTS.get(name, SCENE) == prompt]
            teller = Teller(0, as_json=False, debug=True, tells_paths=False)
            drawn = draw_sheet(recipe, names, library, settings, teller, Path(folder) / "sheet.jpg")
            if not drawn.is_whole:
                raise SystemExit("Not every picture could be drawn; nothing was changed.")
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


def small(picture: Path) -> bytes:
    """A WebP of ``SIDE`` x ``SIDE`` pixels and at most ``MAX_BYTES``."""
    with Image.open(picture) as opened:
        shrunk = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    for quality in range(90, 10, -5):
        buffer = io.BytesIO()
        shrunk.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() <= MAX_BYTES:
            return buffer.getvalue()
    raise ValueError(f"{picture.name} does not fit into {MAX_BYTES} bytes")


if __name__ == "__main__":
    main()
