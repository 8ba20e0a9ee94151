"""Whose fault a picture without numbers is: weights that are none themselves, or too narrow a format.

Nothing is looked at while a model is read: one pass over all weights would cost half as much as reading them, at
every start, for a fault that is rare. When a picture comes out empty there is time to look.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from fooocus_lite.errors import CorruptModel, FooocusError
from fooocus_lite.model_files import ModelRef


@contextmanager
def broken_weights_named(*models: tuple[ModelRef, Mapping[str, nn.Module]]) -> Generator[None]:
    """When the block fails because a picture is no picture, look for the model that made it so.

    Args:
        models: Each with its networks, by diffusers' names.

    Raises:
        CorruptModel: the weights of one hold what is no number; in place of the error that the block ended with.
    """
    try:
        yield
    except FooocusError as exc:
        for ref, parts in models:
            found = first_broken(parts)
            if found:
                raise _broken(ref, *found) from exc
        raise


def first_broken(parts: Mapping[str, nn.Module]) -> tuple[str, str, int] | None:
    """(part, tensor, how many values of it are no numbers) of the first weights that are broken."""
    for part, module in parts.items():
        for name, weight in module.named_parameters():
            if weight.is_meta or not weight.is_floating_point():
                continue
            wide = weight.float() if weight.dtype.itemsize == 1 else weight
            bad = int(torch.isfinite(wide).logical_not().sum())
            if bad:
                return part, name, bad
    return None


def _broken(ref: ModelRef, part: str, name: str, bad: int) -> CorruptModel:
    places: Sequence[tuple[str, str]] = [place for place in ref.parts if place[0] == part]
    path = Path(places[0][1] if places else ref.path)
    return CorruptModel(
        f"The model {ref.name} cannot draw: {bad:,} of its weights are not numbers, such as in {part} {name}.",
        f"Its file {path.name} was saved broken; choose another version of it.",
    )
