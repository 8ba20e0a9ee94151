"""A small picture of what is being drawn, from the latents alone and without making a step wait.

A linear map turns the estimate of x0 into colours on the device; the few kilobytes come over while the next step
is computed; resizing and JPEG happen in the thread that reports, not in the one that draws.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from fooocus_lite.engine.weights import damaged, read_json

MAX_SIDE = 512  # pixels
JPEG_QUALITY = 80


@dataclass(frozen=True)
class LatentColours:
    """rgb = latents · matrix + bias, with rgb in −1 … 1.

    Attributes:
        matrix: (C, 3) as rows of numbers, for latents as the UNet sees them (scaled).
        bias: (3,).
    """

    matrix: tuple[tuple[float, float, float], ...]
    bias: tuple[float, float, float]


# The well-known least-squares fit for SDXL's VAE; the same numbers are in ComfyUI, Forge and diffusers' community code.
SDXL_COLOURS = LatentColours(
    matrix=(
        (0.3651, 0.4232, 0.4341),
        (-0.2533, -0.0042, 0.1068),
        (0.1076, 0.1111, -0.0362),
        (-0.3165, -0.2492, -0.2188),
    ),
    bias=(0.1084, -0.0175, -0.0011),
)
# The same for the VAE of SD 1; ComfyUI's and InvokeAI's.
SD15_COLOURS = LatentColours(
    matrix=(
        (0.3512, 0.2297, 0.3227),
        (0.3250, 0.4974, 0.2350),
        (-0.2829, 0.1762, 0.2721),
        (-0.2120, -0.2616, -0.7177),
    ),
    bias=(0.0, 0.0, 0.0),
)


def load_colours(path: Path, channels: int) -> LatentColours | None:
    """The map that ships with a model; ``None`` if it has none.

    Raises:
        CorruptModel: the file does not hold a (channels, 3) matrix and three biases.
    """
    if not path.is_file():
        return None
    data = read_json(path)
    try:
        matrix = tuple((float(r), float(g), float(b)) for r, g, b in data["matrix"])
        red, green, blue = (float(value) for value in data["bias"])
    except (KeyError, TypeError, ValueError) as exc:
        raise damaged(path, "it needs a matrix of three columns and three biases") from exc
    if len(matrix) != channels:
        raise damaged(path, f"its matrix has {len(matrix)} rows for {channels} latent channels")
    return LatentColours(matrix, (red, green, blue))


class OnItsWay:
    """Pixels that are being copied from the device: (h, w, 3) uint8, one pixel per latent."""

    def __init__(self, pixels: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if pixels.device.type == "cuda":
            self._pixels = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
            self._pixels.copy_(pixels, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(pixels.device))
        else:
            self._pixels = pixels.cpu()

    def jpeg(self, width: int, height: int) -> tuple[bytes, int, int]:
        """A JPEG for a picture of that many pixels, at most `MAX_SIDE` long, and its own width and height."""
        if self._event is not None:
            self._event.synchronize()
        shrink = min(1.0, MAX_SIDE / max(width, height))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = Image.fromarray(self._pixels.numpy()).resize(size, Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return buffer.getvalue(), *size


class Previews:
    """Decides when a preview is due and starts its copy. One per picture.

    Attributes:
        busy: Whether the last one is not encoded yet; the reporting thread clears it. A step is never kept
            waiting for it: while busy, nothing is due.
    """

    def __init__(
        self,
        colours: LatentColours,
        device: torch.device,
        *,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._matrix = torch.tensor(colours.matrix, device=device)
        self._bias = torch.tensor(colours.bias, device=device)
        self._pause = 1 / per_second
        self._clock = clock
        self._next = -float("inf")
        self.busy = False

    def is_due(self) -> bool:
        """Whether enough time has passed since the last one, and it was taken."""
        return not self.busy and self._clock() >= self._next

    def start(self, denoised: Tensor) -> OnItsWay:
        """Begin to copy what ``denoised``, (1, C, h, w), looks like."""
        self._next = self._clock() + self._pause
        self.busy = True
        return OnItsWay(to_pixels(denoised, self._matrix, self._bias))


def to_pixels(denoised: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """(1, C, h, w) latents -> (h, w, 3) uint8, on the same device."""
    rgb = denoised[0].permute(1, 2, 0) @ matrix + bias
    return rgb.mul_(127.5).add_(127.5).clamp_(0, 255).to(torch.uint8)
