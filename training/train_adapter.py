"""Teaches the starter a look that it does not know, pop art: a small LoRA, the example of what adapters are.

Some pictures are drawn and encoded once; the adapter then learns from them as the U-Net did from its own
(`training.train_unet`), while the model under it stays as it is.
"""

from __future__ import annotations

import json
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from training.adapter_run import AdapterRun, Job, Sample, parse_adapter, train_adapter
from training.config import Config, half, save_atomic
from training.draw import draw
from training.evaluate import Sampling
from training.models import TOKENS
from training.pop_art import TEMPLATE, TRIGGER, pop_art, pop_art_caption
from training.team import Team
from training.train_unet import Batches, Bucket, Noising
from training.words import Spec, random_spec

AT_ONCE = 32


def metadata(pictures: int) -> dict[str, str]:
    """What the file says of itself, with the number of pictures that it was made from."""
    return {
        "modelspec.title": "Starter, pop art",
        "modelspec.description": "Thick black outlines with hard shadows on a ground of large dots.",
        "modelspec.trigger_phrase": TRIGGER,
        "modelspec.tags": "style",
        "modelspec.usage_hint": f"weight 1, with '{TRIGGER}' in the prompt",
        "ss_tag_frequency": json.dumps({"pop_art": {TRIGGER: pictures}}),
    }


def make_buckets(config: Config, job: Job, device: torch.device) -> list[Bucket]:
    """The drawn pictures as latents of unit variance, by size; from ``job.work`` if they were made before."""
    path = job.work / f"{job.name}-latents.pt"
    if not path.exists():
        vae = AutoencoderTiny.from_pretrained(job.weights / "vae").float().requires_grad_(False).to(device)
        shards = []
        for width, height, share in config.buckets:
            count = max(1, round(share * config.style_pictures))
            specs = [random_spec(Random(f"pop art:{config.seed}:{width}x{height}:{k}"), 0) for k in range(count)]
            latents = [
                _encoded(vae, [draw(spec, k, width, height, painter=pop_art) for k, spec in some])
                for some in _split(list(enumerate(specs)))
            ]
            shards.append((width, height, torch.cat(latents), [spec.to_dict() for spec in specs]))
        save_atomic(shards, path)
    return [
        Bucket(width, height, latents, [Spec.from_dict(data) for data in specs])
        for width, height, latents, specs in torch.load(path, weights_only=True)
    ]


def _split(items: list) -> list[list]:
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]


def _encoded(vae: AutoencoderTiny, pictures: list[np.ndarray]) -> Tensor:
    """(n, channels, h, w) float16, scaled as the U-Net sees them."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(vae.device).float() / 127.5 - 1
    with torch.no_grad(), half(vae.device):
        latents = vae.encode(pixels).latents
    return (latents.float() * vae.config.scaling_factor).to("cpu", torch.float16).contiguous()


class StyleRun(AdapterRun):
    """Learns to take the noise off the drawn pictures."""

    def __init__(self, config: Config, job: Job, device: torch.device, team: Team) -> None:
        super().__init__(config, job, device, team)
        self.batches = Batches(
            make_buckets(config, job, device), self.starter.tokenizer, batch=config.style_batch // team.world,
            repeats={}, seed=self.seed, say=pop_art_caption,
        )  # fmt: skip
        self.noising = Noising(config, device)

    def loss(self) -> Tensor:
        """That of the U-Net's own training."""
        latents, ids, sizes, _ = self.batches.next(TOKENS)
        self.seen += len(latents) * self.team.world
        noisy, timesteps, v = self.noising.noised(latents.to(self.device))
        v_pred = self.starter.predict(noisy, timesteps, self.starter.encode(ids[: len(latents)], sizes))
        return self.noising.loss(v_pred, v, timesteps)


def main() -> None:
    """The command line."""
    args, config = parse_adapter(__doc__ or "", minutes=5.0)
    job = Job("starter-pop-art", args.work, args.weights, linear_rank=4, conv_rank=4, rate=config.style_rate, ema=0.99)
    sample = Sample(TEMPLATE.format(prompt="a red heart on a yellow background"), Sampling())
    train_adapter(StyleRun, config, job, args, metadata=metadata(config.style_pictures), sample=sample)


if __name__ == "__main__":
    main()
