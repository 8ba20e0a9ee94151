"""What the engine asks of an architecture. A new one is a row in the registry and a class like this."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from fooocus_lite.engine.adapters import Use
from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.guidance import Forward, Layers, Told
from fooocus_lite.engine.preview import LatentColours
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan
from fooocus_lite.registry import FAMILIES


@dataclass(frozen=True)
class Encoded(Told):
    """The words of a Plan as the model reads them.

    Attributes:
        warnings: What a person should know about them.
    """

    warnings: tuple[str, ...] = ()


class Family(Protocol):
    """A loaded model of one architecture. Made with ``(ModelRef, Machine)``; memory is freed with the object."""

    #: The bare model.
    forward: Forward
    #: ``scheduler_config.json``: the noise process it was trained with.
    scheduler_config: Mapping[str, Any]
    #: Where guidance reaches inside it.
    layers: Layers
    #: How to show latents without decoding them; ``None`` = no previews.
    colours: LatentColours | None

    def __init__(self, ref: ModelRef, machine: Machine) -> None: ...

    def adapted(self, uses: Sequence[Use]) -> AbstractContextManager[None]:
        """The model changed by adapters, until the block ends.

        Raises:
            BadValue: one was made for another model.
        """
        ...

    def takes(self, use: Use) -> bool:
        """Whether it has all that the adapter changes."""
        ...

    def encode(self, plan: Plan) -> Encoded:
        """The Plan's texts as conditions."""
        ...

    def latent_shape(self, plan: Plan) -> tuple[int, int, int, int]:
        """(1, C, h, w) of the Plan's picture."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """(1, C, h, w) latents -> (height, width, 3) uint8 pixels."""
        ...


def load_family(ref: ModelRef, machine: Machine) -> Family:
    """The model that ``ref`` names, ready to draw on ``machine``."""
    module, _, name = FAMILIES[ref.family].engine.partition(":")
    kind: type[Family] = getattr(importlib.import_module(module), name)
    return kind(ref, machine)
