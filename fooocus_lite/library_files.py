"""Catalogs: what is known by name, models and other files; and the signature by which a change on disk is seen."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, ValidationError

from fooocus_lite.catalog_files import WEIGHT_SUFFIXES, OfferRow, make_offer, model_path
from fooocus_lite.choices import choices_path
from fooocus_lite.errors import BadValue, FooocusError, UnknownName
from fooocus_lite.families import FAMILIES
from fooocus_lite.language_files import language_paths
from fooocus_lite.library_json import called, read_object, read_rows, sentence
from fooocus_lite.lora_files import Takes
from fooocus_lite.model_files import ModelFile, ModelRef
from fooocus_lite.model_folders import model_folders_path
from fooocus_lite.model_index import index_path
from fooocus_lite.modes import ModeChange, ModelMode, find_mode, lay, model_modes, parse_mode_lora
from fooocus_lite.offers import Offer
from fooocus_lite.preset_files import preset_paths
from fooocus_lite.prompt_files import watched
from fooocus_lite.recipe import MAX_SIDE, Recipe, parse_recipe
from fooocus_lite.registry import Noise
from fooocus_lite.settings import Settings
from fooocus_lite.style_files import style_paths

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class CatalogEntry:
    """A model that is known by name.

    Attributes:
        path: Diffusers folder or safetensors file, absolute.
        defaults: Partial Recipe for every picture with this model.
        aspect_sizes: (width, height) pairs to offer.
        available: The weights are on this disk.
        style_categories: Style files that the model can show; empty means all.
        noise: How it was trained to take noise away; says which samplers and schedules go with it.
        context_width: Numbers of a text's vector as its UNet reads them; says which LoRAs fit. 0 = unknown.
        mode_changes: What it has otherwise than its family; see `fooocus_lite.modes.model_modes`.
        files: What it is made of, where it can be had; empty for weights that nobody offers.
        licence: Name of its licence, and the page where it can be read.
        is_gated: Its makers want to know who has it: a token of the hub is needed.
        memory_bytes: What the whole model takes in memory in 16 bits; ``None`` = unknown.
        configs, parts, prediction, has_zero_snr: See `fooocus_lite.model_files.ModelRef`.
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
    noise: Noise = "table"
    context_width: int = 0
    mode_changes: Mapping[str, ModeChange | None] = field(default_factory=dict[str, ModeChange | None])
    files: tuple[ModelFile, ...] = ()
    licence: str = ""
    licence_url: str = ""
    is_gated: bool = False
    memory_bytes: int | None = None
    configs: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    prediction: str = ""
    has_zero_snr: bool = False

    @cached_property
    def modes(self) -> Mapping[str, ModelMode]:
        """The speed modes as this model has them, by key of `fooocus_lite.modes.MODES`."""
        of_family = {key: ModeChange(values) for key, values in FAMILIES[self.family].modes.items()}
        return model_modes(self.family, {**of_family, **self.mode_changes})

    @property
    def takes(self) -> Takes:
        """Which LoRAs go with it."""
        return Takes(self.context_width, FAMILIES[self.family].loras)

    @property
    def ref(self) -> ModelRef:
        """What the engine needs to know of it."""
        return ModelRef(**{field.name: getattr(self, field.name) for field in dataclasses.fields(ModelRef)})

    @property
    def allowed_sides(self) -> str:
        """The range of width and height, in words."""
        return f"multiples of {self.size_multiple} from {self.min_size} to {self.max_size}"

    @property
    def values(self) -> Recipe:
        """Every field as this model and its family decide it: what a preset that says nothing leaves."""
        return self.under()

    def under(self, *rungs: Recipe) -> Recipe:
        """Every field as ``rungs`` of the picture ladder, the highest first, this model and its family decide it."""
        return lay([*rungs, self.defaults, Recipe(styles=(), loras=(), **FAMILIES[self.family].defaults)], self.modes)

    def fits(self, side: int) -> bool:
        """Can this model draw a picture with a side of so many pixels?"""
        return side % self.size_multiple == 0 and self.min_size <= side <= self.max_size


