"""Where guidance reaches inside a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from fooocus_lite.engine.guidance.condition import Told
from fooocus_lite.engine.guidance.freeu import Stage
from fooocus_lite.guidances import GUIDANCES, Weights


@dataclass(frozen=True)
class Layers:
    """The places of one model; an empty one = the model has none.

    Attributes:
        attention: The self-attention that self-attention guidance looks at.
        perturbed: Those that perturbed-attention guidance perturbs.
        decoder: The decoder's stages for FreeU, coarsest first.
        reads_scale: The model was distilled and takes the guidance scale as a number: it lacks no second pass.
    """

    attention: nn.Module | None = None
    perturbed: tuple[nn.Module, ...] = ()
    decoder: tuple[Stage, ...] = ()
    reads_scale: bool = False


def unet_layers(unet: Any) -> Layers:
    """Those of a diffusers ``UNet2DConditionModel``: of its middle block (the layers of arXiv:2210.00939, section 5,
    and arXiv:2403.17377), and the first two stages of its decoder."""
    blocks = [
        block.attn1
        for transformer in getattr(unet.mid_block, "attentions", None) or ()
        for block in transformer.transformer_blocks
    ]
    return Layers(blocks[0] if blocks else None, tuple(blocks), tuple(_decoder(unet))[:2])


def _decoder(unet: Any) -> Iterator[Stage]:
    # Distilled models such as KOALA (arXiv:2312.04005) have no middle: the encoder's last block feeds the decoder.
    before = (unet.mid_block or unet.down_blocks[-1]).resnets[-1].out_channels
    for block in unet.up_blocks:
        stage: list[tuple[nn.Module, int]] = []
        for resnet in block.resnets:
            stage.append((resnet, before))
            before = resnet.out_channels
        yield stage


def not_there(weights: Weights, told: Told, layers: Layers, model: str, *, said: Collection[str] = ()) -> Iterator[str]:
    """A sentence for each guidance that is on and that this model has no place for.

    Args:
        said: Fields of which was said before the model was loaded that they do nothing.
    """
    places = {
        "attention": layers.attention is not None,
        "perturbed": bool(layers.perturbed),
        "decoder": bool(layers.decoder),
        "sizes": told.cond.has_sizes,
        "uncond": told.uncond is not None or weights.guidance_scale == 1,
    }
    for key, row in GUIDANCES.items():
        if (key == "classifier_free" and layers.reads_scale) or row.is_any_of(said):
            continue
        needs = "uncond" if key == "classifier_free" else row.needs
        if row.is_on(weights) and not places.get(needs, True):
            yield f"The model {model} has no place for {row.label}; it does nothing."
