"""Fooocus's preset keys, read from a person's own preset and config files.

A preset there is a part of its configuration: 28 keys, of which a missing one falls back to the
configuration at start (``default.json`` below ``config.txt``) and then to the program's own value.
One rule differs on purpose: ``previous_default_models`` never falls back, because another preset's
older models are no replacement for this one's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fooocus_lite.errors import FooocusError
from fooocus_lite.fooocus_names import (
    PERFORMANCES,
    SAMPLER_NAMES,
    SCHEDULES,
    bare_name,
    file_name,
    parse_size,
    without_ending,
)
from fooocus_lite.recipe import MAX_COUNT, MAX_STEPS, Recipe, parse_recipe, shown
from fooocus_lite.recipe import MAX_LORAS as RECIPE_LORAS
from fooocus_lite.registry import SCHEDULERS
from fooocus_lite.sampler_names import find_pair

Lora = tuple[bool, str, float]
NO_FILE = "None"
MODELS_VAE = "Default (model)"
MAX_LORAS = 50


@dataclass(frozen=True)
class Key:
    """What one of the keys may be.

    Attributes:
        default: The program's own value.
        read: Gives the value in one form, or raises `ValueError`.
        allowed: In words.
    """

    default: Any
    read: Callable[[Any], Any]
    allowed: str


@dataclass(frozen=True)
class Need:
    """A file that a preset needs.

    Attributes:
        kind: "model", "lora", "vae" or "embedding".
        file: Its name, without folders.
        url: Where the preset says it can be had; empty when it does not say.
        older: Files that serve as well, when one of them is there.
    """

    kind: str
    file: str
    url: str = ""
    older: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name without its ending: what the model is called here."""
        return bare_name(self.file)


@dataclass(frozen=True)
class FooocusPreset:
    """A preset of Fooocus, every key decided.

    Attributes:
        values: All 28 keys.
        said: The keys that the preset or the configuration at start said; the others hold the program's value.
        unknown: Keys that Fooocus does not have, as they were written.
        warnings: One sentence for each value that was refused and each key that is unknown.
    """

    values: Mapping[str, Any]
    said: frozenset[str]
    unknown: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()


def is_fooocus_preset(data: Mapping[str, Any]) -> bool:
    """Is this Fooocus's form, and not ours?"""
    return "recipe" not in data and any(key in KEYS for key in data)


def read_fooocus_preset(data: Mapping[str, Any], startup: Mapping[str, Any] | None = None) -> FooocusPreset:
    """A preset over the configuration at start over the program's values.

    Args:
        data: The preset as its file holds it; wrong values are refused one by one, never all.
        startup: ``default.json`` below ``config.txt``, in the same form; keys that no preset has are ignored.
    """
    values: dict[str, Any] = {name: key.default for name, key in KEYS.items()}
    said: set[str] = set()
    warnings: list[str] = []
    for layer, source in ((startup or {}, "config"), (data, "preset")):
        for name, key in KEYS.items():
            if name not in layer or (name == "previous_default_models" and source == "config"):
                continue
            try:
                values[name] = key.read(layer[name])
                said.add(name)
            except ValueError:
                warnings.append(f"{name} cannot be {shown(layer[name])}, so it is left out; allowed: {key.allowed}.")
    unknown = {str(name)[:100]: value for name, value in data.items() if name not in KEYS}
    warnings += [f"The key {name[:60]} is kept, but nothing here knows it." for name in unknown]
    return FooocusPreset(values, frozenset(said), unknown, tuple(warnings))


def needs_of(preset: FooocusPreset) -> tuple[Need, ...]:
    """Every file that the preset names, the model first."""
    values = preset.values
    found: dict[tuple[str, str], Need] = {}
    if "default_model" in preset.said:
        _add(found, Need("model", values["default_model"], older=tuple(values["previous_default_models"])))
    for is_on, file, _ in values["default_loras"]:
        if is_on:
            _add(found, Need("lora", file))
    if values["default_vae"] != MODELS_VAE:
        _add(found, Need("vae", values["default_vae"]))
    for file in values["embeddings_downloads"]:
        _add(found, Need("embedding", file))
    urls = {kind: values[key] for kind, key in _DOWNLOADS.items()}
    return tuple(
        Need(need.kind, file_name(need.file), urls[need.kind].get(need.file, ""), tuple(map(file_name, need.older)))
        for need in found.values()
    )


