"""Adapters: small files that change the weights of a model while a picture is drawn, and leave no trace.

The changes are added to the weights themselves, not computed beside them at every step: a UNet with hooks would ask
for two more kernels per layer and step, where one addition per picture costs milliseconds. What was there is kept and
copied back, bit for bit; the tensors stay where they are in memory.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fooocus_lite.engine import device as devices
from fooocus_lite.engine.adapter_deltas import Delta, magnitude_axis, make_delta
from fooocus_lite.engine.adapter_layers import Layers
from fooocus_lite.engine.embeddings import Stamp, stamp
from fooocus_lite.engine.groups import send_groups_home
from fooocus_lite.engine.weights import check_length, damaged
from fooocus_lite.errors import BadValue
from fooocus_lite.lora_keys import MAX_NAMED_KEYS, find_place, fits, made_for, unknown_keys
from fooocus_lite.plan import LoraRef
from fooocus_lite.untrusted import printable

log = logging.getLogger(__name__)
_WHAT = "LoRA"
#: Of one file. SDXL's largest useful ones, rank 256 with every convolution, are about 2 GB.
MAX_BYTES = 4 * 2**30
#: Factors of the files used last, in this computer's memory.
CACHE_BYTES = 2**30
_MOST_ALPHA = 1e6
#: What a picture itself needs beside the weights: below this much room on the card, originals are kept outside it.
_ROOM_BYTES = 3 * 2**30


@dataclass(frozen=True)
class Adapter:
    """A file's changes, by the part and the flat name of the layer they are for.

    Attributes:
        file: Its name, for sentences.
        kind: What kind of model it was made for, in words; may be empty.
    """

    file: str
    kind: str
    deltas: Mapping[tuple[str, str], Delta]

    @cached_property
    def size_bytes(self) -> int:
        return sum(delta.size_bytes for delta in self.deltas.values())


@dataclass(frozen=True)
class Use:
    """An adapter at a weight.

    Attributes:
        stamp: Of its file.
    """

    name: str
    adapter: Adapter
    weight: float
    stamp: Stamp

    def touches(self, parts: Collection[str]) -> bool:
        """Whether it changes any of these parts of a model."""
        return any(part in parts for part, _ in self.adapter.deltas)


class Adapters:
    """Reads adapters, and keeps those used last."""

    def __init__(self, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._most_bytes = cache_bytes
        self._kept: OrderedDict[Stamp, Adapter] = OrderedDict()

    def uses(self, loras: Sequence[LoraRef]) -> tuple[Use, ...]:
        """Those of ``loras`` whose weight is not zero, ready to be applied.

        Raises:
            MissingModel, CorruptModel: a file is not there or not usable.
            BadValue: a file holds what nobody here knows.
        """
        return tuple(self._use(lora) for lora in loras if lora.weight)

    def _use(self, lora: LoraRef) -> Use:
        path = Path(lora.path)
        mark = stamp(path, _WHAT)
        adapter = self._kept.pop(mark, None) or load_adapter(path, lora.name)
        self._kept[mark] = adapter
        while len(self._kept) > 1 and sum(one.size_bytes for one in self._kept.values()) > self._most_bytes:
            self._kept.popitem(last=False)
        return Use(lora.name, adapter, lora.weight, mark)


def load_adapter(path: Path, name: str) -> Adapter:
    """The adapter in a safetensors file; its tensors are copies, so that the file may change.

    Args:
        name: What a person calls it.

    Raises:
        MissingModel, CorruptModel, BadValue: as `Adapters.uses`.
    """
    if stamp(path, _WHAT)[2] > MAX_BYTES:
        raise damaged(path, f"it is larger than the {MAX_BYTES >> 30} GB of any {_WHAT}", _WHAT)
    check_length(path, _WHAT)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            stored = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - no dict
    except SafetensorError as exc:
        raise damaged(path, "its tensors cannot be read", _WHAT) from exc
    _check_keys(name, stored)
    factors, alphas = _sorted_out(path, stored)
    told = _Told.of(metadata)
    deltas: dict[tuple[str, str], Delta] = {}
    for (part, layer), of_layer in factors.items():
        alpha, is_rank_stable = alphas.get((part, layer)), False
        if alpha is None:
            alpha, is_rank_stable = told.alpha(part, layer)
        try:
            deltas[part, layer] = make_delta(of_layer, alpha, is_rank_stable=is_rank_stable)
        except ValueError as exc:
            raise damaged(path, f"of the layer {printable(layer[:100])}, {exc}", _WHAT) from exc
    if not deltas:
        raise damaged(path, "it changes nothing", _WHAT)
    made = made_for({key: tuple(tensor.shape) for key, tensor in stored.items()})
    return Adapter(path.name, made.kind, deltas)


def _check_keys(name: str, stored: Mapping[str, Tensor]) -> None:
    strange = unknown_keys(stored)
    if strange:
        listed = ", ".join(printable(key[:80]) for key in strange[:MAX_NAMED_KEYS])
        listed += " …" if len(strange) > MAX_NAMED_KEYS else ""
        raise BadValue(
            f"The LoRA {printable(name)} holds what nobody here can read: {listed}.",
            "Choose another LoRA, or convert this one to kohya's or diffusers' form.",
            field="loras",
        )


def _sorted_out(
    path: Path, stored: Mapping[str, Tensor]
) -> tuple[dict[tuple[str, str], dict[str, Tensor]], dict[tuple[str, str], float]]:
    """The factors of each layer by parameter, and each layer's alpha."""
    factors: dict[tuple[str, str], dict[str, Tensor]] = {}
    alphas: dict[tuple[str, str], float] = {}
    for key, tensor in stored.items():
        place = find_place(key)
        if place is None:
            continue
        if not tensor.is_floating_point() and place.parameter != "alpha":
            raise damaged(path, f"{printable(key[:100])} holds no numbers with a point", _WHAT)
        if not bool(torch.isfinite(tensor.float()).all()) or (place.parameter == "alpha" and tensor.numel() != 1):
            raise damaged(path, f"{printable(key[:100])} holds values that are no usable numbers", _WHAT)
        where = (place.part, place.layer)
        if place.parameter == "alpha":
            alphas[where] = float(tensor)
        else:
            factors.setdefault(where, {})[place.parameter] = tensor
    return factors, alphas


