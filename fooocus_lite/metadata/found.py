"""`Found`: what another program says about a picture, in that program's own names, before any of it is mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fooocus_lite.untrusted import Refused, as_float, as_int

T = TypeVar("T")
MAX_LORAS = 100
MAX_LORA_WEIGHT = 1_000.0


@dataclass
class Found:
    """Settings as another program wrote them; ``None`` where it does not say.

    Attributes:
        words: The prompt with styles applied, where the program keeps both.
        negative_words: Likewise.
        expansion: The prompt with what a language model added to it.
        guidance: Fields of our recipe for guidance, besides the scale → number.
        sampler: The program's name for it, such as ``DPM++ 2M`` or ``k_euler``.
        schedule: Likewise, such as ``Karras``; may also be a part of ``sampler``.
        model: Name or file, with or without folder and ending.
        model_hash: How its SHA-256 begins: what download sites find it by.
        loras: (name or file, weight), apart from those that the prompt names itself.
        left_out: Settings without a counterpart, name → value as text.
        warnings: Sentences for the person.
    """

    prompt: str = ""
    negative_prompt: str | None = None
    words: str = ""
    negative_words: str = ""
    expansion: str = ""
    styles: list[str] | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance: dict[str, float] = field(default_factory=dict[str, float])
    clip_skip: int | None = None
    sampler: str | None = None
    schedule: str | None = None
    model: str | None = None
    model_hash: str = ""
    loras: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    warnings: list[str] = field(default_factory=list[str])

    def add_lora(self, name: str, weight: object) -> None:
        """One more LoRA; ``None`` is what an empty slot is called.

        Raises:
            Refused: the weight is no number that makes sense, or there are more than anybody uses.
        """
        if not name or name == "None":
            return
        number = as_float(weight, "the weight of a LoRA")
        if len(self.loras) >= MAX_LORAS or abs(number) > MAX_LORA_WEIGHT:
            limit = f"{MAX_LORAS} LoRAs, or one with a weight above {MAX_LORA_WEIGHT:,.0f}"
            raise Refused(f"holds settings that cannot be used: more than {limit}")
        self.loras.append((name, number))

    def leave_out(self, name: str, value: object, *, silent: Iterable[object] = ()) -> None:
        """Note a setting that has no counterpart, unless its value is one of ``silent`` or says nothing."""
        if value is None or value == "" or value in silent:
            return
        text = str(value) if isinstance(value, (str, int, float)) else "set"
        if len(self.left_out) < 40:
            self.left_out[name[:40]] = text[:40]


def lenient(found: Found, read: Callable[[object, str], T], value: object, name: str) -> T | None:
    """``value`` read from loose text: one that cannot be read is a warning, not the end."""
    if value is None or value == "":
        return None
    try:
        return read(value, name)
    except Refused as exc:
        found.warnings.append(f"The text {exc}; it is left open.")
        return None


def optional_int(data: Mapping[str, Any], key: str) -> int | None:
    """A whole number that may be missing or null."""
    return None if data.get(key) is None else as_int(data[key], key)


def optional_float(data: Mapping[str, Any], key: str) -> float | None:
    """A number that may be missing or null."""
    return None if data.get(key) is None else as_float(data[key], key)