#: Keys that mean the same here, and the field of `Recipe`.
_SAME = (("default_cfg_scale", "guidance_scale"), ("default_image_number", "count"), ("default_clip_skip", "clip_skip"))


def recipe_of(preset: FooocusPreset) -> tuple[Recipe, tuple[str, ...]]:
    """(recipe, warnings): what of the preset can be said here, and what changes the picture but cannot.

    Model and styles keep Fooocus's names: whoever has the library finds them. Keys that neither
    the preset nor the configuration said stay open.
    """
    values, said = preset.values, preset.said
    wanted: dict[str, Any] = {}
    warnings: list[str] = []
    model = bare_name(values["default_model"])
    if "default_model" in said and model not in ("", NO_FILE):
        wanted["model"] = model
    if "default_styles" in said:
        wanted["styles"] = list(values["default_styles"])
    for key, name in _SAME:
        wanted |= {name: values[key]} if key in said else {}
    for key, name in (("default_prompt", "prompt"), ("default_prompt_negative", "negative_prompt")):
        wanted |= {name: values[key]} if values[key] else {}
    if "default_loras" in said:
        wanted["loras"] = _lora_list(values["default_loras"], warnings)
    if "default_aspect_ratio" in said:
        wanted["width"], wanted["height"] = values["default_aspect_ratio"]
    if said & {"default_sampler", "default_scheduler"}:
        pair = find_pair(values["default_sampler"], values["default_scheduler"])
        wanted |= {"sampler": pair.sampler, "scheduler": pair.scheduler}
        warnings += pair.notes
    wanted |= _steps(preset, warnings)
    most = SCHEDULERS[wanted["scheduler"]].max_steps if "scheduler" in wanted else MAX_STEPS
    if wanted.get("steps", 0) > most:
        warnings.append(
            f"{SCHEDULERS[wanted['scheduler']].label} has {most} steps; they are taken, not {wanted['steps']}."
        )
        wanted["steps"] = most
    warnings += _left_out(preset)
    return _checked(wanted, warnings), tuple(warnings)


def _steps(preset: FooocusPreset, warnings: list[str]) -> dict[str, int]:
    values = preset.values
    if values["default_overwrite_step"] > 0:
        return {"steps": values["default_overwrite_step"]}
    if "default_performance" not in preset.said:
        return {}
    name = values["default_performance"]
    mode = PERFORMANCES[name]
    if mode.lora is None:
        return {"steps": mode.steps}
    usual = PERFORMANCES["Speed"].steps
    warnings.append(f"{name} needs the LoRA {mode.lora}, which is not applied here; {usual} steps are used instead.")
    return {"steps": usual}


def _lora_list(rows: Sequence[Lora], warnings: list[str]) -> list[dict[str, Any]]:
    """The rows as a recipe's list; names keep their folders, for two files may have one name."""
    if len(rows) > RECIPE_LORAS:
        warnings.append(f"Of {len(rows)} LoRAs, the first {RECIPE_LORAS} are taken.")
    return [
        {"name": without_ending(file), "weight": weight, "enabled": is_on}
        for is_on, file, weight in rows[:RECIPE_LORAS]
    ]


def _left_out(preset: FooocusPreset) -> Iterator[str]:
    values = preset.values
    if values["default_refiner"] != NO_FILE:
        yield f"Not used here: the refiner {file_name(values['default_refiner'])}."
    if values["default_vae"] != MODELS_VAE:
        yield f"Not used here: the VAE {file_name(values['default_vae'])}; the model's own is."


def _checked(wanted: dict[str, Any], warnings: list[str]) -> Recipe:
    """A recipe of those values that are allowed here; the others become warnings."""
    kept: dict[str, Any] = {}
    for name, value in wanted.items():
        try:
            parse_recipe({name: value})
        except FooocusError as exc:
            warnings.append(f"{exc.problem} {exc.hint}")
        else:
            kept[name] = value
    return parse_recipe(kept)


def _add(found: dict[tuple[str, str], Need], need: Need) -> None:
    if file_name(need.file) not in ("", NO_FILE):
        found.setdefault((need.kind, need.file), need)


