"""Tells the style of a picture from simple statistics: colours, contrast at some scales, borders.

A linear classifier over these numbers, fitted by ``python -m training.style_check`` and stored in
`style_check.json`. It learns from drawn pictures, slightly blurred ones, and ones that went through
the autoencoder, which softens fine grain; it never sees a picture that the model made.
"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from training.draw import draw
from training.pictures import Array
from training.words import STYLES, Spec, random_spec

LABELS = ("", *STYLES)
COEFFICIENTS = Path(__file__).with_suffix(".json")


def features(picture: Array) -> Array:
    """About fifty numbers that describe a picture (height, width, 3) uint8, sized to 128 x 128 first."""
    sheet = Image.fromarray(picture)
    if sheet.size != (128, 128):
        sheet = sheet.resize((128, 128), Image.Resampling.BOX)
    rgb = np.asarray(sheet, np.float32) / 255
    grey, spread = rgb.mean(-1), rgb.max(-1) - rgb.min(-1)
    edge = np.ones((128, 128), bool)
    edge[5:-5, 5:-5] = False
    numbers = [
        *rgb.mean((0, 1)),
        *rgb.std((0, 1)),
        *np.quantile(grey, (0.02, 0.1, 0.5, 0.9, 0.98)),
        spread.mean(),
        spread.std(),
    ]
    numbers += [
        *rgb[edge].mean(0),
        *rgb[edge].std(0),
        *np.quantile(grey[edge], (0.1, 0.9)),
        *np.abs(rgb[edge].mean(0) - rgb[~edge].mean(0)),
    ]
    for name, colour in {
        "blue": (0.09, 0.27, 0.58),
        "paper": (0.98, 0.97, 0.95),
        "slate": (0.17, 0.24, 0.22),
        "lead": (0.07, 0.07, 0.08),
    }.items():
        far = np.linalg.norm(rgb - np.array(colour, np.float32), axis=-1)
        numbers += [(far < 0.1).mean(), (far < 0.2).mean()] if name != "lead" else [(far < 0.15).mean()]
    for side in (128, 64, 32, 16):
        small = grey.reshape(side, 128 // side, side, 128 // side).mean((1, 3))
        steps = np.abs(np.diff(small, axis=0))[:, :-1] + np.abs(np.diff(small, axis=1))[:-1]
        numbers += [
            steps.mean(),
            np.sqrt(np.quantile(steps, 0.5)),
            np.sqrt(np.quantile(steps, 0.75)),
            (steps > 0.12).mean(),
        ]
    rows, columns = np.indices((128, 128))
    depth = np.minimum.reduce([rows, columns, 127 - rows, 127 - columns])
    rings = [grey[(depth >= near) & (depth < far)] for near, far in ((0, 4), (7, 10), (14, 18), (22, 28))]
    numbers += [abs(outer.mean() - inner.mean()) for outer, inner in pairwise(rings)]
    numbers += [np.median(ring) - ring.mean() for ring in rings]
    jumps = np.abs(np.diff(grey, axis=1)).mean(0)
    downs = np.abs(np.diff(grey, axis=0)).mean(1)
    for steps in (jumps, downs):
        for side in (4, 8):  # squares on a grid have their borders there
            grid = np.s_[side - 1 :: side]
            numbers.append(np.log((steps[grid].mean() + 1e-3) / (np.delete(steps, grid).mean() + 1e-3)))
    return np.array(numbers, np.float64)


def _expanded(rows: Array, mean: Array, std: Array) -> Array:
    scaled = np.clip((rows - mean) / std, -4, 4)
    return np.concatenate([scaled, scaled**2, np.ones((len(rows), 1))], 1)


def fit(pictures: list[Array], labels: list[int]) -> dict[str, list]:
    """Ridge regression on one-hot labels."""
    rows = np.stack([features(picture) for picture in pictures])
    mean, std = rows.mean(0), rows.std(0) + 1e-3
    known = _expanded(rows, mean, std)
    wanted = np.eye(len(LABELS))[labels]
    matrix = np.linalg.solve(known.T @ known + 2.0 * np.eye(known.shape[1]), known.T @ wanted)
    return {"mean": mean.round(6).tolist(), "std": std.round(6).tolist(), "matrix": matrix.round(5).tolist()}


@lru_cache(maxsize=1)
def _coefficients() -> tuple[Array, Array, Array]:
    data = json.loads(COEFFICIENTS.read_text("utf-8"))
    return np.array(data["mean"]), np.array(data["std"]), np.array(data["matrix"])


def style_of(picture: Array) -> str:
    """One of `STYLES`, or "" for the plain look."""
    mean, std, matrix = _coefficients()
    return LABELS[int((_expanded(features(picture)[None], mean, std) @ matrix).argmax())]


def through_autoencoder(pictures: list[Array]) -> list[Array]:
    """``pictures`` (128 x 128) encoded and decoded by the autoencoder of the model that ships."""
    import torch
    from diffusers import AutoencoderTiny

    from training.config import STARTER, half

    vae = AutoencoderTiny.from_pretrained(STARTER / "vae").float().to(memory_format=torch.channels_last)
    decoded: list[Array] = []
    for start in range(0, len(pictures), 32):
        pixels = torch.from_numpy(np.stack(pictures[start : start + 32])).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad(), half(torch.device("cpu")):
            result = vae.decode(vae.encode(pixels).latents).sample.float().clamp(-1, 1)
        decoded += list(((result + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy())
    return decoded


def drawn_examples(count: int, seed: str) -> tuple[list[Array], list[int]]:
    """``count`` drawn pictures per style, each also slightly blurred, with their labels."""
    pictures, labels = [], []
    rng = Random(seed)
    for label, style in enumerate(LABELS):
        for _ in range(count):
            spec = Spec(**{**random_spec(rng, 0).__dict__, "style": style})
            picture = draw(spec, rng.getrandbits(30))
            soft = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.9)))
            pictures += [picture, np.asarray(soft)]
            labels += [label, label]
    return pictures, labels


def main() -> None:
    """Fits the classifier and prints how it does on other drawn pictures."""
    pictures, labels = drawn_examples(400, "fit")
    COEFFICIENTS.write_text(
        json.dumps(fit(pictures + through_autoencoder(pictures[::2]), labels + labels[::2])) + "\n", "utf-8"
    )
    pictures, labels = drawn_examples(60, "test")
    pictures, labels = pictures + through_autoencoder(pictures[::2]), labels + labels[::2]
    right = [style_of(picture) == LABELS[label] for picture, label in zip(pictures, labels, strict=True)]
    print(f"{100 * np.mean(right):.1f} % of {len(right)} pictures, a third of them through the autoencoder")
    for label, style in enumerate(LABELS):
        share = np.mean([hit for hit, known in zip(right, labels, strict=True) if known == label])
        print(f"{style or 'plain':16} {100 * share:.1f} %")


if __name__ == "__main__":
    main()
