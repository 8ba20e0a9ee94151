"""What ships for checkpoints that are one file: the published networks and their names there, CLIP's vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fooocus_lite.engine.ldm_names import Naming, namings
from fooocus_lite.engine.levels import read_levels
from fooocus_lite.engine.tokens import Tokenizer

SHIPPED = Path(__file__).parents[2] / "models" / "families"
# (weights of the UNet; tensors of UNet, VAE and text encoders) of the published files: 1,680 + 248 + 196 + 389 of
# SDXL's 2,515 are read, which leaves a list of positions and a scale that no picture needs.
PUBLISHED = {
    "sdxl": (2_567_463_684, 1680, {"text_encoder": 196, "text_encoder_2": 389}),
    "sdxl-refiner": (2_259_526_660, 1220, {"text_encoder_2": 389}),
    "sd15": (859_520_964, 686, {"text_encoder": 196}),
}
# Names that only the right order of blocks gives.
KNOWN = {
    "sdxl": [
        "model.diffusion_model.output_blocks.2.2.conv.weight",
        "model.diffusion_model.output_blocks.8.0.skip_connection.bias",
        "model.diffusion_model.input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.9.ff.net.0.proj.weight",
        "model.diffusion_model.label_emb.0.2.weight",
        "first_stage_model.decoder.up.3.upsample.conv.weight",
        "first_stage_model.encoder.down.2.block.0.nin_shortcut.weight",
        "conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc2.bias",
        "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight",
        "conditioner.embedders.1.model.text_projection",
    ],
    "sdxl-refiner": [
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.input_blocks.8.1.transformer_blocks.3.attn2.to_k.weight",
        "conditioner.embedders.0.model.ln_final.weight",
    ],
    "sd15": [
        "model.diffusion_model.output_blocks.2.1.conv.weight",
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.output_blocks.11.0.skip_connection.weight",
        "model.diffusion_model.input_blocks.9.0.op.bias",
        "first_stage_model.decoder.mid.attn_1.proj_out.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
    ],
}


def meta_module(family: str, component: str) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    config = json.loads((SHIPPED / family / component / "config.json").read_text())
    with torch.device("meta"):
        if component in ("unet", "vae"):
            return {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[component].from_config(config)
        kind: Any = CLIPTextModel if component == "text_encoder" else CLIPTextModelWithProjection
        return kind(CLIPTextConfig.from_dict(config))


def stored_names(family: str, component: str, naming: Naming) -> set[str]:
    places = [naming(name) for name in meta_module(family, component).state_dict()]
    assert None not in places
    return {place.name for place in places if place is not None}


@pytest.mark.parametrize("family", sorted(PUBLISHED))
def test_the_networks_are_the_published_ones(family: str) -> None:
    weights, unet_tensors, texts = PUBLISHED[family]
    assert sum(weight.numel() for weight in meta_module(family, "unet").parameters()) == weights
    found: set[str] = set()
    for component, count in {"unet": unet_tensors, "vae": 248, **texts}.items():
        config = json.loads((SHIPPED / family / component / "config.json").read_text())
        ways = [stored_names(family, component, naming) for naming in usable(component, config)]
        assert all(len(names) == count for names in ways), (component, [len(names) for names in ways])
        found = found.union(*ways)
    assert found >= set(KNOWN[family])


def usable(component: str, config: dict[str, Any]) -> list[Naming]:
    """The ways in which published checkpoints name a component."""
    prefixes = ("model.diffusion_model.", "first_stage_model.", "conditioner.", "cond_stage_model.transformer.")
    probe = {"unet": "conv_in.weight", "vae": "decoder.conv_in.weight"}
    name = probe.get(component, "text_model.embeddings.token_embedding.weight")
    places = [(naming, naming(name)) for naming in namings(component, config)]
    open_clip = component == "text_encoder_2"
    return [
        naming
        for naming, place in places
        if place is not None
        and place.name.startswith(prefixes)
        and (".model." in place.name or not open_clip)
        and (".text_model." in place.name or component != "text_encoder")
    ]


@pytest.mark.parametrize(
    ("family", "name", "padding"),
    [
        ("sdxl", "tokenizer", 49407),
        ("sdxl", "tokenizer_2", 0),
        ("sdxl-refiner", "tokenizer_2", 0),
        ("sd15", "tokenizer", 49407),
    ],
)
def test_words_have_the_numbers_that_clip_was_trained_with(family: str, name: str, padding: int) -> None:
    tokenizer = Tokenizer(SHIPPED / family / name)
    (chunk,) = tokenizer.chunks([("A photo of a cat, <3 naïve!", 1.0)], 75, {})
    # "a photo of a cat" is the example of CLIP's own notebook.
    assert [token.id for token in chunk][:5] == [320, 1125, 539, 320, 2368]
    assert (tokenizer.start, tokenizer.end, tokenizer.padding, tokenizer.max_length) == (49406, 49407, padding, 77)


@pytest.mark.parametrize("family", sorted(PUBLISHED))
def test_the_noise_is_that_of_the_training(family: str) -> None:
    levels = read_levels(json.loads((SHIPPED / family / "scheduler" / "scheduler_config.json").read_text()))
    assert levels.prediction_type == "epsilon"
    assert levels.ratios == pytest.approx((0.0292, 14.6146), abs=1e-4)  # arXiv:2305.08891, table 1 and k-diffusion
