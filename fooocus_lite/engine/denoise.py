"""The walk from noise to picture. Three kinds of thing may touch it: a prediction, a constraint, an observer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fooocus_lite.engine.moment import Moment
from fooocus_lite.engine.samplers import Schedule

#: Guided model output at one moment: (B, C, h, w) model input -> (B, C, h, w).
Predict = Callable[[Tensor, Moment], Tensor]
#: Applied to the latents after every step; inpainting pins pixels here.
Constraint = Callable[[Tensor, Moment], Tensor]


class Stopped(Exception):
    """Raised by an observer at a step boundary to end the walk."""


@dataclass(frozen=True)
class Step:
    """What an observer sees when a step is done.

    Attributes:
        moment: Where the step began.
        model_input: (B, C, h, w), what the model saw there.
        prediction: (B, C, h, w), the guided output.
    """

    moment: Moment
    model_input: Tensor
    prediction: Tensor

    def denoised(self) -> Tensor:
        """(B, C, h, w): the estimate of x0, what previews show. Computed when asked for."""
        return self.moment.denoised(self.model_input, self.prediction)


#: Sees every step and may raise `Stopped`; it cannot change the result.
Observer = Callable[[Step], None]


def leave_alone(latents: Tensor, moment: Moment) -> Tensor:
    """The constraint of a picture that has none."""
    del moment
    return latents


def ignore(step: Step) -> None:
    """The observer that looks away."""
    del step


def denoise(
    predict: Predict,
    schedule: Schedule,
    latents: Tensor,
    *,
    constrain: Constraint = leave_alone,
    observe: Observer = ignore,
) -> Tensor:
    """Walk ``latents`` from noise to picture along ``schedule``.

    Args:
        predict: Guided model output at one moment.
        latents: (B, C, h, w) float32, noise already scaled by ``schedule.init_noise_sigma``.
        constrain: Applied after every step.
        observe: Sees every step; may raise `Stopped`.

    Returns:
        (B, C, h, w) float32 latents, ready to decode.
    """
    for moment in schedule.moments:
        model_input = schedule.scale_model_input(latents, moment)
        prediction = predict(model_input, moment)
        latents = constrain(schedule.step(prediction, moment, latents), moment)
        observe(Step(moment, model_input, prediction))
    return latents
