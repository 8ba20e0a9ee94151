"""`Plan`: a Recipe in which nothing is open any more.

The types live here with the function that makes them, `make_plan`; the engine imports the types.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.events import PromptReady
from fooocus_lite.expansion import Expansion, with_words
from fooocus_lite.families import FAMILIES
from fooocus_lite.family_fit import idle_fields
from fooocus_lite.guidances import Weights, without_effect
from fooocus_lite.library import CatalogEntry, Library
from fooocus_lite.lora_files import misfit
from fooocus_lite.missing_files import can_come, is_to_come
from fooocus_lite.mode_choice import decided_mode, kept_notes, mode_lora
from fooocus_lite.model_files import ModelRef, model_ref_from_dict
from fooocus_lite.prompts import count_combinations, make_texts, split_prompts
from fooocus_lite.recipe import MAX_COUNT, MAX_INDEX, MAX_SEED, MAX_STEPS, ImageFormat, Recipe, parse_recipe
from fooocus_lite.refiners import NO_REFINER, decided_refiner, needed_refiner
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from fooocus_lite.sampler_names import Pair, find_pair
from fooocus_lite.style_files import EXPAND_STYLE, Style
from fooocus_lite.textual_inversion import named_embeddings
from fooocus_lite.untrusted import printable
from fooocus_lite.wording import MAX_NAMED, LoraRef, make_wording, named_loras

#: Most pictures that prompts between ``---`` make together.
MAX_BATCH = 1000
MAX_NOTED_PROMPTS = 20
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plan(Weights):
    """One picture, fully decided, its guidance among it. Same plan + device + dtype → same pixels.

    Attributes:
        texts: What is encoded as the wanted picture; several are joined on the token axis.
        negative_texts: Likewise for the unwanted.
        seed: Of this one picture, 0 … 2^63 − 1.
        sampler: Key of `fooocus_lite.registry.SAMPLERS`.
        scheduler: Key of `fooocus_lite.registry.SCHEDULERS`.
        clip_skip: Layer of the text encoders that is read, counted from the end; 1 = the last.
        loras: Those of this picture only, in the order named.
        embeddings: (name as in the texts, absolute path) of each textual inversion.
        refiner: Draws the last steps; ``None`` where the model draws them all.
        refiner_switch: Share of the steps before it does, 0 … 1.
        expansion: Words that the engine must choose first; they become one more wanted text.
        warnings: Sentences a person should read; nothing that stops the picture.
        memory: Not above this rung of `fooocus_lite.memory.RUNGS`: a picture like this ran out of memory there.
    """

    texts: tuple[str, ...]
    negative_texts: tuple[str, ...]
    seed: int
    width: int
    height: int
    steps: int
    sampler: str
    scheduler: str
    model: ModelRef
    image_format: ImageFormat
    clip_skip: int
    loras: tuple[LoraRef, ...] = ()
    embeddings: tuple[tuple[str, str], ...] = ()
    expansion: Expansion | None = None
    warnings: tuple[str, ...] = ()
    refiner: ModelRef | None = None
    refiner_switch: float = 1.0
    memory: str = ""

    @property
    def walk(self) -> Plan:
        """What is the same in plans that can be drawn as one batch: all but words, seed and kind of file."""
        own = {"texts": (), "negative_texts": (), "embeddings": (), "expansion": None, "warnings": ()}
        return dataclasses.replace(self, seed=0, image_format="png", **own)


def plan_from_dict(data: dict[str, Any]) -> Plan:
    """The inverse of `dataclasses.asdict`, also after JSON has made lists of the tuples."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    values["model"] = model_ref_from_dict(data["model"])
    values["refiner"] = model_ref_from_dict(data["refiner"]) if data["refiner"] is not None else None
    values["loras"] = tuple(LoraRef(**lora) for lora in data["loras"])
    values["expansion"] = Expansion(**data["expansion"]) if data["expansion"] is not None else None
    values["embeddings"] = tuple((name, path) for name, path in data["embeddings"])
    return Plan(**values)


def parse_wish(data: Any, library: Library) -> Recipe:
    """`parse_recipe` where the models are known: a size that no model can do hears the range of the one it is for."""
    try:
        return parse_recipe(data)
    except BadValue as exc:
        if exc.field not in ("width", "height"):
            raise
        try:
            said = cast("dict[str, Any]", data)
            wish = parse_recipe({name: said[name] for name in ("preset", "model") if said.get(name) is not None})
            entry = library.find_model(library.filled(wish).model or "")
        except FooocusError:  # that is wrong too; one thing at a time
            raise exc from None
        raise _bad_side(exc.problem, exc.field, entry) from exc


