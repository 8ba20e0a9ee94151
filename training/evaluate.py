"""Asks a model for pictures and counts how often it gives what was asked.

``--drawn`` judges drawn pictures instead, which says how far the judges themselves can be trusted.
``--adapter`` folds a LoRA into the model first; with one, pop art is asked for as well.
The table is printed as Markdown; contact sheets with what was wrong first go to ``--out``.
"""

from __future__ import annotations

import re
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
    LCMScheduler,
    StableDiffusionXLPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image

from training.checks import check_object, check_pair, check_scene
from training.config import STARTER, half, parse
from training.draw import draw
from training.low_rank import merge
from training.pictures import Array
from training.pop_art import TEMPLATE as POP_ART
from training.pop_art import check_pop_art
from training.style_check import style_of
from training.words import (
    STYLES,
    Spec,
    Thing,
    combinations,
    is_held_out,
    plain_caption,
    random_object,
    random_pair,
    random_scene,
    random_spec,
)

SAMPLERS = {
    "euler": (EulerDiscreteScheduler, {}),
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),  # visits the times of `fooocus_lite.engine.schedules.lcm`
}
Painter = Callable[[list[str], list[Spec], int, tuple[int, int]], list[Array]]
Judge = Callable[[Array, Spec], dict[str, bool]]


@dataclass(frozen=True)
class Job:
    """Some lines of the table: what to paint, who looks at it, (width, height) in pixels, how to ask for it."""

    title: str
    specs: list[Spec]
    look: Judge
    size: tuple[int, int]
    say: Callable[[Spec], str] = plain_caption


@dataclass
class Tally:
    """Right and asked per question, the pictures with their verdicts, and how long they took."""

    counts: dict[str, list[int]] = field(default_factory=dict)
    pictures: list[tuple[bool, Array]] = field(default_factory=list)
    seconds: float = 0.0

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


@dataclass(frozen=True)
class Sampling:
    """How pictures are made; ``fast`` computes in bfloat16 where that pays, ``adapter`` is a LoRA and its weight."""

    sampler: str = "dpmpp_2m_karras"
    steps: int = 20
    guidance_scale: float = 3.0
    batch: int = 25
    fast: bool = False
    adapter: tuple[Path, float] | None = None


