"""The recipe inside a picture: how it is written down, and how it is read back from a file nobody vouches for.

What other programs write is read by `fooocus_lite.metadata`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fooocus_lite import __version__
from fooocus_lite.errors import FooocusError
from fooocus_lite.picture_file import read_picture_file
from fooocus_lite.plan import Plan
from fooocus_lite.prompts import MAX_TEXTS
from fooocus_lite.recipe import MAX_EXPANSION_CHARS, MAX_PROMPT_CHARS, Recipe, parse_recipe
from fooocus_lite.untrusted import MAX_TEXT_BYTES, Refused, parse_json, printable

Fact = str | int | float | bool
KEY = "fooocus_lite"
#: What `PictureInfo.app` begins with, in every version.
OUR_NAME = "Fooocus Lite"
VERSION = 1
#: Of all texts together. Every style repeats the prompt, and what is longer no reader would take.
MAX_WORDS_CHARS = 100_000
#: Where our text stands: in a PNG; in EXIF; in EXIF whose comment holds the text that other programs read.
PLACES = (KEY, "UserComment", "MakerNote")
_EXIF_ASCII = b"ASCII\0\0\0"


class PictureInfo(BaseModel):
    """What a picture says about itself.

    Attributes:
        recipe: Resolved: running it again on the same machine gives the same pixels.
        texts: The words as they were encoded, styles applied; none when they are longer than `MAX_WORDS_CHARS`.
        facts: Device, dtype, seconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: int = Field(default=VERSION, ge=1)
    app: str = Field(default=f"{OUR_NAME} {__version__}", max_length=200)
    recipe: Recipe
    texts: tuple[str, ...] = Field(default=(), max_length=MAX_TEXTS)
    negative_texts: tuple[str, ...] = Field(default=(), max_length=MAX_TEXTS)
    model: str = Field(default="", max_length=200)
    family: str = Field(default="", max_length=200)
    facts: dict[str, Fact] = Field(default_factory=dict[str, Fact])


def describe_picture(recipe: Recipe, plan: Plan, facts: Mapping[str, object]) -> PictureInfo:
    """What goes into the picture of ``plan``; no path of this machine."""
    is_short = sum(map(len, (*plan.texts, *plan.negative_texts))) <= MAX_WORDS_CHARS
    return PictureInfo(
        recipe=recipe,
        texts=plan.texts if is_short else (),
        negative_texts=plan.negative_texts if is_short else (),
        model=plan.model.name,
        family=plan.model.family,
        facts={key: value for key, value in facts.items() if isinstance(value, Fact)},
    )


def to_text(info: PictureInfo) -> str:
    """JSON in plain ASCII, so that every format and tool carries it unharmed."""
    return json.dumps(info.model_dump(mode="json", exclude_none=True), ensure_ascii=True)


def exif_comment(text: str) -> bytes:
    """``text`` as an EXIF UserComment."""
    return _EXIF_ASCII + text.encode("ascii")


def utf16_comment(text: str) -> bytes:
    """``text`` of any script as an EXIF UserComment, in the byte order in which other programs write it."""
    return b"UNICODE\0" + text.encode("utf-16-be")


def read_picture(path: Path) -> PictureInfo:
    """What the picture says about itself.

    Raises:
        FooocusError: it cannot be read, or says nothing that this program understands.
    """
    try:
        with path.open("rb") as file:
            picture = read_picture_file(file)
        for text in (picture.texts.get(place) for place in PLACES) if picture else ():
            if text and is_ours(data := _parse_object(text)):
                return parse_info(data)
    except OSError as exc:
        raise unreadable(path.name, f"cannot be read ({exc.strerror or exc})") from exc
    except Refused as exc:
        raise unreadable(path.name, str(exc)) from exc
    raise unreadable(path.name, "holds no recipe")


def read_recipe(path: Path) -> Recipe:
    """The resolved recipe in a picture; errors as for `read_picture`."""
    return read_picture(path).recipe


def is_ours(data: Mapping[str, Any]) -> bool:
    """Whether a JSON object is what `to_text` writes."""
    return "recipe" in data


def parse_info(data: Mapping[str, Any]) -> PictureInfo:
    """The object that `to_text` wrote.

    Raises:
        Refused: it is damaged, or from a newer version.
    """
    if not isinstance(data.get("recipe"), dict):
        raise Refused("holds a damaged recipe")
    if isinstance(data.get("version"), int) and data["version"] > VERSION:
        raise Refused("was made by a newer version of Fooocus Lite; update this program to read it")
    try:
        return PictureInfo.model_validate({**data, "recipe": parse_recipe(data["recipe"])})
    except FooocusError as exc:
        raise Refused(f"holds a recipe that cannot be used: {exc.problem.rstrip('.')}") from exc
    except ValidationError as exc:
        field = ".".join(str(part) for part in exc.errors(include_url=False)[0]["loc"])
        raise Refused(f"holds a damaged recipe ({field[:60]})") from exc
    except RecursionError as exc:
        raise Refused("holds a damaged recipe") from exc


def unreadable(name: str, what: str, hint: str = "") -> FooocusError:
    """``name`` and what is wrong with it, as the error for a person."""
    hint = hint or "Choose a PNG, JPEG or WebP as the program that made it saved it."
    return FooocusError(f"{printable(name)} {what}.", hint, code="unreadable_picture")


def _parse_object(text: str) -> dict[str, Any]:
    data = parse_json(text) if text.lstrip()[:1] == "{" else None
    return data if isinstance(data, dict) else {}


# Two prompts, the words of an expansion and the texts made of them, each character as \\uXXXX\\uXXXX.
assert MAX_TEXT_BYTES > 12 * (2 * MAX_PROMPT_CHARS + MAX_EXPANSION_CHARS + MAX_WORDS_CHARS)
