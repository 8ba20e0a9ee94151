"""Speed modes: one word for steps, sampler, guidance and the LoRA that they need. Rows of plain data, and their rule.

Whoever names a mode (a person, a preset, a model) names its values: they lie on the ladder just below what the same
one says itself, and above everything under it. The values that a mode keeps win over everybody's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fooocus_lite.errors import BadValue, UnknownName
from fooocus_lite.guidances import OFF
from fooocus_lite.recipe import MAX_LORA_WEIGHT, Recipe, shown

#: What `Recipe.mode_lora` says of a mode that needs none.
NO_LORA = "none"
_WEIGHT = r"-?\d{1,3}(\.\d{1,6})?"
#: What a model that was made for few steps is drawn with: nothing that was made for many.
_ALONE: Mapping[str, Any] = {name: off for name, off in OFF.items() if not name.startswith("freeu")} | {
    "refiner": "none"
}


@dataclass(frozen=True)
class ModeLora:
    """The LoRA that a mode stands on.

    Attributes:
        name: Its file in ``models/loras`` or ``models/adapters``, without folder and ending.
        weight: 1 is as trained.
        url: Where it can be had; empty where it ships.
    """

    name: str
    weight: float = 1.0
    url: str = ""

    @property
    def file(self) -> str:
        """Its file's name."""
        return f"{self.name}.safetensors"

    @property
    def written(self) -> str:
        """As `Recipe.mode_lora` says it."""
        return f"{self.name}:{self.weight:g}"


@dataclass(frozen=True)
class Mode:
    """What one word decides.

    Attributes:
        label: What a person reads; Fooocus's ``performance``.
        good_for: One line for the documents and the page.
        values: Fields of `Recipe`.
        loras: By family; empty for a mode that needs none.
        keeps: Those of ``values`` that nobody can set otherwise while the mode is chosen.
        why: One sentence: why not.
        aliases: Other names for it.
    """

    label: str
    good_for: str
    values: Mapping[str, Any]
    loras: Mapping[str, ModeLora] = field(default_factory=dict[str, ModeLora])
    keeps: tuple[str, ...] = ()
    why: str = ""
    aliases: tuple[str, ...] = ()


_FAST = ("sampler", "scheduler", *_ALONE)
MODES: dict[str, Mode] = {
    "quality": Mode(
        label="Quality",
        good_for="the best picture that these words give, when there is time",
        values={"steps": 60},
    ),
    "speed": Mode(
        label="Speed",
        good_for="nearly as good in half the time; the usual choice",
        values={"steps": 30},
    ),
    "extreme_speed": Mode(
        label="Extreme Speed",
        good_for="trying words out; soft, calm pictures in a few steps",
        values={"steps": 8, "sampler": "lcm", "scheduler": "lcm", **_ALONE},
        loras={
            "sdxl": ModeLora(
                "sdxl_lcm_lora", url="https://huggingface.co/lllyasviel/misc/resolve/main/sdxl_lcm_lora.safetensors"
            )
        },
        keeps=_FAST,
        why="Extreme Speed keeps this: its LoRA was trained for LCM without guidance.",
        aliases=("lcm",),
    ),
    "lightning": Mode(
        label="Lightning",
        good_for="sharp pictures with strong contrast in four steps",
        values={"steps": 4, "sampler": "euler", "scheduler": "sgm_uniform", **_ALONE},
        loras={
            "sdxl": ModeLora(
                "sdxl_lightning_4step_lora",
                url="https://huggingface.co/mashb1t/misc/resolve/main/sdxl_lightning_4step_lora.safetensors",
            )
        },
        keeps=_FAST,
        why="Lightning keeps this: its LoRA was trained for Euler at these times, without guidance.",
    ),
    "hyper_sd": Mode(
        label="Hyper-SD",
        good_for="the most detail in four steps, each with a second look",
        values={"steps": 4, "sampler": "dpmpp_sde", "scheduler": "karras", **_ALONE},
        loras={
            "sdxl": ModeLora(
                "sdxl_hyper_sd_4step_lora",
                weight=0.8,
                url="https://huggingface.co/mashb1t/misc/resolve/main/sdxl_hyper_sd_4step_lora.safetensors",
            )
        },
        keeps=_FAST,
        why="Hyper-SD keeps this: its LoRA was trained without guidance, and these steps suit it.",
        aliases=("hyper", "hypersd"),
    ),
}


@dataclass(frozen=True)
class ModelMode:
    """A mode as one model has it.

    Attributes:
        key: Of `MODES`.
        mode: The row, with the model's own ``values``.
        lora: The one for this model; ``None`` if the mode needs none, or there is none.
        is_made: The model can be drawn so, once the LoRA is on the disk.
    """

    key: str
    mode: Mode
    lora: ModeLora | None = None
    is_made: bool = True

    @property
    def kept(self) -> dict[str, Any]:
        """The values that nobody can set otherwise."""
        return {name: self.mode.values[name] for name in self.mode.keeps}


