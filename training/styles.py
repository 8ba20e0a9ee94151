"""The plain look and ten styles, each a function (drawing, masks, rng) -> (height, width, 3), 0..1.

``masks`` are the parts' coverages, (height, width) each, in painting order. Sizes that should look
the same in every picture are given for a side of 128 pixels and scaled by `unit_of`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from training.pictures import SUPERSAMPLE, Array, Drawing, blurred, ground, paint_flat, shifted

Painter = Callable[[Drawing, list[Array], Generator], Array]


def unit_of(drawing: Drawing) -> float:
    """Pixels of this drawing for one of a drawing of 128 pixels."""
    return min(drawing.width, drawing.height) / 128


def _noise(rng: Generator, height: int, width: int, cell: float) -> Array:
    """Smooth noise in -1..1 with bumps about ``cell`` pixels wide: (height, width)."""
    rows, columns = max(2, round(height / cell) + 1), max(2, round(width / cell) + 1)
    coarse = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def outlines(drawing: Drawing, masks: list[Array], width: float) -> list[Array]:
    """Each part's outline as a coverage, hidden where later parts lie over it; None-like zeros for parts without."""
    sheets = []
    size = (drawing.width * SUPERSAMPLE, drawing.height * SUPERSAMPLE)
    for part, mask in zip(drawing.parts, masks, strict=True):
        sheets = [sheet * (1 - mask) for sheet in sheets]
        sheet = Image.new("L", size)
        if part.outline:
            pen = ImageDraw.Draw(sheet)
            for polygon in (*part.fills, *part.holes):
                points = [tuple(point) for point in polygon * SUPERSAMPLE]
                pen.line([*points, points[0], points[1]], fill=255, width=round(width * SUPERSAMPLE), joint="curve")
        else:
            sheet = Image.fromarray((mask * 255).astype(np.uint8)).resize(size)
        line = np.asarray(sheet.reduce(SUPERSAMPLE), np.float32) / 255
        if len(part.fills) > 1 and part.outline:  # the crown of a tree: only its outer line
            inside = (
                np.asarray(Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.MinFilter(5)), np.float32)
                / 255
            )
            line = line * (1 - inside)
        sheets.append(line)
    return sheets


def over(canvas: Array, colour: Array | tuple[float, ...], alpha: Array) -> Array:
    """``canvas`` (height, width, 3) with ``colour`` painted over it as far as ``alpha`` (height, width) covers."""
    return canvas + (np.asarray(colour, np.float32) - canvas) * alpha[..., None]


