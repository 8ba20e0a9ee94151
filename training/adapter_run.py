"""What the trainings of the starter's adapters share: the finished model they start from, a run, the command line."""

from __future__ import annotations

import argparse
import base64
import io
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from fooocus_lite.engine.levels import NoiseLevels, read_levels
from training.config import STARTER, Config, half, parse, save_atomic
from training.evaluate import Sampling, make_painter
from training.low_rank import Adapter, write
from training.models import encode_text
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

ADAPTERS = STARTER.parent / "adapters"
#: Keys after https://github.com/Stability-AI/ModelSpec and those that kohya's trainer writes.
METADATA = {
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.architecture": "fooocus-lite-starter/lora",
    "modelspec.author": "the authors of Fooocus Lite",
    "modelspec.license": "Apache-2.0",
    "ss_base_model_version": "fooocus_lite_starter",
    "ss_network_module": "networks.lora",
}


@dataclass(frozen=True)
class Condition:
    """What a text and a size say to the U-Net: (n, tokens, width), (n, width 2), (n, 6)."""

    prompt_embeds: Tensor
    pooled: Tensor
    sizes: Tensor

    def __add__(self, other: Condition) -> Condition:
        """Both, as one batch."""
        return Condition(
            torch.cat([self.prompt_embeds, other.prompt_embeds]),
            torch.cat([self.pooled, other.pooled]),
            torch.cat([self.sizes, other.sizes]),
        )


class Starter:
    """The finished model in ``folder``, which stays as it is."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.device = device
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.text_encoders = tuple(
            kind.from_pretrained(folder / name, dtype=torch.float32).requires_grad_(False).to(device)
            for kind, name in ((CLIPTextModel, "text_encoder"), (CLIPTextModelWithProjection, "text_encoder_2"))
        )
        unet = UNet2DConditionModel.from_pretrained(folder / "unet").float().requires_grad_(False)
        self.unet = unet.to(device, memory_format=torch.channels_last)
        self._halve_weights()
        self.scaling_factor = float(json.loads((folder / "vae" / "config.json").read_text("utf-8"))["scaling_factor"])
        scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
        self.levels: NoiseLevels = read_levels(scheduler)

    def _halve_weights(self) -> None:
        """Rounds once what autocast would round at every call: it keeps no copies of weights without gradients."""
        with half(self.device):
            if not torch.is_autocast_enabled(self.device.type):
                return
        for layer in self.unet.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.to(torch.bfloat16)

    @torch.no_grad()
    def encode(self, ids: Tensor, sizes: Tensor) -> Condition:
        """The condition of token ids (n, tokens) and size conditions (n, 6)."""
        with half(self.device):
            prompt_embeds, pooled = encode_text(self.text_encoders, ids.to(self.device))
        return Condition(prompt_embeds, pooled, sizes.to(self.device))

    def predict(self, latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The predicted v (n, channels, h, w) of noisy ``latents`` at ``timesteps`` (n,)."""
        added = {"text_embeds": condition.pooled, "time_ids": condition.sizes}
        with half(self.device):
            (v_pred,) = self.unet(
                latents.contiguous(memory_format=torch.channels_last), timesteps, condition.prompt_embeds,
                added_cond_kwargs=added, return_dict=False,
            )  # fmt: skip
        return v_pred.float()


@dataclass(frozen=True)
class Sample:
    """What an adapter's file shows of it: the picture of ``prompt``."""

    prompt: str
    sampling: Sampling
    seed: int = 7


@dataclass(frozen=True)
class Job:
    """One adapter and how it is trained: ``work`` holds caches and the checkpoint, ``ema`` is that of the weights."""

    name: str
    work: Path
    weights: Path
    linear_rank: int
    conv_rank: int
    rate: float
    ema: float


