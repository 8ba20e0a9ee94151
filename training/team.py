"""How a training goes on: one clock and one learning rate, a checkpoint every few minutes, several processes on a CPU.

On a CPU several processes with one thread each (``--processes``) are faster than one process with
several threads, and suffer less from other programs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.config import Config

SAVE_EVERY_S = 180


@dataclass
class Team:
    """The processes of one run on a CPU: they share gradients through memory, and one clock.

    ``shared`` is (2, processes, parameters); the halves take turns, so that one barrier a step is enough.
    """

    rank: int
    world: int
    shared: Tensor | None = None
    barrier: Any = None
    clock: Any = None
    turn: int = 0

    def share(self, gradients: Tensor) -> None:
        """Replaces the flat ``gradients`` by their mean over all processes."""
        if self.shared is None:
            return
        sheets = self.shared[self.turn]
        self.turn = 1 - self.turn
        sheets[self.rank].copy_(gradients)
        self.barrier.wait()
        torch.mean(sheets, dim=0, out=gradients)

    def tell_time(self, elapsed: float) -> float:
        """The first process's time, so that all agree on the learning rate and on the end.

        Set before and read after the barrier in `share`, one step later for everybody.
        """
        if self.clock is None:
            return elapsed
        before = self.clock[1 - self.turn]
        if self.rank == 0:
            self.clock[self.turn] = elapsed
        return before


class Trainable(Protocol):
    """A run, and everything its checkpoint holds.

    Attributes:
        team: The processes it is one of.
        optimizer: Whose learning rate is told.
        elapsed: Seconds of training, those before a restart included.
        steps: Updates.
        seen: Pictures, of all processes together.
    """

    team: Team
    optimizer: torch.optim.Optimizer
    elapsed: float
    steps: int
    seen: int

    def step(self, progress: float) -> float:
        """One update at ``progress`` 0..1 of the budget; the loss."""
        ...

    def save(self) -> None:
        """Writes the checkpoint."""
        ...

    def note(self) -> str:
        """What else a line about the progress should say."""
        ...


def cheap_attention(device: torch.device) -> contextlib.AbstractContextManager:
    """On CPUs plain matrix products beat the fused attention, whose backward pass is slow there."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext()


def flat_gradients(model: nn.Module) -> Tensor:
    """One vector that all gradients are views of: shared and clipped in one go."""
    parameters = list(model.parameters())
    flat = torch.zeros(sum(parameter.numel() for parameter in parameters), device=parameters[0].device)
    start = 0
    for parameter in parameters:  # with the parameter's own strides, as the fused optimizer expects
        parameter.grad = flat.as_strided(parameter.shape, parameter.stride(), start)
        start += parameter.numel()
    return flat


def clip(gradients: Tensor) -> None:
    """Shortens the flat ``gradients`` to a length of 1 at most."""
    gradients.mul_(min(1.0, 1.0 / (float(gradients.norm()) + 1e-6)))


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Moves the exponential moving average of the weights towards ``model``."""
    names, values = zip(*model.named_parameters(), strict=True)
    torch._foreach_lerp_([average[name] for name in names], [value.detach() for value in values], 1 - decay)


def rate_at(progress: float, config: Config, rate: float) -> float:
    """Learning rate at ``progress`` 0..1 of the budget: up to ``rate``, level, then straight down to a hundredth."""
    rise = progress / config.warm_up
    fall = 1 - 0.99 * (progress - config.level_until) / (1 - config.level_until)
    return rate * max(0.01, min(1.0, rise, fall))


def train(run: Trainable, minutes: float) -> None:
    """Steps until the budget is spent, with a checkpoint every few minutes."""
    started = time.monotonic() - run.elapsed
    saved = time.monotonic()
    losses: list[float] = []
    while (progress := run.elapsed / (60 * minutes)) < 1:
        losses.append(run.step(progress))
        run.elapsed = run.team.tell_time(time.monotonic() - started)
        if run.team.rank > 0:
            continue
        if run.steps % 50 == 0:
            rate = run.optimizer.param_groups[0]["lr"]
            print(
                f"{run.elapsed:6.0f} s  step {run.steps}  pictures {run.seen}"
                f"  loss {np.mean(losses[-50:]):.4f}  {run.note()}  rate {rate:.1e}",
                flush=True,
            )
        if time.monotonic() - saved > SAVE_EVERY_S:
            run.save()
            saved = time.monotonic()
    if run.team.rank == 0:
        run.save()


MakeRun = Callable[[torch.device, Team], Trainable]


def train_in_processes(make_run: MakeRun, *, parameters: int, processes: int, minutes: float) -> None:
    """Trains on a CPU in ``processes`` processes, which share the gradients of so many ``parameters``."""
    shared = torch.zeros(2, processes, parameters).share_memory_()
    context = mp.get_context("spawn")
    barrier, clock = context.Barrier(processes), context.Array("d", 2)
    mp.spawn(_work_in_team, (processes, shared, barrier, clock, make_run, minutes), nprocs=processes)


def _work_in_team(
    rank: int, world: int, shared: Tensor, barrier: Any, clock: Any, make_run: MakeRun, minutes: float
) -> None:
    """One of several processes on a CPU."""
    torch.set_num_threads(1)
    run = make_run(torch.device("cpu"), Team(rank, world, shared, barrier, clock))
    clock[0] = clock[1] = run.elapsed
    barrier.wait()
    train(run, minutes)
