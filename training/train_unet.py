"""Trains the U-Net and both text encoders together on cached latents.

The U-Net predicts v (arXiv:2202.00512) under a noise schedule that ends at a signal-to-noise ratio of
2e-4, not at SDXL's 5e-3: small latents of flat shapes show their layout through SDXL's last noise level, so
a model trained with it reads the layout off the noise and not out of the words (arXiv:2305.08891).

The learning rate warms up, stays, and falls to nothing at the end of the wall-clock budget ``--minutes``.
A run that was stopped goes on from its last checkpoint: weights, averages, optimizer, time spent.
``--start-from`` begins a new run with the weights of another checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from transformers import CLIPTokenizer

from training.config import Config, half, parse, save_atomic
from training.models import TOKENS, encode_text, make_text_encoders, make_unet, time_ids
from training.reading import ends, read_captions, reading_loss
from training.team import (
    Team,
    cheap_attention,
    clip,
    flat_gradients,
    rate_at,
    train,
    train_in_processes,
    update_average,
)
from training.words import NOTHING_THERE, QUESTIONS, Spec, answers, caption, nothing

SCHEDULE = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.02, "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}  # fmt: skip
EMPTY_PROMPTS = 0.1
READING_WEIGHT = 0.05
PRACTICE = 1  # captions without a picture for each one with


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
        self.reader = nn.Linear(sum(config.text_widths), sum(QUESTIONS))
        self.pooled_reader = nn.Linear(config.text_widths[1], sum(QUESTIONS))

    def forward(self, latents: Tensor, timesteps: Tensor, ids: Tensor, sizes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Predicted v (n, channels, h, w), and what the text says.

        Of the token ids (m, 77) the first n belong to the latents, as do the size conditions (n, 6). The second
        result holds, for the token states and for the pooled text, (m, answers) to all `words.QUESTIONS` in a row.
        """
        prompt_embeds, pooled, read = self.read(ids)
        count = len(latents)
        conditions = {"text_embeds": pooled[:count], "time_ids": sizes}
        (v_pred,) = self.unet(
            latents, timesteps, prompt_embeds[:count], added_cond_kwargs=conditions, return_dict=False
        )
        return v_pred, read

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Prompt embeddings, pooled text, and the answers read off an end token's state and off the pooled text."""
        prompt_embeds, pooled = encode_text((self.text_encoder, self.text_encoder_2), ids)
        return (
            prompt_embeds,
            pooled,
            [self.reader(prompt_embeds[torch.arange(len(ids)), ends(ids)]), self.pooled_reader(pooled)],
        )

    def load_average(self, path: Path) -> None:
        """Takes over the averaged weights of a checkpoint; heads that it has not stay as they are."""
        state = torch.load(path, weights_only=True, map_location="cpu")
        self.load_state_dict(state["average"], strict=False)


def how_often(spec: Spec, repeats: dict[str, float]) -> float:
    """The factor of ``spec`` in a draw: those of its kind, of its style and of the night, multiplied."""
    return (
        repeats.get(spec.kind, 1.0) * repeats.get(spec.style, 1.0) * (repeats.get("night", 1.0) if spec.night else 1.0)
    )


