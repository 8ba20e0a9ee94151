"""Family ``sd15``: Stable Diffusion 1 (arXiv:2112.10752) and everything trained from it: SDXL with less to be told."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.preview import SD15_COLOURS
from fooocus_lite.engine.sdxl import Sdxl
from fooocus_lite.engine.text import Embedded, EncoderSpec
from fooocus_lite.plan import Plan

# CLIP's own last layer norm is part of what the UNet was trained with, also where an earlier layer is read.
ENCODERS = (EncoderSpec(tokenizer="tokenizer", encoder="text_encoder", embedding_key="clip_l", is_normed=True),)


class Sd15(Sdxl):
    """A loaded Stable Diffusion 1 model: one text encoder, and the UNet is told nothing but its words.

    Raises (when made):
        MissingModel, CorruptModel: a file of the model is not there or not usable, or of another family.
    """

    usual_colours = SD15_COLOURS

    def _encoders(self, parts: ModelParts) -> Sequence[EncoderSpec]:
        return ENCODERS

    def _added(self, embedded: Embedded, plan: Plan, score: float) -> dict[str, Tensor]:
        return {}
