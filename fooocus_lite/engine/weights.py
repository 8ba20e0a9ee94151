"""Weights from disk into a module: safetensors only, offline always, every damage named with its file.

Modules are built without memory (on ``meta``) and get their tensors straight from the file, so that loading
costs one read and one cast; nothing is initialised with random numbers first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from fooocus_lite import weight_header
from fooocus_lite.engine.gguf_files import ENDING, GgufFile, is_packed, put_packed, read_gguf_header
from fooocus_lite.engine.ldm_names import Naming, Place, folder_namings
from fooocus_lite.engine.tensor_files import DTYPES, Stored, TensorFile
from fooocus_lite.errors import CorruptModel, MissingModel
from fooocus_lite.weight_header import NotWeights

ModuleT = TypeVar("ModuleT", bound=nn.Module)
_STEMS = ("diffusion_pytorch_model", "model")


@dataclass(frozen=True)
class Component:
    """A part of a model on disk.

    Attributes:
        config: Its ``config.json``.
        files: Safetensors files that its tensors lie in.
        namings: The ways in which they are called there; the first that finds a tensor is taken.
    """

    config: Path
    files: tuple[Path, ...]
    namings: Sequence[Naming]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder.

    Raises:
        MissingModel: the file is not there.
        CorruptModel: it is not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise missing(path) from exc
    except (OSError, ValueError) as exc:
        raise damaged(path, "it is not readable JSON") from exc
    if not isinstance(data, dict):
        raise damaged(path, "it does not hold a JSON object")
    return data


def load_module(
    source: Path | Component,
    build: Callable[[dict[str, Any]], ModuleT],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> ModuleT:
    """A module in eval mode with the weights of ``source``, on ``device``.

    Args:
        source: A component, or a folder of one as diffusers and transformers write them.
        build: Makes the module from its config; called with ``meta`` as the default device.
        dtype: What the weights are cast to while they are read; those in 8 bits are scaled as their file says.

    Raises:
        MissingModel: a file is not there.
        CorruptModel: a file is cut short, not safetensors, or does not fit its config.
    """
    module = _built(source / "config.json" if isinstance(source, Path) else source.config, build)
    component = folder_component(source) if isinstance(source, Path) else source
    headers = {path: read_header(path) for path in component.files}
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    tensors: dict[str, torch.Tensor] = {}
    linear = {f"{path}.weight" for path, child in module.named_modules() if type(child) is nn.Linear}
    for path, header in headers.items():
        places = _find_places(path, header, wanted, component.namings)
        packable = {place.name for name, place in places.items() if name in linear}
        with _readable(path), _opened(path, header, packable, device=device, dtype=dtype) as file:
            for name, place in places.items():
                tensor = file.read(place, (wanted[name] or (1,))[0])
                # A 1×1 convolution and a linear layer hold the same numbers.
                tensors[name] = tensor if is_packed(tensor) else tensor.reshape(wanted[name])
    absent = sorted(set(wanted) - set(tensors))
    if absent:
        problem = f"{len(absent)} of {len(wanted)} tensors are not in it, such as {absent[0]}"
        raise damaged(component.files[0], problem)
    module.load_state_dict(put_packed(module, tensors, dtype), strict=False, assign=True)
    _fill_position_ids(module, device)
    return module.eval().requires_grad_(requires_grad=False)


def _built(path: Path, build: Callable[[dict[str, Any]], ModuleT]) -> ModuleT:
    config = read_json(path)
    try:
        with torch.device("meta"):
            return build(config)
    except (TypeError, ValueError, KeyError) as exc:
        raise damaged(path, f"the network it describes cannot be built ({exc})") from exc


def folder_component(folder: Path) -> Component:
    """The component in a folder of its own.

    Raises:
        MissingModel: it has no weights.
    """
    config = folder / "config.json"
    read_json(config)  # that it is missing is told first
    return Component(config, tuple(weight_files(folder)), folder_namings())


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a component, shards included; plain names before variants such as ``fp16``.

    Raises:
        MissingModel: there are none.
    """
    for stem in _STEMS:
        for suffix in ("", ".fp16"):
            whole = folder / f"{stem}{suffix}.safetensors"
            if whole.is_file():
                return [whole]
            index = folder / f"{stem}.safetensors.index{suffix}.json"
            if index.is_file():
                names: Iterable[str] = read_json(index).get("weight_map", {}).values()
                return [folder / Path(name).name for name in sorted(set(names))]
    stem = _STEMS[0] if folder.name in ("unet", "transformer", "vae") else _STEMS[1]
    raise missing(folder / f"{stem}.safetensors")


