"""Writes the trained model as a diffusers SDXL folder: averaged weights, float16, safetensors."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, EulerDiscreteScheduler, StableDiffusionXLPipeline
from transformers import CLIPTokenizer

from training.config import STARTER, Config, parse
from training.train_unet import SCHEDULE, Trainee, find_scaling_factor
from training.train_vae import make_vae

PREVIEW_SHARDS = 8


def fit_preview(folder: Path, scaling_factor: float) -> dict[str, list]:
    """Least-squares map from scaled latents to RGB in -1..1, for previews: matrix (channels, 3) and bias (3)."""
    latents, colours = [], []
    for path in sorted(folder.glob("*.pt"))[:PREVIEW_SHARDS]:
        shard = torch.load(path, weights_only=True)
        latents.append(shard["latents"].float().mul(scaling_factor).permute(0, 2, 3, 1).flatten(0, 2))
        colours.append(shard["means"].float().permute(0, 2, 3, 1).flatten(0, 2))
    known = torch.cat(latents)
    known = torch.cat([known, torch.ones(len(known), 1)], dim=1)
    solution = torch.linalg.lstsq(known, torch.cat(colours)).solution
    rounded = [[round(value, 5) for value in row] for row in solution.tolist()]
    return {"matrix": rounded[:-1], "bias": rounded[-1]}


@dataclass(frozen=True)
class Parent:
    """The checkpoint that a run was started from, and its ``share`` 0..1 in a weighted mean of both.

    The mean keeps what the first knew and has what the second learned (arXiv:2109.01903, section 4).
    """

    checkpoint: Path
    share: float


def load_trainee(config: Config, work: Path, vocabulary: int, mean_with: Parent | None = None) -> Trainee:
    """U-Net and text encoders with the averaged weights of the checkpoint; untrained if there is none."""
    torch.manual_seed(config.seed)
    model = Trainee(config, vocabulary)
    if (work / "unet.pt").exists():
        model.load_average(work / "unet.pt")
    if mean_with is not None:
        first = Trainee(config, vocabulary)
        first.load_average(mean_with.checkpoint)
        with torch.no_grad():
            for own, other in zip(model.parameters(), first.parameters(), strict=True):
                own.lerp_(other, mean_with.share)
    return model.eval()


def load_autoencoder(config: Config, work: Path, scaling_factor: float) -> AutoencoderTiny:
    """The autoencoder with its scaling factor: latents as the U-Net sees them are ``encoded * factor``."""
    vae = make_vae(config)
    vae.load_state_dict(torch.load(work / "vae.pt", weights_only=True, map_location="cpu")["model"])
    vae.register_to_config(scaling_factor=scaling_factor)
    return vae.eval()


def make_pipeline(config: Config, work: Path, mean_with: Parent | None = None) -> StableDiffusionXLPipeline:
    """The whole model as diffusers' SDXL pipeline, float32."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    model = load_trainee(config, work, len(tokenizer), mean_with)
    return StableDiffusionXLPipeline(
        vae=load_autoencoder(config, work, find_scaling_factor(work / "latents")),
        text_encoder=model.text_encoder, text_encoder_2=model.text_encoder_2,
        tokenizer=tokenizer, tokenizer_2=tokenizer, unet=model.unet,
        scheduler=EulerDiscreteScheduler(**SCHEDULE, steps_offset=1, timestep_spacing="leading"),
        force_zeros_for_empty_prompt=False, add_watermarker=False,
    )  # fmt: skip


def export(config: Config, work: Path, target: Path, mean_with: Parent | None = None) -> None:
    """Replaces the model folders in ``target``; its README stays."""
    pipeline = make_pipeline(config, work, mean_with).to(torch.float16)
    fresh = target / ".fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.save_pretrained(fresh, safe_serialization=True)
    preview = fit_preview(work / "latents", pipeline.vae.config.scaling_factor)
    (fresh / "preview.json").write_text(json.dumps(preview, indent=1) + "\n", "utf-8")
    for item in sorted(fresh.iterdir()):
        old = target / item.name
        if old.is_dir():
            shutil.rmtree(old)
        os.replace(item, old)
    fresh.rmdir()
    for path in target.rglob("*.safetensors"):
        path.chmod(0o644)


def main() -> None:
    """The command line."""
    args, config = parse(
        __doc__ or "",
        target={"type": Path, "default": STARTER},
        mean_with={"type": Path, "help": "checkpoint that the run was started from: export the mean of both"},
        share={"type": float, "default": 0.5, "help": "0..1, how much of that mean it is"},
    )
    args.target.mkdir(parents=True, exist_ok=True)
    parent = Parent(args.mean_with, args.share) if args.mean_with else None
    export(config, args.work, args.target, parent)
    size_mb = sum(path.stat().st_size for path in args.target.rglob("*") if path.is_file()) / 1e6
    print(f"{args.target}: {size_mb:.1f} MB")


if __name__ == "__main__":
    main()
