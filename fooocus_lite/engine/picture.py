"""One picture that was asked for, as the drawing thread sees it: what it tells, and whether anybody still wants it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from torch import Tensor

from fooocus_lite.engine.denoise import Stopped
from fooocus_lite.engine.preview import OnItsWay, Previews
from fooocus_lite.events import Cancelled, Event, Preview, Progress
from fooocus_lite.plan import Plan


class PreviewOnItsWay:
    """A preview whose pixels may still be on the device; encoded by the thread that reports."""

    def __init__(self, step: int, pixels: OnItsWay, plan: Plan, previews: Previews) -> None:
        self._step, self._pixels, self._plan, self._previews = step, pixels, plan, previews

    def encode(self) -> Preview:
        """The event; waits for the copy."""
        jpeg, width, height = self._pixels.jpeg(self._plan.width, self._plan.height)
        self._previews.busy = False
        return Preview(step=self._step, jpeg=jpeg, width=width, height=height)


class Picture:
    """One plan of those that are drawn by one call of the engine.

    Attributes:
        is_ended: Whether its terminal event was told.

    Args:
        tell: Takes its events, to be passed on by another thread.
        is_unwanted: Asked at every step boundary.
        progress_pause_s: Least time between two `Progress` events, but for the first, the last, those with a preview.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        tell: Callable[[Event | PreviewOnItsWay], None],
        is_unwanted: Callable[[], bool],
        progress_pause_s: float,
    ) -> None:
        self.plan, self.tell = plan, tell
        self.is_ended = False
        self._is_unwanted, self._pause_s = is_unwanted, progress_pause_s
        self._steps, self._previews = 0, None
        self._times: list[float] = []
        self._told = -math.inf

    def end(self, outcome: Event) -> None:
        """Tell the terminal event, unless there was one."""
        if not self.is_ended:
            self.is_ended = True
            self.tell(outcome)

    def end_if_unwanted(self) -> None:
        """Cancelled, if somebody asked for that."""
        if not self.is_ended and self._is_unwanted():
            self.end(Cancelled())

    def begin_walk(self, steps: int, previews: Previews | None) -> None:
        """The first of ``steps`` steps begins now."""
        self._steps, self._previews = steps, previews
        self._times, self._told = [time.monotonic()], -math.inf

    def step_done(self, index: int, denoised: Callable[[], Tensor] | None) -> None:
        """Tell of a step, if it is time to.

        Args:
            index: Of the step; 0 for the first.
            denoised: Gives the estimate of x0, (1, C, h, w), where there is one to show.
        """
        times, previews, done = self._times, self._previews, index + 1
        times.append(time.monotonic())
        has_preview = previews is not None and denoised is not None and done < self._steps and previews.is_due()
        if has_preview or done == self._steps or times[-1] - self._told >= self._pause_s:
            self._told = times[-1]
            self.tell(Progress(step=done, steps=self._steps, seconds_left=_seconds_left(times, self._steps)))
        if previews is not None and denoised is not None and has_preview:
            self.tell(PreviewOnItsWay(done, previews.start(denoised()), self.plan, previews))

    def on_step(self, index: int, denoised: Callable[[], Tensor] | None) -> None:
        """As `step_done`, for a model that walks by itself; then, if nobody wants the picture any more, `Stopped`."""
        self.step_done(index, denoised)
        self.end_if_unwanted()
        if self.is_ended:
            raise Stopped


def _seconds_left(times: list[float], steps: int) -> float:
    """Estimate from the last few steps; the first is left out once there are others, because it warms up."""
    done = len(times) - 1
    since = max(1 if done > 1 else 0, done - 8)
    return (steps - done) * (times[done] - times[since]) / (done - since)
