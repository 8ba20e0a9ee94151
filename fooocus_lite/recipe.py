"""`Recipe`: what a person wants, in one value.

Widgets, CLI flags, HTTP bodies, presets, queue rows and the text inside a saved picture all
speak it. A field that is ``None`` means "you decide"; `fooocus_lite.plan.make_plan` decides.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from fooocus_lite.errors import BadValue, UnknownName
from fooocus_lite.guidances import OFF, Weights

MAX_SEED = 2**63 - 1
MAX_STEPS = 200
MAX_COUNT = 100
MAX_PROMPT_CHARS = 20_000
MAX_EXPANSION_CHARS = 2_000
MAX_SIDE = 4096
MAX_INDEX = 2**31 - 1
MAX_CLIP_SKIP = 12
MAX_LORAS = 20
MAX_LORA_WEIGHT = 10.0
MAX_LORA_NAME_CHARS = 200
_LORAS = (
    f"a list of at most {MAX_LORAS} LoRAs, each with a name, "
    f"a weight from {-MAX_LORA_WEIGHT:g} to {MAX_LORA_WEIGHT:g}, and whether it is enabled"
)
ImageFormat = Literal["png", "jpeg", "webp"]
WildcardOrder = Literal["random", "ordered"]
Text = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARS)]
Name = Annotated[str, StringConstraints(max_length=200)]


def without_nul(text: str) -> str:
    """``text`` without what others cannot take: a NUL ends a C string, and half characters cannot be UTF-8."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")


def no_truth_value(value: Any) -> Any:
    """``value``, which a number is read from."""
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("a truth value is no number")
    return value


class Lora(BaseModel):
    """A LoRA by name, and how strongly it acts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_LORA_NAME_CHARS)] = Field(
        description="File below a folder of LoRAs, with or without its folder and ending.", examples=["ink"]
    )
    weight: float = Field(
        default=1.0, ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT, description="1 = as trained; 0 = not at all."
    )
    enabled: bool = Field(default=True, description="False keeps it in the list, and does not apply it.")

    @field_validator("name")
    @classmethod
    def _without_nul(cls, text: str) -> str:
        return without_nul(text)

    @field_validator("weight", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        return no_truth_value(value)


class Recipe(BaseModel):
    """What to draw. Every field but the prompt may be left to the app."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: Text = Field(default="", description="What the picture shows.")
    negative_prompt: Text | None = Field(default=None, description="What it must not show.")
    styles: tuple[Name, ...] | None = Field(default=None, max_length=30, description="Style names, applied in order.")
    expansion: Annotated[str, StringConstraints(max_length=MAX_EXPANSION_CHARS)] | None = Field(
        default=None, description="Words that the style Expand prompt adds; none = it chooses by the seed."
    )
    loras: tuple[Lora, ...] | None = Field(
        default=None, max_length=MAX_LORAS, description="LoRAs besides those that the prompt names; these come first."
    )
    preset: Name | None = Field(default=None, description="Preset whose values fill the fields you leave out.")
    model: Name | None = Field(default=None, description="Model name as `GET /v1/menu` lists it.")
    width: int | None = Field(default=None, ge=1, le=MAX_SIDE, description="Pixels.")
    height: int | None = Field(default=None, ge=1, le=MAX_SIDE, description="Pixels.")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="Seed of the first picture; none = random.")
    count: int | None = Field(default=None, ge=1, le=MAX_COUNT, description="Pictures; picture i has seed + i.")
    index: int = Field(
        default=0, ge=0, le=MAX_INDEX, description="Place of the first picture in its batch; [[a, b]] goes by it."
    )
    wildcard_order: WildcardOrder = Field(
        default="random", description="Words of a __wildcard__: any by the seed, or in order by the index."
    )
    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS, description="Denoising steps.")
    sampler: Name | None = Field(default=None, description="Sampler id as `GET /v1/menu` lists it.")
    scheduler: Name | None = Field(
        default=None, description="Schedule id likewise: where the steps are; auto, or none = the sampler's usual one."
    )
    guidance_scale: float | None = Field(
        default=None, ge=1.0, le=30.0, description="Classifier-free guidance; 1 = off."
    )
    sag_scale: float | None = Field(default=None, ge=0.0, le=5.0, description="Self-attention guidance; 0 = off.")
    guidance_rescale: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Share of guidance's contrast that is taken back; 0 = off."
    )
    guidance_start: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Share of the steps before guidance begins."
    )
    guidance_end: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Share of the steps after which guidance ends."
    )
    adaptive_cfg: float | None = Field(
        default=None, ge=0.0, le=30.0, description="Scale that a greater guidance_scale begins as; 0 = off."
    )
    perp_neg: float | None = Field(
        default=None,
        ge=0.0,
        le=5.0,
        description="Perp-Neg: weight of the negative prompt at a right angle to the prompt; 0 = off.",
    )
    apg_eta: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Projected guidance: share kept of what only adds contrast; 1 = off."
    )
    apg_threshold: float | None = Field(
        default=None, ge=0.0, le=100.0, description="Projected guidance: longest step, as a norm; 0 = off."
    )
    apg_momentum: float | None = Field(
        default=None,
        ge=-0.95,
        le=0.95,
        description="Projected guidance: how much of the former steps is added; 0 = off.",
    )
    pag_scale: float | None = Field(default=None, ge=0.0, le=10.0, description="Perturbed-attention guidance; 0 = off.")
    sharpness: float | None = Field(default=None, ge=0.0, le=30.0, description="Fooocus's sharpness; 0 = off.")
    freeu_b1: float | None = Field(
        default=None, ge=0.0, le=2.0, description="FreeU: backbone of the first decoder stage; 1 = off."
    )
    freeu_b2: float | None = Field(default=None, ge=0.0, le=2.0, description="FreeU: backbone of the second; 1 = off.")
    freeu_s1: float | None = Field(
        default=None, ge=0.0, le=4.0, description="FreeU: low frequencies of the first stage's skips; 1 = off."
    )
    freeu_s2: float | None = Field(
        default=None, ge=0.0, le=4.0, description="FreeU: low frequencies of the second's; 1 = off."
    )
    adm_positive: float | None = Field(
        default=None,
        ge=0.1,
        le=3.0,
        description="Factor of the size that the prompt is told, early in the walk; 1 = off.",
    )
    adm_negative: float | None = Field(
        default=None, ge=0.1, le=3.0, description="Factor of the size that the negative prompt is told; 1 = off."
    )
    adm_end: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Share of the walk after which both are told the true size."
    )
    clip_skip: int | None = Field(
        default=None, ge=1, le=MAX_CLIP_SKIP, description="Layer of the text encoders that is read; 1 = the last."
    )
    image_format: ImageFormat | None = Field(default=None, description="File format of the saved picture.")
    refiner: Name | None = Field(
        default=None, description="Second model of the same latents, which draws the last steps; none = without."
    )
    refiner_switch: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Share of the steps before the refiner takes over; 1 = never."
    )
    mode: Name | None = Field(
        default=None, description="Speed mode as `GET /v1/menu` lists it: decides steps, sampler and guidance together."
    )
    mode_lora: Name | None = Field(
        default=None,
        description="Filled by the program: the mode's LoRA as name:weight. Then the mode decides no more.",
    )

    @field_validator("prompt", "negative_prompt", "expansion")
    @classmethod
    def _without_nul(cls, text: str | None) -> str | None:
        return None if text is None else without_nul(text)

    @field_validator(
        *("width", "height", "seed", "count", "index", "steps", "clip_skip", "refiner_switch"),
        *OFF,
        mode="before",
    )
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        return no_truth_value(value)

    def over(self, other: Recipe) -> Recipe:
        """This recipe's own fields on top of ``other``'s; a field left ``None`` counts as not set.

        A schedule belongs to its sampler: another sampler without one does not walk along the other's.
        """
        mine = {name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}
        if "sampler" in mine:
            mine.setdefault("scheduler", "auto")
        return other.model_copy(update=mine)

    def weights(self) -> Weights:
        """Its guidance; what is open counts as off."""
        said = {name: getattr(self, name) for name in OFF}
        return Weights(**{name: value for name, value in said.items() if value is not None})

    def set_fields(self) -> dict[str, Any]:
        """The fields that say something, as plain JSON values."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_recipe(data: Any) -> Recipe:
    """A Recipe from untrusted JSON-like data.

    Raises:
        UnknownName: a field that does not exist.
        BadValue: a value outside its range; names the field and the range.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as exc:
        raise _as_our_error(exc) from exc


