"""What a solver is given: `Walk`, the levels it goes along and a denoiser. One contract for every sampler.

A solver is a function (latents, i, walk) -> latents: step i, from ``walk.spans[i][0]`` to ``walk.spans[i][1]``.
It asks for x0 at any level and for noise, and knows neither models nor what they predict.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_lite.engine.levels import Level, NoiseLevels

#: From one level to the next. The last one of a walk ends at `CLEAN`.
Span = tuple[Level, Level]
_REMEMBERED = 4  # calls; what a multistep method of order four looks back to


@dataclass
class Call:
    """An answer of the model.

    Attributes:
        level: Where it was asked.
        latents: (B, C, h, w) there; a corrector puts better ones in their place.
        denoised: (B, C, h, w), the estimate of x0.
    """

    level: Level
    latents: Tensor
    denoised: Tensor


class Walk(ABC):
    """The way from noise to picture.

    Attributes:
        spans: One per step, in the scale in which the latents are kept between calls.
        levels: Those of the model.
        past: The latest calls, the newest last; what multistep methods look back to.
    """

    def __init__(self, spans: Sequence[Span], levels: NoiseLevels, *, keeps_ratio: bool) -> None:
        self.spans = spans
        self.levels = levels
        self.keeps_ratio = keeps_ratio and levels.kind != "flow"
        self.past: deque[Call] = deque(maxlen=_REMEMBERED)

    def as_kept(self, level: Level) -> Level:
        """A level of the model in the scale of the latents: the model's own, or x0 + ratio·noise."""
        return Level(1.0, level.ratio, level.timestep) if self.keeps_ratio else level

    def as_seen(self, level: Level) -> Level:
        """The inverse of `as_kept`."""
        return self.levels.mixed(level.sigma, level.timestep) if self.keeps_ratio else level

    def at_ratio(self, ratio: float) -> Level:
        """A level between those of the schedule."""
        return self.as_kept(self.levels.at_ratio(ratio))

    def at_sigma(self, sigma: float) -> Level:
        """Likewise, by how much noise the latents hold; only where they are x0 + ratio·noise, or on straight lines."""
        return self.at_ratio(sigma if self.keeps_ratio else sigma / (1 - sigma))

    def at_time(self, time: float) -> Level:
        """Likewise, by the model's clock; only for models with a table of levels."""
        return self.as_kept(self.levels.at_time(time))

    def denoised(self, latents: Tensor, level: Level) -> Tensor:
        """The model's estimate of x0, (B, C, h, w), from ``latents`` at ``level``: one call of the model."""
        denoised = self._ask(latents, level)
        self.past.append(Call(level, latents, denoised))
        return denoised

    @abstractmethod
    def _ask(self, latents: Tensor, level: Level) -> Tensor: ...

    @abstractmethod
    def noise(self) -> Tensor:
        """Fresh standard normal noise, (B, C, h, w)."""


Solver = Callable[[Tensor, int, Walk], Tensor]


class Rehearsal(Walk):
    """A walk without a model, which notes where one would be asked.

    A solver's levels follow from numbers of the host alone. So they are known before the first step, and the device
    gets all times of the model's clock in one copy that no step waits for.
    """

    def __init__(self, spans: Sequence[Span], levels: NoiseLevels, *, keeps_ratio: bool) -> None:
        super().__init__((), levels, keeps_ratio=keeps_ratio)
        self.spans = [(self.as_kept(here), self.as_kept(there)) for here, there in spans]
        self._nothing = torch.zeros(1)
        self._asked: list[Level] = []

    def calls(self, solver: Solver) -> list[list[Level]]:
        """The levels that each step asks at."""
        found: list[list[Level]] = []
        for index in range(len(self.spans)):
            self._asked = []
            solver(self._nothing, index, self)
            found.append(self._asked)
        return found

    def _ask(self, latents: Tensor, level: Level) -> Tensor:
        self._asked.append(level)
        return self._nothing

    def noise(self) -> Tensor:
        """None."""
        return self._nothing
