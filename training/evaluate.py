"""Asks a model for pictures and counts how often it gives what was asked.

``--drawn`` judges drawn pictures instead, which says how far the judges themselves can be trusted.
The table is printed as Markdown; contact sheets with what was wrong first go to ``--out``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image

from training.checks import check_object, check_pair, check_scene
from training.config import STARTER, parse
from training.draw import draw
from training.pictures import Array
from training.style_check import style_of
from training.words import (
    STYLES,
    Spec,
    Thing,
    combinations,
    is_held_out,
    plain_caption,
    random_pair,
    random_scene,
    random_spec,
)

SAMPLERS = {
    "euler": (EulerDiscreteScheduler, {}),
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "unipc": (UniPCMultistepScheduler, {}),
}
Painter = Callable[[list[str], list[Spec], int, tuple[int, int]], list[Array]]
Judge = Callable[[Array, Spec], dict[str, bool]]


@dataclass
class Tally:
    """Right and asked per question, and the pictures with their verdicts."""

    counts: dict[str, list[int]] = field(default_factory=dict)
    pictures: list[tuple[bool, Array]] = field(default_factory=list)

    def add(self, picture: Array, verdict: dict[str, bool]) -> None:
        """Counts one judged picture."""
        self.pictures.append((all(verdict.values()), picture))
        for question, right in verdict.items():
            count = self.counts.setdefault(question, [0, 0])
            count[0] += bool(right)
            count[1] += 1


def held_out_specs(count: int, rng: Random) -> list[Spec]:
    """Objects in combinations that were never trained on; every third with a size."""
    combos = [combo for combo in combinations() if is_held_out(*combo)]
    rng.shuffle(combos)
    picked = (combos * (count // len(combos) + 1))[:count]
    sizes = ("medium", "small", "medium", "large", "medium", "medium")
    return [
        Spec("object", (Thing(colour, shape, sizes[k % 6]),), background=ground)
        for k, (colour, shape, ground) in enumerate(picked)
    ]


def styled_specs(count: int, rng: Random) -> list[Spec]:
    """``count`` pictures of all kinds in every style and in none."""
    specs = [random_spec(rng, 0) for _ in range(count * (len(STYLES) + 1))]
    return [Spec(**{**spec.__dict__, "style": ("", *STYLES)[k % (len(STYLES) + 1)]}) for k, spec in enumerate(specs)]


def make_painter(
    folder: Path, device: torch.device, *, sampler: str, steps: int, guidance_scale: float, batch: int
) -> Painter:
    """Pictures from the model in ``folder`` through diffusers' own SDXL pipeline, in batches."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True).to(device, torch.float32)
    kind, options = SAMPLERS[sampler]
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)
    pipeline.set_progress_bar_config(disable=True)

    def paint(prompts: list[str], specs: list[Spec], seed: int, size: tuple[int, int]) -> list[Array]:
        pictures: list[Array] = []
        for start in range(0, len(prompts), batch):
            some = prompts[start : start + batch]
            generators = [torch.Generator().manual_seed(seed + start + k) for k in range(len(some))]
            with torch.no_grad():
                result = pipeline(
                    some, negative_prompt=[""] * len(some), num_inference_steps=steps, guidance_scale=guidance_scale,
                    width=size[0], height=size[1], generator=generators, output_type="np",
                )  # fmt: skip
            pictures += [(picture * 255 + 0.5).astype(np.uint8) for picture in result.images]
        return pictures

    return paint


def paint_drawn(prompts: list[str], specs: list[Spec], seed: int, size: tuple[int, int]) -> list[Array]:
    """Drawn pictures, to judge the judges."""
    return [draw(spec, seed + k, *size) for k, spec in enumerate(specs)]


def judge(paint: Painter, specs: list[Spec], look: Judge, seed: int, size: tuple[int, int]) -> Tally:
    """Paints ``specs`` and looks at each picture."""
    tally = Tally()
    for picture, spec in zip(paint([plain_caption(spec) for spec in specs], specs, seed, size), specs, strict=True):
        tally.add(picture, look(picture, spec))
    return tally


