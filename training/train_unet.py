"""Trains the U-Net and both text encoders together on cached latents.

The loss is SDXL's noise prediction with min-SNR weights (arXiv:2303.09556). The learning rate warms
up and then falls along a cosine that ends with the wall-clock budget ``--minutes``. A run that was
stopped goes on from its last checkpoint: weights, averages, optimizer, time spent.

On a CPU several processes with one thread each are faster than one process with several threads,
and suffer less from other programs: start it with ``torchrun --nproc-per-node CORES -m training.train_unet``.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.distributed as dist
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

from training.config import Config, half, parse, save_atomic
from training.models import TOKENS, encode_text, make_text_encoders, make_unet, time_ids
from training.words import Spec, caption, nothing

SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SAVE_EVERY_S = 180
EMPTY_PROMPTS = 0.1


@dataclass
class Bucket:
    """All cached pictures of one size; latents (n, channels, h, w) are scaled to unit variance."""

    width: int
    height: int
    latents: Tensor
    specs: list[Spec]


def load_buckets(folder: Path, scaling_factor: float) -> list[Bucket]:
    """Every shard in ``folder``, joined by size."""
    found: dict[tuple[int, int], Bucket] = {}
    for path in sorted(folder.glob("*.pt")):
        shard = torch.load(path, weights_only=True)
        width, height = (int(side) for side in path.stem.split("_")[1].split("x"))
        latents, specs = shard["latents"], [Spec.from_dict(data) for data in shard["specs"]]
        if (width, height) in found:
            bucket = found[width, height]
            bucket.latents, bucket.specs = torch.cat([bucket.latents, latents]), bucket.specs + specs
        else:
            found[width, height] = Bucket(width, height, latents, specs)
    for bucket in found.values():
        bucket.latents = (bucket.latents.float() * scaling_factor).half()
    return list(found.values())


def find_scaling_factor(folder: Path) -> float:
    """1 / standard deviation of the first shard's latents, rounded to 4 digits."""
    first = torch.load(min(folder.glob("*.pt")), weights_only=True)
    return round(1 / first["latents"].float().std().item(), 4)


class Trainee(nn.Module):
    """U-Net and text encoders as one module, so that one state dict and one average hold all."""

    def __init__(self, config: Config, vocabulary: int) -> None:
        super().__init__()
        self.unet = make_unet(config)
        self.text_encoder, self.text_encoder_2 = make_text_encoders(config, vocabulary)

    def forward(self, latents: Tensor, timesteps: Tensor, ids: Tensor, sizes: Tensor) -> Tensor:
        """Predicted noise (n, channels, h, w) for token ids (n, 77) and size conditions (n, 6)."""
        prompt_embeds, pooled = encode_text((self.text_encoder, self.text_encoder_2), ids)
        conditions = {"text_embeds": pooled, "time_ids": sizes}
        return self.unet(latents, timesteps, prompt_embeds, added_cond_kwargs=conditions, return_dict=False)[0]


class Batches:
    """Draws batches of one bucket each, with fresh captions."""

    def __init__(self, buckets: list[Bucket], tokenizer: CLIPTokenizer, batch: int, seed: str) -> None:
        self.buckets, self.tokenizer, self.batch = buckets, tokenizer, batch
        self.rng = Random(seed)
        self.counts = [len(bucket.specs) for bucket in buckets]
        self.native_area = max(buckets, key=lambda bucket: len(bucket.specs)).latents[0, 0].numel()

    def next(self, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (batch, channels, h, w), token ids (batch, tokens), size conditions (batch, 6)."""
        bucket = self.rng.choices(self.buckets, self.counts)[0]
        area = bucket.latents[0, 0].numel() / self.native_area
        count = max(4, round(self.batch / max(1.0, area)))
        picked = [self.rng.randrange(len(bucket.specs)) for _ in range(count)]
        texts = [
            nothing(self.rng) if self.rng.random() < EMPTY_PROMPTS else caption(bucket.specs[index], self.rng)
            for index in picked
        ]
        texts = [text.upper() if self.rng.random() < 0.03 else text for text in texts]
        ids = self.tokenizer(
            texts, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
        ).input_ids
        sizes = time_ids(count, bucket.width, bucket.height, torch.device("cpu"))
        return bucket.latents[picked].float(), ids, sizes


def spread_timesteps(count: int) -> Tensor:
    """(count,) timesteps, one from each of ``count`` equal parts of the schedule: less noisy than independent draws."""
    return ((torch.randperm(count) + torch.rand(count)) / count * 1000).long().clamp(0, 999)


def cheap_attention(device: torch.device) -> contextlib.AbstractContextManager:
    """On CPUs plain matrix products beat the fused attention, whose backward pass is slow there."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext()


def rate_at(progress: float, config: Config) -> float:
    """Learning rate at ``progress`` 0..1 of the budget: linear warm-up, then cosine to a hundredth."""
    if progress < config.warm_up:
        return config.rate * progress / config.warm_up
    fall = (progress - config.warm_up) / (1 - config.warm_up)
    return config.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, fall))))


