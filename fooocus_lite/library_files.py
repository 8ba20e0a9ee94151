"""Reading style, preset and catalog files, which people write by hand and get wrong.

Every reader takes a list of problems and adds one sentence per broken file or entry, naming file
and line or entry; nothing here raises because of what a file holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fooocus_lite.errors import BadValue, FooocusError, UnknownName
from fooocus_lite.prompts import normal_name
from fooocus_lite.recipe import MAX_SIDE, Recipe, parse_recipe
from fooocus_lite.registry import FAMILIES
from fooocus_lite.settings import Settings

Source = Literal["shipped", "own"]
Signature = tuple[tuple[str, int, int], ...]
MAX_FILE_BYTES = 8_000_000
#: Of textual inversions; the pickles are known only to be refused with a sentence.
EMBEDDING_SUFFIXES = (".safetensors", ".pt", ".bin")


@dataclass(frozen=True)
class Style:
    """A template around the prompt.

    Attributes:
        prompt: Text with ``{prompt}``; without it, it is appended.
        negative_prompt: Joined to the person's.
        category: The file it stands in, in words.
        source: Who wrote it.
    """

    name: str
    prompt: str
    negative_prompt: str = ""
    category: str = ""
    source: Source = "shipped"


@dataclass(frozen=True)
class Preset:
    """A partial Recipe with a name: the file's, without ``.json``."""

    name: str
    label: str
    description: str
    recipe: Recipe
    source: Source = "shipped"


@dataclass(frozen=True)
class CatalogEntry:
    """A model that is known by name.

    Attributes:
        path: Diffusers folder or safetensors file, absolute.
        defaults: Partial Recipe for every picture with this model.
        aspect_sizes: (width, height) pairs to offer.
        available: The weights are on this disk.
        style_categories: Style files that the model can show; empty means all.
    """

    name: str
    label: str
    family: str
    path: str
    native_size: int
    min_size: int
    max_size: int
    size_multiple: int
    defaults: Recipe
    aspect_sizes: tuple[tuple[int, int], ...]
    available: bool
    description: str = ""
    style_categories: tuple[str, ...] = ()

    @property
    def allowed_sides(self) -> str:
        """The range of width and height, in words."""
        return f"multiples of {self.size_multiple} from {self.min_size} to {self.max_size}"

    def fits(self, side: int) -> bool:
        """Can this model draw a picture with a side of so many pixels?"""
        return side % self.size_multiple == 0 and self.min_size <= side <= self.max_size


class _StyleRow(BaseModel):
    model_config = ConfigDict(strict=True)  # fields of other programs are ignored
    name: str = Field(min_length=1, max_length=200)
    prompt: str | None = None
    negative_prompt: str | None = None


class _PresetFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    label: str | None = None
    description: str = ""
    recipe: dict[str, Any]


