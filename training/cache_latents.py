"""Draws the training pictures and keeps only their latents, in shards that a restart skips.

A shard holds pictures of one bucket: latents (n, channels, h, w) float16 as the encoder gives them
(not yet scaled), the pictures' 8 x 8 means (n, 3, h, w) in -1..1 for the preview matrix, and the
specs that captions are made from.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F

from training.config import CONFIGS, Config, half, parse, save_atomic
from training.draw import draw
from training.train_vae import make_vae
from training.words import random_spec

SHARD = 480


def load_vae(config: Config, path: Path, device: torch.device) -> torch.nn.Module:
    """The trained autoencoder, ready to encode."""
    vae = make_vae(config)
    vae.load_state_dict(torch.load(path, weights_only=True, map_location="cpu")["model"])
    return vae.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)


def shard_sizes(config: Config) -> list[tuple[int, int]]:
    """(width, height) of every shard: the rarer buckets spread evenly, the first shards usable alone."""
    rng = Random(f"shards:{config.seed}")
    sizes = []
    for width, height, share in config.buckets:
        sizes += [(width, height)] * max(1, round(share * config.pictures / SHARD))
    first = sizes[0]
    rest = sizes[1:]
    rng.shuffle(rest)
    return [first, *rest]


def make_shard(job: tuple[str, int, int, int, str, str, str]) -> str:
    """Draws and encodes one shard unless it is there; returns its file name."""
    name, index, width, height, vae_path, folder, device_name = job
    path = Path(folder) / f"{index:04d}_{width}x{height}.pt"
    if path.exists():
        return path.name
    config, device = CONFIGS[name], torch.device(device_name)
    if device.type == "cpu":
        torch.set_num_threads(1)
    vae = load_vae(config, Path(vae_path), device)
    specs = [random_spec(Random(f"picture:{config.seed}:{index}:{k}"), config.styled) for k in range(SHARD)]
    latents, means = [], []
    for start in range(0, SHARD, 32):
        drawn = [
            draw(spec, index * SHARD + start + k, width, height) for k, spec in enumerate(specs[start : start + 32])
        ]
        pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        with torch.no_grad(), half(device):
            latents.append(
                vae.encoder(pixels.contiguous(memory_format=torch.channels_last)).to("cpu", torch.float16).contiguous()
            )
        means.append(F.avg_pool2d(pixels, 8).to("cpu", torch.float16))
    save_atomic(
        {"latents": torch.cat(latents), "means": torch.cat(means), "specs": [spec.to_dict() for spec in specs]}, path
    )
    return path.name


def main() -> None:
    """The command line."""
    args, config = parse(__doc__ or "", pictures={"type": int, "help": "stop after about so many pictures"})
    folder = args.work / "latents"
    folder.mkdir(exist_ok=True)
    shards = shard_sizes(config)[: (args.pictures or 10**9) // SHARD]
    jobs = [
        (config.name, k, width, height, str(args.work / "vae.pt"), str(folder), str(args.device))
        for k, (width, height) in enumerate(shards)
    ]
    started = time.monotonic()
    if args.device.type == "cuda":
        for job in jobs:
            make_shard(job)
        return
    with ProcessPoolExecutor() as pool:
        for done, name in enumerate(pool.map(make_shard, jobs), 1):
            print(f"{time.monotonic() - started:6.0f} s  {done}/{len(jobs)}  {name}", flush=True)


if __name__ == "__main__":
    main()
