"""`Library`: the styles, presets and models that are there, as one frozen snapshot.

`load_library` reads the folders; `Library.refreshed` looks whether anything changed and reads
again only then, so a file dropped in appears without a restart. A broken file becomes a sentence
in `Library.problems` and the rest still loads.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fooocus_lite import library_files as files
from fooocus_lite.choices import a1111_text, default_preset, read_choices
from fooocus_lite.errors import BadValue, MissingModel, UnknownName
from fooocus_lite.expansion import expansion_model
from fooocus_lite.fooocus_folder import fooocus_root
from fooocus_lite.fooocus_names import STYLE_ALIASES, STYLE_PREFIXES, bare_name
from fooocus_lite.fooocus_presets import Need
from fooocus_lite.found_models import join_found
from fooocus_lite.guidances import OFF
from fooocus_lite.language_files import Language, read_language
from fooocus_lite.library_files import CatalogEntry
from fooocus_lite.library_json import readable
from fooocus_lite.lora_files import LoraCards
from fooocus_lite.menu import make_menu
from fooocus_lite.model_folders import gone_folders, read_model_folders
from fooocus_lite.model_index import Found, read_index
from fooocus_lite.offers import Offer
from fooocus_lite.preset_files import Preset, read_presets
from fooocus_lite.preset_fit import fitted, needs_of, unknown_names
from fooocus_lite.prompt_files import (
    EMBEDDING_SUFFIXES,
    ByName,
    WordList,
    read_embeddings,
    read_loras,
    read_word_lists,
)
from fooocus_lite.prompts import normal_name
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import Settings
from fooocus_lite.style_files import Style, read_styles

__all__ = ["CatalogEntry", "Library", "Preset", "Style", "load_library"]
Row = TypeVar("Row")
_FEW = 8  # names that an error lists
FROM_FOOOCUS = "It looks like one of Fooocus's: set legacy_folder to your Fooocus folder, or run import-fooocus."


@dataclass(frozen=True)
class Library:
    """What a person can choose by name, at one moment.

    Attributes:
        styles: By name, in the order in which they are shown.
        presets: By name.
        models: By name, as the catalogs list them.
        downloadable: What can be fetched, models and everything else, by name.
        word_lists: What ``__name__`` in a prompt stands for.
        loras: Paths of what ``<lora:name:1>`` in a prompt names.
        embeddings: Paths of what ``embedding:name`` in a prompt names.
        found: What lies in the folders of models, whatever it is.
        problems: One sentence per broken file or entry.
        default_preset: Name of the preset that fills what a person leaves open.
        favourites: Names of styles, the dearest first.
        a1111_text: Whether pictures also hold the text that other programs read.
        lora_cards: What the LoRA files say of themselves; those that were asked for.
        language: What the page says instead of English.
        expansion_model: What `fooocus_lite.expansion.expansion_model` says.
    """

    styles: Mapping[str, Style] = field(default_factory=dict[str, Style])
    presets: Mapping[str, Preset] = field(default_factory=dict[str, Preset])
    models: Mapping[str, CatalogEntry] = field(default_factory=dict[str, CatalogEntry])
    downloadable: Mapping[str, Offer] = field(default_factory=dict[str, Offer])
    word_lists: ByName[WordList] = field(default_factory=ByName[WordList])
    loras: ByName[str] = field(default_factory=ByName[str])
    embeddings: ByName[str] = field(default_factory=ByName[str])
    found: tuple[Found, ...] = ()
    problems: tuple[str, ...] = ()
    default_preset: str = ""
    favourites: tuple[str, ...] = ()
    a1111_text: bool = True
    language: Language = field(default_factory=Language)
    expansion_model: tuple[str, str] = ("", "")
    settings: Settings | None = field(default=None, repr=False, compare=False)
    signature: files.Signature = field(default=(), repr=False, compare=False)
    lora_cards: LoraCards = field(default_factory=LoraCards, repr=False, compare=False)

    def refreshed(self) -> Library:
        """This snapshot while nothing changed on disk, else a new one. Cheap: one look per file."""
        if self.settings is None or self.signature == files.signature(
            self.settings, self.models.values(), self.downloadable.values()
        ):
            return self
        return replace(load_library(self.settings), lora_cards=self.lora_cards)

    def find_style(self, name: str) -> Style:
        """The style called so, however it is written, or by the name that Fooocus has for it.

        Raises:
            UnknownName: there is none; names the nearest.
        """
        known = self.known_style(name)
        if known is not None:
            return known
        problem, hint = self._unknown_style(name)
        if hint:
            raise UnknownName(problem, hint, field="styles")
        return _find(self.styles, name, "style", "styles")

    def known_style(self, name: str) -> Style | None:
        """The style called so, or ``None``."""
        normal = normal_name(name)
        for wanted in (normal, normal_name(STYLE_ALIASES.get(normal, name))):
            if wanted in self._style_names:
                return self.styles[self._style_names[wanted]]
        return None

    def known_styles(self, names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(names as the library writes them, one sentence for each that is not here and was left out).

        For presets and pictures of other machines and programs, which must not fail because of a style.
        """
        found: list[str] = []
        left_out: list[str] = []
        for name in names:
            style = self.known_style(name)
            if style is not None:
                found.append(style.name)
            else:  # without a search for near names, which would take far longer
                problem, hint = self._unknown_style(name)
                left_out.append(f"{problem} {hint if hint == FROM_FOOOCUS else 'It was left out.'}")
        return tuple(found), tuple(left_out)

    def _unknown_style(self, name: str) -> tuple[str, str]:
        """(problem, hint) of a style that is not here; the hint is empty where a near name may help."""
        normal, problem = normal_name(name), f"There is no style {name[:60]!r}"
        is_fooocus = normal.startswith(STYLE_PREFIXES) and not self._has_fooocus_styles
        return f"{problem}.", FROM_FOOOCUS if is_fooocus else ""

    def pick_styles(self, names: Iterable[str], model: CatalogEntry, seed: int) -> tuple[str, ...]:
        """The names as the library writes them, with each `RANDOM_STYLE` replaced by one that the seed picks.

        It picks, as Fooocus does, with ``random.Random(seed).choice`` in reading order; from what
        ``model`` has learned, and nothing twice.
        """
        styles = [self.find_style(name) for name in names]
        if all(style.kind != "random" for style in styles):
            return tuple(style.name for style in styles)
        rest = [style for style in self.styles.values() if style.kind == "text" and style not in styles]
        rest = [style for style in rest if style.category in model.style_categories] or rest
        dice = random.Random(seed)
        picked: list[str] = []
        for style in styles:
            if style.kind != "random":
                picked.append(style.name)
            elif rest:
                picked.append(rest.pop(dice.randrange(len(rest))).name)
        return tuple(picked)

    def find_preset(self, name: str) -> Preset:
        """The preset called so; as `find_style`."""
        return _find(self.presets, name, "preset", "preset")

    def find_model(self, name: str) -> CatalogEntry:
        """The model called so, or whose file is; as `find_style`."""
        known = self.models.get(name) or self._models_by_file.get(normal_name(bare_name(name)))
        return known or _find(self.models, name, "model", "model")

    def model_for(self, need: Need) -> CatalogEntry | None:
        """The model whose weights are the file that is needed; else one whose are an older file that serves too."""
        by_file = self._models_by_file
        entries = [by_file.get(normal_name(replace(need, file=file).name)) for file in (need.file, *need.older)]
        there = [entry for entry in entries if entry is not None]
        return next((entry for entry in there if entry.available), entries[0])

    def has(self, need: Need) -> bool:
        """Is the needed model or LoRA on this disk?"""
        if need.kind == "lora":
            return self.loras.find(need.name) is not None
        entry = self.model_for(need)
        return entry is not None and entry.available

    def needs_of(self, preset: Preset) -> tuple[Need, ...]:
        """The files without which the preset cannot be drawn as it was meant."""
        return needs_of(preset, self)

    def find_embedding(self, name: str) -> str | None:
        """The path of the textual inversion called so, with or without its folder and ending, if there is one.

        Raises:
            BadValue: there is one, but as a pickle.
        """
        wanted = name.replace("\\", "/")
        for suffix in EMBEDDING_SUFFIXES:
            wanted = wanted[: -len(suffix)] if wanted.lower().endswith(suffix) else wanted
        path = self.embeddings.find(wanted)
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
        entry = self._first_model() if wanted.model is None else self._model_of(wanted.model, preset)
        names = {"model": entry.name, "preset": recipe.preset if preset is None else preset.name}
        rungs = (recipe,) if preset is None else (recipe, preset.recipe)
        return entry.under(*rungs).model_copy(update=names)

    def _model_of(self, name: str, preset: Preset | None) -> CatalogEntry:
        try:
            return self.find_model(name)
        except UnknownName:
            needs = () if preset is None or preset.recipe.model != name else preset.needs
            need = next((need for need in needs if need.kind == "model"), None)
            if preset is None or need is None:
                raise
            hint = f"Get it at {need.url}." if need.url else "Choose another preset or model."
            problem = f"The preset {preset.name} needs the model {need.file}, which is not here."
            raise MissingModel(problem, hint, field="model") from None

    def _first_model(self) -> CatalogEntry:
        for entry in (*(entry for entry in self.models.values() if entry.available), *self.models.values()):
            return entry
        hint = "models/catalog.json is missing or broken; see `doctor`."
        raise MissingModel("There is no model.", hint, field="model")

    def menu(self) -> dict[str, Any]:
        """Everything a person can choose, JSON-ready."""
        return make_menu(self)

    @cached_property
    def _has_fooocus_styles(self) -> bool:
        return any(style.category.startswith("Fooocus") for style in self.styles.values())

    @cached_property
    def _models_by_file(self) -> dict[str, CatalogEntry]:
        """Models by their names, and by those of their files, in the form in which names are compared."""
        by_file = {normal_name(bare_name(entry.path)): entry for entry in reversed(list(self.models.values()))}
        return by_file | {normal_name(entry.name): entry for entry in self.models.values()}

    @cached_property
    def _style_names(self) -> dict[str, str]:
        return {normal_name(name): name for name in self.styles}


