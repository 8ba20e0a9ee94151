"""The model's answers at one moment: who is asked what, in as few calls as the texts allow."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_lite.engine.attention import AttentionMass, IdentityAttention
from fooocus_lite.engine.guidance.condition import Condition, Forward, Told, joined
from fooocus_lite.engine.moment import Moment
from fooocus_lite.guidances import Weights

#: Dimensions of one picture in (B, C, h, w).
PICTURE = (1, 2, 3)


@dataclass(frozen=True)
class Passes:
    """The model's answers at one moment, each (B, C, h, w).

    Attributes:
        cond: Told the wanted texts.
        base: What guidance leads away from: told the unwanted texts, with Perp-Neg none; the same as ``cond`` where
            no unconditional pass runs.
        told: What the base was told.
        negative: With Perp-Neg, told the unwanted texts.
        perturbed: Told the wanted texts, its middle attending only to itself.
    """

    model_input: Tensor
    moment: Moment
    cond: Tensor
    base: Tensor
    told: Condition
    negative: Tensor | None = None
    perturbed: Tensor | None = None


@dataclass(frozen=True)
class _Pass:
    role: str
    told: Condition


class Questions:
    """The passes of a guided step, of one batch where the texts allow it.

    Args:
        told: What there is to tell.
        weights: Which passes they need.
        recorder: Notes the attention mass of the base.
        perturbation: Perturbs the pass that is to be perturbed.
    """

    def __init__(
        self,
        told: Told,
        weights: Weights,
        *,
        recorder: AttentionMass | None = None,
        perturbation: IdentityAttention | None = None,
    ) -> None:
        self._recorder, self._perturbation = recorder, perturbation
        passes: list[_Pass] = []
        uncond = told.uncond if weights.guidance_scale != 1 else None
        empty = told.empty if weights.perp_neg != 0 else None
        if uncond is not None:
            passes.append(_Pass("base", uncond if empty is None else empty))
        passes.append(_Pass("cond", told.cond))
        if uncond is not None and empty is not None:
            passes.append(_Pass("negative", uncond))
        if perturbation is not None:
            passes.append(_Pass("perturbed", told.cond))
        self._passes = passes
        self._together = joined(*(one.told for one in passes))

    @property
    def cond(self) -> Condition:
        """The wanted texts: all that a step without guidance is told."""
        return next(one.told for one in self._passes if one.role == "cond")

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these pictures of the batch only."""
        self._passes = [_Pass(one.role, one.told.rows(rows)) for one in self._passes]
        self._together = self._together and joined(*(one.told for one in self._passes))

    def ask(self, forward: Forward, model_input: Tensor, moment: Moment) -> Passes:
        """The answers to (B, C, h, w)."""
        groups = [self._passes] if self._together is not None else [[one] for one in self._passes]
        answers: dict[str, Tensor] = {}
        for group in groups:
            told = group[0].told if len(group) == 1 or self._together is None else self._together
            rows = torch.cat([model_input] * len(group)) if len(group) > 1 else model_input
            with self._watching([one.role for one in group], model_input.shape[0]):
                parts = forward(rows, moment, told).chunk(len(group))
            answers |= {one.role: part for one, part in zip(group, parts, strict=True)}
        base = answers.get("base", answers["cond"])
        return Passes(
            model_input, moment, answers["cond"], base, self._passes[0].told,
            negative=answers.get("negative"), perturbed=answers.get("perturbed"),
        )  # fmt: skip

    @contextmanager
    def _watching(self, roles: Sequence[str], size: int) -> Generator[None]:
        """Tell recorder and perturbation which rows of this batch are theirs, ``size`` of each role."""
        noted = self._passes[0].role
        for watcher, role in ((self._recorder, noted), (self._perturbation, "perturbed")):
            if watcher is not None and role in roles:
                first = roles.index(role) * size
                watcher.rows = slice(first, first + size)
        try:
            yield
        finally:
            for watcher in (self._recorder, self._perturbation):
                if watcher is not None:
                    watcher.rows = None