def make_plan(recipe: Recipe, library: Library, seed: int) -> Plan:
    """One picture, fully decided. Pure: the same arguments make the same plan.

    Args:
        recipe: What a person wants; a resolved one gives the same plan again.
        library: What can be chosen by name.
        seed: Used when the recipe names none.

    Raises:
        BadValue: a size or step count that the model or sampler cannot do, a textual inversion or LoRA that is a
            pickle, more LoRAs than anybody uses, or one that was made for another kind of model.
        CorruptModel: a LoRA's file is damaged.
        UnknownName: a style, preset, sampler or model that is not there.
        MissingModel: there is no model at all, or the LoRA of the mode is not here.
    """
    full = resolve(recipe, library, seed)
    entry = library.find_model(full.model or "")
    wording = make_wording(full, library)
    loras, mode_notes = _with_mode_lora(wording.loras, full, library)
    _check_loras(loras, entry, library)
    names = library.pick_styles((*(full.styles or ()), *wording.styles), entry, _decided(full.seed))
    styles = [library.find_style(name) for name in dict.fromkeys(names)]
    texts, negative_texts = make_texts(
        wording.lines, wording.negative_lines, [(style.prompt, style.negative_prompt) for style in styles]
    )
    expansion, texts = _expansion(full, library, styles, wording.lines, texts)
    embeddings, unknown = _embeddings(texts + negative_texts, library)
    return Plan(
        texts=texts,
        negative_texts=negative_texts,
        seed=_decided(full.seed),
        width=_decided(full.width),
        height=_decided(full.height),
        steps=_decided(full.steps),
        sampler=_decided(full.sampler),
        scheduler=_decided(full.scheduler),
        model=entry.ref,
        image_format=_decided(full.image_format),
        clip_skip=_decided(full.clip_skip),
        loras=loras,
        embeddings=embeddings,
        expansion=expansion,
        **dataclasses.asdict(full.weights()),
        warnings=(
            *_preset_warnings(full, library),
            *wording.warnings,
            *mode_notes,
            *_warnings(full, entry, library, styles, texts, negative_texts),
            *unknown,
        ),
        refiner=_refiner_ref(full, library),
        refiner_switch=_decided(full.refiner_switch),
    )


def resolve(recipe: Recipe, library: Library, seed: int) -> Recipe:
    """The recipe of one picture with every field filled and every name as the library writes it.

    Resolving it again changes nothing. What a person wrote in ``prompt`` stays as written; of several
    prompts it is the first. ``preset`` stays open when none was used. Arguments and errors as for
    `make_plan`.
    """
    return expand(recipe.model_copy(update={"count": 1}), library, seed)[0]


def expand(recipe: Recipe, library: Library, seed: int) -> list[Recipe]:
    """A batch: one resolved recipe per picture, prompt after prompt.

    Picture i of a prompt has the first one's seed + i, modulo 2^63, and index + i; every prompt
    between ``---`` starts with the same ones. An open count grows to the combinations of ``[[a, b]]``.

    Raises:
        BadValue: also when it would be more than `MAX_BATCH` pictures.
    """
    filled = library.filled(recipe)
    entry = library.find_model(filled.model or "")
    mode = decided_mode(filled, entry, library)  # first: one that the model has not brings a schedule that it has not
    pair = find_pair(_decided(filled.sampler), filled.scheduler, noise=entry.noise)
    _check_size(_decided(filled.width), "width", entry)
    _check_size(_decided(filled.height), "height", entry)
    _check_walk(_decided(filled.steps), pair, entry)
    _check_interval(_decided(filled.guidance_start), _decided(filled.guidance_end))
    first = seed if filled.seed is None else filled.seed
    names: dict[str, Any] = {"sampler": pair.sampler, "scheduler": pair.scheduler, "model": entry.name, "count": 1}
    names |= mode | {"refiner": decided_refiner(filled, entry, library)}
    names["loras"] = named_loras(filled.loras or (), library)
    pictures: list[Recipe] = []
    for prompt, place in _places(recipe, filled):
        one = (first + place) % (MAX_SEED + 1)
        index = (filled.index + place) % (MAX_INDEX + 1)
        styles = library.pick_styles(filled.styles or (), entry, one)
        update = {"prompt": prompt, "seed": one, "index": index, "styles": styles}
        pictures.append(filled.model_copy(update=names | update))
    return pictures


