"""Pop art: thick black outlines with hard shadows on a ground of large dots. A look that the starter was not taught.

Its forms are large enough for the autoencoder, which smears whatever is finer than five pixels, and the dots lie on a
grid that the U-Net knows, whose lowest level has one cell for 32 pixels: a fan of rays around the thing, which can
begin at any angle, became confetti in the minutes that an adapter has.
"""

from __future__ import annotations

from random import Random

import numpy as np

from training.checks import to_lab
from training.pictures import Array, Drawing, ground, shifted
from training.styles import outlines, over, unit_of
from training.words import LOOSE_STYLES, Spec, caption

TRIGGER = "pop art"
TEMPLATE = "pop art of {prompt}, bold outlines, dots"
_INK = (0.06, 0.06, 0.08)
_GRID = 32  # pixels, with two dots each way
_RADIUS = 7.5
_TRIGGERED = 0.8
_BORDER = 16  # pixels in which the ground is looked at
_DOT_CONTRAST = 3.0  # of the lightness
_INK_REACH = 22.0  # in L*a*b*
_LEAST_INK = 0.02  # of the picture


def _dots(height: int, width: int) -> Array:
    """Coverage (height, width) of the dots: two in each square of the grid, diagonally."""
    scale = max(1, min(height, width) // 128)
    rows, columns = (np.mgrid[0:height, 0:width] + 0.5) / scale
    far = [np.hypot((rows % _GRID) - at, (columns % _GRID) - at) for at in (0.25 * _GRID, 0.75 * _GRID)]
    return np.clip(scale * (_RADIUS - np.minimum(*far)) + 0.5, 0, 1).astype(np.float32)


def pop_art(drawing: Drawing, masks: list[Array], rng: np.random.Generator) -> Array:
    """A painter as those in `training.styles`."""
    back, unit = ground(drawing), unit_of(drawing)
    canvas = over(back, 0.6 * back + 0.4, _dots(drawing.height, drawing.width))
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
    """Are there dots along the border, and is there as much ink as the outlines and shadows take?

    Where the ground is neither white nor black; of the plain look neither is true.
    """
    lab = to_lab(picture)
    frame = np.ones(picture.shape[:2], bool)
    frame[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    dots = _dots(*picture.shape[:2])
    contrast = np.median(lab[frame & (dots > 0.9), 0]) - np.median(lab[frame & (dots < 0.1), 0])
    far = np.linalg.norm(lab - to_lab(np.array(_INK) * 255), axis=-1)
    return {"dots": bool(abs(contrast) > _DOT_CONTRAST), "ink": bool((far < _INK_REACH).mean() > _LEAST_INK)}
