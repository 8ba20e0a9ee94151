"""Latents into pixels: whole, in tiles, and again where 16 bits were too few."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fooocus_lite.engine.decode import Decoder
from fooocus_lite.errors import FooocusError
from tests.engine.tiny_sdxl import make_vae

CPU = torch.device("cpu")


def latents(side: int = 16, *, seed: int = 0) -> Tensor:
    return torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(seed))


def decoder(kind: str = "kl", *, dtype: torch.dtype = torch.float32, tile_side: int = 64, seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(make_vae(kind, 4).eval().to(dtype), device=CPU, dtype=dtype, tile_side=tile_side)


@torch.no_grad()
def overflowing(dtype: torch.dtype = torch.float16) -> Decoder:
    """A real VAE whose first layers answer with numbers that fp16 does not have; a norm then takes the factor away."""
    made = decoder(dtype=torch.float32)
    vae: Any = made._vae
    vae.decoder.mid_block.resnets[0].conv2.weight.mul_(1e5)
    vae.decoder.mid_block.resnets[0].conv2.bias.mul_(1e5)
    return Decoder(vae.to(dtype), device=CPU, dtype=dtype, tile_side=64)


@torch.no_grad()
def test_an_overflow_is_seen_and_decoded_again_in_a_wider_format() -> None:
    made = overflowing()
    wanted = overflowing(torch.float32)(latents())
    seen = made._vae.decode(latents().half(), return_dict=False)[0]
    assert not bool(seen.isfinite().all()), "the VAE really overflows"
    pixels = made(latents())
    assert made.notes == ("decoded in fp32",)
    assert float((pixels.float() - wanted.float()).abs().max()) <= 1, "weights that fp16 rounded, and no more"
    assert made.dtype == torch.float32
    assert torch.equal(made(latents()), pixels), "the next picture begins where this one ended"
    assert made.notes == ()


@torch.no_grad()
def test_a_sound_picture_is_decoded_once() -> None:
    made, calls = decoder(dtype=torch.float16), list[int]()
    made._vae.decoder.register_forward_hook(lambda *_: calls.append(1))
    pixels = made(latents())
    assert (len(calls), made.notes, made.dtype) == (1, (), torch.float16)
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (128, 128, 3))


@torch.no_grad()
def test_black_in_half_precision_is_not_believed_at_once() -> None:
    made = decoder(dtype=torch.float16)
    made._vae.decoder.conv_out.bias.fill_(-50)
    assert not bool(made(latents()).any())
    assert made.dtype == torch.float32, "looked at again; black it is"


@torch.no_grad()
def test_latents_that_are_no_numbers_are_told() -> None:
    made = decoder(dtype=torch.float16)
    with pytest.raises(FooocusError, match="left their range") as told:
        made(latents() * math.nan)
    assert told.value.field == "dtype"
    assert made.dtype == torch.float16, "it was not the VAE's fault, and it stays as small as it was"
    assert {weight.dtype for weight in made._vae.parameters()} == {torch.float16}


@pytest.mark.parametrize("kind", ["kl", "tiny"])
@pytest.mark.parametrize("side", [8, 16, 24])
@torch.no_grad()
def test_tiles_cover_the_picture_and_one_tile_is_the_picture(kind: str, side: int) -> None:
    whole, tiled = decoder(kind), decoder(kind)
    tiled.in_tiles = True
    wanted, found = whole(latents(side)), tiled(latents(side))
    assert found.shape == wanted.shape == (8 * side, 8 * side, 3)
    assert tiled.notes == (() if side == 8 else ("in tiles",))
    if side == 8:
        assert torch.equal(found, wanted)
    assert not tiled._vae.use_tiling, "the next picture decides anew"


@torch.no_grad()
def test_no_memory_for_the_whole_picture_means_tiles() -> None:
    made, tiled = decoder(), decoder()
    tiled.in_tiles = True
    refused = [True]

    def refuse(*_: Any) -> None:
        if refused.pop() if refused else False:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    made._vae.decoder.register_forward_pre_hook(refuse)
    assert torch.equal(made(latents()), tiled(latents()))
    assert made.notes == ("in tiles",)


def test_of_two_tries_the_second_is_told() -> None:
    made = decoder()

    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    made._vae.decoder.register_forward_pre_hook(refuse)
    with pytest.raises(torch.OutOfMemoryError), torch.no_grad():
        made(latents())
