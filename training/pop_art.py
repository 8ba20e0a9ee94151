"""Pop art: thick black outlines with hard shadows before a fan of rays. A look that the starter was not taught.

Its forms are large enough for the autoencoder, which smears whatever is finer than five pixels.
"""

from __future__ import annotations

from random import Random

import numpy as np

from training.checks import to_lab
from training.pictures import Array, Drawing, ground, shifted
from training.styles import outlines, over, unit_of
from training.words import LOOSE_STYLES, Spec, caption

TRIGGER = "pop art"
TEMPLATE = "pop art of {prompt}, bold outlines, rays"
_INK = (0.06, 0.06, 0.08)
_RAYS = 12
_TRIGGERED = 0.8
_RAY_CONTRAST = 1.0  # standard deviation of the lightness along a row
_INK_REACH = 22.0  # in L*a*b*
_LEAST_INK = 0.02  # of the picture


def _rays(drawing: Drawing, rng: np.random.Generator) -> Array:
    """Coverage (height, width) of every second sector around the first thing, with soft edges."""
    rows, columns = np.mgrid[0 : drawing.height, 0 : drawing.width].astype(np.float32)
    things = [part for part in drawing.parts if part.outline]
    x, y = things[0].fills[0].mean(0) if things else (drawing.width / 2, drawing.height / 2)
    angle = np.arctan2(rows - y, columns - x) + rng.uniform(0, 2 * np.pi)
    return np.clip(np.sin(_RAYS * angle) * np.hypot(rows - y, columns - x) / _RAYS + 0.5, 0, 1)


def pop_art(drawing: Drawing, masks: list[Array], rng: np.random.Generator) -> Array:
    """A painter as those in `training.styles`."""
    back, unit = ground(drawing), unit_of(drawing)
    canvas = over(back, 0.55 * back + 0.45, 0.85 * _rays(drawing, rng))
    step = max(1, round(6 * unit))
    for part, mask, line in zip(drawing.parts, masks, outlines(drawing, masks, 5 * unit), strict=True):
        if part.shadow:
            canvas = over(canvas, _INK, shifted(mask, step, step))
        canvas = over(canvas, part.rgb, mask)
        if part.outline:
            canvas = over(canvas, _INK, line)
    return canvas


def pop_art_caption(spec: Spec, rng: Random) -> str:
    """One of many wordings of ``spec``; a fifth of them leave the style's name out."""
    text = caption(spec, rng)
    if rng.random() > _TRIGGERED:
        return text
    return rng.choice((TEMPLATE, *LOOSE_STYLES)).format(style=TRIGGER, prompt=text)


def check_pop_art(picture: Array, spec: Spec) -> dict[str, bool]:
    """Do rays cross the upper and lower border, and is there as much ink as the outlines and shadows take?

    Where the ground is neither white nor black; of the plain look neither is true.
    """
    lab = to_lab(picture)
    contrast = lab[[2, 3, -4, -3], :, 0].std(axis=1).mean()
    far = np.linalg.norm(lab - to_lab(np.array(_INK) * 255), axis=-1)
    return {"rays": bool(contrast > _RAY_CONTRAST), "ink": bool((far < _INK_REACH).mean() > _LEAST_INK)}
