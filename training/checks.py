"""Looks at a picture and says what is in it, with nothing but numpy and Pillow.

These are the judges of the evaluation and of the tests. They know the palette and the geometry of
the drawn pictures, and are themselves checked on drawn pictures first (`evaluate.py --drawn`).
Pictures are (height, width, 3) uint8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.pictures import SKY, Array, scene_rgb, shape_polygons
from training.words import COLOURS, SHAPES, Spec

TEMPLATE_SIDE = 40
TEMPLATE_REACH = 2.3  # window half-width in root-mean-square radii


def to_lab(rgb: Array) -> Array:
    """CIE L*a*b* of sRGB values 0..255, same shape, last axis the colour."""
    linear = np.asarray(rgb, np.float64) / 255
    linear = np.where(linear > 0.04045, ((linear + 0.055) / 1.055) ** 2.4, linear / 12.92)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / [0.95047, 1.0, 1.08883]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])], -1
    )


def nearest_colour(rgb: Array) -> str:
    """The name in `COLOURS` nearest to ``rgb`` (0..255) in L*a*b*."""
    names = list(COLOURS)
    far = np.linalg.norm(to_lab(np.array([COLOURS[name] for name in names])) - to_lab(rgb), axis=-1)
    return names[int(far.argmin())]


def _border(picture: Array) -> Array:
    """The outermost pixels as (n, 3)."""
    wide = max(2, min(picture.shape[:2]) // 40)
    inner = np.zeros(picture.shape[:2], bool)
    inner[wide:-wide, wide:-wide] = True
    return picture[~inner]


def background_colour(picture: Array) -> str:
    """The colour of the border."""
    return nearest_colour(np.median(_border(picture), axis=0))


def foreground(picture: Array) -> Array:
    """Where the picture differs from its border, soft shadows left out: (height, width) bool."""
    lab = to_lab(picture)
    ground = to_lab(np.median(_border(picture), axis=0))
    difference = lab - ground
    # A shadow has the ground's hue and is a little darker: lightness counts less downwards.
    lightness = np.where(difference[..., 0] < 0, np.maximum(0, -difference[..., 0] - 9), difference[..., 0])
    chroma = np.hypot(difference[..., 1], difference[..., 2])
    shaded = 0.22 * np.hypot(ground[1], ground[2])
    mask = np.hypot(lightness, np.maximum(0, chroma - shaded * (difference[..., 0] < 0))) > 10
    sheet = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.MedianFilter(3))
    return np.asarray(sheet) > 127


def components(mask: Array) -> list[Array]:
    """The connected parts of ``mask`` (4 neighbours), the largest first."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        grown = labels.copy()
        grown[1:] = np.maximum(grown[1:], labels[:-1])
        grown[:-1] = np.maximum(grown[:-1], labels[1:])
        grown[:, 1:] = np.maximum(grown[:, 1:], grown[:, :-1])
        grown[:, :-1] = np.maximum(grown[:, :-1], grown[:, 1:])
        grown *= mask
        if (grown == labels).all():
            break
        labels = grown
    names, counts = np.unique(labels[mask], return_counts=True)
    return [labels == names[index] for index in np.argsort(-counts)]


def _normalised(mask: Array) -> Array:
    """``mask`` cut to a window around its centre whose size follows its root-mean-square radius."""
    rows, columns = np.nonzero(mask)
    y, x = rows.mean(), columns.mean()
    reach = TEMPLATE_REACH * math.sqrt(((rows - y) ** 2 + (columns - x) ** 2).mean())
    sheet = Image.fromarray((mask * 255).astype(np.uint8))
    window = (x + 0.5 - reach, y + 0.5 - reach, x + 0.5 + reach, y + 0.5 + reach)
    small = sheet.transform((TEMPLATE_SIDE, TEMPLATE_SIDE), Image.Transform.EXTENT, window, Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32) / 255


@lru_cache(maxsize=1)
def _templates() -> list[tuple[str, Array]]:
    """Every shape in a few turns, normalised."""
    found = []
    for shape in SHAPES:
        fills, holes = shape_polygons(shape)
        turns = (0.0,) if shape in ("circle", "ring") else (-0.2, -0.1, 0.0, 0.1, 0.2)
        for angle in turns:
            turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            sheet = Image.new("L", (200, 200))
            pen = ImageDraw.Draw(sheet)
            for polygons, ink in ((fills, 255), (holes, 0)):
                for polygon in polygons:
                    pen.polygon([tuple(point) for point in polygon @ turn * 60 + 100], fill=ink)
            found.append((shape, _normalised(np.asarray(sheet) > 127)))
    return found


def shape_of(mask: Array) -> str:
    """The shape whose outline overlaps ``mask`` best."""
    seen = _normalised(mask)
    overlap = [
        (float(np.minimum(seen, template).sum() / np.maximum(seen, template).sum()), shape)
        for shape, template in _templates()
    ]
    return max(overlap)[1]