def plain(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """The unstyled look: soft light from the upper left, soft shadows, a glow around sun and moon."""
    canvas = ground(drawing)
    unit = min(drawing.width, drawing.height)
    rows, columns = np.mgrid[0 : drawing.height, 0 : drawing.width].astype(np.float32)
    for part, mask in zip(drawing.parts, masks, strict=True):
        centre = part.fills[0].mean(0)
        if part.shadow:
            step = max(1, unit // 48)
            canvas *= 1 - 0.28 * (blurred(shifted(mask, step, step), unit / 50) * (1 - mask))[..., None]
        if part.glow:
            far = np.hypot(columns - centre[0], rows - centre[1]) / unit
            halo = 0.5 * part.glow * np.exp(-((far / 0.14) ** 2))
            canvas += (np.array(part.rgb, np.float32) - canvas) * halo[..., None]
        colour = np.array(part.rgb, np.float32)
        if part.outline:
            light = np.clip(((centre[0] - columns) + (centre[1] - rows)) / (0.6 * unit), -1, 1)
            colour = np.clip(colour + 0.055 * light[..., None], 0, 1)
        canvas += (colour - canvas) * mask[..., None]
    return canvas


def watercolor(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Thin washes with dark rims and blooms on warm paper, which stays bare at the border."""
    high, wide, unit = drawing.height, drawing.width, unit_of(drawing)
    paper = np.full((high, wide, 3), (0.98, 0.965, 0.93), np.float32)
    rows, columns = np.mgrid[0:high, 0:wide].astype(np.float32)
    border = np.minimum.reduce([rows, columns, high - 1 - rows, wide - 1 - columns]) + 5 * unit * _noise(
        rng, high, wide, 14 * unit
    )
    wash = np.clip((border - 7 * unit) / (3 * unit), 0, 1)
    bloom = _noise(rng, high, wide, 22 * unit)
    rim = np.clip(wash - blurred(wash, 2.5 * unit), 0, 1)
    canvas = over(paper, ground(drawing), wash * (0.66 + 0.2 * bloom))
    canvas = canvas * (1 - 0.35 * rim[..., None])
    for part, mask in zip(drawing.parts, masks, strict=True):
        soft = np.clip((blurred(mask, 1.2 * unit) + 0.28 * _noise(rng, high, wide, 7 * unit) - 0.3) / 0.4, 0, 1)
        soft = soft * (blurred(mask, 2 * unit) > 0.02) * np.clip(wash + 0.25, 0, 1)
        bloom = _noise(rng, high, wide, 18 * unit)
        rim = np.clip(soft - blurred(soft, 2.5 * unit), 0, 1)
        canvas = over(canvas, paper[0, 0], soft * 0.55)
        canvas = over(canvas, part.rgb, soft * (0.74 + 0.2 * bloom))
        canvas = canvas * (1 - 0.4 * rim[..., None])
    return canvas


def pixel_art(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Square pixels of four (at sides from 256: eight) in flat colours with dark outlines; the sky falls in bands.

    No dither: the autoencoder smears it, and of grounds in random tones a few steps of a sampler make paint.
    """
    step = 4 * max(1, int(unit_of(drawing)))
    rows, columns = -(-drawing.height // step), -(-drawing.width // step)

    def small(sheet: Array) -> Array:
        image = Image.fromarray((sheet * 255).astype(np.uint8)).resize((columns, rows), Image.Resampling.BOX)
        return np.asarray(image, np.float32) / 255

    canvas = small(ground(drawing))
    for top in range(0, rows, 4):
        canvas[top : top + 4] = canvas[top : top + 4].mean((0, 1))
    for part, mask in zip(drawing.parts, masks, strict=True):
        cover = (small(mask) > (0.5 if part.outline else 0.12)).astype(np.float32)
        if part.outline:
            sheet = Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(3))
            canvas = over(canvas, np.array(part.rgb) * 0.28, np.asarray(sheet, np.float32) / 255)
        canvas = over(canvas, np.broadcast_to(np.array(part.rgb, np.float32), canvas.shape), cover)
        if part.outline:
            wide = np.pad(cover, 1, mode="edge")  # what goes on past the picture's border has no edge there
            lit = cover * (1 - wide[:-2, :-2])
            dim = cover * (1 - wide[2:, 2:]) * (1 - lit)
            canvas = over(canvas, np.array(part.rgb) * 0.5 + 0.5, lit * 0.6)
            canvas = over(canvas, np.array(part.rgb) * 0.6, dim * 0.8)
    return np.repeat(np.repeat(canvas, step, 0), step, 1)[: drawing.height, : drawing.width]


def line_drawing(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Ink outlines in the things' own (darkened) colours with slanted hatching on white paper."""
    high, wide, unit = drawing.height, drawing.width, unit_of(drawing)
    canvas = np.full((high, wide, 3), (0.985, 0.98, 0.965), np.float32)
    rows, columns = np.mgrid[0:high, 0:wide].astype(np.float32)
    hatch = np.clip(1.4 - np.abs((rows + columns) % (8 * unit) - 4 * unit) / unit, 0, 1)
    lines = outlines(drawing, masks, 2.4 * unit)
    for part, mask, line in zip(drawing.parts, masks, lines, strict=True):
        colour = np.array(part.rgb)
        ink = colour * min(1.0, 0.62 / max(float(colour @ (0.3, 0.59, 0.11)), 0.01))
        canvas = over(canvas, (0.985, 0.98, 0.965), mask)
        if part.outline:
            canvas = over(canvas, ink, mask * hatch * 0.75)
            canvas = over(canvas, ink * 0.7, line)
        else:
            canvas = over(canvas, (0.45, 0.45, 0.5), line)
    return canvas


def neon(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Glowing tubes along the outlines on a nearly black wall."""
    unit = unit_of(drawing)
    canvas = ground(drawing) * 0.13 + np.array((0.02, 0.015, 0.05), np.float32)
    lines = outlines(drawing, masks, 3.2 * unit)
    for part, line in zip(drawing.parts, lines, strict=True):
        colour = np.clip(np.array(part.rgb), 0.1, 1)
        colour = colour / colour.max() * 0.98
        if max(part.rgb) < 0.2:
            colour = np.array((0.42, 0.42, 0.5))
        glow = 0.75 * blurred(line, 9 * unit)[..., None] * 1.6 + 0.9 * blurred(line, 3 * unit)[..., None]
        canvas = canvas + glow * colour.astype(np.float32)
        canvas = over(canvas, colour * 0.5 + 0.5, np.clip(line * 1.1, 0, 1))
    return canvas


def stained_glass(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Panes of uneven colour between dark leads; the things' outlines are leads as well."""
    high, wide, unit = drawing.height, drawing.width, unit_of(drawing)
    cell = 25 * unit
    rows, columns = (np.arange(-1, round(length / cell) + 1) for length in (high, wide))
    seeds = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2) + rng.uniform(
        0.1, 0.9, (len(rows) * len(columns), 2)
    )
    grid = np.stack(np.mgrid[0:high, 0:wide], -1).reshape(-1, 2).astype(np.float32)
    seeds = (seeds * cell).astype(np.float32)
    far = (grid**2).sum(1)[:, None] - 2 * grid @ seeds.T + (seeds**2).sum(1)
    panes = far.argmin(1).reshape(high, wide)
    top = np.zeros((high, wide), np.int64)
    for index, (part, mask) in enumerate(zip(drawing.parts, masks, strict=True)):
        if part.outline:
            top = np.where(mask > 0.5, index + 1, top)
    light = rng.uniform(0.72, 1.22, (len(seeds), len(drawing.parts) + 1)).astype(np.float32)[panes, top]
    flat = paint_flat(drawing, masks)
    glass = flat * light[..., None] + 0.14 * (light - 0.95)[..., None]
    regions = panes * 64 + top
    lead = np.zeros((high, wide), bool)
    lead[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    lead[1:] |= regions[1:] != regions[:-1]
    sheet = Image.fromarray((lead * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(3 if unit < 1.5 else 5))
    lead = np.clip(blurred(np.asarray(sheet, np.float32) / 255, 0.6) * 1.2, 0, 1)
    return over(glass, (0.07, 0.07, 0.08), lead)


def paper_cutout(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Layers of coloured paper, each throwing a soft shadow on the one beneath."""
    high, wide, unit = drawing.height, drawing.width, unit_of(drawing)
    canvas = ground(drawing) * 0.86
    rows, columns = np.mgrid[0:high, 0:wide].astype(np.float32)
    edge = np.minimum.reduce([rows, columns, high - 1 - rows, wide - 1 - columns])
    layers: list[tuple[Array, Array, bool]] = [
        (mask, np.array(part.rgb), part.outline) for part, mask in zip(drawing.parts, masks, strict=True)
    ]
    for depth, lift in ((12, 0.05), (6, 0.14)):
        wavy = edge + 2.5 * unit * _noise(rng, high, wide, 20 * unit)
        frame = np.clip(depth * unit - wavy, 0, 1)
        layers.append((frame, np.clip(ground(drawing) + lift, 0, 1), True))
    step = max(1, round(2.5 * unit))
    for mask, colour, tall in layers:
        shade = np.clip(blurred(np.pad(mask, 12, mode="edge"), 2.6 * unit)[12:-12, 12:-12], 0, 1)
        shade = shifted(shade, step, step) if tall else shade * 0
        canvas = canvas * (1 - 0.5 * shade * (1 - mask))[..., None]
        rim = np.clip(mask - shifted(mask, 1, 1), 0, 1) if tall else mask * 0
        canvas = over(canvas, colour, mask)
        canvas = over(canvas, (1, 1, 1), rim * 0.45)
    return canvas * (1 + 0.02 * _noise(rng, high, wide, 3 * unit))[..., None]


def blueprint(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """White outlines and centre lines on blue squared paper."""
    high, wide, unit = drawing.height, drawing.width, unit_of(drawing)
    rows, columns = np.mgrid[0:high, 0:wide]
    canvas = np.full((high, wide, 3), (0.09, 0.27, 0.58), np.float32)
    minor, major = round(8 * unit), round(32 * unit)
    canvas = over(canvas, (0.5, 0.7, 0.95), 0.2 * ((rows % minor == 0) | (columns % minor == 0)))
    canvas = over(canvas, (0.6, 0.8, 1.0), 0.3 * ((rows % major == 0) | (columns % major == 0)))
    lines = outlines(drawing, masks, 2.2 * unit)
    for part, mask, line in zip(drawing.parts, masks, lines, strict=True):
        canvas = over(canvas, (0.13, 0.34, 0.68), mask * (0.6 if part.outline else 0))
        if part.shadow:
            x, y = part.fills[0].mean(0)
            dash = ((rows + columns) // max(1, round(4 * unit))) % 2
            axis = ((np.abs(rows - y) < 0.6 * unit) | (np.abs(columns - x) < 0.6 * unit)) * dash
            canvas = over(canvas, (0.75, 0.88, 1.0), 0.45 * axis)
        canvas = over(canvas, (0.95, 0.98, 1.0), line)
    return canvas


def oil_painting(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Thick strokes along a swirling field, coarse ones first, finer ones to save the outlines.

    No stroke is thinner than half a latent cell, which the autoencoder would smear.
    """
    high, wide, unit, zoom = drawing.height, drawing.width, unit_of(drawing), 2
    flat = paint_flat(drawing, masks)
    turn = _noise(rng, high, wide, 45 * unit) * 2.6
    sheet = Image.fromarray((np.clip(flat, 0, 1) * 255).astype(np.uint8)).resize((wide * zoom, high * zoom))
    pen = ImageDraw.Draw(sheet)

    def crosses(x: float, y: float, reach: Array) -> bool:
        """Does a stroke from (x, y) by ``reach`` both ways end on another colour?"""
        here = flat[min(int(y), high - 1), min(int(x), wide - 1)]
        ends = [(np.clip(y + k * reach[1], 0, high - 1), np.clip(x + k * reach[0], 0, wide - 1)) for k in (-1, 1)]
        return max(np.abs(flat[int(row), int(column)] - here).max() for row, column in ends) > 0.2

    for count, long, thick in ((160, 30, 12.0), (240, 20, 8.5), (400, 9, 5.0)):
        xs, ys, shades = rng.uniform(0, wide, count), rng.uniform(0, high, count), rng.normal(0, 0.085, count)
        for x, y, shade in zip(xs, ys, shades, strict=True):
            row, column = min(int(y), high - 1), min(int(x), wide - 1)
            swirl = np.array((np.cos(turn[row, column]), np.sin(turn[row, column]))) * unit
            # Strokes shorten or go where they would cross the outline of a thing, the coarsest excepted.
            fits = (half for half in (long / 2, long / 5) if thick > 8 or not crosses(x, y, half * swirl))
            if (half := next(fits, None)) is None:
                continue
            dx, dy = half * swirl
            colour = np.clip(flat[row, column] * (1 + shade) + 0.8 * shade + 0.03, 0, 1) * 255
            ends = [((x + k * dx) * zoom, (y + k * dy) * zoom) for k in (-1, 1)]
            pen.line(ends, fill=tuple(int(value) for value in colour), width=round(thick * unit * zoom))
    painted = np.asarray(sheet.resize((wide, high), Image.Resampling.BOX), np.float32) / 255
    return painted + 0.25 * (painted - np.stack([blurred(painted[..., c], 1.2 * unit) for c in range(3)], -1))


def chalkboard(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Crumbly coloured chalk on a smudged dark slate."""
    high, wide, unit = drawing.height, drawing.width, unit_of(drawing)
    canvas = (
        np.full((high, wide, 3), (0.17, 0.24, 0.22), np.float32)
        * (1 + 0.16 * _noise(rng, high, wide, 30 * unit))[..., None]
    )
    rows, columns = np.mgrid[0:high, 0:wide].astype(np.float32)
    strokes = np.clip(1.3 - np.abs((rows * 0.7 - columns) % (6 * unit) - 3 * unit) / (1.3 * unit), 0, 1)
    for part, mask, line in zip(drawing.parts, masks, outlines(drawing, masks, 2.8 * unit), strict=True):
        chalk = np.array(part.rgb) * 0.72 + 0.26
        crumbs = np.clip(0.8 + 0.5 * _noise(rng, high, wide, 2.2 * unit), 0, 1)
        canvas = over(canvas, (0.17, 0.24, 0.22), mask * 0.8 if part.outline else mask * 0)
        canvas = over(canvas, chalk, mask * (0.22 + 0.4 * strokes) * crumbs if part.outline else mask * 0)
        canvas = over(canvas, chalk, line * crumbs)
    return canvas


def low_poly(drawing: Drawing, masks: list[Array], rng: Generator) -> Array:
    """Every part broken into triangles of slightly different brightness."""
    high, wide, unit = drawing.height, drawing.width, unit_of(drawing)
    cell, zoom = 17 * unit, 2
    rows, columns = round(high / cell) + 3, round(wide / cell) + 3
    knots = (np.stack(np.mgrid[0:rows, 0:columns], -1) - 1 + rng.uniform(-0.32, 0.32, (rows, columns, 2))) * cell * zoom

    def facets() -> Array:
        """Brightness around 1 per triangle: (height, width, 1)."""
        sheet = Image.new("L", (wide * zoom, high * zoom), 128)
        pen = ImageDraw.Draw(sheet)
        for row in range(rows - 1):
            for column in range(columns - 1):
                corners = [knots[row + a, column + b] for a, b in ((0, 0), (0, 1), (1, 1), (1, 0))]
                split = ((0, 1, 2), (0, 2, 3)) if (row + column) % 2 else ((0, 1, 3), (1, 2, 3))
                for triangle, bias in zip(split, (12, -12), strict=True):
                    level = int(np.clip(128 + bias + rng.normal(0, 17), 70, 186))
                    pen.polygon([(corners[k][1], corners[k][0]) for k in triangle], fill=level)
        return np.asarray(sheet.reduce(zoom), np.float32)[..., None] / 128

    facet = facets()
    shade = lambda rgb, light: rgb * light + 0.16 * (light - 1)  # noqa: E731
    canvas = shade(ground(drawing), facet)
    for part, mask in zip(drawing.parts, masks, strict=True):
        light = facets() if part.shadow else facet if part.outline else np.ones_like(facet)
        canvas = canvas + (shade(np.array(part.rgb, np.float32), light) - canvas) * mask[..., None]
    return canvas


PAINTERS: dict[str, Painter] = {
    "": plain,
    "watercolor": watercolor,
    "pixel art": pixel_art,
    "line drawing": line_drawing,
    "neon": neon,
    "stained glass": stained_glass,
    "paper cutout": paper_cutout,
    "blueprint": blueprint,
    "oil painting": oil_painting,
    "chalkboard": chalkboard,
    "low poly": low_poly,
}
