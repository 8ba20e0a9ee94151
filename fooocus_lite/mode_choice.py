"""The mode of one picture, checked against what is on this disk: its LoRA, and what a person should know about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fooocus_lite.errors import BadValue, MissingModel
from fooocus_lite.missing_files import lora_to_come
from fooocus_lite.modes import NO_LORA, ModelMode, ModeLora, find_mode, known_mode, parse_mode_lora
from fooocus_lite.recipe import Recipe

if TYPE_CHECKING:
    from fooocus_lite.library import Library
    from fooocus_lite.library_files import CatalogEntry

_LORAS, _ADAPTERS = "models/loras", "models/adapters"


def decided_mode(filled: Recipe, entry: CatalogEntry, library: Library) -> dict[str, str]:
    """The fields of a resolved recipe that say which mode it was and on which LoRA it stands.

    A recipe with ``mode_lora`` was decided before and passes with any mode, also one that no table has any more.

    Raises:
        UnknownName: there is no such mode.
        BadValue: the model has no such mode.
        MissingModel: the mode's LoRA is not here.
    """
    if filled.mode is None or filled.mode_lora is not None:  # decided before, or of nobody
        return {}
    own = entry.modes[find_mode(filled.mode)]
    problem, hint = shortcoming(own, entry, library)
    if problem:
        kind = MissingModel if own.is_made else BadValue
        raise kind(problem, hint, field="mode")
    return {"mode": own.key, "mode_lora": own.lora.written if own.lora else NO_LORA}


def shortcoming(own: ModelMode, entry: CatalogEntry, library: Library) -> tuple[str, str]:
    """(why the model cannot be drawn in the mode, what to do); nothing if it can."""
    others = [one.mode.label for one in entry.modes.values() if one.is_made and _has_lora(one, library)]
    if not own.is_made:
        return f"The mode {own.mode.label} is not made for {entry.label}.", f"Choose one of: {', '.join(others)}."
    if own.lora is None or _has_lora(own, library):
        return "", ""
    get = f"Get it at {own.lora.url} and put it there" if own.lora.url else "Put it there"
    place = _LORAS if own.lora.url else _ADAPTERS
    problem = f"The mode {own.mode.label} needs the LoRA {own.lora.file}, which is not in {place}."
    return problem, f"{get}, or choose one of: {', '.join(others)}."


def _has_lora(own: ModelMode, library: Library) -> bool:
    return own.lora is None or _path(own.lora, library) is not None


def _path(lora: ModeLora, library: Library) -> str | None:
    return library.loras.find(lora.name) or lora_to_come(library, lora.name)


def mode_lora(full: Recipe, library: Library) -> tuple[ModeLora, str] | None:
    """The LoRA of a resolved recipe's mode, and the path of its file, also of one that is on offer and not here yet.

    Raises:
        BadValue: ``mode_lora`` is no name with a weight.
        MissingModel: the file is not here.
    """
    if full.mode_lora in (None, NO_LORA):
        return None
    wanted = parse_mode_lora(full.mode_lora)
    path = _path(wanted, library)
    if path is None:
        problem = f"The picture needs the LoRA {wanted.file}, which is neither in {_LORAS} nor in {_ADAPTERS}."
        raise MissingModel(problem, "Put it there, or leave mode_lora open and choose another mode.", field="mode")
    return wanted, path


def mode_warnings(recipe: Recipe, library: Library) -> Iterator[str]:
    """What of the mode of somebody's settings cannot be had here; of a model that is not here nothing is known."""
    entry = library.models.get(recipe.model or "")
    own = entry and entry.modes.get(known_mode(recipe.mode or "") or "")
    problem, _ = shortcoming(own, entry, library) if entry and own else ("", "")
    if problem:
        yield problem


def kept_notes(wish: Recipe, filled: Recipe, entry: CatalogEntry) -> Iterator[str]:
    """A sentence if the mode keeps values that the person wanted otherwise."""
    own = entry.modes.get(known_mode(filled.mode or "") or "")
    if own is None or filled.mode_lora is not None:  # decided before: then it keeps nothing
        return
    wanted = {name: getattr(wish, name) for name in own.kept if getattr(wish, name) is not None}
    said = {name: str(value).casefold() for name, value in wanted.items()}
    other = [name for name, value in said.items() if value not in (str(own.kept[name]), "auto")]
    if other:
        kept = ", ".join(f"{name} at {_written(own.kept[name])}" for name in other)
        yield f"The mode {own.mode.label} keeps {kept}; what you set there does nothing."


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def mode_rows(entry: CatalogEntry, library: Library) -> list[dict[str, Any]]:
    """The modes of one model, JSON-ready, with what is missing."""
    rows: list[dict[str, Any]] = []
    for own in entry.modes.values():
        problem, hint = shortcoming(own, entry, library)
        rows.append(
            {"id": own.key, "available": not problem, "problem": problem, "hint": hint}
            | {"lora": own.lora.name if own.lora else None, "url": own.lora.url if own.lora else ""}
            | {"values": dict(own.mode.values), "keeps": list(own.mode.keeps)}
        )
    return rows
