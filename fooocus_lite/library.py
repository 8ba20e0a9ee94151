"""`Library`: the styles, presets and models that are there, as one frozen snapshot.

`load_library` reads the folders; `Library.refreshed` looks whether anything changed and reads
again only then, so a file dropped in appears without a restart. A broken file becomes a sentence
in `Library.problems` and the rest still loads.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import gcd
from pathlib import Path
from typing import Any, TypeVar

from fooocus_lite import library_files as files
from fooocus_lite.errors import BadValue, MissingModel, UnknownName
from fooocus_lite.library_files import CatalogEntry, Preset, Style
from fooocus_lite.prompts import normal_name
from fooocus_lite.recipe import Recipe, describe_range
from fooocus_lite.registry import FAMILIES, SAMPLERS, find_sampler
from fooocus_lite.settings import Settings

__all__ = ["CatalogEntry", "Library", "LiveLibrary", "Preset", "Style", "load_library"]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Library:
    """What a person can choose by name, at one moment.

    Attributes:
        styles: By name, in the order in which they are shown.
        presets: By name.
        models: By name, as the catalogs list them.
        embeddings: Paths of textual inversions by name: the file's in ``models/embeddings``, without ending.
        problems: One sentence per broken file or entry.
        default_preset: Name of the preset that fills what a person leaves open.
    """

    styles: Mapping[str, Style] = field(default_factory=dict[str, Style])
    presets: Mapping[str, Preset] = field(default_factory=dict[str, Preset])
    models: Mapping[str, CatalogEntry] = field(default_factory=dict[str, CatalogEntry])
    embeddings: Mapping[str, str] = field(default_factory=dict[str, str])
    problems: tuple[str, ...] = ()
    default_preset: str = ""
    settings: Settings | None = field(default=None, repr=False, compare=False)
    signature: files.Signature = field(default=(), repr=False, compare=False)

    def refreshed(self) -> Library:
        """This snapshot while nothing changed on disk, else a new one. Cheap: one look per file."""
        if self.settings is None or files.signature(self.settings, self.models.values()) == self.signature:
            return self
        return load_library(self.settings)

    def find_style(self, name: str) -> Style:
        """The style called so, however it is written.

        Raises:
            UnknownName: there is none; names the nearest.
        """
        return _find(self.styles, name, "style", "styles")

    def find_preset(self, name: str) -> Preset:
        """The preset called so; as `find_style`."""
        return _find(self.presets, name, "preset", "preset")

    def find_model(self, name: str) -> CatalogEntry:
        """The model called so; as `find_style`."""
        return _find(self.models, name, "model", "model")

    def find_embedding(self, name: str) -> str | None:
        """The path of the textual inversion called so, with or without its folder and ending, if there is one.

        Raises:
            BadValue: there is one, but as a pickle.
        """
        wanted = name.replace("\\", "/").casefold()
        for suffix in files.EMBEDDING_SUFFIXES:
            wanted = wanted.removesuffix(suffix)
        paths = {known.casefold(): path for known, path in self.embeddings.items()}
        in_folders = (path for known, path in paths.items() if known.rpartition("/")[2] == wanted)
        path = paths.get(wanted) or next(in_folders, None)
        if path is not None and not path.lower().endswith(".safetensors"):
            raise BadValue(
                f"The embedding {Path(path).name} is a pickle, and opening a pickle can run a stranger's code.",
                f"Put a .safetensors file of it in its place, or take embedding:{name} out of the prompt.",
                field="prompt",
            )
        return path

    def check_available(self, name: str) -> CatalogEntry:
        """The model called so, if its weights are on this disk.

        Raises:
            MissingModel: they are not.
            UnknownName: there is no such model.
        """
        entry = self.find_model(name)
        if not entry.available:
            hint = "Put it there, or choose another model; models/README.md says how."
            raise MissingModel(f"The model {entry.name} is not at {entry.path}.", hint, field="model")
        return entry

    def preset_for(self, recipe: Recipe) -> Preset | None:
        """The preset that fills what ``recipe`` leaves open, if any.

        The one it names; else the default one, unless that was made for another model than the
        person chose. A recipe that leaves nothing open needs none, so a picture whose preset is
        gone can still be made again.

        Raises:
            UnknownName: the recipe names a preset that is not there.
        """
        if is_complete(recipe):
            return None
        if recipe.preset is not None:
            return self.find_preset(recipe.preset)
        preset = self.presets.get(self.default_preset)
        if preset is None or recipe.model is None or preset.recipe.model is None:
            return preset
        return preset if normal_name(preset.recipe.model) == normal_name(recipe.model) else None

    def filled(self, recipe: Recipe) -> Recipe:
        """``recipe`` over its preset over the catalog entry over the family: the picture ladder.

        The names of preset and model are the library's; the others are not yet checked. The seed
        may stay open.
        """
        preset = self.preset_for(recipe)
        wanted = recipe if preset is None else recipe.over(preset.recipe)
        entry = self.find_model(wanted.model) if wanted.model is not None else self._first_model()
        family = Recipe(styles=(), **FAMILIES[entry.family].defaults)
        names = {"model": entry.name, "preset": recipe.preset if preset is None else preset.name}
        return wanted.over(entry.defaults).over(family).model_copy(update=names)

    def _first_model(self) -> CatalogEntry:
        for entry in (*(entry for entry in self.models.values() if entry.available), *self.models.values()):
            return entry
        hint = "models/catalog.json is missing or broken; see `doctor`."
        raise MissingModel("There is no model.", hint, field="model")

    def menu(self) -> dict[str, Any]:
        """Everything a person can choose, JSON-ready: the body of ``GET /v1/menu``."""
        return {
            "styles": [
                {"name": s.name, "category": s.category, "source": s.source, "has_negative": bool(s.negative_prompt)}
                for s in self.styles.values()
            ],
            "presets": [
                {"name": p.name, "label": p.label, "description": p.description, "source": p.source}
                | {"recipe": _own_fields(p.recipe)}
                for p in self.presets.values()
            ],
            "models": [_model_row(entry) for entry in self.models.values()],
            "samplers": [{"id": key, "label": row.label, "min_steps": row.min_steps} for key, row in SAMPLERS.items()],
            "image_formats": ["png", "jpeg", "webp"],
            "limits": _limits(),
            "defaults": self.filled(Recipe()).set_fields() if self.models else {},
            "default_preset": self.default_preset,
            "problems": list(self.problems),
        }


class LiveLibrary:
    """The newest snapshot, for whoever calls it; safe from every thread."""

    def __init__(self, settings: Settings) -> None:
        self._newest = load_library(settings)

    def __call__(self) -> Library:
        """What can be chosen now."""
        self._newest = self._newest.refreshed()  # two threads may both read anew; either result is right
        return self._newest


def is_complete(recipe: Recipe) -> bool:
    """Does the recipe leave nothing to a preset? (The seed is nobody's default.)"""
    # clip_skip: pictures from before it existed lack it, and were drawn with what their family says.
    nobodys = ("preset", "seed", "clip_skip")
    return all(getattr(recipe, name) is not None for name in Recipe.model_fields if name not in nobodys)


def load_library(settings: Settings) -> Library:
    """Everything in the folders that ``settings`` name."""
    problems: list[str] = []
    models = files.read_models(settings, problems)
    seen = files.signature(settings, models.values())  # before the rest is read: a later change shows as one
    styles = files.read_styles(settings, problems)
    presets = files.read_presets(settings, problems)
    default = next((name for name in presets if normal_name(name) == normal_name(settings.preset)), "")
    if not default:
        source = settings.sources.get("preset", "default")
        problems.append(f"There is no preset '{settings.preset}' (setting preset, from {source}).")
    known = {category for entry in models.values() for category in entry.style_categories}
    library = Library(
        styles=dict(sorted(styles.items(), key=lambda item: item[1].category not in known)),
        presets=presets,
        models=models,
        embeddings=files.read_embeddings(settings),
        default_preset=default,
        settings=settings,
        signature=seen,
    )
    problems += [problem for preset in presets.values() for problem in _unknown_names(library, preset)]
    return replace(library, problems=tuple(problems))


def _unknown_names(library: Library, preset: Preset) -> list[str]:
    """A sentence for each thing the preset names that is not there."""
    recipe = preset.recipe
    found: list[str] = []
    checks: list[tuple[Callable[[str], object], str]] = [(library.find_style, name) for name in recipe.styles or ()]
    checks += [(library.find_model, recipe.model)] if recipe.model is not None else []
    checks += [(find_sampler, recipe.sampler)] if recipe.sampler is not None else []
    for find, name in checks:
        try:
            find(name)
        except UnknownName as exc:
            found.append(f"Preset {preset.name}: {exc.problem}")
    return found


def _find(rows: Mapping[str, Row], name: str, kind: str, field_name: str) -> Row:
    if name in rows:
        return rows[name]
    by_normal = {normal_name(known): known for known in rows}
    wanted = normal_name(name)
    if wanted in by_normal:
        return rows[by_normal[wanted]]
    near = [by_normal[match] for match in difflib.get_close_matches(wanted[:80], by_normal, n=3, cutoff=0.6)]
    near = near or list(rows)[:8]
    hint = f"Did you mean {_either(near)}?" if near else f"There are no {kind}s at all; see `doctor`."
    raise UnknownName(f"There is no {kind} {name[:60]!r}.", hint, field=field_name)


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _model_row(entry: CatalogEntry) -> dict[str, Any]:
    keys = ("name", "label", "description", "family", "available", "native_size", "min_size", "max_size")
    sizes = [{"width": w, "height": h, "label": size_label(w, h)} for w, h in entry.aspect_sizes]
    return {key: getattr(entry, key) for key in keys} | {
        "size_multiple": entry.size_multiple,
        "sizes": sizes,
        "style_categories": list(entry.style_categories),
        "defaults": _own_fields(entry.defaults),
    }


def _own_fields(recipe: Recipe) -> dict[str, Any]:
    """What a preset or entry says itself: an untouched prompt is not an empty one."""
    return recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def size_label(width: int, height: int) -> str:
    """As a person reads it: "128×128 · 1:1"."""
    common = gcd(width, height)
    return f"{width}×{height} · {width // common}:{height // common}"


def _limits() -> dict[str, dict[str, Any]]:
    """Range and meaning of every Recipe field, read from the schema."""
    limits: dict[str, dict[str, Any]] = {}
    for name, info in Recipe.model_fields.items():
        row: dict[str, Any] = {"description": info.description, "allowed": describe_range(name)}
        for rule in info.metadata:
            for key, word in (("ge", "min"), ("le", "max"), ("max_length", "max_length")):
                if getattr(rule, key, None) is not None:
                    row[word] = getattr(rule, key)
        limits[name] = row
    return limits