# How each kind of value is read. A truth value is no number, and nothing is evaluated.


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _file_or_none(value: Any) -> str:
    return NO_FILE if value is None or value == "" else _text(value)


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError
        return value

    return read


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _number(low, high)(value)
        if number != int(number):
            raise ValueError
        return int(number)

    return read


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _one_of(names: Any) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if _text(value) not in names:
            raise ValueError
        return value

    return read


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError
    return tuple(map(_text, cast("list[Any]", value)))


def _downloads(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError
    return {_text(file): _text(url) for file, url in cast("dict[Any, Any]", value).items()}


def _size(value: Any) -> tuple[int, int]:
    size = parse_size(_text(value))
    if size is None:
        raise ValueError
    return size


def _loras(value: Any) -> tuple[Lora, ...]:
    """Rows of [is on, file, weight] or, in older files, [file, weight]; the rows that name no file are dropped."""
    if not isinstance(value, list) or len(cast("list[Any]", value)) > MAX_LORAS:
        raise ValueError
    found: list[Lora] = []
    for row in cast("list[Any]", value):
        if not isinstance(row, list) or len(cast("list[Any]", row)) not in (2, 3):
            raise ValueError
        *first, file, weight = cast("list[Any]", row)
        lora = (_truth(first[0]) if first else True, _file_or_none(file), float(_number(-10, 10)(weight)))
        found += [lora] if lora[1] != NO_FILE else []
    return tuple(found)


_WEIGHT = _number(-10, 10)
_LINKS = "names of files with their addresses"
_DOWNLOADS = {
    "model": "checkpoint_downloads",
    "lora": "lora_downloads",
    "vae": "vae_downloads",
    "embedding": "embeddings_downloads",
}
KEYS: dict[str, Key] = {
    "default_model": Key("model.safetensors", _text, "a file's name"),
    "previous_default_models": Key((), _texts, "a list of file names"),
    "default_refiner": Key(NO_FILE, _file_or_none, "a file's name or None"),
    "default_refiner_switch": Key(0.8, _number(0, 1), "a number from 0 to 1"),
    "default_loras_min_weight": Key(-2, _WEIGHT, "a number from -10 to 10"),
    "default_loras_max_weight": Key(2, _WEIGHT, "a number from -10 to 10"),
    "default_loras": Key((), _loras, "a list of [true, file, weight]"),
    "default_cfg_scale": Key(7.0, _number(1, 30), "a number from 1 to 30"),
    "default_sample_sharpness": Key(2.0, _number(0, 30), "a number from 0 to 30"),
    "default_cfg_tsnr": Key(7.0, _number(1, 30), "a number from 1 to 30"),
    "default_clip_skip": Key(2, _whole(1, 12), "a whole number from 1 to 12"),
    "default_sampler": Key("dpmpp_2m_sde_gpu", _one_of(SAMPLER_NAMES), "a sampler of Fooocus"),
    "default_scheduler": Key("karras", _one_of(SCHEDULES), "a scheduler of Fooocus"),
    "default_overwrite_step": Key(-1, _whole(-1, 200), "a whole number from -1 to 200"),
    "default_overwrite_switch": Key(-1, _number(-1, 200), "a number from -1 to 200"),
    "default_performance": Key("Speed", _one_of(PERFORMANCES), ", ".join(PERFORMANCES)),
    "default_image_number": Key(2, _whole(1, MAX_COUNT), f"a whole number from 1 to {MAX_COUNT}"),
    "default_prompt": Key("", _text, "text"),
    "default_prompt_negative": Key("", _text, "text"),
    "default_styles": Key(("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"), _texts, "a list of style names"),
    "default_aspect_ratio": Key((1152, 896), _size, "a size such as 1152*896"),
    "default_save_metadata_to_images": Key(False, _truth, "true or false"),
    "checkpoint_downloads": Key({}, _downloads, _LINKS),
    "embeddings_downloads": Key({}, _downloads, _LINKS),
    "lora_downloads": Key({}, _downloads, _LINKS),
    "vae_downloads": Key({}, _downloads, _LINKS),
    "default_vae": Key(MODELS_VAE, _text, "a file's name"),
    "default_inpaint_engine_version": Key("v2.6", _one_of(("None", "v1", "v2.5", "v2.6")), "None, v1, v2.5 or v2.6"),
}