@dataclass(frozen=True)
class ModeChange:
    """What a model has otherwise than its family.

    Attributes:
        values: In place of those of the mode.
        lora: In place of the family's.
    """

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    lora: ModeLora | None = None


def model_modes(family: str, changes: Mapping[str, ModeChange | None]) -> dict[str, ModelMode]:
    """Every mode as a model has it.

    Args:
        changes: By key of `MODES`; ``None`` says that the model has no such mode.
    """
    found: dict[str, ModelMode] = {}
    for key, row in MODES.items():
        change = changes.get(key, ModeChange())
        values = change.values if change else {}
        lora = (change.lora or row.loras.get(family)) if change else None
        is_made = change is not None and (lora is not None or not row.loras)
        found[key] = ModelMode(key, replace(row, values={**row.values, **values}), lora, is_made)
    return found


def parse_mode_lora(written: object) -> ModeLora:
    """The inverse of `ModeLora.written`; a name alone weighs 1.

    Raises:
        BadValue: it is no name with a weight that a LoRA may have.
    """
    name, _, weight = written.rpartition(":") if isinstance(written, str) and ":" in written else (written, "", "1")
    is_weight = re.fullmatch(_WEIGHT, weight) is not None and abs(float(weight)) <= MAX_LORA_WEIGHT
    if isinstance(name, str) and name.strip() and is_weight:
        return ModeLora(name.strip(), float(weight))
    hint = f"Allowed is name:weight with a weight from {-MAX_LORA_WEIGHT:g} to {MAX_LORA_WEIGHT:g}, or none."
    raise BadValue(f"mode_lora cannot be {shown(written)}.", hint, field="mode_lora")


def known_mode(name: str) -> str | None:
    """The key of the mode called so, in any spelling."""
    return _KEYS.get(_levelled(name))


def find_mode(name: str) -> str:
    """As `known_mode`.

    Raises:
        UnknownName: there is none; names the nearest.
    """
    key = known_mode(name)
    if key is None:
        near = [_KEYS[match] for match in difflib.get_close_matches(_levelled(name), _KEYS, n=3, cutoff=0.6)]
        names = list(dict.fromkeys(near))
        hint = f"Did you mean {' or '.join(names)}?" if names else f"Choose one of: {', '.join(MODES)}."
        raise UnknownName(f"There is no mode {name[:60]!r}.", hint, field="mode")
    return key


def lay(rungs: Sequence[Recipe], modes: Mapping[str, ModelMode]) -> Recipe:
    """The rungs of the picture ladder as one recipe, with the values of the mode that the highest of them names.

    A rung that says `Recipe.mode_lora` was decided before: all that its mode gave stands in it, and the mode is but
    a name, whatever the table says by now, also one that the table no longer has. That holds until a higher rung
    names a mode. A mode that nobody knows gives nothing; unless it was decided before, who draws refuses it.

    Args:
        rungs: The person's first, the family's last.
        modes: The model's.
    """
    place = next((place for place, rung in enumerate(rungs) if rung.mode is not None), None)
    if place is None or any(rung.mode_lora is not None for rung in rungs[: place + 1]):
        return _merged(rungs)
    above, below = rungs[: place + 1], [_without_mode(rung) for rung in rungs[place + 1 :]]
    named = modes.get(known_mode(rungs[place].mode or "") or "")
    if named is None:
        return _merged([*above, *below])
    update = {"mode": named.key, **named.kept}
    return _merged([*above, Recipe(**named.mode.values), *below]).model_copy(update=update)


def _without_mode(rung: Recipe) -> Recipe:
    """``rung`` under another's mode: open where its own decided it before, by a table that may be another by now."""
    if rung.mode_lora is None:
        return rung
    kept = _FAST if rung.mode_lora != NO_LORA else ()  # what a mode keeps that stands on a LoRA
    gone = {"mode", "mode_lora", *kept}
    return Recipe(**{name: getattr(rung, name) for name in rung.model_fields_set - gone})


def _merged(rungs: Sequence[Recipe]) -> Recipe:
    *higher, full = rungs
    for rung in reversed(higher):
        full = rung.over(full)
    return full


def _levelled(name: str) -> str:
    """Lower case, words joined by ``_``."""
    return re.sub(r"[\s_\-]+", "_", name[:80].strip().casefold())


_KEYS = {_levelled(name): key for key, row in MODES.items() for name in (key, row.label, *row.aliases)}