def make_painter(folder: Path, device: torch.device, sampling: Sampling) -> Painter:
    """Pictures from the model in ``folder`` through diffusers' own SDXL pipeline, in batches."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True).to(device, torch.float32)
    kind, options = SAMPLERS[sampling.sampler]
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)
    if sampling.adapter:
        merge(pipeline.unet, *sampling.adapter)
    pipeline.set_progress_bar_config(disable=True)

    def paint(prompts: list[str], specs: list[Spec], seed: int, size: tuple[int, int]) -> list[Array]:
        pictures: list[Array] = []
        for start in range(0, len(prompts), sampling.batch):
            some = prompts[start : start + sampling.batch]
            generators = [torch.Generator().manual_seed(seed + start + k) for k in range(len(some))]
            with torch.no_grad(), half(device, sampling.fast):
                result = pipeline(
                    some, negative_prompt=[""] * len(some), num_inference_steps=sampling.steps,
                    guidance_scale=sampling.guidance_scale, width=size[0], height=size[1],
                    generator=generators, output_type="np",
                )  # fmt: skip
            pictures += [(picture * 255 + 0.5).astype(np.uint8) for picture in result.images]
        return pictures

    return paint


def paint_drawn(prompts: list[str], specs: list[Spec], seed: int, size: tuple[int, int]) -> list[Array]:
    """Drawn pictures, to judge the judges."""
    return [draw(spec, seed + k, *size) for k, spec in enumerate(specs)]


def judge(paint: Painter, job: Job, seed: int) -> Tally:
    """Paints what the job asks for and looks at each picture."""
    tally = Tally()
    started = time.monotonic()
    pictures = paint([job.say(spec) for spec in job.specs], job.specs, seed, job.size)
    tally.seconds = time.monotonic() - started
    for picture, spec in zip(pictures, job.specs, strict=True):
        tally.add(picture, job.look(picture, spec))
    return tally


def contact_sheet(tally: Tally, path: Path, columns: int = 11, most: int = 220) -> None:
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


def check_style(picture: Array, spec: Spec) -> dict[str, bool]:
    """Does the picture look like its style?"""
    return {spec.style or "plain": style_of(picture) == spec.style}


def pop_art_job(count: int, size: tuple[int, int]) -> Job:
    """Objects in the style of the adapter that is the example; on white and on black its dots and ink do not show."""
    rng = Random("pop art")
    specs: list[Spec] = []
    while len(specs) < count:
        spec = random_object(rng)
        if not {spec.background, spec.objects[0].colour} & {"white", "black"}:
            specs.append(spec)
    return Job("pop art", specs, check_pop_art, size, lambda spec: POP_ART.format(prompt=plain_caption(spec)))


def make_jobs(share: float, native: int, prompts: str = "evaluation", *, with_adapter: bool = False) -> list[Job]:
    """All that is asked: ``share`` of the full numbers, ``native`` pixels a side; ``prompts`` seeds it."""
    rng = Random(prompts)

    def count(full: int) -> int:
        return max(4, round(full * share))

    square = (native, native)
    pairs = [random_pair(rng) for _ in range(count(100))]
    scenes = [random_scene(rng) for _ in range(count(100))]
    jobs = [
        Job("held-out objects", held_out_specs(count(200), rng), check_object, square),
        Job("two objects", pairs, check_pair, square),
        Job("scenes", scenes, check_scene, square),
        Job("styles", styled_specs(count(20), rng), check_style, square),
    ]
    for wide, tall in ((3, 3), (5, 5), (6, 6), (5, 3), (3, 5), (6, 4), (4, 6)):
        size = (wide * native // 4, tall * native // 4)
        jobs.append(Job(f"objects {size[0]}x{size[1]}", held_out_specs(count(24), rng), check_object, size))
    if with_adapter:
        jobs.append(pop_art_job(count(40), square))
    return jobs


def evaluate(paint: Painter, out: Path, jobs: list[Job]) -> str:
    """Every line of the table, as Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    lines = ["| what | right | n |", "| --- | --- | --- |"]
    seconds, pictures = 0.0, 0
    for number, job in enumerate(jobs):
        tally = judge(paint, job, 1000 * number)
        contact_sheet(tally, out / f"{job.title.replace(' ', '_')}.png")
        entire = [sum(right for right, _ in tally.pictures), len(tally.pictures)]
        fresh = [
            f"| {job.title}: {question} | {100 * right / asked:.1f} % | {asked} |"
            for question, (right, asked) in [*tally.counts.items(), ("all of it", entire)]
        ]
        print("\n".join(fresh), flush=True)
        lines += fresh
        seconds, pictures = seconds + tally.seconds, pictures + len(tally.pictures)
    print(f"{1000 * seconds / max(1, pictures):.0f} ms a picture")
    return "\n".join(lines)


def read_adapter(text: str) -> tuple[Path, float]:
    """``FILE[:weight]``; the weight is 1 when left out."""
    path, colon, weight = text.rpartition(":")
    try:
        return (Path(path), float(weight)) if colon else (Path(text), 1.0)
    except ValueError:  # the colon of a drive's letter
        return Path(text), 1.0


def main() -> None:
    """The command line."""
    args, config = parse(
        __doc__ or "",
        weights={"type": Path, "default": STARTER}, out={"type": Path, "help": "folder for contact sheets"},
        sampler={"choices": sorted(SAMPLERS), "default": "dpmpp_2m_karras"}, steps={"type": int, "default": 20},
        guidance_scale={"type": float, "default": 3.0}, share={"type": float, "default": 1.0},
        batch={"type": int, "default": 25}, fast={"action": "store_true", "help": "compute in bfloat16"},
        prompts={"default": "evaluation", "help": "any other word asks for other things"},
        adapter={"type": read_adapter, "metavar": "FILE[:WEIGHT]", "help": "a LoRA to fold into the model"},
        drawn={"action": "store_true"}, only={"default": "", "help": "only titles that match this expression"},
    )  # fmt: skip
    started = time.monotonic()
    paint = paint_drawn
    if not args.drawn:
        sampling = Sampling(args.sampler, args.steps, args.guidance_scale, args.batch, args.fast, args.adapter)
        paint = make_painter(args.weights, args.device, sampling)
    out = args.out or args.work / ("evaluation-drawn" if args.drawn else "evaluation")
    asked = make_jobs(args.share, config.size, args.prompts, with_adapter=bool(args.adapter))
    jobs = [job for job in asked if re.search(args.only, job.title)]
    table = evaluate(paint, out, jobs)
    (out / "table.md").write_text(table + "\n", "utf-8")
    print(f"\n{table}\n\n{time.monotonic() - started:.0f} s; contact sheets in {out}")


if __name__ == "__main__":
    main()
