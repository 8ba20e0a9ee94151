"""Teaches the text encoders to read, before the U-Net learns to draw: text alone, no pictures.

Which of two things is the left one takes several words together. From pictures alone the text encoders
find that out late; asked directly (`words.QUESTIONS`) they learn it in minutes. The result is a
checkpoint with an untrained U-Net, or that of ``--start-from``, for ``train_unet --start-from``.
"""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from training.config import Config, half, parse, save_atomic
from training.reading import read_captions, reading_loss
from training.team import cheap_attention
from training.train_unet import Trainee

REPORT_EVERY = 50


def text_loss(model: Trainee, ids: Tensor, said: Tensor) -> Tensor:
    """How badly token states and pooled text tell what the texts say."""
    _, _, read = model.read(ids)
    return torch.stack([reading_loss(some, said) for some in read]).mean()


def train(config: Config, work: Path, device: torch.device, *, minutes: float, start_from: Path | None) -> None:
    """Trains for ``minutes``; writes ``text.pt``."""
    torch.manual_seed(config.seed)
    rng = Random(f"text:{config.seed}")
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    model = Trainee(config, len(tokenizer)).to(device)
    if start_from is not None:
        model.load_average(start_from)
    trained = [value for name, value in model.named_parameters() if not name.startswith("unet.")]
    optimizer = torch.optim.AdamW(trained, lr=config.text_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    started, steps = time.monotonic(), 0
    losses: list[float] = []
    while (progress := (time.monotonic() - started) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = config.text_rate * min(1.0, (steps + 1) / 100) * min(1.0, 2.05 - 2 * progress)
        ids, said = read_captions(tokenizer, rng, config.text_batch, config.text_tokens)
        with cheap_attention(device), half(device):
            loss = text_loss(model, ids.to(device), said.to(device))
        optimizer.zero_grad(set_to_none=True)
        with cheap_attention(device):
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        steps += 1
        if steps % REPORT_EVERY == 0:
            print(f"{time.monotonic() - started:6.0f} s  step {steps}  loss {np.mean(losses[-50:]):.4f}", flush=True)
    save_atomic({"average": {name: value.detach() for name, value in model.named_parameters()}}, work / "text.pt")


def main() -> None:
    """The command line."""
    args, config = parse(
        __doc__ or "",
        minutes={"type": float, "help": "wall-clock budget"},
        start_from={"type": Path, "help": "checkpoint to go on from"},
    )
    train(config, args.work, args.device, minutes=args.minutes or config.text_minutes, start_from=args.start_from)


if __name__ == "__main__":
    main()
