"""Two models, one picture: from a step on another model answers, at the same levels of noise.

The walk keeps estimates of x0 and nothing of a model, so multistep samplers go on across the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fooocus_lite.engine.levels import NoiseLevels
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.moment import Moment, Predict
from fooocus_lite.engine.samplers import Path as Walk
from fooocus_lite.errors import BadValue
from fooocus_lite.model_files import ModelRef

#: What latents mean: equal in both models, or the second draws upon noise.
_SCALING = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")


def check_latents(model: ModelRef, refiner: ModelRef) -> None:
    """Whether the one can go on with the other's latents, by their small files: before any weights are read.

    Raises:
        BadValue: it cannot.
        MissingModel, CorruptModel: a file of a model folder is not there or not usable.
    """
    of_model, of_refiner = (_latents(ModelParts(ref)) for ref in (model, refiner))
    for what, theirs in of_refiner.items():
        if theirs != of_model[what]:
            raise BadValue(
                f"{refiner.name} cannot refine pictures of {model.name}: of its latents, {what} is {theirs}, "
                f"not {of_model[what]}.",
                "Choose another refiner, or none.",
                field="refiner",
            )


def _latents(parts: ModelParts) -> dict[str, Any]:
    unet, vae = (parts.config(part) for part in ("unet", "vae"))
    shape = {"channels": unet.get("in_channels"), "pixels a side": _pixels(vae)}
    return shape | {name: vae.get(name) for name in _SCALING}


def _pixels(vae: Mapping[str, Any]) -> int:
    blocks = vae.get("block_out_channels") or vae.get("decoder_block_out_channels") or ()
    return 2 ** (len(blocks) - 1)


def handed_over(first: Predict, second: Predict, walk: Walk, levels: NoiseLevels, *, step: int) -> Predict:
    """``first`` up to ``step``, ``second`` from there on.

    A second model that was trained otherwise is told its own time for the level of noise, and what it says is put
    into the terms of the first.

    Args:
        walk: Of the first model.
        levels: Of the second.

    Raises:
        BadValue: the one was trained along a table of levels, the other not.
    """
    if levels.kind != walk.levels.kind:
        problem = "The refiner was not trained with the kind of noise that the model was."
        raise BadValue(problem, "Choose another refiner, or none.", field="refiner")
    moments = [moment for moments in walk.moments[step:] for moment in moments]
    own = dict(zip(map(id, moments), _as_second(moments, walk.levels, levels), strict=True))

    def predict(model_input: Tensor, moment: Moment) -> Tensor:
        seen = own.get(id(moment))
        if seen is None:
            return first(model_input, moment)
        prediction = second(model_input, seen)
        return (
            prediction
            if seen.prediction_type == moment.prediction_type
            else _restated(moment, model_input, seen.denoised(model_input, prediction))
        )

    return predict


def _as_second(moments: Sequence[Moment], ours: NoiseLevels, theirs: NoiseLevels) -> list[Moment]:
    """The same levels of noise by the second model's clock; the very same moments where both have one."""
    is_same_kind = (ours.prediction_type, ours.ratios) == (theirs.prediction_type, theirs.ratios)
    if not moments or (is_same_kind and np.array_equal(ours.table, theirs.table)):
        return list(moments)
    times = torch.tensor([theirs.at_ratio(moment.ratio).timestep for moment in moments], dtype=torch.float32)
    clock = times.to(moments[0].timestep.device)
    return [
        replace(moment, timestep=time, prediction_type=theirs.prediction_type)
        for moment, time in zip(moments, clock, strict=True)
    ]


def _restated(moment: Moment, model_input: Tensor, denoised: Tensor) -> Tensor:
    """The prediction, (B, C, h, w), from which ``moment`` estimates ``denoised``: the estimate is linear in it."""
    return (denoised - moment.denoised(model_input, torch.zeros_like(model_input))) / moment.slope