def _places(recipe: Recipe, filled: Recipe) -> list[tuple[str, int]]:
    """(prompt, place in its batch) of every picture."""
    prompts = split_prompts(filled.prompt)
    count = _decided(filled.count)
    if len(prompts) * count > MAX_BATCH:
        problem = f"{len(prompts):,} prompts of {count} pictures each are too many."
        raise BadValue(problem, f"Ask for at most {MAX_BATCH:,} pictures at once.", field="prompt")
    spare = MAX_BATCH - len(prompts) * count
    places: list[tuple[str, int]] = []
    for prompt in prompts:
        combinations = count_combinations(prompt, filled.negative_prompt or "") if recipe.count is None else 1
        more = max(0, min(combinations - count, MAX_COUNT - count, spare))
        spare -= more
        places += [(prompt, place) for place in range(count + more)]
    return places


def batch_notes(pictures: Sequence[Recipe], library: Library, wish: Recipe | None = None) -> tuple[str, ...]:
    """What a person should read before a batch is drawn: of the first picture of each of its first prompts.

    Args:
        pictures: What `expand` gave.
        library: The same.
        wish: What it was given; of it, the names that the nearest of ours was taken for are told.
    """
    drawn = Counter(picture.prompt for picture in pictures)
    firsts = {picture.prompt: picture for picture in reversed(pictures)}
    notes: list[str] = []
    if wish is not None:
        filled = library.filled(wish)
        notes += find_pair(_decided(filled.sampler), filled.scheduler).notes
        notes += kept_notes(wish, filled, library.find_model(filled.model or ""))
    for prompt in list(drawn)[:MAX_NOTED_PROMPTS]:
        notes += make_plan(firsts[prompt], library, 0).warnings
        combinations = count_combinations(prompt, firsts[prompt].negative_prompt or "")
        if drawn[prompt] < combinations:
            many = f"{combinations:,}" if combinations <= 1_000_000 else "more than a million"
            notes.append(f"The lists in [[ ]] make {many} combinations; {drawn[prompt]} will be drawn.")
    return tuple(dict.fromkeys(notes))


def _decided(value: T | None) -> T:
    """A value that the ladder must have filled; families' defaults guarantee it."""
    if value is None:
        raise FooocusError("A row of families.py lacks a default.", "This is a bug; please report it.")
    return value


def _check_size(side: int, name: str, entry: CatalogEntry) -> None:
    if not entry.fits(side):
        raise _bad_side(f"{name} cannot be {side}.", name, entry)


def _bad_side(problem: str, name: str, entry: CatalogEntry) -> BadValue:
    return BadValue(problem, f"Allowed for {entry.name}: {entry.allowed_sides}.", field=name)


def _check_walk(steps: int, pair: Pair, entry: CatalogEntry) -> None:
    """Whether sampler, schedule, model and steps go together."""
    sampler, scheduler = SAMPLERS[pair.sampler], SCHEDULERS[pair.scheduler]
    for field, row, rows in (("sampler", sampler, SAMPLERS), ("scheduler", scheduler, SCHEDULERS)):
        if entry.noise not in row.noise:
            others = ", ".join(key for key, other in rows.items() if entry.noise in other.noise)
            problem = f"The {field} {row.label} is not made for how the model {entry.name} was trained."
            raise BadValue(problem, f"Choose one of: {others}.", field=field)
    for row, least, most in ((scheduler, 1, scheduler.max_steps), (sampler, sampler.min_steps, MAX_STEPS)):
        if not least <= steps <= most:
            raise BadValue(f"steps cannot be {steps}.", f"Allowed for {row.label}: {least} to {most}.", field="steps")


def _check_interval(start: float, end: float) -> None:
    if start >= end:
        hint = f"It must be below guidance_end, which is {end:g}; guidance_scale 1 switches guidance off."
        raise BadValue(f"guidance_start cannot be {start:g}.", hint, field="guidance_start")


def _embeddings(texts: tuple[str, ...], library: Library) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """(name, path) of each textual inversion that the texts ask for; a sentence for each that is not there."""
    found = [(name, library.find_embedding(name)) for name in named_embeddings(texts)]
    missing = [printable(name[:60]) for name, path in found if path is None]
    warnings = [f"There is no embedding {name}; the picture was drawn without it." for name in missing[:MAX_NAMED]]
    more = len(missing) - MAX_NAMED
    warnings += [f"{more} more embeddings are not there; the picture was drawn without them, too."] if more > 0 else []
    return tuple((name, path) for name, path in found if path is not None), warnings


def _expansion(
    full: Recipe, library: Library, styles: list[Style], lines: tuple[str, ...], texts: tuple[str, ...]
) -> tuple[Expansion | None, tuple[str, ...]]:
    """The wish for words, if they are open; else the texts with those that the recipe names. Nothing is no subject."""
    if not lines or all(style.kind != "expand" for style in styles):
        return None, texts
    if full.expansion is not None:
        return None, with_words(texts, lines[0], full.expansion)
    model, words = library.expansion_model
    return Expansion(lines[0], _decided(full.seed), model, words), texts


