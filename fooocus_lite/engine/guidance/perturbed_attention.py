"""Perturbed-attention guidance (arXiv:2403.17377): away from a picture whose places do not see each other."""

from __future__ import annotations

from torch import Tensor

from fooocus_lite.engine.guidance.classifier_free import Correction
from fooocus_lite.engine.guidance.passes import Passes


def perturbed_attention(scale: float) -> Correction:
    """scale (cond - perturbed)."""

    def correction(passes: Passes) -> Tensor:
        if passes.perturbed is None:
            raise RuntimeError("perturbed-attention guidance has no perturbed pass")
        return (passes.cond - passes.perturbed).mul_(scale)

    return correction