def _find_places(
    path: Path, header: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]], namings: Sequence[Naming]
) -> dict[str, Place]:
    """Where the file has the wanted tensors, by the module's own names, in the order in which they lie there."""
    places: dict[str, Place] = {}
    for name, shape in wanted.items():
        candidates = (naming(name) for naming in namings)
        place = next((one for one in candidates if one is not None and one.name in header), None)
        if place is None:
            continue
        stored = header[place.name].shape
        if not _holds(stored, shape, place):
            raise damaged(path, f"{place.name} has shape {stored}, not {shape}")
        places[name] = place
    order = {name: index for index, name in enumerate(header)}
    return dict(sorted(places.items(), key=lambda item: order[item[1].name]))


def _holds(stored: tuple[int, ...], wanted: tuple[int, ...], place: Place) -> bool:
    """Whether a tensor of the wanted shape is at the place."""
    stored, wanted = _without_ones(stored), _without_ones(wanted)
    if place.is_transposed:
        stored = stored[::-1]
    if place.first_row is not None and stored and wanted:
        return stored[1:] == wanted[1:] and stored[0] >= place.first_row + wanted[0]
    return stored == wanted


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(rows, columns) of a 1×1 convolution or of a linear layer; other shapes as they are."""
    return shape[:2] if len(shape) > 2 and set(shape[2:]) == {1} else shape


def _opened(
    path: Path,
    header: Mapping[str, Stored],
    packable: Collection[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> AbstractContextManager[TensorFile | GgufFile]:
    if path.suffix.lower() == ENDING:
        return nullcontext(GgufFile(path, packable, device=device, dtype=dtype))
    return TensorFile(path, header, device=device, dtype=dtype)


@contextmanager
def _readable(path: Path, what: str = "model") -> Generator[None]:
    """What goes wrong while a file is read, as our errors."""
    try:
        yield
    except FileNotFoundError as exc:
        raise missing(path, what) from exc
    except OSError as exc:
        raise damaged(path, f"it cannot be read ({exc.strerror})", what) from exc
    except ValueError as exc:
        raise damaged(path, str(exc), what) from exc


def check_length(path: Path, what: str = "model") -> None:
    """As `read_header`, for a reader who only wants to know that the file is whole."""
    read_header(path, what)


def read_header(path: Path, what: str = "model") -> dict[str, Stored]:
    """What the file's tensors are, in the order in which they lie there, without reading them.

    The file's length is compared with what its header promises: a cut file is otherwise read as a bus error.

    Raises:
        MissingModel: the file is not there.
        CorruptModel: it is cut short, or neither safetensors nor GGUF.
    """
    if path.suffix.lower() == ENDING:
        with _readable(path, what):
            return read_gguf_header(path)
    try:
        header = weight_header.read_header(path)
        rows = sorted(header.rows.items(), key=lambda row: row[1]["data_offsets"][0])
        return {name: _stored(row, header.start) for name, row in rows}
    except FileNotFoundError as exc:
        raise missing(path, what) from exc
    except OSError as exc:
        raise damaged(path, f"it cannot be read ({exc.strerror})", what) from exc
    except NotWeights as exc:
        raise damaged(path, str(exc), what) from exc
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as exc:
        raise damaged(path, "its header is not that of a safetensors file", what) from exc


def _stored(row: Mapping[str, Any], start: int) -> Stored:
    """A row of a header.

    Raises:
        ValueError: its bytes are not those of its shape.
    """
    first, end = map(int, row["data_offsets"])
    stored = Stored(str(row["dtype"]), tuple(map(int, row["shape"])), start + first)
    if first < 0 or any(side < 0 for side in stored.shape):
        raise ValueError("a number is below zero")
    if stored.dtype in DTYPES and prod(stored.shape) * DTYPES[stored.dtype].itemsize != end - first:
        raise ValueError("a tensor's bytes are not those of its shape")
    return stored


def _fill_position_ids(module: nn.Module, device: torch.device) -> None:
    # CLIP keeps 0 … n-1 in a buffer that is never saved; built on meta it has no values yet.
    for child in module.modules():
        for name, buffer in list(child.named_buffers(recurse=False)):
            if buffer.is_meta:
                if name != "position_ids":
                    raise CorruptModel(f"{type(module).__name__} has a buffer '{name}' that no file fills.")
                setattr(child, name, torch.arange(buffer.shape[-1], device=device).expand(buffer.shape))


def missing(path: Path, what: str = "model") -> MissingModel:
    """The error for a file that is not there."""
    return MissingModel(
        f"The {what} file {_short(path)} is missing.", f"Put it back, or fetch the {what} again; then press Generate."
    )


def damaged(path: Path, reason: str, what: str = "model") -> CorruptModel:
    """The error for a file that is there and cannot be used."""
    return CorruptModel(
        f"The {what} file {_short(path)} is damaged: {reason}.",
        f"Put an intact copy in its place, or fetch the {what} again; then press Generate.",
    )


def _short(path: Path) -> str:
    return "/".join(path.parts[-3:])
