"""The last step: latents into pixels, in tiles where memory is short, again where 16 bits were too few.

A VAE's inner values can leave the range of fp16; every pixel is then no number, and the picture black. Whether that
happened travels in the same copy as the pixels, so that looking for it never makes the device wait.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine.device import free_memory, has_bf16, is_out_of_memory
from fooocus_lite.errors import FooocusError
from fooocus_lite.memory import TILE_SIDE

log = logging.getLogger(__name__)


class Decoder:
    """A VAE with everything that decoding by it takes.

    Attributes:
        in_tiles: Decode in tiles; whoever knows the memory sets it. A picture no larger than a tile is one.
        notes: How the last picture had to be decoded, in words, where that was not the plain way.

    Args:
        vae: An autoencoder of diffusers, on its device or to be brought there before it is called.
        tile_side: Pixels.
    """

    def __init__(self, vae: Any, *, device: torch.device, dtype: torch.dtype, tile_side: int = TILE_SIDE) -> None:
        self._vae, self._device = vae, device
        self.dtype = dtype
        self._tile_side = tile_side
        self.pixels_per_latent = 2 ** (len(vae.config.block_out_channels) - 1)
        self.in_tiles = False
        self.notes: tuple[str, ...] = ()

    def __call__(self, latents: Tensor) -> Tensor:
        """(1, C, h, w) latents -> (height, width, 3) uint8 pixels in this computer's memory.

        Raises:
            FooocusError: the latents, or what becomes of them in float32, are no numbers.
        """
        notes: list[str] = []
        scaled = self._scaled(latents)
        pixels, is_sound = self._with_room(scaled)
        while not is_sound:
            wider = _wider(self.dtype, self._device)
            if wider is None or not bool(scaled.isfinite().all()):  # then no format of the VAE's would help
                raise FooocusError(
                    "The picture's numbers left their range, so there is nothing to see.",
                    "Start with --dtype fp32, or choose another model.",
                    code="bad_value",
                    field="dtype",
                )
            log.warning("the VAE overflows in %s; it decodes in %s from now on", self.dtype, wider)
            self._vae.to(wider)
            self.dtype = wider
            notes = [f"decoded in {_NAMES[wider]}"]
            pixels, is_sound = self._with_room(scaled)
        if self.in_tiles and self._has_tiles(latents):
            notes.append("in tiles")
        self.notes = tuple(notes)
        return pixels

    def _with_room(self, scaled: Tensor) -> tuple[Tensor, bool]:
        """As `_decoded`; in tiles if there is no room for the whole picture."""
        try:
            return self._decoded(scaled)
        except Exception as exc:
            if self.in_tiles or not self._has_tiles(scaled) or not is_out_of_memory(exc):
                raise
            log.warning("not enough memory to decode the picture at once; in tiles now")
        # Only here: an exception that is still held keeps the tensors of its frames alive.
        free_memory(self._device)
        self.in_tiles = True
        return self._decoded(scaled)

    def _has_tiles(self, latents: Tensor) -> bool:
        """Whether the picture is larger than a tile."""
        return max(latents.shape[-2:]) * self.pixels_per_latent > self._tile_side

    def _scaled(self, latents: Tensor) -> Tensor:
        """From the scale that the network walks in to the VAE's own."""
        config = self._vae.config
        scaled = latents / float(config.scaling_factor)
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is not None and std is not None:
            shape = (1, -1, 1, 1)
            scaled = scaled * latents.new_tensor(std).view(shape) + latents.new_tensor(mean).view(shape)
        return scaled + float(getattr(config, "shift_factor", None) or 0.0)

    def _decoded(self, scaled: Tensor) -> tuple[Tensor, bool]:
        """(pixels, whether they can be believed), both of one copy."""
        tiles = tiled(self._vae, self._tile_side) if self.in_tiles and self._has_tiles(scaled) else nullcontext()
        with tiles:
            image: Tensor = self._vae.decode(scaled.to(self.dtype), return_dict=False)[0][0]
        is_sound = image.isfinite().all()
        pixels = image.float().mul(127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)
        told = torch.cat([pixels.flatten(), is_sound.to(torch.uint8).view(1)]).cpu()
        pixels = told[:-1].view(pixels.shape)
        # Some devices turn overflow into black without a sign.
        return pixels, bool(told[-1]) and (self.dtype != torch.float16 or bool(pixels.any()))


@contextmanager
def tiled(vae: Any, side: int = TILE_SIDE) -> Generator[None]:
    """An autoencoder of diffusers that works in tiles inside the block; where it knows other sizes, in those.

    Args:
        side: Of a tile, in pixels.
    """
    if hasattr(vae, "tile_latent_min_size"):
        vae.tile_sample_min_size = side
        vae.tile_latent_min_size = side // 2 ** (len(vae.config.block_out_channels) - 1)
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()


_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def _wider(dtype: torch.dtype, device: torch.device) -> torch.dtype | None:
    """The next format with room for larger numbers: bf16 has the range of fp32."""
    if dtype == torch.float16 and has_bf16(device):
        return torch.bfloat16
    return None if dtype == torch.float32 else torch.float32
