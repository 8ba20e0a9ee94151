"""Draws the picture of a `Spec`."""

from __future__ import annotations

from random import Random

import numpy as np

from training.pictures import Array, coverage, layout
from training.styles import PAINTERS, Painter
from training.words import Spec


def draw(spec: Spec, seed: int, width: int = 128, height: int = 128, *, painter: Painter | None = None) -> Array:
    """The picture of ``spec``: (height, width, 3) uint8. The same arguments give the same pixels.

    ``painter`` paints it instead of that of the spec's style.
    """
    rng = Random(f"{seed}:{spec.kind}")
    drawing = layout(spec, width, height, rng)
    masks = [coverage(part, width, height) for part in drawing.parts]
    paint = painter or PAINTERS[spec.style]
    canvas = paint(drawing, masks, np.random.default_rng(rng.getrandbits(32)))
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
