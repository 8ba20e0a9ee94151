"""Weights from disk into a module: safetensors only, offline always, every damage named with its file.

Modules are built without memory (on ``meta``) and get their tensors straight from the file, so that loading
costs one read and one cast; nothing is initialised with random numbers first.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from fooocus_lite.engine.convolutions import with_direct_convolutions
from fooocus_lite.errors import CorruptModel, MissingModel

ModuleT = TypeVar("ModuleT", bound=nn.Module)
_STEMS = ("diffusion_pytorch_model", "model")


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
    folder: Path,
    build: Callable[[dict[str, Any]], ModuleT],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> ModuleT:
    """A module in eval mode with the weights of ``folder``, on ``device``.

    Args:
        folder: Holds ``config.json`` and safetensors, as diffusers and transformers write them.
        build: Makes the module from its config; called with ``meta`` as the default device.
        dtype: What the weights are cast to while they are read.

    Raises:
        MissingModel: a file is not there.
        CorruptModel: a file is cut short, not safetensors, or does not fit its config.
    """
    config = read_json(folder / "config.json")
    try:
        with torch.device("meta"):
            module = build(config)
    except (TypeError, ValueError, KeyError) as exc:
        raise damaged(folder / "config.json", f"the network it describes cannot be built ({exc})") from exc
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    files = weight_files(folder)
    tensors: dict[str, torch.Tensor] = {}
    for path in files:
        tensors |= _read_tensors(path, wanted, device=device, dtype=dtype)
    absent = sorted(set(wanted) - set(tensors))
    if absent:
        raise damaged(files[0], f"{len(absent)} of {len(wanted)} tensors are not in it, such as {absent[0]}")
    module.load_state_dict(tensors, strict=True, assign=True)
    _fill_position_ids(module, device)
    return with_direct_convolutions(module.eval().requires_grad_(requires_grad=False))


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
    stem = _STEMS[0] if folder.name in ("unet", "vae") else _STEMS[1]
    raise missing(folder / f"{stem}.safetensors")


def _read_tensors(
    path: Path, wanted: dict[str, torch.Size], *, device: torch.device, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    check_length(path)
    tensors: dict[str, torch.Tensor] = {}
    try:
        with safe_open(str(path), framework="pt") as file:
            for stored_name in file.keys():  # noqa: SIM118 - a safetensors handle is not a dict
                name = _name_in_module(stored_name, wanted)
                if name is None:
                    continue
                tensor = file.get_tensor(stored_name)
                if tensor.shape != wanted[name]:
                    raise damaged(path, f"{stored_name} has shape {tuple(tensor.shape)}, not {tuple(wanted[name])}")
                tensors[name] = tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
    except SafetensorError as exc:
        raise damaged(path, str(exc)) from exc
    return tensors


def _name_in_module(name: str, wanted: dict[str, torch.Size]) -> str | None:
    """The module's own name of a stored tensor; text encoders come with and without ``text_model.`` in front."""
    for candidate in (name, name.removeprefix("text_model."), f"text_model.{name}"):
        if candidate in wanted:
            return candidate
    return None


def check_length(path: Path, what: str = "model") -> None:
    """Compare the file's length with what its own header promises: a cut file is otherwise read as a bus error.

    Raises:
        MissingModel: the file is not there.
        CorruptModel: it is cut short, or not safetensors.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            if len(head) < 8:
                raise damaged(path, "it is cut short", what)
            header_length: int = struct.unpack("<Q", head)[0]
            if header_length > min(size, 100_000_000):
                raise damaged(path, "its header is not that of a safetensors file", what)
            header = json.loads(file.read(header_length))
            ends = [int(row["data_offsets"][1]) for name, row in header.items() if name != "__metadata__"]
    except FileNotFoundError as exc:
        raise missing(path, what) from exc
    except OSError as exc:
        raise damaged(path, f"it cannot be read ({exc.strerror})", what) from exc
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
        raise damaged(path, "its header is not that of a safetensors file", what) from exc
    promised = 8 + header_length + max(ends, default=0)
    if size < promised:
        raise damaged(path, f"it is cut short: {size:,} of {promised:,} bytes", what)


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