class _Told:
    """Alphas that diffusers writes into a file's metadata, not among its tensors.

    As untrusted as the file: what is not a number of the right kind counts as not said.
    """

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said = said
        self._patterns: dict[str, dict[str, Any]] = {}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> _Told:
        text = metadata.get("lora_adapter_metadata", "")
        try:
            said = json.loads(text) if len(text) < 1_000_000 else {}
        except (ValueError, RecursionError):
            said = {}
        return cls(said if isinstance(said, dict) else {})

    def alpha(self, part: str, layer: str) -> tuple[float | None, bool]:
        """(alpha of a layer, whether it is divided by the root of the rank)."""
        if part not in self._patterns:
            said = self._said.get(f"{part}.alpha_pattern")
            rows = said.items() if isinstance(said, dict) else ()
            self._patterns[part] = {str(path).lstrip("^").replace(".", "_"): alpha for path, alpha in rows}
        patterns, words = self._patterns[part], layer.split("_")
        # As in PEFT, a pattern is the end of a path.
        ends = ("_".join(words[start:]) for start in range(len(words)))
        alpha = next((patterns[end] for end in ends if end in patterns), self._said.get(f"{part}.lora_alpha"))
        is_rank_stable = self._said.get(f"{part}.use_rslora") is True
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not abs(alpha) < _MOST_ALPHA:
            return None, is_rank_stable
        return float(alpha), is_rank_stable


def check_fit(layers: Layers, uses: Sequence[Use]) -> None:
    """See that the model has every layer that the adapters change, in the same shape.

    Raises:
        BadValue: it has not; names the first such layer.
    """
    for use in uses:
        reason = misfit_of(layers, use)
        if reason:
            kind = f" ({use.adapter.kind})" if use.adapter.kind else ""
            raise BadValue(
                f"The LoRA {printable(use.name)} was made for another model{kind}: {reason}.",
                "Choose a LoRA that was made for this model, or another model.",
                field="loras",
            )


