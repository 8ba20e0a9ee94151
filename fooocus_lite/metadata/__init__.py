"""Settings out of pictures and texts that other programs made: Fooocus, A1111 and Forge, ComfyUI, InvokeAI.

One reader per scheme, in `READERS`; each takes a parsed object (or a text) apart into a `Found`, and
`fooocus_lite.metadata.mapping` makes a Recipe of it. Nothing is evaluated and no pixel is decoded.
"""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fooocus_lite.errors import FooocusError
from fooocus_lite.library import Library
from fooocus_lite.metadata import a1111, comfyui, fooocus, invokeai
from fooocus_lite.metadata.found import Found
from fooocus_lite.metadata.mapping import Mapped, check_names, to_recipe
from fooocus_lite.picture_file import PictureFile, read_picture_file
from fooocus_lite.picture_text import is_ours, parse_info, unreadable
from fooocus_lite.recipe import Recipe, shown
from fooocus_lite.untrusted import MAX_TEXT_BYTES, Refused, parse_json, printable

OURS, A1111 = "fooocus_lite", "a1111"
MAX_RAW_CHARS = 20_000
#: Names of unknown settings that one sentence holds.
MAX_UNKNOWN = 10
_WHOLE_TEXT = "Give it whole, from the prompt to the line that begins with Steps; or a JSON object."
#: The longest file that comes from elsewhere: 4096 × 4096 pixels that nothing could compress.
MAX_FILE_BYTES = 64_000_000


@dataclass(frozen=True)
class ReadPicture:
    """What a picture or text says.

    Attributes:
        scheme: Who wrote it so: ``fooocus_lite``, ``fooocus``, ``a1111``, ``comfyui`` or ``invokeai``.
        recipe: What of it means something here; a model that is not here stays as it is written.
        warnings: Sentences: what is not here, and what has no counterpart.
        raw: The text as it was found, at most `MAX_RAW_CHARS` of it; nobody vouches for what it says.
    """

    scheme: str
    recipe: Recipe
    warnings: tuple[str, ...] = ()
    raw: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; fields of the recipe that say nothing are left out."""
        return {
            "scheme": self.scheme,
            "recipe": self.recipe.set_fields(),
            "warnings": list(self.warnings),
            "raw": self.raw,
        }


@dataclass(frozen=True)
class Reader:
    """A scheme of JSON objects: how it is known, and how it is read."""

    scheme: str
    claims: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], Found]


#: Asked in this order.
READERS = (
    Reader("comfyui", comfyui.claims, comfyui.read),
    Reader("invokeai", invokeai.claims, invokeai.read),
    Reader("fooocus", fooocus.claims, fooocus.read),
)
#: Where a picture keeps texts, the most telling one first. A text behind several is asked once for each.
PLACES = (
    "fooocus_lite",
    "MakerNote",
    "parameters",
    "UserComment",
    "invokeai_metadata",
    "sd-metadata",
    "prompt",
    "Model",
    "Make",
    "ImageDescription",
    "workflow",
)


def read_file(path: Path, library: Library | None = None) -> ReadPicture:
    """The settings in a picture, or in a text file with pasted settings.

    Raises:
        FooocusError: it cannot be read, or says nothing that is understood.
    """
    try:
        with path.open("rb") as file:
            return read_stream(file, library, name=path.name)
    except OSError as exc:
        raise unreadable(path.name, f"cannot be read ({exc.strerror or exc})") from exc


def read_stream(file: BinaryIO, library: Library | None = None, *, name: str = "The file") -> ReadPicture:
    """As `read_file`, from an open file that can seek.

    Args:
        name: What the errors call it.
    """
    try:
        picture = read_picture_file(file)
        if picture is not None:
            return _read_picture(picture, library)
        file.seek(0)
        text = _text_of(file)
    except Refused as exc:
        raise unreadable(name, str(exc)) from exc
    except FooocusError as exc:  # a text too long for a recipe
        raise unreadable(name, f"holds settings that cannot be used: {exc.problem.rstrip('.')}") from exc
    return read_text(text, library, name=name)


def read_text(text: str, library: Library | None = None, *, name: str = "The text") -> ReadPicture:
    """The settings in a pasted text: A1111's, or a JSON object of any scheme.

    Raises:
        FooocusError: it says nothing that is understood.
    """
    try:
        return _read_text(text, library, (0, 0))
    except Refused as exc:
        raise unreadable(name, str(exc), _WHOLE_TEXT) from exc
    except FooocusError as exc:
        problem = f"holds settings that cannot be used: {exc.problem.rstrip('.')}"
        raise unreadable(name, problem, _WHOLE_TEXT) from exc


def _text_of(file: BinaryIO) -> str:
    data = file.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise Refused("is neither a PNG, JPEG or WebP nor a text with settings")
    try:
        return data.decode("utf-16" if data[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Refused("is neither a PNG, JPEG or WebP nor a text with settings") from exc


def _read_picture(picture: PictureFile, library: Library | None) -> ReadPicture:
    """The first of the picture's texts that is understood; else what is wrong with the first that should be."""
    problem: Refused | None = None
    for text in _candidates(picture):
        try:
            return _read_text(text, library, (picture.width, picture.height))
        except Refused as exc:
            problem = problem or exc
    raise problem or Refused("holds no settings")


def _candidates(picture: PictureFile) -> Iterator[str]:
    for place in PLACES:
        text = picture.texts.get(place, "").strip()
        # Fooocus's MakerNote is the bare name of its scheme, a camera's is anything: ours is an object.
        if text and (place != "MakerNote" or text.startswith("{")):
            yield comfyui.strip_label(text) if place in ("Model", "Make", "ImageDescription") else text


def _read_text(text: str, library: Library | None, size: tuple[int, int]) -> ReadPicture:
    raw = text[:MAX_RAW_CHARS]
    if text.lstrip().startswith("{"):
        data = parse_json(text, constants="null" if '"class_type"' in text else "refuse")
        return _read_object(data, library, size, raw)
    if not a1111.claims(text):
        raise Refused("holds no settings that are known here")
    return _as_result(A1111, to_recipe(a1111.read(text), library, size), raw)


def _read_object(data: Mapping[str, Any], library: Library | None, size: tuple[int, int], raw: str) -> ReadPicture:
    if is_ours(data) or _is_recipe(data):
        unknown = () if is_ours(data) else data.keys() - Recipe.model_fields.keys()
        own = data if is_ours(data) else {"recipe": {key: data[key] for key in data if key not in unknown}}
        recipe, warnings = check_names(parse_info(own).recipe, library)
        if unknown:
            names = ", ".join(shown(key) for key in sorted(unknown)[:MAX_UNKNOWN])
            warnings.append(f"There is no setting here called {printable(names)}; it is left out.")
        return ReadPicture(OURS, recipe, tuple(warnings), raw)
    for reader in READERS:
        if reader.claims(data):
            return _as_result(reader.scheme, to_recipe(reader.read(data), library, size), raw)
    raise Refused("holds no settings that are known here")


def _is_recipe(data: Mapping[str, Any]) -> bool:
    """Whether the object is a bare recipe, perhaps with something else among its fields, and no other program's."""
    known = data.keys() & Recipe.model_fields.keys()
    if not known or isinstance(data.get("styles"), str):
        return False
    is_foreign = any(reader.claims(data) for reader in READERS if reader.scheme != "fooocus") or fooocus.is_sure(data)
    return len(known) == len(data) or (2 * len(known) >= len(data) and not is_foreign)


def _as_result(scheme: str, mapped: Mapped, raw: str) -> ReadPicture:
    return ReadPicture(scheme, mapped.recipe, mapped.warnings, raw)
