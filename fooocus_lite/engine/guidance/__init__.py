"""Guidance: tensors added to the conditional prediction.

    cond + (guidance_scale - 1)(cond - uncond) + sag_scale (base - degraded) + pag_scale (cond - perturbed)

and what shapes these terms. One row of `fooocus_lite.guidances.GUIDANCES` and one function each. A term whose weight
is zero is never called, so a picture is bit-identical with the term absent, and a distilled model never pays for an
unconditional pass. Outside the guidance interval the prediction is the model's own, in one pass. What changes the model
or what it is told acts there, too: FreeU, and the sizes while they are scaled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor

from fooocus_lite.engine.attention import identity_attention, recorded_attention
from fooocus_lite.engine.guidance.classifier_free import (
    Correction,
    Projected,
    classifier_free,
    perpendicular,
    rescaled,
)
from fooocus_lite.engine.guidance.condition import Condition, Forward, Told, gathered, joined, unet_forward
from fooocus_lite.engine.guidance.freeu import freeu
from fooocus_lite.engine.guidance.layers import Layers, not_there, unet_layers
from fooocus_lite.engine.guidance.passes import Passes, Questions
from fooocus_lite.engine.guidance.perturbed_attention import perturbed_attention
from fooocus_lite.engine.guidance.self_attention import degrade, map_size, self_attention
from fooocus_lite.engine.guidance.sharpness import sharpened
from fooocus_lite.engine.moment import Moment
from fooocus_lite.engine.remembered import remembered
from fooocus_lite.guidances import GUIDANCES, Weights

__all__ = [
    "Condition",
    "Correction",
    "Forward",
    "Guided",
    "Layers",
    "Passes",
    "Told",
    "Weights",
    "degrade",
    "gathered",
    "guided",
    "joined",
    "map_size",
    "not_there",
    "unet_forward",
    "unet_layers",
]


class Guided:
    """A `Predict` with corrections, for a batch that pictures may leave; `guided` makes it."""

    def __init__(
        self,
        forward: Forward,
        weights: Weights,
        *,
        steps: int,
        early: Questions,
        late: Questions,
        led: Correction | None,
        corrections: Sequence[Correction],
    ) -> None:
        self._forward, self._weights = forward, weights
        self._early, self._late = early, late
        self._led, self._corrections = led, corrections
        self._guided_steps = weights.guided_steps(steps)

    def __call__(self, model_input: Tensor, moment: Moment) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        weights = self._weights
        questions = self._early if moment.progress < weights.adm_end else self._late
        if moment.index not in self._guided_steps:
            return self._forward(model_input, moment, questions.cond)
        answers = questions.ask(self._forward, model_input, moment)
        wanted = _wanted(answers, weights)
        prediction = wanted.cond
        if self._led is not None:
            prediction = prediction + self._led(wanted)
        for correction in self._corrections:
            prediction = prediction + correction(answers)
        if weights.guidance_rescale != 0 and (self._led or self._corrections):
            prediction = rescaled(prediction, answers, weights.guidance_rescale)
        return prediction

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these pictures of the batch only."""
        self._late.keep(rows)
        if self._early is not self._late:
            self._early.keep(rows)
        if isinstance(self._led, Projected):
            self._led.keep(rows)


@contextmanager
def guided(
    forward: Forward, told: Told, weights: Weights, *, steps: int, layers: Layers | None = None
) -> Generator[Guided]:
    """A `Predict` with the corrections whose weight is not zero; the model is as before when the block ends.

    Args:
        forward: The bare model.
        told: The texts, a row for each picture; the unwanted are needed when ``guidance_scale`` is not 1, no text at
            all for Perp-Neg.
        steps: Of the walk; the guidance interval is a share of them.
        layers: Where the model lets guidance in; what finds no place is left out.
    """
    layers = layers or Layers()
    with remembered(layers.of_texts), ExitStack() as stack:
        recorder = perturbation = None
        if weights.pag_scale != 0 and layers.perturbed:
            perturbation = stack.enter_context(identity_attention(layers.perturbed))
        if weights.sag_scale != 0 and layers.attention is not None:
            recorder = stack.enter_context(recorded_attention(layers.attention))
        if GUIDANCES["freeu"].is_on(weights):
            factors = ((weights.freeu_b1, weights.freeu_s1), (weights.freeu_b2, weights.freeu_s2))
            stack.enter_context(freeu(layers.decoder, factors))
        corrections: list[Correction] = []
        if recorder is not None:
            corrections.append(self_attention(weights.sag_scale, forward, recorder))
        if perturbation is not None:
            corrections.append(perturbed_attention(weights.pag_scale))
        late = early = Questions(told, weights, recorder=recorder, perturbation=perturbation)
        if GUIDANCES["adm"].is_on(weights):
            early = Questions(_resized(told, weights), weights, recorder=recorder, perturbation=perturbation)
        yield Guided(
            forward, weights, steps=steps, early=early, late=late, led=_led(told, weights), corrections=corrections
        )


def _led(told: Told, weights: Weights) -> Correction | None:
    """The correction that leads away from a second text; ``None`` where there is none."""
    if told.uncond is None or weights.guidance_scale == 1:
        return None
    return Projected(weights) if GUIDANCES["apg"].is_on(weights) else classifier_free(weights)


def _resized(told: Told, weights: Weights) -> Told:
    """What is told early in the walk when sizes are scaled."""
    return Told(
        told.cond.as_if_larger(weights.adm_positive),
        told.uncond and told.uncond.as_if_larger(weights.adm_negative),
        told.empty and told.empty.as_if_larger(weights.adm_negative),
    )


def _wanted(answers: Passes, weights: Weights) -> Passes:
    """The answers with cond as the picture should be led to: sharpened, without what Perp-Neg takes away."""
    if weights.sharpness != 0:
        answers = dataclasses.replace(answers, cond=sharpened(answers, weights.sharpness))
    if answers.negative is not None:
        answers = dataclasses.replace(answers, cond=perpendicular(answers, weights.perp_neg))
    return answers