@dataclass(frozen=True)
class Found:
    """One thing seen in a picture; x, y and radius are shares of the picture's shorter side."""

    colour: str = ""
    shape: str = ""
    x: float = 0.0
    y: float = 0.0
    radius: float = 0.0

    @property
    def size(self) -> str:
        """One of `words.SIZES`."""
        return "small" if self.radius < 0.225 else "large" if self.radius > 0.36 else "medium"


def find_objects(picture: Array, most: int = 1) -> list[Found]:
    """The largest things that stand out from the background, at most ``most``."""
    mask = foreground(picture)
    side = min(mask.shape)
    found = []
    for part in components(mask)[:most] if mask.any() else []:
        if part.sum() < max(12, 0.008 * side * side):
            continue
        core = np.asarray(Image.fromarray((part * 255).astype(np.uint8)).filter(ImageFilter.MinFilter(5))) > 127
        colour = nearest_colour(np.median(picture[core if core.sum() > 12 else part], axis=0))
        rows, columns = np.nonzero(part)
        shape = shape_of(part)
        reach = np.ptp(shape_polygons(shape)[0][0], axis=0).max()
        radius = (max(np.ptp(rows), np.ptp(columns)) + 1) / side / reach
        found.append(Found(colour, shape, columns.mean() / side, rows.mean() / side, radius))
    return found


def relation_of(first: Found, second: Found) -> str:
    """Where ``first`` is as seen from ``second``."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def check_object(picture: Array, spec: Spec) -> dict[str, bool]:
    """Colour, background, shape and size (where said) of a picture of one thing."""
    (wanted,) = spec.objects
    found = find_objects(picture)
    thing = found[0] if found else Found()
    result = {
        "colour": thing.colour == wanted.colour,
        "background": background_colour(picture) == spec.background,
        "shape": thing.shape == wanted.shape,
    }
    if wanted.size != "medium":
        result["size"] = thing.size == wanted.size
    return result


def check_pair(picture: Array, spec: Spec) -> dict[str, bool]:
    """Colours, relation, shapes and background of a picture of two things."""
    found = {thing.colour: thing for thing in find_objects(picture, 2)[::-1]}
    first, second = (found.get(thing.colour) for thing in spec.objects)
    both = first is not None and second is not None
    return {
        "colours": both,
        "relation": both and relation_of(first, second) == spec.relation,
        "shapes": both and first.shape == spec.objects[0].shape and second.shape == spec.objects[1].shape,
        "background": background_colour(picture) == spec.background,
    }


def light_of(picture: Array) -> tuple[bool, bool]:
    """(night, snow) of the sky that most pixels in the upper part of the picture look like."""
    height = picture.shape[0]
    rows = np.arange(int(0.02 * height), int(0.28 * height))
    seen = to_lab(picture[rows])
    fall = (rows / height)[:, None, None]
    far = []
    for top, bottom in SKY.values():
        sky = to_lab(np.array(top) * (1 - fall) + np.array(bottom) * fall)
        far.append(np.linalg.norm(sky - seen, axis=-1))
    votes = np.bincount(np.argmin(far, axis=0).ravel(), minlength=len(SKY))
    return list(SKY)[int(votes.argmax())]


def find_scene(picture: Array) -> set[str]:
    """The places and lights of a landscape: among house, tree, mountain, sea, sun, moon, night, snow."""
    night, snow = light_of(picture)
    lab = to_lab(picture)
    height = picture.shape[0]

    def share(name: str, top: float = 0.0, bottom: float = 1.0, reach: float = 15.0) -> float:
        """Share of the rows top..bottom whose colour is within ``reach`` of the thing's."""
        colour = np.array(scene_rgb(name, night=night, snow=snow)) * 255
        part = lab[int(top * height) : int(bottom * height)]
        return float((np.linalg.norm(part - to_lab(colour), axis=-1) < reach * (0.6 if night else 1)).mean())

    found = {word for word, there in (("night", night), ("snow", snow)) if there}
    if share("roof", 0.3, 0.85) > 0.015 and share("wall", 0.4, 0.95) > 0.015:
        found.add("house")
    if share("leaf", 0.2, 0.85) > 0.02:
        found.add("tree")
    if share("mountain", 0.38, 0.6, 13.0) > 0.1:
        found.add("mountain")
    if share("sea", 0.63, 0.76) > 0.2:
        found.add("sea")
    body = "moon" if night else "sun"
    if share(body, 0.0, 0.4, 18.0) > 0.02:
        found.add(body)
    return found


def check_scene(picture: Array, spec: Spec) -> dict[str, bool]:
    """Are the named things there, and is the light as said?"""
    found = find_scene(picture)
    named = {*spec.places, *((spec.body,) if spec.body else ())}
    return {"things": named <= found, "light": (spec.night, spec.snow) == ("night" in found, "snow" in found)}
