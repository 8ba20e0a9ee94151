"""What is on a contact sheet: the same words and seed, one style each."""

from __future__ import annotations

import pytest

from fooocus_lite.errors import BadValue, UnknownName
from fooocus_lite.library import Library, load_library
from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import load_settings
from fooocus_lite.sheets import MAX_CELLS, make_sheet

WISH = Recipe(prompt="a red star", styles=("Neon",), count=4)


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library(load_settings({"data_dir": "no-such-folder"}, env={}))


def test_every_cell_has_the_same_words_and_seed_and_one_style(library: Library) -> None:
    cells = make_sheet(WISH, ["watercolor", "Blueprint", "Watercolor"], library, seed=5)
    assert [cell.label for cell in cells] == ["Watercolor", "Blueprint"]
    assert [cell.recipe.styles for cell in cells] == [("Watercolor",), ("Blueprint",)]
    assert {(cell.recipe.prompt, cell.recipe.seed, cell.recipe.index, cell.recipe.count) for cell in cells} == {
        ("a red star", 5, 0, 1)
    }
    assert make_sheet(WISH.model_copy(update={"seed": 8}), ["Neon"], library, seed=5)[0].recipe.seed == 8


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [(("Neon", "fooocus v2"), ["Blueprint", "Low Poly"]), ((), ["Blueprint", "Expand prompt", "Low Poly"])],
)
def test_words_that_are_added_are_added_to_every_cell_and_are_the_same(
    library: Library, chosen: tuple[str, ...], wanted: list[str]
) -> None:
    cells = make_sheet(WISH.model_copy(update={"styles": chosen}), wanted, library, seed=5)
    assert [cell.label for cell in cells] == ["Blueprint", "Low Poly"]
    assert [cell.recipe.styles for cell in cells] == [("Blueprint", "Expand prompt"), ("Low Poly", "Expand prompt")]
    wishes = {make_plan(cell.recipe, library, 0).expansion for cell in cells}
    assert len(wishes) == 1 and None not in wishes


def test_what_the_model_has_learned_and_really_all(library: Library) -> None:
    texts = [style for style in library.styles.values() if style.kind == "text"]
    fitting = [cell.label for cell in make_sheet(WISH, "fitting", library, seed=1)]
    assert fitting == [style.name for style in texts if style.category == "Starter"]
    assert [cell.label for cell in make_sheet(WISH, "all", library, seed=1)] == [style.name for style in texts]


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
