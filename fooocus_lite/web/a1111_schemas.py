"""The shapes of A1111's interface, as its clients send and read them, and what they mean here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fooocus_lite.errors import BadValue, Unsupported
from fooocus_lite.library import Library
from fooocus_lite.metadata.a1111 import prompt_warnings
from fooocus_lite.metadata.found import Found
from fooocus_lite.metadata.mapping import to_recipe
from fooocus_lite.recipe import MAX_COUNT, Recipe, shown

_FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
#: Settings that a request may override and that mean something here; the others are said aloud.
_OVERRIDES = frozenset({"sd_model_checkpoint", "CLIP_stop_at_last_layers", "samples_format"})
#: Settings without a counterpart → the values that change nothing.
_SILENT: dict[str, tuple[Any, ...]] = {"sd_vae": (None, "", "Automatic", "None")}
#: What an extension that is switched off sends.
_OFF: tuple[Any, ...] = ([], [False], None)


class Txt2Img(BaseModel):
    """A request for pictures in A1111's words. What is left out the app decides; other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    prompt: str = Field(default="", description="What the picture shows.", examples=["a red star"])
    negative_prompt: str | None = Field(default=None, description="What it must not show.")
    styles: list[str] | None = Field(default=None, description="As `prompt-styles` lists them.")
    seed: int | None = Field(default=None, description="−1, or none = random.")
    steps: int | None = Field(default=None, description="Denoising steps.")
    cfg_scale: float | None = Field(default=None, description="Guidance.")
    width: int | None = Field(default=None, ge=1, description="Pixels.")
    height: int | None = Field(default=None, ge=1, description="Pixels.")
    sampler_name: str | None = Field(default=None, description="As `samplers` lists them, with or without schedule.")
    sampler_index: str | None = Field(default=None, description="The same, as old clients call it.")
    scheduler: str | None = Field(default=None, description="As `schedulers` lists them.")
    batch_size: int | None = Field(default=None, ge=1, description="Pictures of a batch …")
    n_iter: int | None = Field(default=None, ge=1, description="… and how many batches.")
    clip_skip: int | None = Field(default=None, description="Layer of the text encoders, counted from the end.")
    override_settings: dict[str, Any] | None = Field(
        default=None, description=f"For this request: {', '.join(sorted(_OVERRIDES))}."
    )
    refiner_checkpoint: str | None = Field(default=None, description="Second model, which draws the last steps.")
    refiner_switch_at: float | None = Field(default=None, description="Share of the steps before it does.")
    send_images: bool | None = Field(default=None, description="False leaves `images` empty.")
    save_images: bool | None = Field(default=None, description="Every picture is kept in the gallery either way.")
    enable_hr: bool | None = Field(default=None, description="Only false.")
    script_name: str | None = Field(default=None, description="Only none.")
    alwayson_scripts: dict[str, Any] | None = Field(default=None, description="Only those that are switched off.")
    restore_faces: bool | None = Field(default=None, description="Not here: ignored, and `notes` says so.")
    tiling: bool | None = Field(default=None, description="Likewise.")
    subseed_strength: float | None = Field(default=None, description="Likewise.")
    infotext: str | None = Field(default=None, description="Likewise.")


class ImagesOut(BaseModel):
    """The pictures of a request."""

    images: list[str] = Field(description="Files with their recipe inside, as base64.")
    parameters: dict[str, Any] = Field(description="The request.")
    info: str = Field(description="What was drawn, as JSON; `notes` in it says what was ignored or replaced.")


@dataclass(frozen=True)
class Wish:
    """What a request means here, and what a person should know about that."""

    recipe: Recipe
    notes: tuple[str, ...]


def wish_of(asked: Txt2Img, library: Library, model: str | None) -> Wish:
    """The Recipe that a request means.

    Args:
        model: What the client chose with ``options``.

    Raises:
        Unsupported: it wants what cannot be done here.
        BadValue: a value that is not allowed.
    """
    _refuse_what_is_not_here(asked)
    settings = asked.override_settings or {}
    found = Found(
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        styles=asked.styles or [],
        width=asked.width,
        height=asked.height,
        seed=asked.seed if asked.seed is not None and asked.seed >= 0 else None,
        steps=asked.steps,
        guidance_scale=asked.cfg_scale,
        clip_skip=_clip_skip(asked.clip_skip or settings.get("CLIP_stop_at_last_layers")),
        sampler=asked.sampler_name or asked.sampler_index,
        schedule=asked.scheduler,
        model=_bare_title(settings.get("sd_model_checkpoint")) or model,
        refiner=_bare_title(asked.refiner_checkpoint),
        refiner_switch=asked.refiner_switch_at,
        warnings=prompt_warnings(asked.prompt),
    )
    for name in ("restore_faces", "tiling", "subseed_strength", "infotext"):
        found.leave_out(name, getattr(asked, name), silent=(False, 0.0))
    for name, value in settings.items():
        if name not in _OVERRIDES:
            found.leave_out(name, value, silent=_SILENT.get(name, ()))
    mapped = to_recipe(found, library, (0, 0))
    return Wish(mapped.recipe.model_copy(update=_rest(asked, settings, mapped.recipe)), mapped.warnings)


def _refuse_what_is_not_here(asked: Txt2Img) -> None:
    if asked.enable_hr:
        raise Unsupported(
            "Hires. fix is not here.", "Set enable_hr to false, or draw a larger picture.", field="enable_hr"
        )
    scripts = [asked.script_name] if asked.script_name else []
    for name, said in (asked.alwayson_scripts or {}).items():
        if (said.get("args") if isinstance(said, dict) else said) not in _OFF:
            scripts.append(name)
    if scripts:
        hint = "There are no extensions of A1111 here: switch it off."
        raise BadValue(f"The script {shown(scripts[0])} was not found.", hint, field="alwayson_scripts")


def _rest(asked: Txt2Img, settings: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """What pictures of A1111 do not say."""
    count = (asked.batch_size or 1) * (asked.n_iter or 1)
    if count > MAX_COUNT:
        raise BadValue(f"That would be {count:,} pictures.", f"Ask for at most {MAX_COUNT} at once.", field="n_iter")
    rest: dict[str, Any] = {"count": count}
    if asked.styles is None:
        rest["styles"] = None  # the preset's, as on the page
    if asked.scheduler and recipe.scheduler is None and asked.scheduler.casefold() not in ("automatic", "auto"):
        rest["scheduler"] = asked.scheduler  # of whatever sampler the preset has
    file_format = settings.get("samples_format")
    if file_format is not None:
        if str(file_format).casefold() not in _FORMATS:
            hint = "Allowed is png, jpg or webp."
            raise BadValue(f"samples_format cannot be {shown(file_format)}.", hint, field="samples_format")
        rest["image_format"] = _FORMATS[str(file_format).casefold()]
    return rest


def _clip_skip(value: Any) -> int | None:
    """1 is what they send when nobody chose; for SDXL they read the last layer but one all the same."""
    return value if isinstance(value, int) and value > 1 else None


def _bare_title(title: Any) -> str | None:
    """``name.safetensors [0123abcd]`` as a name; nothing where none is said."""
    if not isinstance(title, str) or title in ("", "None"):
        return None
    return title.rpartition(" [")[0] if title.endswith("]") and " [" in title else title


def find_title(title: str, library: Library) -> str:
    """The name of the model that a title means.

    Raises:
        UnknownName: there is none.
    """
    bare = _bare_title(title) or title
    return library.find_model(bare.removesuffix(".safetensors") if bare not in library.models else bare).name