@torch.no_grad()
def share_gradients(parameters: list[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over all processes."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(
        gradients, [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
    )


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: Trainee, decay: float) -> None:
    """Moves the exponential moving average of the weights towards ``model``."""
    names, values = zip(*model.named_parameters(), strict=True)
    torch._foreach_lerp_([average[name] for name in names], [value.detach() for value in values], 1 - decay)


class Run:
    """One training run and everything its checkpoint holds."""

    def __init__(self, config: Config, work: Path, device: torch.device) -> None:
        self.config, self.path, self.device = config, work / "unet.pt", device
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        torch.manual_seed(config.seed)
        self.tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
        self.scaling_factor = find_scaling_factor(work / "latents")
        self.model = Trainee(config, len(self.tokenizer)).to(device)
        self.model.unet.to(memory_format=torch.channels_last)
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.elapsed, self.steps, self.seen = 0.0, 0, 0
        if self.path.exists():
            self.resume()
        buckets = load_buckets(work / "latents", self.scaling_factor)
        seed = f"{config.seed}:{self.rank}:{self.steps}"
        torch.manual_seed(Random(seed).getrandbits(40))
        self.batches = Batches(buckets, self.tokenizer, config.batch // self.world, seed)
        alphas = DDPMScheduler(**SCHEDULE).alphas_cumprod.to(device)
        self.signal, self.noise = alphas.sqrt(), (1 - alphas).sqrt()
        snr = alphas / (1 - alphas)
        self.weights = snr.clamp(max=config.snr_gamma) / snr

    def resume(self) -> None:
        """Reads the checkpoint."""
        state = torch.load(self.path, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.elapsed, self.steps, self.seen = state["elapsed"], state["steps"], state["seen"]

    def save(self) -> None:
        """Writes the checkpoint; a kill in between leaves the last one whole."""
        state = {
            "model": self.model.state_dict(), "average": self.average, "optimizer": self.optimizer.state_dict(),
            "elapsed": self.elapsed, "steps": self.steps, "seen": self.seen,
            "scaling_factor": self.scaling_factor,
        }  # fmt: skip
        save_atomic(state, self.path)

    def loss(self, tokens: int) -> Tensor:
        """The weighted loss of a fresh batch whose captions are padded to ``tokens``."""
        latents, ids, sizes = (part.to(self.device) for part in self.batches.next(tokens))
        self.seen += len(latents) * self.world
        noise = torch.randn(latents.shape).to(self.device)
        timesteps = spread_timesteps(len(latents)).to(self.device)
        at = timesteps[:, None, None, None]
        noisy = self.signal[at] * latents + self.noise[at] * noise
        with half(self.device):
            noise_pred = self.model(noisy.contiguous(memory_format=torch.channels_last), timesteps, ids, sizes)
        error = (noise_pred.float() - noise).square().mean((1, 2, 3))
        return (error * self.weights[timesteps]).mean()

    def step(self, progress: float) -> float:
        """One update; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(progress, self.config)
        with cheap_attention(self.device):
            loss = self.loss(self.config.short_tokens if progress < self.config.short_until else TOKENS)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        share_gradients(list(self.model.parameters()))
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        if self.rank == 0:
            update_average(self.average, self.model, min(self.config.ema, (1 + self.steps) / (10 + self.steps)))
        return loss.item()


def same_everywhere(value: float) -> float:
    """The first process's ``value``, so that all agree on the learning rate and on the end."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def train(run: Run, minutes: float) -> None:
    """Steps until the budget is spent, with a checkpoint every few minutes."""
    started = time.monotonic() - run.elapsed
    saved = time.monotonic()
    losses: list[float] = []
    while (progress := run.elapsed / (60 * minutes)) < 1:
        losses.append(run.step(progress))
        run.elapsed = same_everywhere(time.monotonic() - started)
        if run.rank > 0:
            continue
        if run.steps % 50 == 0:
            rate = run.optimizer.param_groups[0]["lr"]
            print(
                f"{run.elapsed:6.0f} s  step {run.steps}  pictures {run.seen}"
                f"  loss {np.mean(losses[-50:]):.4f}  rate {rate:.1e}",
                flush=True,
            )
        if time.monotonic() - saved > SAVE_EVERY_S:
            run.save()
            saved = time.monotonic()
    if run.rank == 0:
        run.save()


def main() -> None:
    """The command line."""
    args, config = parse(__doc__ or "", minutes={"type": float, "help": "wall-clock budget"})
    if "LOCAL_RANK" in os.environ and args.device.type == "cpu":
        torch.set_num_threads(1)
        dist.init_process_group("gloo")
    train(Run(config, args.work, args.device), args.minutes or config.minutes)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
