"""Guidance: tensors added to the conditional prediction.

    cond + (guidance_scale - 1)(cond - uncond) + sag_scale (base - degraded)

A term whose weight is zero is never called, so a picture is bit-identical with the term absent, and a
distilled model never pays for an unconditional pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fooocus_lite.engine.attention import AttentionMass, recorded_attention
from fooocus_lite.engine.moment import Moment, Predict

_BLUR_SIZE = 9  # latents; arXiv:2210.00939, section 5.1
_BLUR_SIGMA = 1.0
_MASS_THRESHOLD = 1.0  # times the mean mass; arXiv:2210.00939, eq. 14


@dataclass(frozen=True)
class Condition:
    """What the model is told beside the latents.

    Attributes:
        prompt_embeds: (B, tokens, channels).
        added: More tensors with B rows, by the name the model knows: SDXL's ``text_embeds`` (pooled) and ``time_ids``.
    """

    prompt_embeds: Tensor
    added: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


#: The bare model: (B, C, h, w) model input, a moment and a condition -> (B, C, h, w) float32.
Forward = Callable[[Tensor, Moment, Condition], Tensor]

_MAX_REPEATED_TOKENS = 1024


def joined(first: Condition, second: Condition) -> Condition | None:
    """Both conditions as one batch, or ``None`` when they cannot share one.

    Texts of unequal length are repeated whole up to the same length: attention to n equal copies of the keys is
    attention to one of them, so nothing changes. Padding with zeros would draw attention to the padding.
    """
    lengths = first.prompt_embeds.shape[1], second.prompt_embeds.shape[1]
    together = math.lcm(*lengths)
    if together > max(*lengths, _MAX_REPEATED_TOKENS):
        return None
    embeds = [c.prompt_embeds.repeat(1, together // c.prompt_embeds.shape[1], 1) for c in (first, second)]
    return Condition(
        torch.cat(embeds), {name: torch.cat([value, second.added[name]]) for name, value in first.added.items()}
    )


@dataclass(frozen=True)
class Passes:
    """The model's answers at one moment.

    Attributes:
        cond: (B, C, h, w), told the wanted texts.
        base: (B, C, h, w), what guidance leads away from: told the unwanted texts, or the same as ``cond`` where
            no unconditional pass runs.
    """

    model_input: Tensor
    moment: Moment
    cond: Tensor
    base: Tensor


#: A tensor to add to the conditional prediction, (B, C, h, w).
Correction = Callable[[Passes], Tensor]


def _classifier_free(scale: float) -> Correction:
    """(scale - 1)(cond - uncond): arXiv:2207.12598, eq. 6, with scale = w + 1."""
    return lambda passes: (passes.cond - passes.base).mul_(scale - 1)


@contextmanager
def guided(
    forward: Forward,
    cond: Condition,
    uncond: Condition | None,
    *,
    guidance_scale: float,
    sag_scale: float,
    sag_layer: nn.Module | None = None,
) -> Generator[Predict]:
    """A `Predict` with the corrections whose weight is not zero; the model is as before when the block ends.

    Args:
        forward: The bare model.
        cond: The wanted texts.
        uncond: The unwanted; needed when ``guidance_scale`` is not 1.
        sag_layer: The self-attention layer whose mass says what to blur; needed when ``sag_scale`` is not 0.
    """
    uncond = None if guidance_scale == 1 else uncond
    pair = None if uncond is None else joined(uncond, cond)
    corrections: list[Correction] = []
    with ExitStack() as stack:
        recorder: AttentionMass | None = None
        if uncond is not None:
            corrections.append(_classifier_free(guidance_scale))
        if sag_scale != 0 and sag_layer is not None:
            recorder = stack.enter_context(recorded_attention(sag_layer))
            told = cond if uncond is None else uncond
            corrections.append(_self_attention(sag_scale, forward, told, recorder))

        def passes(model_input: Tensor, moment: Moment) -> Passes:
            if uncond is None:
                with _recording(recorder, model_input.shape[0]):
                    prediction = forward(model_input, moment, cond)
                return Passes(model_input, moment, cond=prediction, base=prediction)
            with _recording(recorder, model_input.shape[0]):
                if pair is not None:
                    base, wanted = forward(torch.cat([model_input, model_input]), moment, pair).chunk(2)
                    return Passes(model_input, moment, cond=wanted, base=base)
                base = forward(model_input, moment, uncond)
            return Passes(model_input, moment, cond=forward(model_input, moment, cond), base=base)

        def predict(model_input: Tensor, moment: Moment) -> Tensor:
            answers = passes(model_input, moment)
            prediction = answers.cond
            for correction in corrections:
                prediction = prediction + correction(answers)
            return prediction

        yield predict


@contextmanager
def _recording(recorder: AttentionMass | None, rows: int) -> Generator[None]:
    """Note the mass of the first ``rows`` rows: the unconditional ones where there are any (eq. 25 of the paper)."""
    if recorder is None:
        yield
        return
    recorder.rows = slice(0, rows)
    try:
        yield
    finally:
        recorder.rows = None


def _self_attention(scale: float, forward: Forward, told: Condition, recorder: AttentionMass) -> Correction:
    """scale (base - degraded): arXiv:2210.00939, eq. 16; one more pass, told the same as the base."""

    def correction(passes: Passes) -> Tensor:
        if recorder.mass is None:
            raise RuntimeError("the attention layer of self-attention guidance was not run")
        degraded = degrade(passes.model_input, passes.base, passes.moment, recorder.mass)
        return (passes.base - forward(degraded, passes.moment, told)).mul_(scale)

    return correction


def degrade(model_input: Tensor, prediction: Tensor, moment: Moment, mass: Tensor) -> Tensor:
    """The model input with what is attended to blurred away, at the same noise level (arXiv:2210.00939, alg. 1).

    Works on what the model sees, which is variance-preserving for every sampler, so it needs no scheduler.

    Args:
        model_input: (B, C, h, w).
        prediction: (B, C, h, w), the model's output for it.
        mass: (B, N), see `AttentionMass`.
    """
    denoised = moment.denoised(model_input, prediction)
    noise = moment.noise(model_input, prediction)
    height, width = model_input.shape[-2:]
    mask = (mass > _MASS_THRESHOLD).to(denoised.dtype)
    mask = mask.reshape(-1, 1, *map_size(height, width, mass.shape[1]))
    mask = F.interpolate(mask, (height, width))
    blurred = torch.lerp(denoised, _blur(denoised), mask)
    return moment.alpha * blurred + moment.sigma * noise


def map_size(height: int, width: int, places: int) -> tuple[int, int]:
    """Rows and columns of the attention map: the latents' size halved (rounding up) until it has ``places``."""
    while height * width > places:
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != places:
        raise RuntimeError(f"an attention map of {places} places does not fit these latents")
    return height, width


