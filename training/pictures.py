"""Lays out training pictures: a `Spec` becomes a `Drawing`, parts that are polygons with colours.

All geometry is polygons in pixels, so that every style can use fills and outlines alike. The tools
that painters share are here too; the painters themselves, the plain one among them, are in
`styles.py`, and `draw.py` brings both together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.words import COLOURS, Spec, Thing

Array = np.ndarray
SUPERSAMPLE = 4


@dataclass(frozen=True)
class Part:
    """One filled area: ``fills`` and ``holes`` are (n, 2) arrays of x, y in pixels.

    ``rgb`` is 0..1. ``shadow`` parts lie above the ground; ``outline`` parts get lines in the
    styles that draw lines.
    """

    fills: tuple[Array, ...]
    rgb: tuple[float, float, float]
    holes: tuple[Array, ...] = ()
    shadow: bool = False
    outline: bool = True
    glow: float = 0.0


@dataclass(frozen=True)
class Drawing:
    """A picture before it is painted: a ground that runs from ``top`` to ``bottom``, and parts."""

    width: int
    height: int
    top: Array
    bottom: Array
    parts: list[Part] = field(default_factory=list)


def _rgb(name: str) -> tuple[float, float, float]:
    red, green, blue = COLOURS[name]
    return red / 255, green / 255, blue / 255


def _turned(points: Array, angle: float) -> Array:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _round(radius: float = 1.0, sides: int = 48) -> Array:
    angles = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def _disc(x: float, y: float, radius: float, sides: int = 48) -> Array:
    return _round(radius, sides) + np.array([x, y])


def _star() -> Array:
    angles = np.arange(10) * math.pi / 5 - math.pi / 2
    radii = np.where(np.arange(10) % 2 == 0, 1.1, 0.46)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1) + [0, 0.08]


def _heart() -> Array:
    t = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 1.5], 1) / 16


def _cross() -> Array:
    w = 0.34
    corners = [
        (-w, -1),
        (w, -1),
        (w, -w),
        (1, -w),
        (1, w),
        (w, w),
        (w, 1),
        (-w, 1),
        (-w, w),
        (-1, w),
        (-1, -w),
        (-w, -w),
    ]
    return np.array(corners) * 0.97


def shape_polygons(shape: str) -> tuple[list[Array], list[Array]]:
    """Fills and holes of a shape in a unit circle around the origin, y downwards."""
    simple = {
        "circle": lambda: _round(0.95),
        "square": lambda: np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.84,
        "triangle": lambda: np.array([(0, -1.0), (1.05, 0.78), (-1.05, 0.78)]),
        "star": _star,
        "heart": _heart,
        "cross": _cross,
        "ring": lambda: _round(1.0),
        "diamond": lambda: np.array([(0, -1.12), (0.78, 0), (0, 1.12), (-0.78, 0)]),
    }
    return [simple[shape]().astype(float)], [_round(0.56)] if shape == "ring" else []


def _thing_part(thing: Thing, x: float, y: float, radius: float, rng: Random) -> Part:
    """A shape at x, y (pixels) with a small random turn."""
    most = {"star": 0.2, "square": 0.1, "cross": 0.12, "triangle": 0.1, "heart": 0.1, "diamond": 0.06}.get(
        thing.shape, 0
    )
    angle = rng.uniform(-most, most)
    fills, holes = shape_polygons(thing.shape)
    fills, holes = (
        tuple(_turned(polygon, angle) * radius + np.array([x, y]) for polygon in some) for some in (fills, holes)
    )
    return Part(fills, _rgb(thing.colour), holes, shadow=True)


def _ground(rgb: tuple[float, float, float], rng: Random) -> tuple[Array, Array]:
    lift = rng.uniform(0.0, 0.05)
    colour = np.array(rgb)
    return np.clip(colour + lift, 0, 1), np.clip(colour - lift, 0, 1)


def _layout_objects(spec: Spec, width: int, height: int, rng: Random) -> Drawing:
    """One or two shapes on a coloured ground."""
    side = min(width, height)
    top, bottom = _ground(_rgb(spec.background), rng)
    parts = []
    if spec.kind == "object":
        (thing,) = spec.objects
        low, high = {"small": (0.15, 0.19), "medium": (0.26, 0.33), "large": (0.39, 0.43)}[thing.size]
        radius = side * rng.uniform(low, high)
        reach_x, reach_y = (0.35 * max(0.0, length / 2 - radius * 1.15) for length in (width, height))
        x, y = width / 2 + rng.uniform(-reach_x, reach_x), height / 2 + rng.uniform(-reach_y, reach_y)
        parts.append(_thing_part(thing, x, y, radius, rng))
    else:
        dx, dy = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}[spec.relation]
        for thing, sign in zip(spec.objects, (1, -1), strict=True):
            radius = side * rng.uniform(0.165, 0.2)
            x = width * (0.5 + sign * dx * rng.uniform(0.235, 0.265)) + side * rng.uniform(-0.02, 0.02)
            y = height * (0.5 + sign * dy * rng.uniform(0.235, 0.265)) + side * rng.uniform(-0.02, 0.02)
            parts.append(_thing_part(thing, x, y, radius, rng))
    return Drawing(width, height, top, bottom, parts)


# Colours of a scene by day; night and snow change them in `_tint`.
SCENE = {
    "grass": (132, 196, 84), "sea": (28, 106, 184), "foam": (120, 190, 232), "mountain": (122, 112, 138),
    "cap": (246, 248, 252), "wall": (242, 220, 176), "roof": (196, 60, 44), "door": (112, 66, 40),
    "window": (110, 176, 222), "trunk": (110, 70, 40), "leaf": (30, 122, 54), "sun": (255, 214, 40),
    "moon": (250, 242, 200), "sand": (232, 206, 140), "star": (244, 244, 220), "flake": (255, 255, 255),
}  # fmt: skip
SKY = {
    (False, False): ((92, 172, 240), (198, 230, 250)),
    (True, False): ((12, 16, 52), (44, 50, 112)),
    (False, True): ((178, 196, 216), (222, 230, 238)),
    (True, True): ((26, 32, 66), (74, 84, 130)),
}  # keyed by (night, snow)


def scene_rgb(name: str, *, night: bool, snow: bool) -> tuple[float, float, float]:
    """The colour, 0..1, that a thing of a scene has under the given light."""
    red, green, blue = SCENE[name]
    if snow and name in ("grass", "sand"):
        red, green, blue = 244, 248, 252
    colour = np.array([red, green, blue]) / 255
    if night and name == "window":
        colour = np.array([1.0, 0.86, 0.4])
    elif night and name not in ("moon", "star", "flake"):
        colour = colour * [0.46, 0.48, 0.56] + [0.0, 0.01, 0.05]
    return tuple(float(value) for value in colour)  # type: ignore[return-value]


class _Scene:
    """Collects the parts of one landscape, from the far ones to the near ones."""

    def __init__(self, spec: Spec, width: int, height: int, rng: Random) -> None:
        self.spec, self.width, self.height, self.rng = spec, width, height, rng
        self.unit = min(width, height)
        self.parts: list[Part] = []

    def add(
        self, name: str, *fills: Array | list, shadow: bool = False, outline: bool = True, glow: float = 0.0
    ) -> None:
        """Puts polygons on top in the colour that ``name`` has under this light."""
        colour = scene_rgb(name, night=self.spec.night, snow=self.spec.snow)
        self.parts.append(Part(tuple(np.asarray(fill, float) for fill in fills), colour, (), shadow, outline, glow))

    def box(self, left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
        """A rectangle as a polygon."""
        return [(left, top), (right, top), (right, bottom), (left, bottom)]

    def band(self, name: str, level: float, wave: float) -> None:
        """Ground or water from ``level`` (pixels from the top) down, with a gently curved edge."""
        xs = np.linspace(-2, self.width + 2, 24)
        phase = self.rng.uniform(0, 6.28)
        edge = level + wave * np.sin(xs / self.width * 5 + phase)
        polygon = np.concatenate([np.stack([xs, edge], 1), [(self.width + 2, self.height + 2), (-2, self.height + 2)]])
        self.add(name, polygon)

    def sky(self) -> None:
        """Sun or moon, and the stars."""
        rng, unit = self.rng, self.unit
        if self.spec.night:
            spots = [
                (rng.uniform(0, self.width), rng.uniform(0, self.height * 0.45)) for _ in range(rng.randint(9, 16))
            ]
            self.add("star", *[_round(rng.uniform(0.9, 1.4) * unit / 128, 8) + spot for spot in spots], outline=False)
        if self.spec.body:
            x = self.width * rng.choice((rng.uniform(0.14, 0.28), rng.uniform(0.72, 0.86)))
            y = self.height * rng.uniform(0.14, 0.21)
            self.add(self.spec.body, _disc(x, y, unit * rng.uniform(0.085, 0.11)), glow=1.0)

    def mountain(self, horizon: float) -> None:
        """One or two peaks with white caps behind the horizon."""
        rng, width = self.rng, self.width
        centre = width * rng.uniform(0.3, 0.7)
        peaks = [(centre, rng.uniform(0.4, 0.46))]
        if rng.random() < 0.6:
            peaks.insert(0, (centre + width * rng.choice((-0.3, 0.3)), rng.uniform(0.26, 0.33)))
        for x, tall in peaks:
            peak, half = horizon - tall * self.height, 0.36 * width * tall / 0.43
            self.add("mountain", [(x, peak), (x + half, horizon + 2), (x - half, horizon + 2)])
            cut, reach = 0.3 * (horizon - peak), 0.3 * half
            snow = [
                (x, peak),
                (x + reach, peak + cut),
                (x + reach * 0.4, peak + cut * 0.75),
                (x, peak + cut * 1.1),
                (x - reach * 0.4, peak + cut * 0.75),
                (x - reach, peak + cut),
            ]
            self.add("cap", snow)

    def sea(self, horizon: float) -> None:
        """Water with a few light waves."""
        self.add("sea", self.box(-2, horizon, self.width + 2, self.height + 2))
        waves = []
        for _ in range(6):
            x, y = self.rng.uniform(0, self.width * 0.8), self.rng.uniform(horizon + 5, self.height - 4)
            long, thick = self.unit * self.rng.uniform(0.1, 0.2), self.unit / 128
            waves.append(self.box(x, y, x + long, y + 1.8 * thick))
        self.add("foam", *waves, outline=False)

    def house(self, x: float, floor: float) -> None:
        """Walls, roof, door and window; ``floor`` is the lower edge."""
        half, tall = self.unit * self.rng.uniform(0.15, 0.18), self.unit * self.rng.uniform(0.2, 0.23)
        self.add("wall", self.box(x - half, floor - tall, x + half, floor), shadow=True)
        self.add("roof", [(x - half * 1.25, floor - tall), (x, floor - tall * 1.75), (x + half * 1.25, floor - tall)])
        side = self.rng.choice((-1, 1))
        self.add(
            "door",
            self.box(
                x + side * half * 0.5 - half * 0.24, floor - tall * 0.62, x + side * half * 0.5 + half * 0.24, floor
            ),
        )
        at = x - side * half * 0.45
        self.add("window", self.box(at - half * 0.26, floor - tall * 0.72, at + half * 0.26, floor - tall * 0.3))

    def tree(self, x: float, floor: float) -> None:
        """A trunk with a round crown of three discs."""
        size = self.unit * self.rng.uniform(0.125, 0.15)
        self.add("trunk", self.box(x - size * 0.2, floor - size * 1.5, x + size * 0.2, floor), shadow=True)
        crown = [
            _disc(x - size * 0.5, floor - size * 1.7, size * 0.8),
            _disc(x + size * 0.5, floor - size * 1.7, size * 0.8),
            _disc(x, floor - size * 2.3, size * 0.9),
        ]
        self.add("leaf", *crown, shadow=True)

    def snowfall(self) -> None:
        """Flakes in front of everything."""
        spots = [
            (self.rng.uniform(0, self.width), self.rng.uniform(0, self.height)) for _ in range(self.rng.randint(26, 36))
        ]
        self.add(
            "flake", *[_round(self.rng.uniform(1.2, 1.8) * self.unit / 128, 8) + spot for spot in spots], outline=False
        )

    def build(self) -> list[Part]:
        """All parts of the landscape in painting order."""
        places, rng = self.spec.places, self.rng
        horizon = self.height * rng.uniform(0.56, 0.61)
        self.sky()
        if "mountain" in places:
            self.mountain(horizon)
        standing = [place for place in ("house", "tree") if place in places]
        if "sea" in places:
            self.sea(horizon)
            if standing:
                self.band("sand", self.height * 0.8, self.unit * 0.02)
        else:
            self.band("grass", horizon, self.unit * 0.015)
        floor = self.height * (0.88 if "sea" in places else rng.uniform(0.78, 0.86))
        spots = [0.28, 0.72] if len(standing) == 2 else [rng.uniform(0.3, 0.7)]
        rng.shuffle(spots)
        for name, x in zip(standing, spots, strict=False):
            getattr(self, name)(self.width * (x + rng.uniform(-0.04, 0.04)), floor)
        if self.spec.snow:
            self.snowfall()
        return self.parts


def layout(spec: Spec, width: int, height: int, rng: Random) -> Drawing:
    """Where everything is in a picture of ``width`` x ``height`` pixels."""
    if spec.kind != "scene":
        return _layout_objects(spec, width, height, rng)
    top, bottom = (np.array(rgb) / 255 for rgb in SKY[spec.night, spec.snow])
    return Drawing(width, height, top, bottom, _Scene(spec, width, height, rng).build())


def coverage(part: Part, width: int, height: int) -> Array:
    """How much of each pixel ``part`` covers: (height, width), 0..1."""
    sheet = Image.new("L", (width * SUPERSAMPLE, height * SUPERSAMPLE))
    pen = ImageDraw.Draw(sheet)
    for polygons, ink in ((part.fills, 255), (part.holes, 0)):
        for polygon in polygons:
            pen.polygon([tuple(point) for point in polygon * SUPERSAMPLE], fill=ink)
    return np.asarray(sheet.reduce(SUPERSAMPLE), np.float32) / 255


def blurred(mask: Array, sigma: float) -> Array:
    """Gaussian blur of a (height, width) array in 0..1."""
    sheet = Image.fromarray((np.clip(mask, 0, 1) * 255).astype(np.uint8))
    return np.asarray(sheet.filter(ImageFilter.GaussianBlur(sigma)), np.float32) / 255


def shifted(mask: Array, dx: int, dy: int) -> Array:
    """``mask`` moved right and down, zeros coming in."""
    moved = np.zeros_like(mask)
    moved[max(dy, 0) :, max(dx, 0) :] = mask[: mask.shape[0] - dy or None, : mask.shape[1] - dx or None]
    return moved


def ground(drawing: Drawing) -> Array:
    """The background alone: (height, width, 3), 0..1."""
    fall = np.linspace(0, 1, drawing.height, dtype=np.float32)[:, None, None]
    column = drawing.top * (1 - fall) + drawing.bottom * fall
    return np.repeat(column, drawing.width, 1).astype(np.float32)


def paint_flat(drawing: Drawing, masks: list[Array]) -> Array:
    """Ground and parts without light or shadow: (height, width, 3), 0..1."""
    canvas = ground(drawing)
    for part, mask in zip(drawing.parts, masks, strict=True):
        canvas += (np.array(part.rgb, np.float32) - canvas) * mask[..., None]
    return canvas
