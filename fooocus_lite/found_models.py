"""What was found in the folders of models, as the library offers it: models, LoRAs, embeddings, and what is wrong."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from fooocus_lite.errors import FooocusError
from fooocus_lite.families import FAMILIES
from fooocus_lite.library_files import Catalog, CatalogEntry, make_entry
from fooocus_lite.library_json import readable
from fooocus_lite.model_headers import ARCHITECTURES, identify
from fooocus_lite.model_index import Found, ModelIndex
from fooocus_lite.offers import Offer
from fooocus_lite.prompts import normal_name
from fooocus_lite.settings import Settings

#: Architecture → (family that draws it, folder of its configurations below models/families).
_DRAWN_AS = {"sdxl-refiner": ("sdxl", "sdxl-refiner"), "sd3": ("sd35", "sd3")}
_NATIVE_SIZES = {"sd15": 512, "sd2": 768}
_STEPS = {("flux", "schnell"): 4, ("flux", "dev"): 28}
#: Names that say nothing: what the folder is called says more.
_NO_NAMES = {"model", "diffusion_pytorch_model", "pytorch_lora_weights", "adapter_model", "lora", "weights"}
#: Where programs keep what they draw with.
_FOLDERS_OF_MODELS = {"checkpoints", "stable-diffusion", "unet", "diffusion_models"}
_MOST_SENTENCES = 8
_MOST_NAMES = 4


@dataclass(frozen=True)
class Finds:
    """What the folders add to the catalogs.

    Attributes:
        models: The catalogs' models, those that were found elsewhere in their places, then the others.
        downloadable: The catalogs' offers, likewise; what lies elsewhere need not be fetched.
        loras, embeddings: Paths by name; those of the folders that are listed by name are not among them.
        found: Everything, for whoever lists it.
    """

    models: Mapping[str, CatalogEntry]
    downloadable: Mapping[str, Offer] = field(default_factory=dict[str, Offer])
    loras: Mapping[str, str] = field(default_factory=dict[str, str])
    embeddings: Mapping[str, str] = field(default_factory=dict[str, str])
    found: tuple[Found, ...] = ()


def join_found(catalog: Catalog, index: ModelIndex, settings: Settings, problems: list[str]) -> Finds:
    """The catalogs with what was found; one sentence for each kind of thing that cannot be used as it is."""
    found = tuple(_once(one for one in index.found.values() if os.path.exists(one.path)))
    offers = {name: _where_it_lies(offer, found) for name, offer in catalog.downloadable.items()}
    models = {name: _with_files(entry, offers.get(name)) for name, entry in catalog.models.items()}
    taken = {os.path.realpath(entry.path) for entry in models.values()}
    taken |= {os.path.realpath(file.path) for offer in offers.values() for file in offer.files}
    left: dict[str, list[str]] = defaultdict(list)
    names = set(map(normal_name, models))
    for one in _fit_to_draw(found):
        if os.path.realpath(one.path) in taken:
            continue
        entry, reason = _entry(one, models, names, settings)
        if entry is not None:
            models[entry.name] = entry
            names.add(normal_name(entry.name))
        else:
            left[reason].append(one.path)
    left["no known kind of model"] += [one.path for one in found if _is_a_riddle(one)]
    problems += [*index.notes, *_gone(settings), *_damaged(found), *_left_out(left), *_pickles(found)]
    return Finds(models, offers, _by_name(found, "lora"), _by_name(found, "embedding"), found)


def _once(found: Iterable[Found]) -> Iterator[Found]:
    """Of files with the same content, the first."""
    seen: set[tuple[int, str]] = set()
    for one in found:
        key = (one.stamp[0], one.sha256)
        if not one.sha256 or key not in seen:
            seen.add(key)
            yield one


def _fit_to_draw(found: Iterable[Found]) -> Iterator[Found]:
    """Whole models first: what a network alone lacks may lie in one of them."""
    whole = [one for one in found if one.facts.kind == "checkpoint" and (one.facts.family or not one.facts.problem)]
    yield from (*whole, *(one for one in found if one.facts.kind == "network"))


def _is_a_riddle(one: Found) -> bool:
    """Whether somebody put it among the models to draw with, and it is none that is known."""
    among = {part.casefold() for part in Path(one.path).parts[:-1]} & _FOLDERS_OF_MODELS
    return bool(among) and one.facts.kind == "other" and not (one.facts.problem or one.is_pickle)


def _where_it_lies(offer: Offer, found: Iterable[Found]) -> Offer:
    """The offer of one file at the place where another program keeps it, if it is not in its own.

    A file is known by its name and length together; one whose length nobody has published is fetched.
    """
    if len(offer.files) != 1 or not offer.missing or offer.size_bytes is None:
        return offer
    name = os.path.basename(offer.files[0].path)
    for one in found:
        if os.path.basename(one.path) == name and offer.size_bytes == one.stamp[0] and not one.facts.problem:
            return replace(offer, files=(replace(offer.files[0], path=one.path),))
    return offer


def _with_files(entry: CatalogEntry, offer: Offer | None) -> CatalogEntry:
    if offer is None or entry.available or offer.files == entry.files:
        return entry
    return replace(entry, path=offer.files[0].path, files=offer.files, available=not offer.missing)


def _entry(
    one: Found, models: Mapping[str, CatalogEntry], names: Container[str], settings: Settings
) -> tuple[CatalogEntry | None, str]:
    """(the entry of a found model, why there is none, as what such a model is called)."""
    facts = one.facts
    label = ARCHITECTURES.get(facts.family, "no known kind of model")
    family, folder = _DRAWN_AS.get(facts.family, (facts.family, facts.family))
    if family not in FAMILIES or facts.variant in ("inpainting", "edit", "other"):
        return None, f"{label}, {facts.variant}" if facts.variant and family in FAMILIES else label
    row: dict[str, Any] = {
        "name": _free_name(one.path, names),
        "family": family,
        "path": one.path,
        "native_size": _NATIVE_SIZES.get(facts.family, 1024),
        "prediction": facts.prediction,
        "zero_snr": facts.has_zero_snr,
        "description": _described(one, label),
    }
    steps = _STEPS.get((facts.family, facts.variant))
    if steps:
        row |= {"defaults": {"steps": steps}, "modes": {"speed": {"steps": steps}}}
    if not os.path.isdir(one.path):
        lacking = _add_parts(row, one, folder, models, settings)
        if lacking:
            return None, f"{label}, without {lacking}"
    try:
        return make_entry(row, settings), ""
    except FooocusError as exc:
        return None, str(exc)


def _add_parts(
    row: dict[str, Any], one: Found, folder: str, models: Mapping[str, CatalogEntry], settings: Settings
) -> str:
    """Add to ``row`` what a single file does not say or hold; returns what it lacks, if that is nowhere here."""
    configs = settings.root / "models" / "families" / folder
    if one.facts.kind == "checkpoint" and configs.is_dir():
        row["configs"] = str(configs)
        return ""
    hosts = (entry.path for entry in models.values() if entry.family == row["family"] and _is_whole_folder(entry))
    host = next((Path(path) for path in hosts if identify(path).variant == one.facts.variant), None)
    if host is None:
        return "text encoders and VAE: fetch a whole model of its kind once, and it shares them"
    row["configs"] = str(host)
    if one.facts.kind == "network":
        parts = [part for part in sorted(host.iterdir()) if any(part.glob("*.safetensors"))]
        row["parts"] = {part.name: str(part) for part in parts if part.name not in ("unet", "transformer")}
    return ""


def _is_whole_folder(entry: CatalogEntry) -> bool:
    return entry.available and os.path.isfile(os.path.join(entry.path, "model_index.json"))


def _described(one: Found, label: str) -> str:
    precision = f", {one.facts.precision}" if one.facts.precision else ""
    return f"{label}{precision}; found in {readable(os.path.dirname(one.path))}."


def _name(path: str) -> str:
    """What a file is called: its stem, or what the folder around it is called where that says nothing."""
    places = Path(path).parts
    hub = next((part for part in reversed(places) if part.startswith("models--")), "")
    stem = re.sub(r"\.(safetensors|gguf)$", "", places[-1], flags=re.IGNORECASE)
    if hub and (os.path.isdir(path) or stem.casefold() in _NO_NAMES):
        return readable(hub.rpartition("--")[2])
    if stem.casefold() in _NO_NAMES and len(places) > 2:
        return readable(places[-2])
    return readable(stem)[:150]


def _free_name(path: str, taken: Container[str]) -> str:
    """What the file is called, with the folder's name or a number behind it if that is taken.

    Args:
        taken: In the form in which names are compared.
    """
    name, folder = _name(path), readable(os.path.basename(os.path.dirname(path)))[:40]
    names = chain([name, f"{name} ({folder})"], (f"{name} ({number})" for number in count(2)))
    return next(one for one in names if normal_name(one) not in taken)


def _by_name(found: Iterable[Found], kind: str) -> dict[str, str]:
    names: dict[str, str] = {}
    taken: set[str] = set()
    for one in found:
        if one.facts.kind == kind:
            name = _free_name(one.path, taken)
            names[name] = one.path
            taken.add(normal_name(name))
    return names


def _gone(settings: Settings) -> Iterator[str]:
    source = settings.sources.get("extra_model_folders", "default")
    for folder in settings.extra_model_folders:
        if not os.path.isdir(folder):
            yield f"The folder {readable(str(folder))} is not there (setting extra_model_folders, from {source})."


def _damaged(found: Iterable[Found]) -> Iterator[str]:
    """Of each file that is no model; a LoRA that is damaged is told in the list of LoRAs."""
    bad = [one for one in found if one.facts.problem]
    for one in bad[:_MOST_SENTENCES]:
        yield f"{readable(one.path)} cannot be used: {one.facts.problem}. Put an intact copy in its place."
    if len(bad) > _MOST_SENTENCES:
        yield f"{len(bad) - _MOST_SENTENCES} more files in the folders of models cannot be used."


def _left_out(left: Mapping[str, list[str]]) -> Iterator[str]:
    for reason, paths in ((reason, paths) for reason, paths in left.items() if paths):
        files = "1 file is" if len(paths) == 1 else f"{len(paths)} files are"
        yield f"{files} no model to draw with yet ({reason}): {_listed(paths)}."


def _pickles(found: Iterable[Found]) -> Iterator[str]:
    paths = [one.path for one in found if one.is_pickle]
    if paths:
        models = "1 model is a pickle" if len(paths) == 1 else f"{len(paths)} models are pickles"
        yield (
            f"{models}, and opening a pickle can run a stranger's code: {_listed(paths)}. "
            f'Convert with: fooocus-lite models convert "{readable(paths[0])}"'
        )


def _listed(paths: list[str]) -> str:
    names = [readable(os.path.basename(path)) for path in paths]
    return ", ".join(names[:_MOST_NAMES]) + (" …" if len(names) > _MOST_NAMES else "")