class _ModelRow(OfferRow):
    family: str
    native_size: int = Field(ge=8, le=MAX_SIDE)
    min_size: int | None = Field(default=None, ge=8, le=MAX_SIDE)
    max_size: int | None = Field(default=None, ge=8, le=MAX_SIDE)
    size_multiple: int | None = Field(default=None, ge=1, le=MAX_SIDE)
    aspect_sizes: list[Annotated[list[int], Field(min_length=2, max_length=2)]] | None = None
    styles: list[str] = Field(default=[])
    noise: Noise | None = None
    defaults: dict[str, Any] = Field(default={})
    modes: dict[str, dict[str, Any] | None] = Field(default={})
    configs: str = ""
    parts: dict[str, str] = Field(default={})
    prediction: Literal["", "epsilon", "v_prediction", "flow"] = ""
    zero_snr: bool = False


@dataclass(frozen=True)
class Catalog:
    """What the catalogs list, by name.

    Attributes:
        models: What pictures can be drawn with.
        downloadable: Everything that can be fetched, the models among it.
    """

    models: Mapping[str, CatalogEntry]
    downloadable: Mapping[str, Offer]


def read_catalogs(settings: Settings, problems: list[str]) -> Catalog:
    """Every entry of the catalogs; a later catalog's takes the place of an earlier one's of that name."""
    found: dict[str, tuple[Offer, _ModelRow | None]] = {}
    for path in settings.catalogs:
        for where, row in read_rows(path, settings.root, "models", problems) if path.exists() else ():
            try:
                read = _read_row(row)
                offer = make_offer(read, settings)
                if isinstance(read, _ModelRow):
                    _entry(read, offer, settings)  # its mistakes show here, where the line is known
            except ValidationError as exc:
                problems.append(f"{where}{called(row)}: {sentence(exc)}.")
            except FooocusError as exc:
                problems.append(f"{where}{called(row)}: {exc}")
            else:
                found[offer.name] = offer, read if isinstance(read, _ModelRow) else None
    return _catalog(found, settings)


def make_entry(row: Mapping[str, Any], settings: Settings) -> CatalogEntry:
    """The entry that says so, as one of a catalog.

    Raises:
        FooocusError: what it says cannot be.
    """
    try:
        read = _ModelRow.model_validate(row)
    except ValidationError as exc:
        raise BadValue(f"{sentence(exc)}.") from exc
    return _entry(read, make_offer(read, settings), settings)


def _read_row(row: Any) -> OfferRow:
    kind = cast("dict[str, Any]", row).get("kind", "checkpoint") if isinstance(row, dict) else "checkpoint"
    return (_ModelRow if kind == "checkpoint" else OfferRow).model_validate(row)


def _catalog(rows: Mapping[str, tuple[Offer, _ModelRow | None]], settings: Settings) -> Catalog:
    """The entries, each model with the files of those parts that another entry offers."""
    offers: dict[str, Offer] = {}
    for name, (offer, row) in rows.items():
        homes = [str(model_path(part, settings)) for part in row.parts.values()] if row else []
        others = [other for other, _ in rows.values() for home in homes if other is not offer and _lies_in(other, home)]
        files = (*offer.files, *(file for other in others for file in other.files))
        offers[name] = replace(offer, files=tuple(dict.fromkeys(files)))
    models = {name: _entry(row, offers[name], settings) for name, (_, row) in rows.items() if row is not None}
    return Catalog(models, {name: offer for name, offer in offers.items() if offer.files})


def _lies_in(offer: Offer, home: str) -> bool:
    return bool(offer.files) and all(Path(file.path).is_relative_to(home) for file in offer.files)