def contact_sheet(tally: Tally, path: Path, columns: int = 12, most: int = 96) -> None:
    """A grid of pictures, the wrong ones first, framed red."""
    shown = sorted(tally.pictures, key=lambda pair: pair[0])[:most]
    height, width = shown[0][1].shape[:2]
    rows = -(-len(shown) // columns)
    sheet = np.full((rows * (height + 4), columns * (width + 4), 3), 255, np.uint8)
    for index, (right, picture) in enumerate(shown):
        y, x = index // columns * (height + 4), index % columns * (width + 4)
        sheet[y : y + height + 4, x : x + width + 4] = (255, 255, 255) if right else (255, 0, 0)
        sheet[y + 2 : y + 2 + height, x + 2 : x + 2 + width] = picture
    Image.fromarray(sheet).save(path)


def evaluate(paint: Painter, out: Path, *, share: float, native: int) -> str:
    """Every line of the table, as Markdown; ``share`` of the full numbers of pictures."""
    rng = Random("evaluation")
    count = lambda full: max(4, round(full * share))  # noqa: E731
    style_judge: Judge = lambda picture, spec: {spec.style or "plain": style_of(picture) == spec.style}  # noqa: E731
    pairs = [random_pair(rng) for _ in range(count(100))]
    scenes = [random_scene(rng) for _ in range(count(100))]
    unit = native // 4
    jobs: list[tuple[str, list[Spec], Judge, tuple[int, int]]] = [
        ("held-out objects", held_out_specs(count(200), rng), check_object, (native, native)),
        ("two objects", pairs, check_pair, (native, native)),
        ("scenes", scenes, check_scene, (native, native)),
        ("styles", styled_specs(count(20), rng), style_judge, (native, native)),
    ]
    for wide, tall in ((3, 3), (5, 5), (6, 6), (5, 3), (3, 5), (6, 4), (4, 6)):
        jobs.append(
            (
                f"objects {wide * unit}x{tall * unit}",
                held_out_specs(count(24), rng),
                check_object,
                (wide * unit, tall * unit),
            )
        )
    out.mkdir(parents=True, exist_ok=True)
    lines = ["| what | right | n |", "| --- | --- | --- |"]
    for number, (title, specs, look, size) in enumerate(jobs):
        tally = judge(paint, specs, look, 1000 * number, size)
        contact_sheet(
            tally,
            out / f"{title.replace(' ', '_')}.png",
            11 if title == "styles" else 12,
            220 if title == "styles" else 96,
        )
        entire = sum(right for right, _ in tally.pictures)
        for question, (right, asked) in [*tally.counts.items(), ("all of it", (entire, len(tally.pictures)))]:
            lines.append(f"| {title}: {question} | {100 * right / asked:.1f} % | {asked} |")
        print("\n".join(lines[-len(tally.counts) - 1 :]), flush=True)
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    args, config = parse(
        __doc__ or "",
        weights={"type": Path, "default": STARTER}, out={"type": Path, "help": "folder for contact sheets"},
        sampler={"choices": sorted(SAMPLERS), "default": "dpmpp_2m_karras"}, steps={"type": int, "default": 20},
        guidance_scale={"type": float, "default": 4.0}, share={"type": float, "default": 1.0},
        batch={"type": int, "default": 25}, drawn={"action": "store_true"},
    )  # fmt: skip
    started = time.monotonic()
    paint = paint_drawn
    if not args.drawn:
        paint = make_painter(
            args.weights,
            args.device,
            sampler=args.sampler,
            steps=args.steps,
            guidance_scale=args.guidance_scale,
            batch=args.batch,
        )
    out = args.out or args.work / ("evaluation-drawn" if args.drawn else "evaluation")
    table = evaluate(paint, out, share=args.share, native=config.size)
    (out / "table.md").write_text(table + "\n", "utf-8")
    print(f"\n{table}\n\n{time.monotonic() - started:.0f} s; contact sheets in {out}")


if __name__ == "__main__":
    main()
