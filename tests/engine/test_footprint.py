"""The constants of `fooocus_lite.memory` are what the real, full-size networks keep alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from fooocus_lite.engine.footprint import counted_peak
from fooocus_lite.memory import FOOTPRINTS, TILE_SIDE

#: The published configurations, as far as they differ from the library's defaults.
SDXL: dict[str, Any] = {
    "sample_size": 128, "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048, "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 1024,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
Run = Callable[[Any], object]


def unet_run(side: int, passes: int, width: int, *, is_sdxl: bool) -> Run:
    def run(unet: Any) -> object:
        latents = torch.empty(passes, 4, side // 8, side // 8)
        texts = torch.empty(passes, 77, width)
        added = {"text_embeds": torch.empty(passes, 1280), "time_ids": torch.empty(passes, 6)} if is_sdxl else None
        return unet(latents, torch.tensor(1.0), texts, added_cond_kwargs=added, return_dict=False)

    return run


def flux_run(side: int) -> Run:
    def run(transformer: Any) -> object:
        patches = (side // 16) ** 2
        return transformer(
            hidden_states=torch.empty(1, patches, 64), encoder_hidden_states=torch.empty(1, 512, 4096),
            pooled_projections=torch.empty(1, 768), timestep=torch.empty(1), guidance=torch.empty(1),
            img_ids=torch.empty(patches, 3), txt_ids=torch.empty(512, 3), return_dict=False,
        )  # fmt: skip

    return run


def z_image_run(side: int) -> Run:
    def run(transformer: Any) -> object:
        latents = [torch.empty(16, 1, side // 8, side // 8)]
        return transformer(latents, torch.empty(1), [torch.empty(256, 2560)], return_dict=False)

    return run


def decode_run(side: int, *, in_tiles: bool) -> Run:
    def run(vae: Any) -> object:
        if in_tiles:
            vae.enable_tiling()
            vae.tile_sample_min_size, vae.tile_latent_min_size = TILE_SIDE, TILE_SIDE // 8
        return vae.decode(torch.empty(1, 4, side // 8, side // 8), return_dict=False)

    return run


CASES: dict[str, tuple[Callable[[], Any], Callable[[int], Run], int, torch.dtype]] = {
    "sdxl": (
        lambda: UNet2DConditionModel(**SDXL), lambda side: unet_run(side, 2, 2048, is_sdxl=True), 2, torch.float16,
    ),
    "sd15": (
        lambda: UNet2DConditionModel(**SD15), lambda side: unet_run(side, 2, 768, is_sdxl=False), 2, torch.float16,
    ),
    "flux": (lambda: FluxTransformer2DModel(guidance_embeds=True), flux_run, 1, torch.bfloat16),
    "z-image": (ZImageTransformer2DModel, z_image_run, 1, torch.bfloat16),
}  # fmt: skip


@pytest.mark.parametrize("family", FOOTPRINTS)
def test_a_step_keeps_as_much_as_the_constants_say(family: str) -> None:
    """Within 2 %: rounded constants, and small tensors that do not grow with the picture."""
    build, run, passes, dtype = CASES[family]
    footprint = FOOTPRINTS[family]
    assert footprint.typical.denoiser == 2 * sum(weight.numel() for weight in _on_meta(build).parameters())
    for side in (512, 1024):
        counted = counted_peak(build, run(side), dtype=dtype)
        assert footprint.denoise * side**2 * passes + footprint.denoise_fixed == pytest.approx(counted, rel=0.02)


def test_decoding_keeps_as_much_as_the_constants_say() -> None:
    per_pixel = FOOTPRINTS["sdxl"].decode
    for side in (512, 1024):
        counted = counted_peak(lambda: AutoencoderKL(**VAE), decode_run(side, in_tiles=False), dtype=torch.float16)
        assert per_pixel * side**2 == pytest.approx(counted, rel=0.02)


def test_tiles_keep_no_more_than_the_constants_say() -> None:
    """The estimate is an upper bound: all tiles and what becomes of them are never there together with a decoding."""
    for side in (1024, 1536):
        counted = counted_peak(lambda: AutoencoderKL(**VAE), decode_run(side, in_tiles=True), dtype=torch.float16)
        assert 0.8 < counted / (FOOTPRINTS["sdxl"].decode * TILE_SIDE**2 + 12 * side**2) <= 1.01


def test_counting_sees_what_is_alive_together() -> None:
    def run(_: Any) -> object:
        first = torch.empty(1000)
        second = first + 1
        del first
        return second + 1

    assert counted_peak(lambda: torch.nn.Linear(1, 1), run, dtype=torch.float16) == 2 * 2000


def _on_meta(build: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return build()
