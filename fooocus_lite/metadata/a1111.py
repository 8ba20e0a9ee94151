"""The text that A1111, Forge, SD.Next and Civitai write, and Fooocus and this program on request.

Prompt, ``Negative prompt:`` and one line of ``Name: value`` pairs; a value with a comma, colon or line
end in it is quoted as JSON, and some programs put JSON objects and lists there bare.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fooocus_lite.fooocus_names import PERFORMANCES
from fooocus_lite.metadata.found import Found, lenient
from fooocus_lite.metadata.guidance import FIELDS as GUIDANCE_FIELDS
from fooocus_lite.metadata.guidance import read_guidance
from fooocus_lite.untrusted import Refused, as_float, as_int, as_names, as_pair, parse_json

NEGATIVE = "Negative prompt:"
MAX_PAIRS = 500
MAX_CHARS = 300_000
_NAME = re.compile(r"\s*([\w][\w \-/().]{0,80}?)\s*:\s*")
_STEPS = re.compile(r"\s*Steps: *\d", re.IGNORECASE)
#: Names (lower case) that become fields of the recipe, or say nothing that would change a picture.
HANDLED = frozenset((
    "steps", "clip skip", "sampler", "schedule type", "scheduler", "cfg scale", "seed", "size", "model", "styles",
    "raw prompt", "raw negative prompt", "lora hashes", "lora weights", "hashes", "ti hashes",
    "model hash", "refiner hash", "vae hash", "version", "user", "performance", "created date", "rng",
    "refiner", "refiner switch at", "refiner switch",
    "parser", "operations", "app", "backend", "pipeline", "civitai resources", "civitai metadata", *GUIDANCE_FIELDS,
))  # fmt: skip
#: Settings without a counterpart → the values that change nothing, as text.
SILENT = {"vae": ("Default (model)", "Automatic", "None")}
# Digits in one way only: "\d*\.?\d+" would try every split of a long number.
_SCHEDULING = re.compile(r"\[[^\[\]:]*:[^\[\]:]*:\s*(?:\d+(?:\.\d+)?|\.\d+)\s*\]")


def claims(text: str) -> bool:
    """Whether the text is of this kind: it has a line of settings, or a negative prompt."""
    if len(text) > MAX_CHARS:
        return False
    _, settings = _split_off_settings(text)
    return bool(settings) or f"\n{NEGATIVE}" in f"\n{text}"


def read(text: str) -> Found:
    """The settings in the text; a value that cannot be read is a warning.

    Raises:
        Refused: there is more than any program writes.
    """
    if len(text) > MAX_CHARS:
        raise Refused("holds more text than any settings need")
    words, line = _split_off_settings(text)
    settings = parse_pairs(line)
    positive, _, negative = f"\n{words}".partition(f"\n{NEGATIVE}")
    found = Found(prompt=positive.strip(), negative_prompt=negative.strip())
    raw = settings.get("raw prompt")
    if raw is not None:
        found.words, found.negative_words = found.prompt, found.negative_prompt or ""
        found.prompt, found.negative_prompt = raw, settings.get("raw negative prompt", "")
    _read_numbers(found, settings)
    _read_names(found, settings)
    found.warnings += prompt_warnings(found.prompt)
    for name, value in settings.items():
        if name not in HANDLED:
            found.leave_out(name, value, silent=SILENT.get(name, ()))
    return found


def prompt_warnings(prompt: str) -> list[str]:
    """A sentence if the prompt says what only A1111 understands."""
    if re.search(r"\bAND\b", prompt) or _SCHEDULING.search(prompt):
        return ["AND and [a:b:0.5] in the prompt mean nothing here and are read as words."]
    return []


def _read_numbers(found: Found, settings: Mapping[str, str]) -> None:
    found.steps = lenient(found, as_int, settings.get("steps"), "Steps")
    found.seed = lenient(found, as_int, settings.get("seed"), "Seed")
    found.guidance_scale = lenient(found, as_float, settings.get("cfg scale"), "CFG scale")
    read_guidance(found, settings)
    clip_skip = lenient(found, as_int, settings.get("clip skip"), "Clip skip")
    # 1 is what they write when nobody chose; for SDXL they read the last layer but one all the same.
    found.clip_skip = None if clip_skip == 1 else clip_skip
    size = lenient(found, as_pair, settings.get("size"), "Size")
    if size is not None:
        found.width, found.height = size


def _read_names(found: Found, settings: Mapping[str, str]) -> None:
    found.sampler = settings.get("sampler") or None
    found.schedule = settings.get("schedule type") or settings.get("scheduler") or None
    found.mode = PERFORMANCES.get(settings.get("performance", ""))  # what Fooocus's second scheme adds
    found.model = settings.get("model") or None
    if settings.get("refiner") not in (None, "", "None"):
        found.refiner = re.sub(r" \[[0-9a-f]{8,64}\]$", "", settings["refiner"])  # A1111 adds the hash
        switch = settings.get("refiner switch at") or settings.get("refiner switch")
        found.refiner_switch = lenient(found, as_float, switch, "Refiner switch at")
    found.model_hash = settings.get("model hash", "")
    if "styles" in settings:
        found.styles = lenient(found, as_names, settings["styles"], "Styles")
    for part in settings.get("lora weights", "").split(","):
        name, _, weight = part.rpartition(":")
        if name and lenient(found, as_float, weight, "Lora weights") is not None:
            found.add_lora(name.strip(), weight)
    _read_civitai(found, settings.get("civitai resources", ""))


def _read_civitai(found: Found, text: str) -> None:
    """Civitai's own generator names its models in a list of objects instead of by file."""
    if not text.startswith("["):
        return
    try:
        rows = parse_json(text)
    except Refused:
        return
    for row in rows if isinstance(rows, list) else ():
        name = row.get("modelName") if isinstance(row, dict) else None
        if not isinstance(name, str):
            continue
        if row.get("type") == "checkpoint":
            found.model = found.model or name
        elif row.get("type") in ("lora", "lycoris", "dora"):
            found.add_lora(name, row.get("weight", 1.0))


