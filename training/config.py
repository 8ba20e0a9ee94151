"""All sizes and amounts of a training run in one value, and helpers that every step shares."""

from __future__ import annotations

import argparse
import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
STARTER = HERE.parent / "models" / "starter"


@dataclass(frozen=True)
class Config:
    """One model and its training. Pixels are of the picture; latents are 8 times smaller.

    ``buckets`` are (width, height, share of pictures). ``*minutes`` are wall-clock budgets at
    whose end the learning rate has run down. What is hard comes more often than it was drawn:
    ``repeats`` holds a kind, a style or "night", and how many times as often. Captions are padded to
    ``short_tokens``, which saves a tenth of the time, until the share ``short_until`` of it is spent,
    then to the full 77.
    """

    name: str = "cpu128"
    seed: int = 1
    size: int = 128
    pictures: int = 40_000
    buckets: tuple[tuple[int, int, float], ...] = (
        (128, 128, 0.59), (96, 96, 0.04), (160, 160, 0.05), (160, 96, 0.04), (96, 160, 0.04),
        (160, 128, 0.06), (128, 160, 0.06), (192, 128, 0.05), (128, 192, 0.05), (192, 192, 0.02),
    )  # fmt: skip
    styled: float = 0.4
    vae_channels: int = 32
    vae_pictures: int = 3000
    vae_crop: int = 64
    vae_batch: int = 16
    vae_rate: float = 1.5e-3
    vae_minutes: float = 20.0
    latent_channels: int = 8
    vocabulary: int = 1100
    text_widths: tuple[int, int] = (128, 128)
    text_heads: int = 4
    text_batch: int = 96
    text_tokens: int = 32
    text_rate: float = 1e-3
    text_minutes: float = 6.0
    channels: tuple[int, int, int] = (128, 192, 192)
    head_size: int = 32
    layers_per_block: int = 1
    batch: int = 48
    rate: float = 6e-4
    minutes: float = 100.0
    warm_up: float = 0.02
    level_until: float = 0.6
    ema: float = 0.999
    snr_gamma: float = 5.0
    repeats: tuple[tuple[str, float], ...] = (
        ("pair", 1.2), ("night", 2.0), ("pixel art", 3.0), ("oil painting", 2.0), ("paper cutout", 1.7),
        ("watercolor", 1.3), ("stained glass", 1.3),
    )  # fmt: skip
    short_tokens: int = 40
    short_until: float = 0.7
    lcm_batch: int = 32
    lcm_rate: float = 1e-3
    style_batch: int = 32
    style_rate: float = 1e-3
    style_pictures: int = 1500


CONFIGS = {
    "cpu128": Config(),
    "gpu256": replace(
        Config(), name="gpu256", size=256, pictures=120_000,
        buckets=(
            (256, 256, 0.8), (192, 192, 0.03), (320, 320, 0.04), (320, 192, 0.03), (192, 320, 0.03),
            (320, 256, 0.035), (256, 320, 0.035),
        ),
        vae_crop=128, vae_batch=64, vae_pictures=8000, vae_minutes=6.0,
        channels=(128, 256, 256), layers_per_block=2, batch=256, minutes=40.0,
    ),
}  # fmt: skip


def parse(description: str, **extra: dict) -> tuple[argparse.Namespace, Config]:
    """Command line with the options that every step has, plus ``extra`` (name -> add_argument)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", choices=sorted(CONFIGS), default="cpu128")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="folder for caches and checkpoints")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ...")
    for name, options in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    args = parser.parse_args()
    args.work = args.work / args.config
    args.work.mkdir(parents=True, exist_ok=True)
    args.device = pick_device(args.device)
    return args, CONFIGS[args.config]


def pick_device(name: str) -> torch.device:
    """The device called ``name``; "auto" takes a GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def half(device: torch.device, enabled: bool = True) -> contextlib.AbstractContextManager:
    """bfloat16 autocast where it pays: on CUDA, and on CPUs that multiply bfloat16 natively."""
    fits = device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_avx512_bf16_supported())
    return torch.autocast(device.type, torch.bfloat16) if enabled and fits else contextlib.nullcontext()


def save_atomic(data: object, path: Path) -> None:
    """`torch.save` that leaves either the old file or the whole new one."""
    partial = path.with_suffix(".partial")
    torch.save(data, partial)
    os.replace(partial, path)
