"""The shape of ``GET /v1/menu``, for OpenAPI and for those who write programs against it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fooocus_lite.library_json import Source


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StyleRow(_Row):
    """A style, by the name that a Recipe's `styles` takes."""

    name: str = Field(examples=["Watercolor"])
    category: str = Field(description="The file it stands in, in words.")
    source: Source = Field(description="`own` can be changed and deleted.")
    kind: Literal["text", "random", "expand"] = Field(
        description="`random` stands for another, which the seed picks; `expand` lets a language model add words."
    )
    has_negative: bool = Field(description="It also says what the picture must not show.")
    favourite: bool


class NeedOut(_Row):
    """A file that a preset needs."""

    kind: str = Field(description="`model`, `lora`, `vae` or `embedding`.")
    name: str
    file: str
    url: str = Field(description="Where the preset says it can be had; empty when it does not say.")
    older: list[str] = Field(description="Files that serve as well.")
    available: bool | None = Field(description="It is on this disk; null where that is not looked up.")
    can_be_fetched: bool = Field(description="It is fetched when a picture needs it.")


class PresetOut(_Row):
    """A preset, by the name that a Recipe's `preset` takes."""

    name: str
    label: str
    description: str
    source: Source = Field(description="`own` can be changed and deleted.")
    recipe: dict[str, Any] = Field(description="The fields that the preset itself sets.")
    needs: list[NeedOut]
    warnings: list[str] = Field(description="What it says and that is done otherwise here.")


class PresetRow(PresetOut):
    """A preset in the menu."""

    values: dict[str, Any] | None = Field(description="Every field with this preset; null if it names what is gone.")
    problem: str = Field(description="Why `values` is null, and what to do; else empty.")


class Size(_Row):
    """A size that a model is good at, in pixels."""

    width: int
    height: int
    label: str = Field(examples=["128×128 · 1:1"])


class ModeRow(_Row):
    """A speed mode, by the id that a Recipe's `mode` takes."""

    id: str
    label: str
    good_for: str
    why: str = Field(description="Why some fields cannot be set otherwise while it is chosen; empty if all can.")


class ModelMode(_Row):
    """A speed mode as one model has it."""

    id: str
    available: bool = Field(description="The model can be drawn so now.")
    problem: str = Field(description="Why not; else empty.")
    hint: str = Field(description="What to do; else empty.")
    lora: str | None = Field(description="The LoRA that it stands on.")
    url: str = Field(description="Where that can be had; empty when it ships.")
    values: dict[str, Any] = Field(description="The fields that it sets.")
    keeps: list[str] = Field(description="Those of them that nobody can set otherwise.")
    time: float = Field(description="How long a picture takes, beside one in mode `speed`.")


class ModelRow(_Row):
    """A model, by the name that a Recipe's `model` takes."""

    name: str
    label: str
    description: str
    family: str
    available: bool = Field(description="Its weights are on this disk.")
    native_size: int = Field(description="Side in pixels that it was trained at.")
    min_size: int = Field(description="Shortest side in pixels.")
    max_size: int = Field(description="Longest side in pixels.")
    size_multiple: int = Field(description="Width and height are multiples of this many pixels.")
    sizes: list[Size]
    style_categories: list[str] = Field(description="Categories of styles that it has learned; empty = all.")
    defaults: dict[str, Any] = Field(description="The fields that the model itself sets.")
    values: dict[str, Any] = Field(description="Every field with this model and no preset.")
    modes: list[ModelMode]
    without: dict[str, str] = Field(description="Fields that do nothing with it, and why.")
    as_refiner: str = Field(description="What it is called in the list of refiners; empty = it cannot be one.")


class SamplerRow(_Row):
    """A sampler, by the id that a Recipe's `sampler` takes."""

    id: str
    label: str
    good_for: str
    scheduler: str = Field(description="Its usual schedule: what `auto` means with it.")
    calls: int = Field(description="How often a step asks the model; the last step asks once.")
    min_steps: int


class SchedulerRow(_Row):
    """A schedule, by the id that a Recipe's `scheduler` takes."""

    id: str
    label: str
    good_for: str
    max_steps: int


class GuidanceField(_Row):
    """A field of a Recipe that a guidance goes by."""

    name: str = Field(examples=["pag_scale"])
    label: str
    info: str
    step: float = Field(description="Smallest change that the page makes.")
    off: float = Field(description="The value that means: as if there were no such thing.")
    switches: bool = Field(description="Any other value switches the guidance on.")


class GuidanceRow(_Row):
    """One thing that can lead a picture."""

    id: str
    label: str
    good_for: str
    cost: str = Field(description="What a guided step costs with it.")
    fields: list[GuidanceField] = Field(description="Besides `guidance_scale`.")


class SamplerPair(_Row):
    """What a sampler of earlier versions is called now."""

    sampler: str
    scheduler: str


class Limit(_Row):
    """What a field of a Recipe may hold."""

    description: str
    allowed: str = Field(description="The range in words.")
    min: int | float | None = Field(default=None, description="Left out where there is none.")
    max: int | float | None = Field(default=None, description="Left out where there is none.")
    max_length: int | None = Field(default=None, description="Left out where there is none.")


class Menu(_Row):
    """Everything that can be chosen by name, and the range of every field."""

    styles: list[StyleRow]
    favourites: list[str] = Field(description="Names of styles, as the person put them.")
    presets: list[PresetRow]
    models: list[ModelRow]
    modes: list[ModeRow]
    wildcards: list[str] = Field(description="Word lists, by the name that stands between double underscores.")
    samplers: list[SamplerRow]
    schedulers: list[SchedulerRow]
    guidances: list[GuidanceRow]
    former_samplers: dict[str, SamplerPair] = Field(description="Ids that pictures and presets may still say.")
    image_formats: list[str]
    limits: dict[str, Limit] = Field(description="By field of Recipe.")
    defaults: dict[str, Any] = Field(description="What an empty Recipe becomes.")
    default_preset: str
    a1111_text: bool = Field(description="Pictures also hold the text that other programs read.")
    problems: list[str] = Field(description="A sentence per file that could not be read.")
