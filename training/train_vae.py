"""Trains the autoencoder that turns pictures into latents (8 x smaller) and back.

`AutoencoderTiny` has no norms: group norm erases flat colours, of which these pictures are full.
It sees crops, which hold as many edges as whole pictures and cost a fraction. ``--decoder-only``
goes on with the decoder while the latents stay as they are, also after they were cached.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import Tensor

from training.config import Config, half, parse, save_atomic
from training.draw import draw
from training.words import random_spec


def make_vae(config: Config) -> AutoencoderTiny:
    """An untrained autoencoder: 8 x down, ``config.latent_channels`` channels."""
    widths = (config.vae_channels,) * 4
    return AutoencoderTiny(
        encoder_block_out_channels=widths, decoder_block_out_channels=widths,
        latent_channels=config.latent_channels, num_encoder_blocks=(1, 3, 3, 3), num_decoder_blocks=(3, 3, 3, 1),
    )  # fmt: skip


def start_near_identity(vae: AutoencoderTiny) -> None:
    """Initial weights that let colours through.

    Without norms the usual initial weights drown the signal on its way through 30 layers. Here the
    residual branches start nearly silent (Fixup, arXiv:1901.09321), and the convolutions between
    levels average 2 x 2 pixels or copy each channel.
    """
    for module in vae.modules():
        if isinstance(module, AutoencoderTinyBlock):
            torch.nn.init.normal_(module.conv[-1].weight, std=0.005)
            torch.nn.init.zeros_(module.conv[-1].bias)
            for layer in (module.conv[0], module.conv[2]):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    for half_of_it in (vae.encoder, vae.decoder):
        for layer in half_of_it.layers:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    torch.nn.init.zeros_(layer.bias)
                if layer.in_channels == layer.out_channels:
                    weight = torch.zeros_like(layer.weight)
                    index = torch.arange(layer.in_channels)
                    if layer.stride == (2, 2):
                        weight[index, index, 1:, 1:] = 0.25
                    else:
                        weight[index, index, 1, 1] = 1.0
                    layer.weight.data.mul_(0.1).add_(weight)


def _draw_one(job: tuple[int, int, float]) -> np.ndarray:
    index, size, styled = job
    return draw(random_spec(Random(f"vae:{index}"), styled), index, size, size)


def make_pool(config: Config) -> Tensor:
    """Pictures to cut crops from: (n, 3, size, size) uint8."""
    jobs = [(index, config.size, 0.6) for index in range(config.vae_pictures)]
    with ProcessPoolExecutor() as pool:
        pictures = list(pool.map(_draw_one, jobs, chunksize=50))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def random_crops(pool: Tensor, config: Config, rng: np.random.Generator) -> Tensor:
    """(batch, 3, crop, crop) in -1..1, on the grid of the latents as in whole pictures.

    Pixel art and squared paper lie on that grid, so the decoder can learn their edges exactly.
    """
    crop = config.vae_crop
    tops = 8 * rng.integers(0, (config.size - crop) // 8 + 1, (config.vae_batch, 2))
    picked = rng.integers(0, len(pool), config.vae_batch)
    crops = [
        pool[index, :, top : top + crop, left : left + crop] for index, (top, left) in zip(picked, tops, strict=True)
    ]
    return torch.stack(crops).float() / 127.5 - 1


def picture_loss(decoded: Tensor, target: Tensor) -> Tensor:
    """L1 on pixels, on differences between neighbours (edges) and on 4 x 4 means (flat colours)."""
    error = decoded - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + 0.5 * edges + F.avg_pool2d(error, 4).abs().mean() + error.square().mean()


def latent_loss(latents: Tensor) -> Tensor:
    """Keeps each channel near mean 0 and standard deviation 1, far from the decoder's clamp at 3."""
    std, mean = torch.std_mean(latents, dim=(0, 2, 3))
    return mean.square().mean() + (std - 1).square().mean() + F.relu(latents.abs() - 2.2).square().mean()


def train(config: Config, path: Path, device: torch.device, *, minutes: float, decoder_only: bool) -> None:
    """Trains until the budget is spent; goes on from ``path`` if it is there."""
    torch.manual_seed(config.seed)
    vae = make_vae(config)
    start_near_identity(vae)
    vae.to(device, memory_format=torch.channels_last)
    state = torch.load(path, weights_only=True) if path.exists() else {"elapsed": 0.0, "steps": 0}
    if "model" in state:
        vae.load_state_dict(state["model"])
    if decoder_only:
        state = {"elapsed": 0.0, "steps": 0}
        vae.encoder.requires_grad_(False)
    trained = [parameter for parameter in vae.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.vae_rate, weight_decay=1e-4, betas=(0.9, 0.99))
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    rng = np.random.default_rng(config.seed + state["steps"] + 1000 * decoder_only)
    pool = make_pool(config)
    started, saved, steps = time.monotonic() - state["elapsed"], time.monotonic(), state["steps"]
    peak = config.vae_rate * (0.5 if decoder_only else 1.0)
    losses: list[float] = []
    while (progress := (time.monotonic() - started) / (60 * minutes)) < 1:
        rate = peak * min(1.0, (steps + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        target = random_crops(pool, config, rng).to(device, memory_format=torch.channels_last)
        with half(device):
            latents = vae.encoder(target)
            noisy = latents + 0.03 * torch.randn_like(latents)
            decoded = vae.decoder(noisy)
        loss = picture_loss(decoded.float(), target)
        if not decoder_only:
            loss = loss + 0.05 * latent_loss(latents.float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        steps += 1
        if time.monotonic() - saved > 60:
            saved = time.monotonic()
            save_atomic(
                {
                    "model": vae.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "elapsed": saved - started,
                    "steps": steps,
                },
                path,
            )
            print(
                f"{saved - started:6.0f} s  step {steps}  loss {np.mean(losses[-200:]):.4f}  rate {rate:.1e}",
                flush=True,
            )
    save_atomic(
        {"model": vae.state_dict(), "optimizer": optimizer.state_dict(), "elapsed": 60 * minutes, "steps": steps}, path
    )


def main() -> None:
    """The command line."""
    args, config = parse(__doc__ or "", minutes={"type": float}, decoder_only={"action": "store_true"})
    train(
        config,
        args.work / "vae.pt",
        args.device,
        minutes=args.minutes or config.vae_minutes,
        decoder_only=args.decoder_only,
    )


if __name__ == "__main__":
    main()
