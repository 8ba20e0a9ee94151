"""The fields of a recipe as options of `generate` and `sheet`. Light: every command's help comes through here."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from fooocus_lite.errors import BadValue
from fooocus_lite.guidances import KNOBS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fooocus_lite.library import Library
    from fooocus_lite.recipe import Recipe

#: Option of `generate` → field of Recipe.
RECIPE_OPTIONS = {
    "preset": ("NAME", "preset that fills what you leave out"),
    "negative": ("TEXT", "what the picture must not show"),
    "expansion": ("TEXT", "words that the style Expand prompt adds, instead of those that the seed chooses"),
    "model": ("NAME", "model"),
    "seed": ("N", "seed of the first picture; random when left out"),
    "count": ("N", "how many pictures"),
    "index": ("N", "place of the first picture in its batch; lists in [[ ]] go by it"),
    "wildcard_order": ("random|ordered", "which words of a list: any by the seed, or in order"),
    "size": ("WxH", "width and height in pixels, such as 128x192"),
    "mode": ("NAME", "speed mode, such as quality or lightning: steps, sampler and guidance together"),
    "steps": ("N", "denoising steps"),
    "refiner": ("NAME", "second model, which draws the last steps; none = without"),
    "refiner_switch": ("X", "share of the steps before the refiner takes over; 1 = never"),
    "sampler": ("NAME", "sampler, such as dpmpp_2m_sde"),
    "scheduler": ("NAME", "where its steps are, such as karras; auto = the sampler's usual one"),
    "guidance_scale": ("X", "how strictly the words are followed; 1 = off"),
    **{name: ("X", f"{knob.label}: {knob.info}") for name, knob in KNOBS.items()},
    "clip_skip": ("N", "layer of the text encoders that is read; 1 = the last"),
    "format": ("png|jpeg|webp", "file format"),
}
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
FIELD_OF = {"negative": "negative_prompt", "format": "image_format"}


def add_recipe(command: argparse.ArgumentParser, left_out: Sequence[str] = ()) -> None:
    """Let ``command`` take a prompt and the fields of a recipe, without those ``left_out``."""
    command.add_argument("prompt", metavar="PROMPT", help="what the picture shows")
    for name, (metavar, text) in RECIPE_OPTIONS.items():
        if name not in left_out:
            command.add_argument(f"--{name.replace('_', '-')}", dest=f"recipe_{name}", metavar=metavar, help=text)
    command.add_argument(
        "--lora", dest="loras", metavar="NAME[:WEIGHT]", action="append", help="a LoRA, weight 1 if none (repeatable)"
    )
    command.add_argument("--style", dest="styles", metavar="NAME", action="append", help="a style (repeatable)")


def recipe_of(options: argparse.Namespace, library: Library) -> Recipe:
    """What was asked for.

    Raises:
        BadValue, UnknownName: a field that cannot be so.
    """
    from fooocus_lite.plan import parse_wish

    given = {name: getattr(options, f"recipe_{name}", None) for name in RECIPE_OPTIONS}
    values: dict[str, Any] = {"prompt": options.prompt, "styles": options.styles}
    values |= {"loras": None if options.loras is None else [_lora(text) for text in options.loras]}
    values |= {FIELD_OF.get(name, name): value for name, value in given.items() if name != "size"}
    if given["size"] is not None:
        match = re.fullmatch(r"\s*(\d{1,9})\s*[xX×*]\s*(\d{1,9})\s*", given["size"])
        if match is None:
            raise BadValue(f"size cannot be '{given['size'][:40]}'.", "Write it as 128x192.", field="size")
        values |= {"width": match.group(1), "height": match.group(2)}
    values["image_format"] = {"jpg": "jpeg"}.get(values["image_format"], values["image_format"])
    return parse_wish({name: value for name, value in values.items() if value is not None}, library)


def _lora(text: str) -> dict[str, Any]:
    """``ink:0.8`` or ``ink``; a name may hold a colon itself, and what follows its last one is no number then."""
    name, _, weight = text.rpartition(":")
    return {"name": name, "weight": weight} if name and _NUMBER.fullmatch(weight) else {"name": text}
