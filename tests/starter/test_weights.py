"""The folder of the model that ships: its layout, its size, its cost, and a tokenizer that takes any text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTokenizer

from training.config import CONFIGS
from training.draw import draw
from training.models import TOKENS, make_unet, time_ids
from training.words import Spec, Thing

STARTER = Path(__file__).resolve().parents[2] / "models" / "starter"
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")


def test_the_folder_is_an_sdxl_pipeline() -> None:
    index = json.loads((STARTER / "model_index.json").read_text("utf-8"))
    assert index["_class_name"] == "StableDiffusionXLPipeline"
    assert index["force_zeros_for_empty_prompt"] is False
    for part in PARTS:
        assert index[part][0] in ("diffusers", "transformers")
        assert list((STARTER / part).glob("*.json")), part


def test_it_is_small_and_holds_no_pickles() -> None:
    files = [path for path in STARTER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".txt", ".png"}


def test_one_step_costs_at_most_two_gflop() -> None:
    config = CONFIGS["cpu128"]
    unet = make_unet(config)
    shipped = UNet2DConditionModel.load_config(STARTER / "unet")
    assert tuple(shipped["block_out_channels"]) == config.channels
    conditions = {
        "text_embeds": torch.zeros(1, config.text_widths[1]),
        "time_ids": time_ids(1, 128, 128, torch.device("cpu")),
    }
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        text = torch.zeros(1, TOKENS, sum(config.text_widths))
        unet(torch.zeros(1, 8, 16, 16), 1, text, added_cond_kwargs=conditions)
    assert 0.1e9 < counter.get_total_flops() <= 2e9


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "🦄🌈",
        "\0\0",
        "שלום עולם",
        "a" * 5000,
        "日本語のテキスト",
        "\u202e reversed",
        "é" * 300,
        "<|endoftext|>",
        "﷽",
    ],
)
def test_the_tokenizer_takes_any_text(text: str) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    ids = tokenizer(text, padding="max_length", max_length=TOKENS, truncation=True).input_ids
    assert len(ids) == TOKENS == tokenizer.model_max_length
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert max(ids) < len(tokenizer)


def test_capitals_and_spaces_do_not_matter() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer_2")
    assert tokenizer("A  RED Star").input_ids == tokenizer("a red star").input_ids
    assert len(tokenizer("a red star on a blue background").input_ids) == 9


def test_the_autoencoder_keeps_flat_colours_and_the_preview_matrix_agrees() -> None:
    vae = AutoencoderTiny.from_pretrained(STARTER / "vae").float()
    preview = json.loads((STARTER / "preview.json").read_text("utf-8"))
    matrix, bias = torch.tensor(preview["matrix"]), torch.tensor(preview["bias"])
    assert matrix.shape == (8, 3)
    for colour, ground in (("red", "blue"), ("yellow", "black"), ("white", "green")):
        picture = draw(Spec("object", (Thing(colour, "circle", "large"),), background=ground), 1)
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            latents = vae.encode(pixels).latents * vae.config.scaling_factor
            decoded = vae.decode(latents / vae.config.scaling_factor).sample
        assert (decoded - pixels).abs().mean() < 0.06, colour
        rough = (latents.permute(0, 2, 3, 1) @ matrix + bias).permute(0, 3, 1, 2)
        means = torch.nn.functional.avg_pool2d(pixels, 8)
        assert (rough - means).abs().mean() < 0.25, colour
        assert latents.std() < 2.5
