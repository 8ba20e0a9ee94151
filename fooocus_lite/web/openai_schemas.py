"""The shapes of OpenAI's images interface, as its clients send and read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fooocus_lite.errors import BadValue, UnknownName, Unsupported
from fooocus_lite.library import CatalogEntry, Library
from fooocus_lite.mode_choice import shortcoming
from fooocus_lite.plan import parse_wish
from fooocus_lite.recipe import Recipe, shown

MAX_PICTURES = 10
MAX_PARTIAL_IMAGES = 3
OWNER = "fooocus-lite"
#: Models of OpenAI's that clients name when nobody chose one: here they mean the start-up model.
THEIR_MODELS = ("dall-e", "gpt-image", "chatgpt-image")
#: What they call quality → the speed modes that it means, the first that the model has.
QUALITIES: dict[str, tuple[str, ...]] = {
    "hd": ("quality",), "high": ("quality",), "xhigh": ("quality",), "max": ("quality",),
    "low": ("extreme_speed", "lightning", "speed"),
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
#: Ours by another name there, or not open to a client.
_NOT_THEIRS = {"count": "n", "width": "size", "height": "size", "image_format": "output_format", "mode_lora": ""}
_OWN = frozenset(Recipe.model_fields) - _NOT_THEIRS.keys() - {"prompt", "model"}


class ImageRequest(BaseModel):
    """A picture in OpenAI's words. Every field of a Recipe that has no word there may stand beside them."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": True})

    prompt: str = Field(description="What the picture shows.", examples=["a red star on a blue background"])
    model: str | None = Field(
        default=None, description="As `GET /v1/models` lists it; OpenAI's own names mean the start-up model."
    )
    n: int | None = Field(default=None, ge=1, le=MAX_PICTURES, description="Pictures; none = 1.")
    size: str | None = Field(default=None, description="`WIDTHxHEIGHT`; `auto`, or none = the model's own.")
    quality: str | None = Field(
        default=None, description="`high` or `hd` = the mode Quality; `low` = the fastest; others = the usual one."
    )
    response_format: Literal["b64_json", "url"] | None = Field(default=None, description="None = both.")
    output_format: Literal["png", "jpeg", "webp"] | None = Field(default=None, description="None = png.")
    stream: bool | None = Field(default=None, description="Server-Sent Events instead of one answer.")
    partial_images: int | None = Field(
        default=None, ge=0, le=MAX_PARTIAL_IMAGES, description="Previews of each picture in the stream, at most."
    )
    background: str | None = Field(default=None, description="Only `opaque` or `auto`.")
    output_compression: int | None = Field(default=None, ge=0, le=100, description="Only 100.")
    style: str | None = Field(default=None, description="Nothing here; see `styles` of a Recipe.")
    moderation: str | None = Field(default=None, description="Nothing here.")
    user: str | None = Field(default=None, description="Nothing here.")
    safety_identifier: str | None = Field(default=None, description="Nothing here.")


class ImageOut(BaseModel):
    """A picture; whichever of the two was asked for, or both."""

    b64_json: str | None = Field(default=None, description="The file, with its recipe inside, as base64.")
    url: str | None = Field(default=None, description="Where the file lies on this server.")
    revised_prompt: str | None = Field(default=None, description="What was drawn, styles and word lists applied.")


class TokenDetails(BaseModel):
    """Nothing is counted here."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """Nothing is counted here: clients want the fields."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()


class ImagesOut(BaseModel):
    """The pictures of one request; those that were cancelled meanwhile are missing."""

    created: int = Field(description="Unix time.")
    data: list[ImageOut]
    background: str = "opaque"
    output_format: str
    quality: str
    size: str = Field(examples=["1024x1024"])
    usage: Usage = Usage()


class OpenAIModel(BaseModel):
    """A model whose weights are here, or that is fetched when a picture needs it."""

    id: str = Field(description="What `model` takes.")
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time of its files; 0 while they are not here.")
    owned_by: str = OWNER


def to_recipe(asked: ImageRequest, library: Library) -> Recipe:
    """The Recipe that a request means.

    Raises:
        Unsupported: it wants what cannot be done here.
        FooocusError: a value that is not allowed; as `parse_wish`.
    """
    if asked.background not in (None, "auto", "opaque"):
        hint = "Leave background out, or set it to opaque."
        raise Unsupported(
            f"Pictures with the background {shown(asked.background)} cannot be drawn.", hint, field="background"
        )
    if asked.output_compression not in (None, 100):
        hint = "Leave output_compression out, or set it to 100."
        raise Unsupported("How much a picture is compressed cannot be chosen.", hint, field="output_compression")
    extra = {name: value for name, value in (asked.model_extra or {}).items() if value is not None}
    for name in extra:
        if name not in _OWN:
            instead = _NOT_THEIRS.get(name)
            hint = f"Use {instead}." if instead else "Besides OpenAI's, the fields of a Recipe are known; see /docs."
            raise UnknownName(f"There is no field {shown(name)}.", hint, field=name[:60])
    values: dict[str, Any] = extra | {"prompt": asked.prompt, "count": asked.n or 1, "model": _model(asked.model)}
    values |= parse_size(asked.size) | {"image_format": asked.output_format}
    wish = parse_wish({name: value for name, value in values.items() if value is not None}, library)
    return wish if wish.mode is not None else wish.model_copy(update=_mode(asked.quality, wish, library))


def _model(name: str | None) -> str | None:
    return None if not name or name.casefold().startswith(THEIR_MODELS) else name


def parse_size(size: str | None) -> dict[str, int]:
    """The fields of a Recipe that a size such as 1024x768 means; none for ``auto``.

    Raises:
        BadValue: it is none.
    """
    if size in (None, "", "auto"):
        return {}
    match = _SIZE.fullmatch(size)
    if match is None:
        raise BadValue(f"size cannot be {shown(size)}.", "Write it as 1024x1024, or auto.", field="size")
    return {"width": int(match.group(1)), "height": int(match.group(2))}


def _mode(quality: str | None, wish: Recipe, library: Library) -> dict[str, str]:
    """The mode that a word for quality means; nothing where it says nothing, or the model has none of them."""
    wanted = QUALITIES.get((quality or "").casefold(), ())
    if not wanted:
        return {}
    entry = library.find_model(library.filled(wish).model or "")
    can = [name for name in wanted if name in entry.modes and not shortcoming(entry.modes[name], entry, library)[0]]
    return {"mode": can[0]} if can else {}


def openai_model(entry: CatalogEntry) -> OpenAIModel:
    """A model as OpenAI's clients see it."""
    try:
        created = int(Path(entry.path).stat().st_mtime)
    except OSError:
        created = 0
    return OpenAIModel(id=entry.name, created=created)


def openai_models(library: Library) -> list[OpenAIModel]:
    """What ``data`` of ``GET /v1/models`` lists: models that are here. Others may be named, and are fetched then."""
    return [openai_model(entry) for entry in library.models.values() if entry.available]
