"""What the engine asks of an architecture. A new one is a row in `fooocus_lite.families` and a class like this."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from fooocus_lite.engine.adapters import Use
from fooocus_lite.engine.decode import Decoder
from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.guidance import Forward, Layers, Told
from fooocus_lite.engine.preview import LatentColours
from fooocus_lite.families import FAMILIES
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan


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
    #: Its networks by diffusers' names, loaded onto ``machine.weights_device``: ``vae``, ``text_encoder…``, and what is
    #: asked at every step.
    parts: Mapping[str, nn.Module]
    #: What `decode` is made of.
    decoder: Decoder

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
        """(1, C, h, w) latents -> (height, width, 3) uint8 pixels in this computer's memory."""
        ...


#: Told of each step of a model that draws by itself: which it was, from 0, and how to see the picture, (1, C, h, w).
OnStep = Callable[[int, Callable[[], Tensor] | None], None]


@runtime_checkable
class DrawsItself(Protocol):
    """A loaded model of a kind that we do not take apart: its own library walks all the way, and tells each step."""

    #: As in `Family`.
    colours: LatentColours | None
    parts: Mapping[str, nn.Module]
    #: As in `Decoder`.
    in_tiles: bool

    def __init__(self, ref: ModelRef, machine: Machine) -> None: ...

    def adapted(self, uses: Sequence[Use]) -> AbstractContextManager[None]:
        """As `Family.adapted`."""
        ...

    def warnings(self, plan: Plan) -> tuple[str, ...]:
        """What a person should know about the Plan's words."""
        ...

    def draw(self, plan: Plan, on_step: OnStep) -> Tensor:
        """(height, width, 3) uint8 pixels in this computer's memory. What ``on_step`` raises ends it."""
        ...


def load_family(ref: ModelRef, machine: Machine) -> Family | DrawsItself:
    """The model that ``ref`` names, ready to draw on ``machine``."""
    module, _, name = FAMILIES[ref.family].engine.partition(":")
    kind: type[Family | DrawsItself] = getattr(importlib.import_module(module), name)
    return kind(ref, machine)
