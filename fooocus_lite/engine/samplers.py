"""From rows of the registry to a `Path`: where the steps are, how one is taken, and what the model sees there."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine import schedules
from fooocus_lite.engine.levels import CLEAN, Level, NoiseLevels, read_levels
from fooocus_lite.engine.moment import Moment, NoiseSource, Predict, Step
from fooocus_lite.engine.noisy_solvers import restart, restart_spans
from fooocus_lite.engine.walk import Rehearsal, Solver, Span, Walk
from fooocus_lite.errors import BadValue
from fooocus_lite.registry import Sampler, Scheduler

#: Every model whose levels depend on the number of its tokens reads two by two latents as one.
_LATENTS_PER_TOKEN = 4


class Path(Walk):
    """A walk with a model at its side, for `fooocus_lite.engine.denoise.denoise` to go along. Used once.

    Attributes:
        moments: Of each step those at which it asks the model; the first is where the step begins.
    """

    def __init__(self, solver: Solver, walk: Rehearsal, *, noise: NoiseSource, device: torch.device) -> None:
        super().__init__(walk.spans, walk.levels, keeps_ratio=walk.keeps_ratio)
        self._solver, self._noise = solver, noise
        asked = walk.calls(solver)
        times = torch.tensor([level.timestep for step in asked for level in step], dtype=torch.float32)
        clock = iter(times.to(device))
        self.moments = tuple(
            tuple(self._moment(index, level, next(clock)) for level in step) for index, step in enumerate(asked)
        )
        self._calls: Iterator[Moment] = iter(())
        self._predict: Predict | None = None
        self._seen: Step | None = None

    def _moment(self, index: int, level: Level, timestep: Tensor) -> Moment:
        seen = self.as_seen(level)
        progress = self.levels.progress(seen)
        return Moment(index, timestep, seen.alpha, seen.sigma, self.levels.prediction_type, progress)

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the first latents: the noise's, or in a model's own scale, that of all it sees."""
        return self.spans[0][0].sigma if self.keeps_ratio else 1.0

    def step(self, predict: Predict, latents: Tensor, index: int) -> tuple[Tensor, Step]:
        """(the latents after step ``index``, (B, C, h, w); what the model saw and said at its beginning)."""
        self._predict, self._calls, self._seen = predict, iter(self.moments[index]), None
        latents = self._solver(latents, index, self)
        if self._seen is None:
            raise RuntimeError("the solver took a step without asking the model")
        return latents, self._seen

    def _ask(self, latents: Tensor, level: Level) -> Tensor:
        moment = next(self._calls)
        model_input = latents if level.alpha == moment.alpha else latents * (moment.alpha / level.alpha)
        if self._predict is None:
            raise RuntimeError("a solver asks the model only within its step")
        prediction = self._predict(model_input, moment)
        self._seen = self._seen or Step(moment, model_input, prediction)
        return moment.denoised(model_input, prediction)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these pictures of the batch only, in what multistep methods look back to and in the noise."""
        for call in self.past:
            call.latents, call.denoised = call.latents[list(rows)], call.denoised[list(rows)]
        self._noise.keep(rows)

    def noise(self) -> Tensor:
        """Fresh standard normal noise, (B, C, h, w), from each picture's own seed."""
        return self._noise.draw()


def make_path(
    sampler: Sampler,
    scheduler: Scheduler,
    model_config: Mapping[str, Any],
    steps: int,
    *,
    device: torch.device,
    noise: NoiseSource,
) -> Path:
    """The way that ``sampler`` goes in ``steps`` steps, placed by ``scheduler``, for a model trained as its file says.

    Args:
        model_config: The model's ``scheduler_config.json``.
        noise: Where stochastic samplers draw from.

    Raises:
        BadValue: the model was trained in a way that the sampler or the schedule is not made for.
    """
    levels = read_levels(model_config, math.prod(noise.size) // _LATENTS_PER_TOKEN)
    for field, row in (("sampler", sampler), ("scheduler", scheduler)):
        if levels.kind not in row.noise:
            raise BadValue(f"{row.label} is not made for how this model was trained.", "Choose another.", field=field)
    solver = find_solver(sampler)
    walk = Rehearsal(make_spans(solver, scheduler, levels, steps), levels, keeps_ratio=sampler.space == "ratio")
    return Path(solver, walk, noise=noise, device=device)


def find_solver(sampler: Sampler) -> Solver:
    """The function that the row names."""
    module, _, name = sampler.solver.partition(":")
    solver: Solver = getattr(importlib.import_module(f"fooocus_lite.engine.{module}"), name)
    return solver


def make_spans(solver: Solver, scheduler: Scheduler, levels: NoiseLevels, steps: int) -> Sequence[Span]:
    """From where to where each of ``steps`` steps goes."""
    schedule: schedules.Schedule = getattr(schedules, scheduler.schedule)
    if solver is restart:
        return restart_spans(schedule, levels, steps)
    return list(itertools.pairwise([*schedule(levels, steps), CLEAN]))
