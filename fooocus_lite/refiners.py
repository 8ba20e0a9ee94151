"""The second model of a picture, checked against the first: by name, by family, by how both were trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fooocus_lite.errors import BadValue, MissingModel, UnknownName
from fooocus_lite.fooocus_presets import Need
from fooocus_lite.missing_files import can_come
from fooocus_lite.recipe import Recipe, shown

if TYPE_CHECKING:
    from fooocus_lite.library import Library
    from fooocus_lite.library_files import CatalogEntry

#: What a recipe without one says.
NO_REFINER = "none"


def decided_refiner(filled: Recipe, entry: CatalogEntry, library: Library) -> str:
    """The refiner of a resolved recipe, as the library writes it; a model does not refine itself.

    What only the weights' own files say, such as the scale of the latents, the engine checks before it reads them.

    Raises:
        UnknownName: there is no such model.
        BadValue: it is of another family, or was trained otherwise.
    """
    wanted = filled.refiner or NO_REFINER
    if wanted.casefold() == NO_REFINER:
        return NO_REFINER
    refiner = find_refiner(wanted, library)
    if refiner.name == entry.name:
        return NO_REFINER
    for what, theirs, ours in (("family", refiner.family, entry.family), ("kind of noise", refiner.noise, entry.noise)):
        if theirs != ours:
            problem = f"{refiner.label} cannot refine pictures of {entry.label}: its {what} is {theirs}, not {ours}."
            fitting = (one for one in library.models.values() if (one.family, one.noise) == (entry.family, entry.noise))
            here = (one for one in fitting if one.available or can_come(library, one.name))
            names = ["none", *(one.name for one in here if one.name != entry.name)]
            raise BadValue(problem, f"Choose one of: {', '.join(names)}.", field="refiner")
    return refiner.name


def find_refiner(name: str, library: Library) -> CatalogEntry:
    """The model called so.

    Raises:
        UnknownName: there is none; names the nearest.
    """
    try:
        return library.find_model(name)
    except UnknownName as exc:
        problem = exc.problem.replace("There is no model", "There is no refiner")
        raise UnknownName(problem, f"{exc.hint} Or none.", field="refiner") from exc


def needed_refiner(name: str, library: Library) -> CatalogEntry:
    """The refiner of a resolved recipe.

    Raises:
        MissingModel: it is not on this disk, and cannot be fetched now.
    """
    refiner = library.find_model(name)
    if not refiner.available and not can_come(library, refiner.name):
        problem = f"The refiner {refiner.name} is not at {refiner.path}."
        raise MissingModel(problem, "Put it there, choose another refiner, or none.", field="refiner")
    return refiner


def known_refiner(recipe: Recipe, library: Library) -> tuple[dict[str, str], tuple[str, ...]]:
    """(the field as the library writes it, notes) of settings from elsewhere: without, where the model is not here."""
    wanted = recipe.refiner
    if wanted in (None, NO_REFINER):
        return {}, ()
    entry = library.model_for(Need("model", wanted))
    if entry is not None and entry.available:
        return {"refiner": entry.name}, ()
    return {"refiner": NO_REFINER}, (f"The refiner {shown(wanted)} is not here; the model draws all the steps.",)
