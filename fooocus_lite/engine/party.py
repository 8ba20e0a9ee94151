"""Pictures that walk together, a row of the batch each, and may leave it at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from fooocus_lite.engine.denoise import Stopped
from fooocus_lite.engine.moment import Moment, Step
from fooocus_lite.engine.picture import Picture


class Rows(Protocol):
    """What holds something of every picture of a batch."""

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these pictures of the batch only."""
        ...


class Party:
    """A batch of one or more pictures.

    Attributes:
        pictures: Those that are in it still, in the order of their rows.

    Args:
        pictures: Those that begin.
        line: These and the pictures that wait for the end of this walk: they are not kept waiting to be cancelled.
    """

    def __init__(self, pictures: Sequence[Picture], line: Sequence[Picture]) -> None:
        self.pictures = list(pictures)
        self._line = line
        self._parts: Sequence[Rows] = ()

    def stay(self) -> list[int]:
        """The rows that go on; who is not wanted any more is told so, and has left.

        Raises:
            Stopped: there are none.
        """
        self.end_unwanted()
        return self.drop_ended()

    def end_unwanted(self) -> None:
        """Tell those that are not wanted any more so."""
        for picture in self._line:
            picture.end_if_unwanted()

    def drop_ended(self) -> list[int]:
        """The rows whose pictures have not ended; the others are gone from `pictures`.

        Raises:
            Stopped: there are none.
        """
        rows = [row for row, picture in enumerate(self.pictures) if not picture.is_ended]
        self.pictures = [self.pictures[row] for row in rows]
        if not rows:
            raise Stopped
        return rows

    def walk_with(self, *parts: Rows) -> None:
        """Let what walks with the pictures know when one leaves."""
        self._parts = parts

    def leave(self, latents: Tensor, moment: Moment) -> Tensor:
        """The latents of the pictures that go on: a `Constraint`.

        Everything that the others hold is theirs alone, so they walk as if nobody had left.
        """
        del moment
        rows = self.stay()
        if len(rows) == len(latents):
            return latents
        for part in self._parts:
            part.keep(rows)
        return latents[rows]

    def observe(self, step: Step) -> None:
        """Let each picture tell of the step: an `Observer`."""
        shown: list[Tensor] = []

        def denoised(row: int) -> Tensor:
            if not shown:
                shown.append(step.denoised())
            return shown[0][row : row + 1]

        for row, picture in enumerate(self.pictures):
            picture.step_done(step.moment.index, lambda row=row: denoised(row))
