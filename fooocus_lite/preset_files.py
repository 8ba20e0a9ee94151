"""Preset files: `Preset`, in our form (a partial Recipe) and in Fooocus's (its 28 keys)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fooocus_lite import fooocus_presets
from fooocus_lite.errors import FooocusError
from fooocus_lite.fooocus_folder import fooocus_root, in_reading_order, read_fooocus
from fooocus_lite.fooocus_presets import Need
from fooocus_lite.library_json import Source, json_files, read_json, readable, sentence, shown_path
from fooocus_lite.recipe import Recipe, parse_recipe
from fooocus_lite.settings import Settings

#: What the configuration of a Fooocus folder is called among its presets, as there.
INITIAL = "initial"


@dataclass(frozen=True)
class Preset:
    """A partial Recipe with a name: the file's, without ``.json``.

    Attributes:
        needs: Files without which it cannot be drawn as it was meant.
        warnings: One sentence for each thing that it says and that is done otherwise here.
        kept: A Fooocus preset's keys as they were read, unknown ones included; empty for ours.
        path: The file it stands in.
    """

    name: str
    label: str
    description: str
    recipe: Recipe
    source: Source = "shipped"
    needs: tuple[Need, ...] = ()
    warnings: tuple[str, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    path: Path | None = field(default=None, repr=False, compare=False)


class _NeedRow(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    kind: str = Field(pattern="^(model|lora|vae|embedding)$")
    file: str = Field(min_length=1, max_length=200)
    url: str = Field(default="", max_length=2000)
    older: list[str] = Field(default=[], max_length=100)


class _PresetFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    label: str | None = None
    description: str = ""
    recipe: dict[str, Any]
    needs: list[_NeedRow] = []


def need_row(need: Need) -> dict[str, Any]:
    """A need as our preset files hold it; what it does not say is left out."""
    row = {"kind": need.kind, "file": need.file, "url": need.url, "older": list(need.older)}
    return {name: value for name, value in row.items() if value}


def preset_paths(settings: Settings) -> list[tuple[Path, Source]]:
    """Every preset file in reading order: shipped, Fooocus's, own."""
    shipped, own = settings.presets_dirs
    fooocus = fooocus_root(settings)
    folders = in_reading_order(shipped, fooocus and fooocus / "presets", own)
    return [(path, source) for folder, source in folders for path in _files(folder, source)]


def _files(folder: Path, source: Source) -> list[Path]:
    """The presets of a folder; Fooocus's configuration, which lies beside its own, is one too."""
    return [*([folder.parent / "config.txt"] if source == "fooocus" else []), *json_files(folder)]


def read_presets(settings: Settings, problems: list[str]) -> dict[str, Preset]:
    """Every preset by name; one of a later source takes the place of an earlier one of that name.

    The names in a Fooocus preset are still Fooocus's: `fooocus_lite.library` finds them.
    """
    found: dict[str, Preset] = {}
    root = fooocus_root(settings)
    folder = read_fooocus(root) if root else None
    for path, source in preset_paths(settings):
        startup = folder.startup if folder and source == "fooocus" else {}
        if folder and path == folder.root / "config.txt":
            problems += folder.problems
            found |= {one.name: one for one in _initial(path, folder.config, startup)}
            continue
        data = read_json(path, settings.root, problems)
        if data is None:
            continue
        preset = _preset(data, path, source, startup, shown_path(path, settings.root), problems)
        if preset is not None:
            found[preset.name] = preset
    return found


def _initial(path: Path, config: Mapping[str, Any], startup: Mapping[str, Any]) -> Iterator[Preset]:
    said = {key: value for key, value in config.items() if key in fooocus_presets.KEYS}
    if said:
        yield _of_fooocus(said, path, INITIAL, "fooocus", startup)


def _preset(
    data: Any, path: Path, source: Source, startup: Mapping[str, Any], where: str, problems: list[str]
) -> Preset | None:
    name = readable(path.stem)
    if isinstance(data, dict):
        said = cast("dict[str, Any]", data)
        if fooocus_presets.is_fooocus_preset(said) or (source == "fooocus" and "recipe" not in said):
            return _of_fooocus(said, path, name, source, startup)
    try:
        parsed = _PresetFile.model_validate(data)
        recipe = parse_recipe(parsed.recipe)
    except ValidationError as exc:
        problems.append(f'{where}: {sentence(exc)}; a preset is {{"label", "description", "recipe"}}.')
        return None
    except FooocusError as exc:
        problems.append(f"{where}, recipe: {exc}")
        return None
    if recipe.preset is not None:
        problems.append(f"{where}, recipe: a preset cannot name another preset.")
        return None
    needs = tuple(Need(row.kind, row.file, row.url, tuple(row.older)) for row in parsed.needs)
    return Preset(name, parsed.label or name, parsed.description, recipe, source, needs=needs, path=path)


def _of_fooocus(data: Mapping[str, Any], path: Path, name: str, source: Source, startup: Mapping[str, Any]) -> Preset:
    read = fooocus_presets.read_fooocus_preset(data, startup)
    recipe, warnings = fooocus_presets.recipe_of(read)
    said = "As Fooocus is set up in config.txt." if name == INITIAL else f"Fooocus preset {name}."
    return Preset(
        name=name,
        label=name,
        description=said,
        recipe=recipe,
        source=source,
        needs=fooocus_presets.needs_of(read),
        warnings=(*read.warnings, *warnings),
        kept={**{key: read.values[key] for key in sorted(read.said)}, **read.unknown},
        path=path,
    )