class Batches:
    """Draws batches of one bucket each, with fresh captions; some specs come more often (`how_often`)."""

    def __init__(
        self,
        buckets: list[Bucket],
        tokenizer: CLIPTokenizer,
        *,
        batch: int,
        repeats: dict[str, float],
        seed: str,
        say: Callable[[Spec, Random], str] = caption,
    ) -> None:
        self.buckets, self.tokenizer, self.batch, self.say = buckets, tokenizer, batch, say
        self.rng = Random(seed)
        self.counts = [len(bucket.specs) for bucket in buckets]
        self.weights = [list(accumulate(how_often(spec, repeats) for spec in bucket.specs)) for bucket in buckets]
        self.native_area = max(buckets, key=lambda bucket: len(bucket.specs)).latents[0, 0].numel()

    def next(self, tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents (n, channels, h, w), token ids (m, tokens), size conditions (n, 6), answers (m, questions).

        The last m - n texts have no pictures: reading practice for the text encoders, which costs little.
        """
        which = self.rng.choices(range(len(self.buckets)), self.counts)[0]
        bucket = self.buckets[which]
        area = bucket.latents[0, 0].numel() / self.native_area
        count = max(4, round(self.batch / max(1.0, area)))
        picked = self.rng.choices(range(len(bucket.specs)), cum_weights=self.weights[which], k=count)
        specs = [None if self.rng.random() < EMPTY_PROMPTS else bucket.specs[index] for index in picked]
        texts = [self.say(spec, self.rng) if spec else nothing(self.rng) for spec in specs]
        said = [answers(spec) if spec else (NOTHING_THERE,) * len(QUESTIONS) for spec in specs]
        texts = [text.upper() if self.rng.random() < 0.03 else text for text in texts]
        ids = self.tokenizer(
            texts, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
        ).input_ids
        sizes = time_ids(count, bucket.width, bucket.height, torch.device("cpu"))
        practice_ids, practice_said = read_captions(self.tokenizer, self.rng, PRACTICE * count, tokens)
        ids, said_all = torch.cat([ids, practice_ids]), torch.cat([torch.tensor(said), practice_said])
        return bucket.latents[picked].float(), ids, sizes, said_all


def spread_timesteps(count: int) -> Tensor:
    """(count,) timesteps, more of the noisy ones, where the layout is decided: half of them above 630.

    One from each of ``count`` equal parts of the distribution, which is less noisy than independent draws.
    """
    quantiles = (torch.randperm(count) + torch.rand(count)) / count
    return (1000 * quantiles ** (2 / 3)).long().clamp(0, 999)


class Noising:
    """The noise that pictures get in training, and how much an error counts at which time."""

    def __init__(self, config: Config, device: torch.device) -> None:
        alphas = DDPMScheduler(**SCHEDULE).alphas_cumprod.to(device)
        self.signal, self.noise = alphas.sqrt(), (1 - alphas).sqrt()
        # An error in v weighs SNR + 1 as one in x0; the clean end is held to gamma (arXiv:2303.09556, eq. 3).
        from_v = alphas / (1 - alphas) + 1
        self.weights = from_v.clamp(max=config.snr_gamma) / from_v

    def noised(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy ``latents`` (n, channels, h, w), their timesteps (n,), and the v that is to be predicted."""
        noise = torch.randn(latents.shape).to(latents.device)
        timesteps = spread_timesteps(len(latents)).to(latents.device)
        at = timesteps[:, None, None, None]
        noisy = self.signal[at] * latents + self.noise[at] * noise
        return noisy, timesteps, self.signal[at] * noise - self.noise[at] * latents

    def loss(self, v_pred: Tensor, v: Tensor, timesteps: Tensor) -> Tensor:
        """The weighted mean square of the error."""
        error = (v_pred.float() - v).square().mean((1, 2, 3))
        return (error * self.weights[timesteps]).mean()


class Run:
    """One training run and everything its checkpoint holds."""

    def __init__(
        self, config: Config, work: Path, device: torch.device, team: Team, start_from: Path | None = None
    ) -> None:
        self.config, self.path, self.device, self.team = config, work / "unet.pt", device, team
        torch.manual_seed(config.seed)
        self.tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
        self.scaling_factor = find_scaling_factor(work / "latents")
        self.model = Trainee(config, len(self.tokenizer)).to(device)
        self.model.unet.to(memory_format=torch.channels_last)
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.gradients = flat_gradients(self.model)
        self.elapsed, self.steps, self.seen, self.reading = 0.0, 0, 0, 0.0
        if self.path.exists():
            self.resume()
        elif start_from is not None:
            self.model.load_average(start_from)
            self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        buckets = load_buckets(work / "latents", self.scaling_factor)
        seed = f"{config.seed}:{team.rank}:{self.steps}"
        torch.manual_seed(Random(seed).getrandbits(40))
        batch = config.batch // team.world
        self.batches = Batches(buckets, self.tokenizer, batch=batch, repeats=dict(config.repeats), seed=seed)
        self.noising = Noising(config, device)

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
        latents, ids, sizes, said = (part.to(self.device) for part in self.batches.next(tokens))
        self.seen += len(latents) * self.team.world
        noisy, timesteps, v = self.noising.noised(latents)
        with half(self.device):
            v_pred, read = self.model(noisy.contiguous(memory_format=torch.channels_last), timesteps, ids, sizes)
        reading = torch.stack([reading_loss(some, said) for some in read]).mean()
        self.reading = reading.item()
        return self.noising.loss(v_pred, v, timesteps) + READING_WEIGHT * reading

    def step(self, progress: float) -> float:
        """One update; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(progress, self.config, self.config.rate)
        with cheap_attention(self.device):
            loss = self.loss(self.config.short_tokens if progress < self.config.short_until else TOKENS)
            self.gradients.zero_()
            loss.backward()
        self.team.share(self.gradients)
        clip(self.gradients)
        self.optimizer.step()
        self.steps += 1
        if self.team.rank == 0:
            update_average(self.average, self.model, min(self.config.ema, (1 + self.steps) / (10 + self.steps)))
        return loss.item()

    def note(self) -> str:
        """How well the texts are read."""
        return f"reading {self.reading:.3f}"


def main() -> None:
    """The command line."""
    args, config = parse(
        __doc__ or "",
        minutes={"type": float, "help": "wall-clock budget"},
        start_from={"type": Path, "help": "checkpoint whose weights a new run begins with"},
        processes={"type": int, "default": 1, "help": "on a CPU: one for each core"},
    )
    minutes = args.minutes or config.minutes
    if args.processes == 1 or args.device.type != "cpu":
        train(Run(config, args.work, args.device, Team(0, 1), args.start_from), minutes)
        return
    vocabulary = len(CLIPTokenizer.from_pretrained(args.work / "tokenizer"))
    train_in_processes(
        partial(Run, config, args.work, start_from=args.start_from),
        parameters=sum(parameter.numel() for parameter in Trainee(config, vocabulary).parameters()),
        processes=args.processes,
        minutes=minutes,
    )


if __name__ == "__main__":
    main()