class _CatalogRow(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    name: str = Field(min_length=1, max_length=200)
    label: str | None = None
    description: str = ""
    family: str
    path: str = Field(min_length=1)
    native_size: int = Field(ge=8, le=MAX_SIDE)
    min_size: int | None = Field(default=None, ge=8, le=MAX_SIDE)
    max_size: int | None = Field(default=None, ge=8, le=MAX_SIDE)
    size_multiple: int | None = Field(default=None, ge=1, le=MAX_SIDE)
    aspect_sizes: list[Annotated[list[int], Field(min_length=2, max_length=2)]] | None = None
    styles: list[str] = []
    defaults: dict[str, Any] = {}


def read_styles(settings: Settings, problems: list[str]) -> dict[str, Style]:
    """Every style by name, in file order; an own one takes the place of a shipped one of that name."""
    found: dict[str, Style] = {}
    names: dict[str, str] = {}
    for path, source in _json_files(settings.styles_dirs):
        shown = _shown(path, settings.root)
        for number, row in _read_rows(path, settings.root, "styles", problems):
            style = _style(row, f"{shown}, entry {number}", path, source, problems)
            if style is None:
                continue
            known = names.setdefault(normal_name(style.name), style.name)
            if known in found and found[known].source == source:
                problems.append(f"{shown}, entry {number} ('{style.name[:60]}') has the name of an earlier style.")
                continue
            found[known] = replace(style, name=known)
    return found


def _style(row: Any, where: str, path: Path, source: Source, problems: list[str]) -> Style | None:
    try:
        parsed = _StyleRow.model_validate(row)
    except ValidationError as exc:
        problems.append(f"{where}{_called(row)}: {_sentence(exc)}.")
        return None
    name = " ".join(parsed.name.split())
    if not name:
        problems.append(f"{where}: name is empty.")
        return None
    return Style(name, parsed.prompt or "", parsed.negative_prompt or "", _category(path), source)


def read_presets(settings: Settings, problems: list[str]) -> dict[str, Preset]:
    """Every preset by name; an own one takes the place of a shipped one of that name."""
    found: dict[str, Preset] = {}
    for path, source in _json_files(settings.presets_dirs):
        shown, data = _shown(path, settings.root), _read_json(path, settings.root, problems)
        if data is None:
            continue
        try:
            parsed = _PresetFile.model_validate(data)
            recipe = parse_recipe(parsed.recipe)
        except ValidationError as exc:
            problems.append(f'{shown}: {_sentence(exc)}; a preset is {{"label", "description", "recipe"}}.')
        except FooocusError as exc:
            problems.append(f"{shown}, recipe: {exc}")
        else:
            if recipe.preset is not None:
                problems.append(f"{shown}, recipe: a preset cannot name another preset.")
                continue
            found[path.stem] = Preset(path.stem, parsed.label or path.stem, parsed.description, recipe, source)
    return found


def read_models(settings: Settings, problems: list[str]) -> dict[str, CatalogEntry]:
    """Every model of the catalogs by name; a later catalog's takes the place of an earlier one's."""
    found: dict[str, CatalogEntry] = {}
    for path in settings.catalogs:
        shown = _shown(path, settings.root)
        for number, row in _read_rows(path, settings.root, "models", problems) if path.exists() else ():
            try:
                entry = _entry(_CatalogRow.model_validate(row), settings)
            except ValidationError as exc:
                problems.append(f"{shown}, entry {number}{_called(row)}: {_sentence(exc)}.")
            except FooocusError as exc:
                problems.append(f"{shown}, entry {number}{_called(row)}: {exc}")
            else:
                found[entry.name] = entry
    return found


def _entry(row: _CatalogRow, settings: Settings) -> CatalogEntry:
    if row.family not in FAMILIES:
        raise UnknownName(f"There is no family {row.family[:60]!r}.", f"Families are: {', '.join(FAMILIES)}.")
    multiple = row.size_multiple or FAMILIES[row.family].size_multiple
    path = _model_path(row.path, settings)
    sizes = tuple((w, h) for w, h in row.aspect_sizes) if row.aspect_sizes else aspect_sizes(row.native_size, multiple)
    native = Recipe(width=row.native_size, height=row.native_size)
    entry = CatalogEntry(
        name=row.name,
        label=row.label or row.name,
        family=row.family,
        path=str(path),
        native_size=row.native_size,
        min_size=row.min_size or -(-row.native_size // 2 // multiple) * multiple,
        max_size=row.max_size or row.native_size * 2 // multiple * multiple,
        size_multiple=multiple,
        defaults=parse_recipe(row.defaults).over(native),
        aspect_sizes=sizes,
        available=is_model(path),
        description=row.description,
        style_categories=tuple(row.styles),
    )
    for side in {side for size in (*sizes, (row.native_size, row.native_size)) for side in size}:
        if not entry.fits(side):
            raise BadValue(f"{side} is no possible side.", f"Allowed: {entry.allowed_sides}.")
    return entry


def _model_path(text: str, settings: Settings) -> Path:
    """Where the weights are, or would be: the person's models folder first, then the one that ships."""
    places = [settings.models_dir / text, settings.root / "models" / text]
    return next((place for place in places if place.exists()), places[0])


def read_embeddings(settings: Settings) -> dict[str, str]:
    """Absolute paths of textual inversions by name; of one name in two formats, the safetensors file counts."""
    found: dict[str, str] = {}
    for path in _embedding_files(settings):
        found.setdefault(path.relative_to(_embeddings_dir(settings)).with_suffix("").as_posix(), str(path.absolute()))
    return found


def _embedding_files(settings: Settings) -> list[Path]:
    paths = [path for path in _embeddings_dir(settings).rglob("*") if path.suffix.lower() in EMBEDDING_SUFFIXES]
    return sorted(paths, key=lambda path: (EMBEDDING_SUFFIXES.index(path.suffix.lower()), path))


def _embeddings_dir(settings: Settings) -> Path:
    return settings.models_dir / "embeddings"


def is_model(path: Path) -> bool:
    """Is this a diffusers folder or a weights file? Only looks; reads nothing."""
    return (path / "model_index.json").is_file() or (path.suffix == ".safetensors" and path.is_file())


def aspect_sizes(native_size: int, size_multiple: int) -> tuple[tuple[int, int], ...]:
    """(width, height) pairs to offer: 90 to 100 % of the native area, from 1:2 to 3:1, narrow to wide.

    For a native side of 1024 and steps of 64 these are the 26 sizes that SDXL programs share.
    """
    step = max(native_size // 16 // size_multiple, 1) * size_multiple
    sides = range(step, 2 * native_size + 1, step)
    area = native_size**2
    return tuple(
        (width, height)
        for width in sides
        for height in reversed(sides)
        if 0.9 * area <= width * height <= area and height <= 2 * width <= 6 * height
    )


def signature(settings: Settings, models: Iterable[CatalogEntry]) -> Signature:
    """(path, mtime, size) of everything a library is made of; equal means nothing changed."""
    paths = [path for folders in (settings.styles_dirs, settings.presets_dirs) for path, _ in _json_files(folders)]
    paths += _embedding_files(settings)
    for entry in models:
        paths += [_model_path(entry.path, settings), Path(entry.path) / "model_index.json"]
    return tuple((str(path), *_stamp(path)) for path in (*paths, *settings.catalogs))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, -1)
    return (status.st_mtime_ns, status.st_size)


def _json_files(folders: tuple[Path, ...]) -> Iterator[tuple[Path, Source]]:
    """The shipped folder's files by name, then a person's own, subfolders included."""
    for index, folder in enumerate(folders):
        source: Source = "own" if index else "shipped"
        for path in sorted(folder.rglob("*.json")):
            yield path, source


def _read_json(path: Path, root: Path, problems: list[str]) -> Any:
    """What the file holds; ``None``, and a problem, when it cannot be read."""
    shown = _shown(path, root)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            problems.append(f"{shown} is larger than {MAX_FILE_BYTES // 1_000_000} MB.")
            return None
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as exc:
        problems.append(f"{shown}, line {exc.lineno}: {exc.msg} (column {exc.colno}).")
    except UnicodeDecodeError:
        problems.append(f"{shown} is not UTF-8 text.")
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        problems.append(f"{shown} holds something that is no style, preset or catalog.")
    except OSError as exc:
        problems.append(f"{shown} cannot be read: {exc.strerror}.")
    return None


def _read_rows(path: Path, root: Path, kind: str, problems: list[str]) -> Iterator[tuple[int, Any]]:
    """The entries of a file that holds a list, counted from 1."""
    data = _read_json(path, root, problems)
    if isinstance(data, list):
        yield from enumerate(cast("list[Any]", data), start=1)
    elif data is not None:
        problems.append(f"{_shown(path, root)} is not a list of {kind}.")


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _category(path: Path) -> str:
    words = path.stem.replace("_", " ").replace("-", " ")
    return words[:1].upper() + words[1:]


def _called(row: Any) -> str:
    name = cast("dict[str, Any]", row).get("name") if isinstance(row, dict) else None
    return f" ('{name[:60]}')" if isinstance(name, str) and name else ""


def _sentence(exc: ValidationError) -> str:
    """What is wrong with the first wrong field, in words."""
    first = exc.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    kinds = {"missing": "is missing", "string_type": "is not text", "extra_forbidden": "is no known field"}
    said = kinds.get(first["type"])
    if not name:
        return "it is not a JSON object"
    return f"{name} {said}" if said else f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}"