def with_expansion(recipe: Recipe, plan: Plan, event: PromptReady) -> tuple[Recipe, Plan]:
    """Recipe and plan with the words that the engine chose, so that they can be drawn again without choosing."""
    if event.expansion is None:
        return recipe, plan
    decided = dataclasses.replace(plan, texts=event.texts, expansion=None)
    return recipe.model_copy(update={"expansion": event.expansion}), decided


def first_refined(share: float, steps: int) -> int:
    """The first step that the refiner takes; ``steps`` if it takes none. As Fooocus: half a step is rounded to even."""
    return round(share * steps)


def _refiner_ref(full: Recipe, library: Library) -> ModelRef | None:
    """The refiner of a resolved recipe; ``None`` also where it would never take over, or is the model itself."""
    steps = _decided(full.steps)
    if "refiner" in FAMILIES[library.find_model(full.model or "").family].without:
        return None
    if full.refiner in (NO_REFINER, full.model) or first_refined(_decided(full.refiner_switch), steps) >= steps:
        return None
    return needed_refiner(_decided(full.refiner), library).ref


def _preset_warnings(full: Recipe, library: Library) -> tuple[str, ...]:
    preset = library.presets.get(full.preset or "")
    return () if preset is None else tuple(f"Preset {preset.name}: {warning}" for warning in preset.warnings)


def _check_loras(loras: Sequence[LoraRef], entry: CatalogEntry, library: Library) -> None:
    """Whether the files are whole, and for this kind of model, as far as their headers tell."""
    for lora in (lora for lora in loras if not is_to_come(library, lora.path)):
        reason = misfit(library.lora_cards.of(lora.path), entry.name, entry.takes)
        if reason:
            hint = "Choose a LoRA that was made for this model, or another model."
            raise BadValue(f"The LoRA {printable(lora.name[:60])} {reason}.", hint, field="loras")


def _with_mode_lora(
    loras: tuple[LoraRef, ...], full: Recipe, library: Library
) -> tuple[tuple[LoraRef, ...], tuple[str, ...]]:
    """(the LoRAs of a picture, its mode's last, notes): one that the mode brings and a person names counts once."""
    found = mode_lora(full, library)
    if found is None:
        return loras, ()
    lora, path = found
    others = tuple(other for other in loras if other.path != path)
    notes = (
        ()
        if len(others) == len(loras)
        else (f"The mode brings the LoRA {printable(lora.name)} itself; it counts once.",)
    )
    return (*others, LoraRef(name=lora.name, path=path, weight=lora.weight)), notes


def _warnings(
    full: Recipe,
    entry: CatalogEntry,
    library: Library,
    styles: list[Style],
    texts: tuple[str, ...],
    negative_texts: tuple[str, ...],
) -> Iterator[str]:
    """Sentences about what a person may not have meant; all follow from the resolved recipe."""
    width, height = _decided(full.width), _decided(full.height)
    chosen = list(full.styles or ())
    for name in (style.name for style in styles if chosen.count(style.name) > 1):
        yield f"The style {name} was chosen more than once and is applied once."
    if full.expansion and all(style.kind != "expand" for style in styles):
        yield f"The words of the expansion are used only with the style {EXPAND_STYLE.name}."
    texts_only = [style for style in styles if style.kind == "text"]
    strange = [s.name for s in texts_only if entry.style_categories and s.category not in entry.style_categories]
    if strange:
        yield f"The model {entry.name} has not learned the style {', '.join(strange)}; it may show little of it."
    if not any(texts):
        yield "The prompt is empty, so the model draws whatever it likes."
    without = FAMILIES[entry.family].without
    yield from idle_fields(full, entry.family)
    if any(negative_texts) and full.guidance_scale == 1 and "negative_prompt" not in without:
        yield "The negative prompt does nothing at guidance scale 1."
    if not any(negative_texts) and full.perp_neg and full.guidance_scale != 1 and "perp_neg" not in without:
        yield "Perp-Neg does nothing without a negative prompt."
    yield from without_effect(full.weights(), steps=_decided(full.steps), told=without)
    if not 0.4 <= width * height / entry.native_size**2 <= 2.1 or max(width, height) > 3 * min(width, height):
        native = f"{entry.native_size}×{entry.native_size}"
        yield f"{width}×{height} is far from the {native} that {entry.name} was trained at; shapes may repeat or break."
    if not entry.available and not can_come(library, entry.name):
        yield f"The model {entry.name} is not on this disk yet."
