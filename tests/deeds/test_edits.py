"""What an edit decides anew, where only a queue that was interrupted shows it."""

from __future__ import annotations

import pytest

from fooocus_lite.edits import edited
from fooocus_lite.library import Library
from fooocus_lite.plan import resolve
from fooocus_lite.recipe import Recipe
from tests.deeds.conftest import a_recipe


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"prompt": "a house"}, None),
        ({"seed": 7}, None),
        ({"steps": 3}, "whiskers"),
        ({"prompt": "a house", "expansion": "bricks"}, "bricks"),
        ({"prompt": "a cat"}, "whiskers"),
    ],
)
def test_words_that_were_chosen_for_another_prompt_are_not_kept(
    library: Library, changes: dict[str, object], words: str | None
) -> None:
    """It was begun, its words were chosen and written down, the server was killed, and then somebody edited it."""
    begun = resolve(a_recipe("a cat"), library, 0).model_copy(update={"expansion": "whiskers"})
    assert edited(begun, Recipe.model_validate(changes), library, 0).expansion == words
