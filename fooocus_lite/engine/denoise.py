"""The walk from noise to picture. Three kinds of thing may touch it: a prediction, a constraint, an observer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from fooocus_lite.engine.moment import Moment, Predict, Step
from fooocus_lite.engine.samplers import Path

#: Applied to the latents after every step; inpainting pins pixels here, and pictures that nobody wants leave a batch.
Constraint = Callable[[Tensor, Moment], Tensor]
#: Sees every step and may raise `Stopped`; it cannot change the result.
Observer = Callable[[Step], None]


class Stopped(Exception):
    """Raised by an observer at a step boundary to end the walk."""


def leave_alone(latents: Tensor, moment: Moment) -> Tensor:
    """The constraint of a picture that has none."""
    del moment
    return latents


def ignore(step: Step) -> None:
    """The observer that looks away."""
    del step


def denoise(
    predict: Predict,
    path: Path,
    latents: Tensor,
    *,
    constrain: Constraint = leave_alone,
    observe: Observer = ignore,
) -> Tensor:
    """Walk ``latents`` from noise to picture along ``path``.

    Args:
        predict: Guided model output at one moment.
        latents: (B, C, h, w) float32, noise already scaled by ``path.init_noise_sigma``.
        constrain: Applied after every step; may raise `Stopped`.
        observe: Sees every step before that; may raise `Stopped`.

    Returns:
        (B, C, h, w) float32 latents, ready to decode.
    """
    for index in range(len(path.spans)):
        latents, seen = path.step(predict, latents, index)
        observe(seen)
        latents = constrain(latents, seen.moment)
    return latents
