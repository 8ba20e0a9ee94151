"""What is on a contact sheet: the same words and seed, one style, sampler or mode each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fooocus_lite.errors import BadValue, UnknownName
from fooocus_lite.library import Library, load_library
from fooocus_lite.plan import make_plan
from fooocus_lite.prompt_files import ByName
from fooocus_lite.recipe import Recipe
from fooocus_lite.registry import SAMPLERS
from fooocus_lite.settings import load_settings
from fooocus_lite.sheets import MAX_CELLS, SheetCell, count_words, make_sheet, parse_varies

LEFT_OUT = ("Lightning", "Hyper-SD")
WISH = Recipe(prompt="a red star", styles=("Neon",), count=4)


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library(load_settings({"data_dir": "no-such-folder"}, env={}))


def test_every_cell_has_the_same_words_and_seed_and_one_style(library: Library) -> None:
    cells = make_sheet(WISH, ["watercolor", "Blueprint", "Watercolor"], library, seed=5).cells
    assert [cell.label for cell in cells] == ["Watercolor", "Blueprint"]
    assert [cell.recipe.styles for cell in cells] == [("Watercolor",), ("Blueprint",)]
    assert {(cell.recipe.prompt, cell.recipe.seed, cell.recipe.index, cell.recipe.count) for cell in cells} == {
        ("a red star", 5, 0, 1)
    }
    assert make_sheet(WISH.model_copy(update={"seed": 8}), ["Neon"], library, seed=5).cells[0].recipe.seed == 8


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [(("Neon", "fooocus v2"), ["Blueprint", "Low Poly"]), ((), ["Blueprint", "Expand prompt", "Low Poly"])],
)
def test_words_that_are_added_are_added_to_every_cell_and_are_the_same(
    library: Library, chosen: tuple[str, ...], wanted: list[str]
) -> None:
    cells = make_sheet(WISH.model_copy(update={"styles": chosen}), wanted, library, seed=5).cells
    assert [cell.label for cell in cells] == ["Blueprint", "Low Poly"]
    assert [cell.recipe.styles for cell in cells] == [("Blueprint", "Expand prompt"), ("Low Poly", "Expand prompt")]
    wishes = {make_plan(cell.recipe, library, 0).expansion for cell in cells}
    assert len(wishes) == 1 and None not in wishes


def test_what_the_model_has_learned_and_really_all(library: Library) -> None:
    texts = [style for style in library.styles.values() if style.kind == "text"]
    fitting = [cell.label for cell in make_sheet(WISH, "fitting", library, seed=1).cells]
    assert fitting == [style.name for style in texts if style.category == "Starter"]
    assert [cell.label for cell in make_sheet(WISH, "all", library, seed=1).cells] == [style.name for style in texts]


def test_what_cannot_be_a_sheet(library: Library) -> None:
    with pytest.raises(BadValue, match="no style"):
        make_sheet(WISH, ["Random style"], library, seed=1)
    with pytest.raises(BadValue, match="one prompt, not 2"):
        make_sheet(Recipe(prompt="a star\n---\na moon"), ["Neon"], library, seed=1)
    with pytest.raises(UnknownName):
        make_sheet(WISH, ["No such style"], library, seed=1)
    style = library.styles["Neon"]
    many = {f"Style {number}": style.__class__(f"Style {number}", "{prompt}") for number in range(MAX_CELLS + 1)}
    with pytest.raises(BadValue, match="501 styles are too many"):
        make_sheet(WISH, "all", Library(styles=many, models=library.models), seed=1)


def test_every_sampler_and_then_every_mode(library: Library) -> None:
    wish = WISH.model_copy(update={"steps": 11, "guidance_scale": 5.0, "scheduler": "karras", "seed": 3})
    sheet = make_sheet(wish, "fitting", library, seed=1, varies=["sampler", "mode", "sampler"])
    samplers, modes = sheet.cells[: len(SAMPLERS)], sheet.cells[len(SAMPLERS) :]
    assert [cell.label for cell in samplers] == [row.label for row in SAMPLERS.values()]
    assert [cell.recipe.sampler for cell in samplers] == list(SAMPLERS)
    alike = [cell.recipe.model_copy(update={"sampler": None}) for cell in samplers]
    assert alike == alike[:1] * len(SAMPLERS) and alike[0].styles == ("Neon",), "nothing else varies"
    assert [(cell.label, cell.recipe.mode, cell.recipe.steps, cell.recipe.sampler) for cell in modes] == [
        ("Quality", "quality", 40, "dpmpp_2m"),
        ("Speed", "speed", 20, "dpmpp_2m"),
        ("Extreme Speed", "extreme_speed", 4, "lcm"),
    ]
    assert [cell.recipe.guidance_scale for cell in modes] == [5, 5, 1]
    assert [cell.recipe.mode_lora for cell in modes] == ["none", "none", "starter-lcm:1"]
    assert {(cell.recipe.seed, cell.recipe.count) for cell in sheet.cells} == {(3, 1)}
    assert [cell.varies for cell in sheet.cells] == ["sampler"] * len(SAMPLERS) + ["mode"] * 3
    assert sheet.notes == tuple(f"The mode {name} is not made for Starter. It is left out." for name in LEFT_OUT)


def test_what_the_steps_or_the_model_do_not_allow_is_left_out_with_a_sentence(library: Library) -> None:
    few = make_sheet(WISH.model_copy(update={"steps": 3}), "fitting", library, seed=1, varies=["sampler"])
    assert few.notes == ("LMS is left out: it needs at least 4 steps.",)
    assert len(few.cells) == len(SAMPLERS) - 1
    flow = Library(models={"f": replace(library.models["starter"], name="f", label="F", noise="flow")})
    sheet = make_sheet(Recipe(prompt="x"), "fitting", flow, seed=1, varies=["sampler"])
    assert [cell.recipe.sampler for cell in sheet.cells] == [k for k, row in SAMPLERS.items() if "flow" in row.noise]
    assert "Restart is left out: it is not made for how the model F was trained." in sheet.notes
    left = make_sheet(Recipe(prompt="x"), "fitting", replace(library, loras=ByName()), seed=1, varies=["mode"])
    assert [cell.label for cell in left.cells] == ["Quality", "Speed"]
    assert "The mode Extreme Speed needs the LoRA starter-lcm.safetensors" in left.notes[0]


def test_a_picture_of_a_fast_mode_is_seen_in_the_others_as_they_are(library: Library) -> None:
    (fast,) = [cell for cell in modes_of(WISH, library) if cell.recipe.mode == "extreme_speed"]
    again = {cell.label: cell.recipe for cell in modes_of(fast.recipe, library)}
    assert (again["Speed"].sampler, again["Speed"].steps, again["Speed"].mode_lora) == ("dpmpp_2m", 20, "none")
    assert again["Extreme Speed"] == fast.recipe
    with pytest.raises(BadValue, match="Extreme Speed keeps its sampler"):
        make_sheet(fast.recipe, "fitting", library, seed=1, varies=["sampler"])


def modes_of(recipe: Recipe, library: Library) -> tuple[SheetCell, ...]:
    return make_sheet(recipe, "fitting", library, seed=1, varies=["mode"]).cells


def test_no_two_cells_are_called_the_same(library: Library) -> None:
    own = {"Heun": replace(library.styles["Neon"], name="Heun")}
    sheet = make_sheet(
        WISH,
        ["Heun"],
        replace(library, styles=own | {"Neon": library.styles["Neon"]}),
        seed=1,
        varies=["style", "sampler"],
    )
    labels = [cell.label for cell in sheet.cells]
    assert len(set(labels)) == 1 + len(SAMPLERS) and {"Heun", "Heun (sampler)"} <= set(labels)


def test_what_varies_in_words() -> None:
    assert count_words(["sampler", "sampler", "mode"]) == "2 samplers, 1 mode"
    assert parse_varies(["mode", "style"]) == ["mode", "style"]
    with pytest.raises(BadValue, match=r"every 'moon'\. Allowed is style, sampler, mode\."):
        parse_varies(["moon"])
