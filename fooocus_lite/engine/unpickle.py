"""A process of its own that turns a pickle of weights into safetensors, and can do little else.

``python -m fooocus_lite.engine.unpickle SOURCE PART LIMITS``: reads numbers only, writes ``PART``, and says how it
went in one line of JSON. torch's weights-only reader runs no code that a file names; should it ever be fooled, the
limits and the hook here stand between the code and the machine: no network, no program, no file but the one.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# What training tools leave beside the weights; an object that does nothing is put in its place and thrown away.
_HARMLESS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.base.Callback",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
)
#: Where programs put the weights in what they save; the first that is there is taken.
_WRAPPINGS = ("state_dict", "params_ema", "params", "model_state_dict", "model", "module", "string_to_param")
#: Copies for going on with a training, and what measured it: nothing that draws.
_DROPPED = ("model_ema.", "loss.", "optimizer", "ema_model.")
_MAX_METADATA_CHARS = 1000
_NAMED = re.compile(r"GLOBAL ([\w.]{1,100})")
_FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile")
_CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate")


class _Nothing:
    """In place of what is not needed."""

    def __init__(self, *_values: object, **_named: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def main(source: Path, part: Path, limits: Mapping[str, int]) -> dict[str, Any]:
    """What to tell the parent: ``tensors`` and ``left_out``, or a ``reason`` with what was ``asked_for``."""
    from safetensors.torch import save_file

    _limit(limits)
    torch.serialization.add_safe_globals([(_Nothing, name) for name in _HARMLESS])
    sys.addaudithook(_only_writing(part))
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=_is_zip(source))
    except Exception as exc:  # noqa: BLE001 - whatever a hostile file brings about is told, and ends this process
        return _told(exc)
    tensors, left_out = _tensors(loaded)
    if not tensors:
        return {"reason": "no_tensors"}
    try:
        save_file(_apart(tensors), str(part), metadata=_metadata(loaded))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    except OSError as exc:
        return {"reason": "disk", "errno": exc.errno}
    return {"tensors": len(tensors), "left_out": left_out}


def _limit(limits: Mapping[str, int]) -> None:
    """Bounds on memory and computing time, where the system has them."""
    try:
        import resource
    except ImportError:
        return  # Windows: the parent's clock alone
    for name, key in (("RLIMIT_DATA", "memory_bytes"), ("RLIMIT_CPU", "seconds"), ("RLIMIT_FSIZE", "file_bytes")):
        kind, value = getattr(resource, name), limits[key]
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, hard))


def _only_writing(part: Path) -> Any:
    """An audit hook, which nobody can take away again: it refuses what unpacking numbers does not need."""
    allowed = os.fspath(part)

    def refuse(event: str, values: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN) or event in _CHANGING:
            raise PermissionError(f"asked for {event}")
        if event == "open" and _writes(values) and str(values[0]) != allowed:
            raise PermissionError("asked to write a file")

    return refuse


def _writes(values: tuple[Any, ...]) -> bool:
    _path, mode, flags = values
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _is_zip(path: Path) -> bool:
    """torch's format since 1.6, of which only what is needed is read into memory."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _told(exc: Exception) -> dict[str, Any]:
    text = str(exc)
    if isinstance(exc, MemoryError) or "allocate memory" in text:
        return {"reason": "memory"}
    named = _NAMED.search(text)
    if named:
        return {"reason": "hostile", "asked_for": named.group(1)}
    if isinstance(exc, PermissionError) or "UnpicklingError" in type(exc).__name__ or "weights_only" in text.lower():
        return {"reason": "hostile" if "Unsupported class" in text or isinstance(exc, PermissionError) else "damaged"}
    return {"reason": "damaged"}


def _tensors(loaded: object) -> tuple[dict[str, Tensor], int]:
    """The weights by name, and how many things were left out: what is no tensor, and copies for training."""
    left_out = 0
    rows: Mapping[Any, Any] = loaded if isinstance(loaded, Mapping) else {}
    for name in _WRAPPINGS:
        inside = rows.get(name)
        if isinstance(inside, Mapping) and any(isinstance(value, Tensor) for value in inside.values()):
            left_out += len(rows) - 1
            # A textual inversion keeps its vectors under the sign that stands for its word.
            rows = {"emb_params": inside["*"]} if name == "string_to_param" and "*" in inside else inside
            break
    tensors: dict[str, Tensor] = {}
    for name, value in rows.items():
        is_kept = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
        if is_kept and not str(name).startswith(_DROPPED):
            tensors[str(name)] = value.detach()
        else:
            left_out += 1
    return tensors, left_out


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each contiguous, and in memory that no other has a part of."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, value in tensors.items():
        address = value.untyped_storage().data_ptr()
        result[name] = value.contiguous() if address not in seen else value.clone(memory_format=torch.contiguous_format)
        seen.add(address)
    return result


def _metadata(loaded: object) -> dict[str, str]:
    """Short texts and numbers that stand beside the weights, such as the step of the training."""
    rows: Iterable[tuple[Any, Any]] = loaded.items() if isinstance(loaded, Mapping) else ()
    kept = {str(name): str(value) for name, value in rows if isinstance(value, (str, int, float))}
    return {name: value for name, value in kept.items() if len(name + value) <= _MAX_METADATA_CHARS} | {"format": "pt"}


if __name__ == "__main__":
    outcome = main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
    sys.stdout.write(json.dumps(outcome) + "\n")
    sys.stdout.flush()
    os._exit(0)  # no farewell code of anything that was read
