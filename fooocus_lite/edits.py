"""What becomes of a waiting picture's recipe when a person changes some of it.

Its recipe is resolved: nothing in it is open. So what the app had decided for another model, mode, preset or sampler
must be told from what the person chose, and is decided anew.
"""

from __future__ import annotations

from typing import Any

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.library import Library
from fooocus_lite.plan import resolve
from fooocus_lite.prompts import split_prompts
from fooocus_lite.recipe import Recipe

#: What says who decides; each of them is a choice of the person's, unless a preset made it.
_DECISIVE = ("preset", "model", "mode")
_OWN = ("prompt", "seed", "index", "count", "wildcard_order")


def edited(old: Recipe, changes: Recipe, library: Library, seed: int) -> Recipe:
    """The resolved recipe after a change.

    Args:
        old: Resolved, of one picture.
        changes: The fields that were set in it count; one that was set to ``None`` is decided anew.
        seed: For what is left open.

    Raises:
        BadValue: several prompts or pictures: a waiting picture is one; or a value that its model cannot do.
        UnknownName: a style, preset, sampler or model that is not there.
        MissingModel: where `fooocus_lite.plan.expand` says so.
    """
    if len(split_prompts(changes.prompt)) > 1:
        hint = "Take out the line with ---, or ask for the other prompts by themselves."
        raise BadValue("A waiting picture has one prompt.", hint, field="prompt")
    if changes.count not in (None, 1):
        raise BadValue("A waiting picture is one picture.", "Duplicate it to have more of it.", field="count")
    said: dict[str, Any] = {name: getattr(changes, name) for name in changes.model_fields_set}
    follows = _follows(old, said, library, seed)
    if any(said.get(name, getattr(old, name)) != getattr(old, name) for name in ("prompt", "seed", "index")):
        follows = follows | {"expansion"}  # words that were chosen for those, when it was begun the first time
    decided_anew = {name: None for name in follows if name not in said}
    return resolve(old.model_copy(update=decided_anew | said | {"count": 1}), library, seed)


def _follows(old: Recipe, said: dict[str, Any], library: Library, seed: int) -> set[str]:
    """The fields whose values the app chose because of something that is another now."""
    other = [name for name in _DECISIVE if said.get(name, getattr(old, name)) != getattr(old, name)]
    if not other:
        return {"scheduler"} if said.get("sampler", old.sampler) != old.sampler else set()
    kept = () if other[0] == "preset" else _DECISIVE
    try:
        wish = Recipe(**{name: getattr(old, name) for name in {"preset", *kept}})
        chosen = resolve(wish, library, seed)
    except FooocusError:  # what decided has gone: then all of it is the person's
        return {"mode_lora"}
    names = set(Recipe.model_fields) - {*_OWN, *kept, "preset"}
    follows = {name for name in names if getattr(old, name) == getattr(chosen, name)} | {"mode_lora"}
    preset = library.presets.get(old.preset or "")
    is_of_old = preset is not None and preset.recipe.model is not None
    return follows | ({"preset"} if "model" in other and is_of_old else set())