def _entry(row: _ModelRow, offer: Offer, settings: Settings) -> CatalogEntry:
    if row.family not in FAMILIES:
        raise UnknownName(f"There is no family {row.family[:60]!r}.", f"Families are: {', '.join(FAMILIES)}.")
    multiple = row.size_multiple or FAMILIES[row.family].size_multiple
    path = model_path(row.path, settings)
    sizes = tuple((w, h) for w, h in row.aspect_sizes) if row.aspect_sizes else aspect_sizes(row.native_size, multiple)
    configs = str(model_path(row.configs, settings)) if row.configs else ""
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
        available=not offer.missing if offer.files else is_model(path),
        description=row.description,
        style_categories=tuple(row.styles),
        noise=row.noise or FAMILIES[row.family].noise,
        context_width=_context_width(Path(configs) if configs else path),
        mode_changes={find_mode(name): _mode_change(said) for name, said in row.modes.items()},
        files=offer.files,
        licence=offer.licence,
        licence_url=offer.licence_url,
        is_gated=offer.is_gated,
        memory_bytes=offer.memory_bytes,
        configs=configs,
        parts=tuple((component, str(model_path(part, settings))) for component, part in row.parts.items()),
        prediction=row.prediction,
        has_zero_snr=row.zero_snr,
    )
    for side in {side for size in (*sizes, (row.native_size, row.native_size)) for side in size}:
        if not entry.fits(side):
            raise BadValue(f"{side} is no possible side.", f"Allowed: {entry.allowed_sides}.")
    return entry


def _mode_change(said: dict[str, Any] | None) -> ModeChange | None:
    """What the entry says of a mode: fields of a recipe, and ``lora`` as name or name:weight."""
    if said is None:
        return None
    fields = parse_recipe({name: value for name, value in said.items() if name != "lora"})
    values = fields.model_dump(exclude_unset=True, exclude_none=True)
    lora = parse_mode_lora(said["lora"]) if "lora" in said else None
    return ModeChange(values, lora)


def is_there(entry: CatalogEntry) -> bool:
    """Are the weights on this disk now? ``available`` says whether they were when the catalog was read."""
    return all(file.is_there() for file in entry.files) if entry.files else is_model(Path(entry.path))


def is_model(path: Path) -> bool:
    """Is this a diffusers folder or a weights file? Only looks; reads nothing."""
    return (path / "model_index.json").is_file() or (path.suffix.lower() in WEIGHT_SUFFIXES and path.is_file())


def _context_width(path: Path) -> int:
    """What the configuration of a model's UNet says; a broken one is the engine's to tell."""
    config = path / "unet" / "config.json"
    return _said_width(config, stamp(config))


@lru_cache(maxsize=64)  # thousands of single files share one
def _said_width(config: Path, seen: tuple[int, int, int]) -> int:
    said = read_object(config, config.parent, []) if seen[1] >= 0 and config.is_file() else {}
    width = said.get("cross_attention_dim")
    return width if isinstance(width, int) and not isinstance(width, bool) else 0


@lru_cache(maxsize=64)
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


def signature(settings: Settings, models: Iterable[CatalogEntry], offers: Iterable[Offer]) -> Signature:
    """(path, mtime, size, inode) of everything a library is made of; equal means nothing changed."""
    paths: list[str | Path] = [path for path, _ in (*style_paths(settings), *preset_paths(settings))]
    paths += watched(settings)
    for entry in models:
        paths += [entry.path, os.path.join(entry.path, "model_index.json")]
    paths += [file.path for offer in offers for file in offer.files]
    paths += [*language_paths(settings), *settings.catalogs, choices_path(settings), model_folders_path(settings)]
    paths.append(index_path(settings))
    return tuple((str(path), *stamp(path)) for path in paths)


def stamp(path: str | Path) -> tuple[int, int, int]:
    """(mtime, size, inode); of what is not there, no file's."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, -1, 0)
    # A file that is replaced twice within a tick of the clock has another inode each time.
    return (status.st_mtime_ns, status.st_size, status.st_ino)
