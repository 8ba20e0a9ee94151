"""Values that nobody vouches for, taken apart safely: JSON of bounded depth and size, numbers, short lists.

Nothing here evaluates anything. What is not understood raises `Refused`, whose words finish a sentence
that begins with the name of the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from fooocus_lite.recipe import shown

MAX_TEXT_BYTES = 4_000_000
#: A list of nothing costs 60 bytes of memory for 3 of text, so parts are counted before they are made.
MAX_JSON_PARTS = 500_000
_MAX_DIGITS = 25
_NUMBER = re.compile(r"[+-]?(\d{1,25}(\.\d{0,25})?|\.\d{1,25})([eE][+-]?\d{1,3})?")
_WHOLE = re.compile(r"[+-]?\d{1,25}(\.0{0,25})?")


class Refused(ValueError):
    """What the text is or holds, as the end of a sentence: "holds a damaged recipe"."""


def parse_json(
    text: str,
    *,
    constants: Literal["refuse", "null"] = "refuse",
    most_chars: int = MAX_TEXT_BYTES,
    most_parts: int = MAX_JSON_PARTS,
) -> Any:
    """The JSON value that ``text`` begins with; what follows it (EXIF padding) is left alone.

    Args:
        constants: ``NaN`` and ``Infinity`` are no JSON; some programs write them for "nothing".
        most_parts: Brackets and commas, those within its texts among them.

    Raises:
        Refused: it is damaged, too large or too deep.
    """
    if len(text) > most_chars or sum(map(text.count, "[{,")) > most_parts:
        raise Refused("holds more text than any settings need")
    decoder = _TOLERANT if constants == "null" else _STRICT
    try:
        return decoder.raw_decode(text.lstrip())[0]
    except RecursionError as exc:
        raise Refused("holds settings that are nested too deeply") from exc
    except ValueError as exc:
        raise Refused("holds damaged settings") from exc


def _small_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _nothing(name: str) -> None:
    return None


_STRICT = json.JSONDecoder(parse_int=_small_int, parse_constant=_no_constant)
_TOLERANT = json.JSONDecoder(parse_int=_small_int, parse_constant=_nothing)


def printable(text: str) -> str:
    """``text`` without signs that would move a terminal's cursor or turn the text around."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def as_text(value: object, name: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise _wrong(name, value, "text")
    return value


def as_int(value: object, name: str) -> int:
    """A whole number, also one that is written as text or as 30.0."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _wrong(name, value, "a whole number")


def as_float(value: object, name: str) -> float:
    """A finite number, also one that is written as text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise _wrong(name, value, "a number")


def as_floats(value: object, name: str, count: int) -> tuple[float, ...]:
    """So many numbers: one, a list, or ``(1.5, 0.8, 0.3)`` as text."""
    parts: object = value.strip().strip("()[]").split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        parts = [parts]
    if len(parts) != count:
        raise _wrong(name, value, "a number" if count == 1 else f"{count} numbers")
    return tuple(as_float(part, name) for part in parts)


def as_pair(value: object, name: str) -> tuple[int, int]:
    """Two whole numbers: a list, ``(1152, 896)``, ``('1152', '896')``, ``1152x896`` or a label that begins so."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return as_int(value[0], name), as_int(value[1], name)
    match = _PAIR.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise _wrong(name, value, "a width and a height")
    return int(match.group(1)), int(match.group(2))


_PAIR = re.compile(r"[\[(]?\s*['\"]?(\d{1,9})['\"]?\s*[,xX×*]\s*['\"]?(\d{1,9})(?!\d)")


def as_names(value: object, name: str) -> list[str]:
    """A list of texts: a real one, or one written as JSON or Python writes it: ``['a', "b"]``."""
    if isinstance(value, list):
        return [as_text(item, name) for item in value]
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] + text[-1:] not in ("[]", "()"):
        raise _wrong(name, value, "a list of names")
    if text.startswith('["'):  # JSON's escapes are more than Python's two
        return as_names(parse_json(text), name)
    return _quoted_names(text[1:-1], name)


_QUOTED = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(,|$)""", re.DOTALL)
_ESCAPE = re.compile(r"\\(['\"\\])")


def _quoted_names(text: str, name: str) -> list[str]:
    names, place = list[str](), 0
    while text[place:].strip():
        match = _QUOTED.match(text, place)
        if match is None:
            raise _wrong(name, text, "a list of names")
        names.append(_ESCAPE.sub(r"\1", match.group(1) if match.group(2) is None else match.group(2)))
        place = match.end()
    return names


def as_object(value: object, name: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise _wrong(name, value, "an object")
    return value


def _wrong(name: str, value: object, what: str) -> Refused:
    return Refused(f"holds settings that cannot be used: {name} is {shown(value)}, not {what}")
