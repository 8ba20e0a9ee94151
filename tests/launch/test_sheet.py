"""A contact sheet from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from fooocus_lite.images import read_recipe
from tests.launch.test_generate import QUICK, run

STYLES = ["--style", "watercolor", "--style", "Neon"]


def test_a_sheet_and_its_pictures(tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.jpg"
    code, said, err = run(
        tmp_path, "sheet", "a red circle", *STYLES, "--seed", "7", "--out", str(out), "--json", *QUICK
    )
    assert code == 0, err
    answer = json.loads(said)
    assert answer["path"] == str(out) and list(answer["pictures"]) == ["Watercolor", "Neon"]
    recipes = [read_recipe(Path(path)) for path in answer["pictures"].values()]
    assert [(recipe.styles, recipe.seed) for recipe in recipes] == [(("Watercolor",), 7), (("Neon",), 7)]
    with Image.open(out) as sheet:
        assert sheet.format == "JPEG" and sheet.width > 2 * 128


def test_a_sheet_of_samplers_and_modes(tmp_path: Path) -> None:
    out = tmp_path / "sheet.jpg"
    every = ["--every", "sampler", "--every", "mode"]
    quick = ["--steps", "3", "--size", "64x64"]
    code, said, err = run(tmp_path, "sheet", "a red circle", *every, "--seed", "7", "--out", str(out), "--json", *quick)
    assert code == 0, err
    assert "LMS is left out: it needs at least 4 steps." in err and "Lightning is not made for Starter" in err
    pictures = json.loads(said)["pictures"]
    assert list(pictures)[:2] == ["Euler", "Euler a"] and list(pictures)[-3:] == ["Quality", "Speed", "Extreme Speed"]
    heun, fast = read_recipe(Path(pictures["Heun"])), read_recipe(Path(pictures["Extreme Speed"]))
    assert (heun.sampler, heun.steps, heun.seed) == ("heun", 3, 7)
    assert (fast.sampler, fast.steps, fast.mode_lora, fast.seed) == ("lcm", 4, "starter-lcm:1", 7)


def test_it_is_not_drawn_in_vain(tmp_path: Path) -> None:
    code, said, err = run(tmp_path, "sheet", "a red circle", *STYLES, "--out", str(tmp_path / "sheet.gif"))
    assert (code, said) == (2, "") and "Give it the ending .jpg." in err
    code, said, err = run(tmp_path, "sheet", "a red circle", "--every", "moon")
    assert (code, said) == (2, "") and "Allowed is style, sampler, mode." in err
    code, said, err = run(tmp_path, "sheet", "a red circle", "--style", "Nonsense")
    assert (code, said) == (2, "") and "no style 'Nonsense'" in err