class AdapterRun(ABC):
    """A run that trains an adapter for a frozen starter: see `training.team.Trainable`."""

    def __init__(self, config: Config, job: Job, device: torch.device, team: Team) -> None:
        self.config, self.job, self.device, self.team = config, job, device, team
        self.path = job.work / f"{job.name}.pt"
        self.starter = Starter(job.weights, device)
        torch.manual_seed(config.seed)
        self.adapter = self._make_adapter()
        self.averaged = self._make_adapter().requires_grad_(False)
        self.averaged.is_on = False
        self.averaged.load_state_dict(self.adapter.state_dict())
        self.average = {name: value.data for name, value in self.averaged.named_parameters()}
        self.gradients = flat_gradients(self.adapter)
        self.optimizer = torch.optim.AdamW(
            self.adapter.parameters(), lr=job.rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        self.elapsed, self.steps, self.seen = 0.0, 0, 0
        if self.path.exists():
            self._resume()
        seed = f"{config.seed}:{team.rank}:{self.steps}"
        torch.manual_seed(Random(seed).getrandbits(40))
        self.seed = seed

    def _make_adapter(self) -> Adapter:
        adapter = Adapter(self.starter.unet, linear_rank=self.job.linear_rank, conv_rank=self.job.conv_rank)
        return adapter.to(self.device)

    def _resume(self) -> None:
        state = torch.load(self.path, weights_only=True, map_location=self.device)
        self.adapter.load_state_dict(state["adapter"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.elapsed, self.steps, self.seen = state["elapsed"], state["steps"], state["seen"]

    def save(self) -> None:
        """Writes the checkpoint; a kill in between leaves the last one whole."""
        state = {
            "adapter": self.adapter.state_dict(), "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "elapsed": self.elapsed, "steps": self.steps, "seen": self.seen,
        }  # fmt: skip
        save_atomic(state, self.path)

    @abstractmethod
    def loss(self) -> Tensor:
        """The loss of the next batch; counts its pictures in ``seen``."""

    def step(self, progress: float) -> float:
        """One update; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(progress, self.config, self.job.rate)
        with cheap_attention(self.device):
            loss = self.loss()
            self.gradients.zero_()
            loss.backward()
        self.team.share(self.gradients)
        clip(self.gradients)
        self.optimizer.step()
        self.steps += 1
        update_average(self.average, self.adapter, min(self.job.ema, (1 + self.steps) / (10 + self.steps)))
        return loss.item()

    def note(self) -> str:
        """Nothing more."""
        return self.job.name

    def export(self, path: Path, metadata: dict[str, str], sample: Sample) -> None:
        """Writes the averaged adapter, and what it does to a picture: in its metadata and, as other programs look
        for it, beside it.
        """
        rank = str(self.job.linear_rank)
        told = METADATA | {"ss_network_dim": rank, "ss_network_alpha": rank} | metadata
        tensors = self.averaged.tensors()
        write(tensors, path, told)
        paint = make_painter(self.job.weights, self.device, replace(sample.sampling, adapter=(path, 1.0)))
        (picture,) = paint([sample.prompt], [], sample.seed, (self.config.size, self.config.size))
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=85)
        thumbnail = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        write(tensors, path, told | {"modelspec.thumbnail": thumbnail})
        path.with_suffix(".jpg").write_bytes(buffer.getvalue())


def parse_adapter(description: str, minutes: float) -> tuple[argparse.Namespace, Config]:
    """The command line of both trainings."""
    return parse(
        description,
        weights={"type": Path, "default": STARTER, "help": "folder of the model that the adapter is for"},
        minutes={"type": float, "default": minutes, "help": "wall-clock budget"},
        processes={"type": int, "default": 1, "help": "on a CPU: one for each core"},
        target={"type": Path, "default": ADAPTERS, "help": "folder for the adapter"},
    )


def train_adapter(
    kind: type[AdapterRun],
    config: Config,
    job: Job,
    args: argparse.Namespace,
    *,
    metadata: dict[str, str],
    sample: Sample,
) -> None:
    """Trains with the options of `parse_adapter`, and writes the file."""
    make_run = partial(kind, config, job)
    if args.processes > 1 and args.device.type == "cpu":
        alone = make_run(args.device, Team(0, 1))
        count = alone.gradients.numel()
        train_in_processes(make_run, parameters=count, processes=args.processes, minutes=args.minutes)
    else:
        train(make_run(args.device, Team(0, 1)), args.minutes)
    path = args.target / f"{job.name}.safetensors"
    done = make_run(args.device, Team(0, 1))
    done.export(path, metadata, sample)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {done.steps} steps, {done.seen} pictures")