def is_complete(recipe: Recipe) -> bool:
    """Does the recipe leave nothing to a preset? (The seed is nobody's default.)"""
    # expansion: chosen by the seed when it is open, and only where its style is.
    # clip_skip, scheduler, loras, refiner and most of guidance: pictures from before they existed lack them, and were
    # drawn with what their family says, with the sampler's usual one, and without. mode: it decides other fields.
    nobodys = {"preset", "seed", "clip_skip", "scheduler", "expansion", "loras"}
    nobodys |= {"mode", "mode_lora", "refiner", "refiner_switch"} | OFF.keys() - {"guidance_scale", "sag_scale"}
    return all(getattr(recipe, name) is not None for name in Recipe.model_fields if name not in nobodys)


def load_library(settings: Settings) -> Library:
    """Everything in the folders that ``settings`` name."""
    problems: list[str] = []
    lists = files.signature(settings, (), ())
    catalog = files.read_catalogs(settings, problems)
    finds = join_found(catalog, read_index(settings), settings, problems)
    models, offers = finds.models, finds.downloadable
    # Before the rest is read: a later change shows as one. What changed since the first line (the last file of a
    # download came, a list was replaced) is known by no signature, and read again at the next look.
    seen = files.signature(settings, models.values(), offers.values())
    if not set(lists) <= set(seen) or any(files.is_there(entry) != entry.available for entry in models.values()):
        seen = ()
    if settings.legacy_folder is not None and fooocus_root(settings) is None:
        source = settings.sources.get("legacy_folder", "default")
        problems.append(
            f"{readable(str(settings.legacy_folder))} holds no Fooocus (setting legacy_folder, from {source})."
        )
    styles = read_styles(settings, problems)
    presets = read_presets(settings, problems)
    choices = read_choices(settings, problems)
    problems += gone_folders(read_model_folders(settings, problems))
    known = {category for entry in models.values() for category in entry.style_categories}
    library = Library(
        styles=dict(sorted(styles.items(), key=lambda item: item[1].kind == "text" and item[1].category not in known)),
        models=models,
        downloadable=offers,
        word_lists=read_word_lists(settings, problems),
        loras=ByName({**finds.loras, **read_loras(settings)}),
        embeddings=ByName({**finds.embeddings, **read_embeddings(settings)}),
        found=finds.found,
        language=read_language(settings, problems),
        expansion_model=expansion_model(settings),
        settings=settings,
        signature=seen,
    )
    presets = {name: fitted(preset, library) for name, preset in presets.items()}
    problems += [problem for preset in presets.values() for problem in unknown_names(library, preset)]
    wanted, source = default_preset(settings, choices)
    default = next((name for name in presets if normal_name(name) == normal_name(wanted)), "")
    if not default:
        problems.append(f"There is no preset '{wanted}' (setting preset, from {source}).")
    return replace(
        library,
        presets=presets,
        default_preset=default,
        a1111_text=a1111_text(settings, choices)[0],
        favourites=tuple(dict.fromkeys(s.name for name in choices.favourites if (s := library.known_style(name)))),
        problems=tuple(problems),
    )


def _find(rows: Mapping[str, Row], name: str, kind: str, field_name: str) -> Row:
    if name in rows:
        return rows[name]
    by_normal = {normal_name(known): known for known in rows}
    wanted = normal_name(name)
    if wanted in by_normal:
        return rows[by_normal[wanted]]
    near = [by_normal[match] for match in difflib.get_close_matches(wanted[:80], by_normal, n=3, cutoff=0.6)]
    if near:
        hint = f"Did you mean {_either(near)}?"
    elif rows:
        rest = f" … ({len(rows)} in all)" if len(rows) > _FEW else "."
        hint = f"Choose one of: {', '.join(list(rows)[:_FEW])}{rest}"
    else:
        hint = f"There are no {kind}s at all; see `doctor`."
    raise UnknownName(f"There is no {kind} {name[:60]!r}.", hint, field=field_name)


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