def _as_our_error(exc: ValidationError) -> BadValue | UnknownName:
    first = exc.errors(include_url=False)[0]
    is_name = first["type"] == "string_unicode" and not first["loc"]  # a field's name with half a character in it
    if not first["loc"] and not is_name:
        return BadValue("The request is not a JSON object.", 'Send one, such as {"prompt": "a red star"}.')
    field = str(first["input"] if is_name else first["loc"][0])[:60].encode("utf-8", "replace").decode()
    if field not in Recipe.model_fields:
        hint = f"Fields are: {', '.join(Recipe.model_fields)}."
        return UnknownName(f"There is no field {shown(field)}.", hint, field=field)
    if first["type"] == "string_too_long":
        got, most = len(str(first["input"])), first.get("ctx", {}).get("max_length", MAX_PROMPT_CHARS)
        return BadValue(f"{field} has {got:,} characters.", f"Use at most {most:,}.", field=field)
    inner = [part for part in first["loc"][1:] if isinstance(part, str)]
    if field == "loras" and inner:
        what = f"{inner[-1][:60]} of a LoRA".encode("utf-8", "replace").decode()
        return BadValue(f"The {what} cannot be {shown(first['input'])}.", f"Allowed is {_LORAS}.", field=field)
    return BadValue(f"{field} cannot be {shown(first['input'])}.", f"Allowed is {describe_range(field)}.", field=field)


def shown(value: object) -> str:
    """A value from outside as it can stand in a sentence: short, quoted, without control characters."""
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return "an object" if isinstance(value, dict) else "this list"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"  # Python refuses to print one of more than 4,300
    text = repr(value[:41] if isinstance(value, str) else value)
    return text if len(text) <= 40 else text[:37] + "…"


def number_range(field: str) -> tuple[float, float]:
    """The smallest and the largest value of a field that is a number with a range."""
    rules = Recipe.model_fields[field].metadata
    low, high = ([getattr(rule, end) for rule in rules if hasattr(rule, end)] for end in ("ge", "le"))
    return low[0], high[0]


def describe_range(field: str) -> str:
    """The allowed values of a field, in words, read from the schema itself."""
    limits = {
        key: getattr(rule, key)
        for rule in Recipe.model_fields[field].metadata
        for key in ("ge", "le", "max_length")
        if getattr(rule, key, None) is not None
    }
    if "ge" in limits and "le" in limits:
        kind = "a whole number" if "int" in str(Recipe.model_fields[field].annotation) else "a number"
        low, high = (f"{limit:g}" if isinstance(limit, float) else limit for limit in (limits["ge"], limits["le"]))
        return f"{kind} from {low} to {high}"
    if field == "image_format":
        return "png, jpeg or webp"
    if field == "wildcard_order":
        return "random or ordered"
    if field == "loras":
        return _LORAS
    if field == "styles":
        return f"a list of at most {limits.get('max_length', 30)} style names"
    return "text"