def _split_off_settings(text: str) -> tuple[str, str]:
    """(prompts, the line of settings): the last line that begins with ``Steps:``, or a last line that is all pairs.

    What stands behind that line (wildcard templates of extensions) belongs to neither.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    for index in range(len(lines) - 1, -1, -1):
        if _STEPS.match(lines[index]):
            return "\n".join(lines[:index]), lines[index]
    last = len(lines) - 1
    if lines[last].count(": ") >= 3 and not lines[last].startswith(NEGATIVE) and len(parse_pairs(lines[last])) >= 3:
        return "\n".join(lines[:last]), lines[last]
    return "\n".join(lines), ""


def parse_pairs(line: str) -> dict[str, str]:
    """``Name: value, …`` as a dict with names in lower case; the first of a name wins. Linear in the line's length.

    Raises:
        Refused: there are more pairs than any program writes.
    """
    pairs: dict[str, str] = {}
    place = 0
    for _ in range(MAX_PAIRS):
        if place >= len(line):
            return pairs
        match = _NAME.match(line, place, place + 200)
        if match is None:
            end = line.find(",", place)
            place = len(line) if end < 0 else end + 1
            continue
        value, place = _value(line, match.end())
        pairs.setdefault(match.group(1).casefold(), value)
    raise Refused(f"holds more than {MAX_PAIRS} settings")


def _value(line: str, start: int) -> tuple[str, int]:
    """The value that begins at ``start``, unquoted, and where the next name may begin."""
    if line[start : start + 1] in ('"', "[", "{"):
        try:
            value, end = _DECODER.raw_decode(line, start)
        except (ValueError, RecursionError):
            pass
        else:
            rest = line[end : end + 2].lstrip()
            if not rest or rest[0] == ",":
                after = line.find(",", end)
                text = value if isinstance(value, str) else line[start:end]
                return text, len(line) if after < 0 else after + 1
    end = line.find(",", start)
    end = len(line) if end < 0 else end
    return line[start:end].strip(), end + 1


def _text_of_number(digits: str) -> str:
    return digits


# Numbers stay text here: whoever needs one reads it with care.
_DECODER = json.JSONDecoder(parse_int=_text_of_number, parse_float=_text_of_number, parse_constant=_text_of_number)


def write_pairs(pairs: Mapping[str, Any]) -> str:
    """The line of settings: the counterpart of `parse_pairs`."""
    return ", ".join(f"{name}: {_quoted(str(value))}" for name, value in pairs.items())


def _quoted(value: str) -> str:
    """As JSON where it would be misread bare."""
    is_plain = value and value == value.strip() and not any(sign in value for sign in ',:\n\r"[{')
    return value if is_plain else json.dumps(value)
