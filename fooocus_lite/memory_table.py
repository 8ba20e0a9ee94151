"""The README's table of graphics cards and what runs on them: ``python -m fooocus_lite.memory_table`` prints it.

Made from the same numbers by which a rung is chosen, so that it cannot say anything else than what happens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from fooocus_lite.memory import FOOTPRINTS, GIB, choose_rung, make_needs
from fooocus_lite.model_files import ModelRef
from fooocus_lite.weight_sizes import ModelSize

CARDS_GB = (4, 6, 8, 12, 16, 24)
#: Estimate: what the driver, the desktop and PyTorch itself take of a card.
_TAKEN_BYTES = int(0.8 * GIB)
_WORDS = {
    "resident": "all on the card",
    "offload": "encoders come and go",
    "fp8": "8-bit weights",
    "groups": "layers come and go",
    "cpu": "processor",
}
#: A number of Q4_K takes 4.5 bits.
_Q4_BITS = 4.5


@dataclass(frozen=True)
class _Example:
    """A model in 16 bits at the size it was trained at; what `make_needs` asks of a picture."""

    label: str
    family: str
    side: int
    bits: float = 16
    guidance_scale: float = 4.0
    perp_neg: float = 0.0
    pag_scale: float = 0.0
    refiner: None = None
    loras: tuple[()] = ()

    @property
    def width(self) -> int:
        return self.side

    @property
    def height(self) -> int:
        return self.side

    @property
    def model(self) -> ModelRef:
        return ModelRef(self.label, self.family, "", self.side, self.side, 8)

    @property
    def size(self) -> ModelSize:
        typical = FOOTPRINTS[self.family].typical
        denoiser = int(typical.denoiser * self.bits / 16)
        return ModelSize(denoiser, typical.encoders, typical.vae, is_compact=self.bits < 16)


EXAMPLES = (
    _Example("SDXL, 1024²", "sdxl", 1024),
    _Example("SD 1.5, 512²", "sd15", 512),
    _Example("FLUX.1, 1024²", "flux", 1024, guidance_scale=1.0),
    _Example("FLUX.1 as Q4 GGUF", "flux", 1024, bits=_Q4_BITS, guidance_scale=1.0),
    _Example("Z-Image, 1024²", "z-image", 1024, guidance_scale=1.0),
)


def lines() -> Iterator[str]:
    """The table in Markdown."""
    yield f"| card | {' | '.join(example.label for example in EXAMPLES)} | |"
    yield "|---|" + "---|" * (len(EXAMPLES) + 1)
    for card in CARDS_GB:
        yield f"| {card} GB | {' | '.join(_cell(example, card) for example in EXAMPLES)} | estimated |"


def _cell(example: _Example, card_gb: int) -> str:
    needs = make_needs(example, [example.size], dtype="fp16")
    fit = choose_rung(needs, card_gb * GIB - _TAKEN_BYTES)
    if fit.rung == "cpu":
        return _WORDS["cpu"]
    tiles = ", tiles" if fit.in_tiles else ""
    return f"{_WORDS[fit.rung]}{tiles}: {fit.needs_bytes / GIB:.1f}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
