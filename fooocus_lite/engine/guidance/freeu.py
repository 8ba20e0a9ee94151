"""FreeU (arXiv:2309.11497): in the UNet's decoder the backbone is strengthened, the skips lose low frequencies."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: (a block that takes backbone and skip side by side in its channels, how many of them are the backbone's).
Stage = Sequence[tuple[nn.Module, int]]


@contextmanager
def freeu(stages: Sequence[Stage], factors: Sequence[tuple[float, float]]) -> Generator[None]:
    """Let the first stages of the decoder weigh their inputs; hooks that go again, also after a failure.

    Args:
        stages: The decoder's, coarsest first.
        factors: (b of the backbone, s of the skip's low frequencies) for each; (1, 1) touches nothing.
    """
    with ExitStack() as stack:
        for stage, (b, s) in zip(stages, factors, strict=False):
            for block, channels in stage if (b, s) != (1, 1) else ():
                handle = block.register_forward_pre_hook(_weighing(channels, b, s))
                stack.callback(handle.remove)
        yield


def _weighing(channels: int, b: float, s: float) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        states: Tensor = args[0]
        backbone, skip = states[:, :channels], states[:, channels:]
        return torch.cat([strengthened(backbone, b), without_low(skip, s)], dim=1), *args[1:]

    return hook


def strengthened(backbone: Tensor, b: float) -> Tensor:
    """(B, C, h, w) with its first half times 1 … b, by how active a place is among the picture's."""
    if b == 1:
        return backbone
    mean = backbone.mean(1, keepdim=True)
    low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    activity = (mean - low) / (high - low).clamp_min(torch.finfo(mean.dtype).tiny)
    half = backbone.shape[1] // 2
    return torch.cat([backbone[:, :half] * (activity * (b - 1) + 1), backbone[:, half:]], dim=1)


def without_low(skip: Tensor, s: float) -> Tensor:
    """(B, C, h, w) with its lowest frequencies, 0 and -1 along each side, times ``s``."""
    if s == 1:
        return skip
    # Half precision has no Fourier transform of every size.
    spectrum = torch.fft.fft2(skip.float())
    lows = [_lowest(size, spectrum.device) for size in skip.shape[-2:]]
    mask = torch.outer(*lows) * (s - 1) + 1
    return torch.fft.ifft2(spectrum * mask).real.to(skip.dtype)


def _lowest(size: int, device: torch.device) -> Tensor:
    """(size,), 1 at the frequencies 0 and -1."""
    place = torch.arange(size, device=device)
    return ((place == 0) | (place == size - 1)).float()