def _blur(latents: Tensor) -> Tensor:
    """Gaussian blur, (B, C, h, w) -> (B, C, h, w), mirrored at the edges."""
    offsets = torch.arange(_BLUR_SIZE, dtype=torch.float32, device=latents.device) - _BLUR_SIZE // 2
    kernel = torch.exp(-0.5 * (offsets / _BLUR_SIGMA) ** 2)
    kernel = (kernel / kernel.sum()).to(latents.dtype)
    channels = latents.shape[1]
    half = _BLUR_SIZE // 2
    # A mirror needs more pixels than it shows; pictures under 40 px are repeated at the edge instead.
    mode = "reflect" if min(latents.shape[-2:]) > half else "replicate"
    padded = F.pad(latents, (half, half, half, half), mode=mode)
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def unet_forward(unet: Any, dtype: torch.dtype) -> Forward:
    """A `Forward` over a diffusers ``UNet2DConditionModel``, SD 1.5 shaped or SDXL shaped.

    Args:
        dtype: Of the UNet's weights; inputs are cast to it, outputs come back as float32.
    """

    def forward(model_input: Tensor, moment: Moment, condition: Condition) -> Tensor:
        output: Tensor = unet(
            model_input.to(dtype),
            moment.timestep,
            encoder_hidden_states=condition.prompt_embeds,
            added_cond_kwargs=condition.added or None,
            return_dict=False,
        )[0]
        return output.float()

    return forward