def misfit_of(layers: Layers, use: Use) -> str:
    """Why the model cannot take the adapter, as the end of a sentence; empty when it can."""
    for (part, layer), delta in use.adapter.deltas.items():
        shape, called = _shape(layers.weights(part, layer)), printable(layer[:100])
        magnitude = delta.factors.get("dora_scale")
        if shape is None:
            return f"it changes the layer {called}, which this one does not have"
        if not fits(delta.shape, shape):
            return f"its layer {called} is {_sides(delta.shape)}, and this one's {_sides(shape)}"
        if magnitude is not None and not _has_magnitudes(layers.weights(part, layer), magnitude):
            return f"the magnitudes of its layer {called} are {_sides(magnitude.shape)}"
    return ""


def _shape(weights: Sequence[Tensor]) -> tuple[int, ...] | None:
    """Of the weights one under another."""
    return (sum(weight.shape[0] for weight in weights), *weights[0].shape[1:]) if weights else None


def _has_magnitudes(weights: Sequence[Tensor], magnitude: Tensor) -> bool:
    """Whether a DoRA's magnitudes are for these weights; those of inputs would need all of them at once."""
    axis = magnitude_axis(tuple(magnitude.shape), _shape(weights) or ())
    return axis is not None and (len(weights) == 1 or axis == 0)


def _sides(shape: Sequence[int]) -> str:
    return " × ".join(f"{side:,}" for side in shape)


@contextmanager
def applied(layers: Layers, uses: Sequence[Use], parts: Collection[str]) -> Generator[None]:
    """The weights of ``parts`` with the adapters' changes in them; bit for bit as before when the block ends.

        weight + Σ use.weight · change(weight), summed in float32, rounded once to the weight's own precision

    A use whose weight is zero changes nothing, not even a rounding. All must have passed `check_fit`.
    """
    for part in parts:  # what comes and goes is changed where it is at home
        send_groups_home(layers.parts[part])
    changes: dict[int, tuple[Tensor, list[tuple[Delta, float]]]] = {}
    for use in uses:
        for (part, layer), delta in use.adapter.deltas.items():
            for weight, change in _shares(layers.weights(part, layer) if part in parts and use.weight else (), delta):
                changes.setdefault(id(weight), (weight, []))[1].append((change, use.weight))
    originals: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.inference_mode():
            outside = _goes_outside([weight for weight, _ in changes.values()])
            for weight, deltas in changes.values():
                kept = weight.to("cpu", copy=True) if outside else weight.clone()
                originals.append((weight, kept))
                _change(weight, kept, deltas)
        yield
    finally:
        with torch.inference_mode():
            for part in parts:
                send_groups_home(layers.parts[part])
            for weight, kept in reversed(originals):  # a half of a weight may have been changed before the whole
                weight.copy_(kept)


def _shares(weights: Sequence[Tensor], delta: Delta) -> Iterator[tuple[Tensor, Delta]]:
    """Each weight with the rows of the change that are for it."""
    start = 0
    for weight in weights:
        end = start + weight.shape[0]
        yield weight, delta if len(weights) == 1 else replace(delta, rows=(start, end))
        start = end


def _change(weight: Tensor, kept: Tensor, deltas: Sequence[tuple[Delta, float]]) -> None:
    """Change ``weight`` in place; ``kept`` is what it was."""
    base = kept.to(weight.device, torch.float32)
    if weight.dtype == torch.float32:
        result = weight
    else:
        result = base.clone() if any(delta.depends_on_weight for delta, _ in deltas) else base
    for delta, strength in deltas:
        delta.add_to(result, base, strength)
    if result is not weight:
        weight.copy_(result)


def _goes_outside(weights: Sequence[Tensor]) -> bool:
    """Whether the originals would leave a graphics card without room for the picture."""
    if not weights or weights[0].device.type != "cuda":
        return False
    needed = sum(weight.nbytes for weight in weights)
    return (devices.free_memory_bytes(weights[0].device) or 0) < needed + _ROOM_BYTES
