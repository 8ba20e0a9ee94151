"""How large a model's parts are, by the headers of its files: nothing of the weights is read."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fooocus_lite.model_files import ModelRef

_MOST_HEADER_BYTES = 100_000_000
#: How the names of tensors begin in files that hold a whole model.
_ENCODERS = ("conditioner.", "cond_stage_model.", "text_encoder", "text_model.", "te1.", "te2.")
_VAE = ("first_stage_model.", "vae.")
#: Folders of a pipeline whose weights nothing here uses.
_NEVER_LOADED = ("safety_checker",)


@dataclass(frozen=True)
class ModelSize:
    """Bytes of a model's parts as the device keeps them.

    Attributes:
        denoiser: What is asked at every step: UNet or transformer.
        encoders: All text encoders.
        is_compact: The denoiser stays packed in 8 bits a number or fewer.
    """

    denoiser: int
    encoders: int
    vae: int
    is_compact: bool = False

    @property
    def total(self) -> int:
        return self.denoiser + self.encoders + self.vae


@dataclass(frozen=True)
class _Tensors:
    """Some tensors of a file.

    Attributes:
        numbers: Cast to the machine's format while they are read, however few bits they are stored in.
        packed_bytes: Of blocks that stay packed.
    """

    numbers: int = 0
    packed_bytes: int = 0

    def __add__(self, other: _Tensors) -> _Tensors:
        return _Tensors(self.numbers + other.numbers, self.packed_bytes + other.packed_bytes)

    def kept(self, number_bytes: int) -> int:
        """Bytes once loaded."""
        return self.packed_bytes + self.numbers * number_bytes


def size_of(ref: ModelRef, *, number_bytes: int) -> ModelSize | None:
    """What the parts of a model take on a machine that keeps a number in so many bytes.

    Returns:
        ``None`` where the files are not there, or of a kind that says nothing.
    """
    found = {"denoiser": _Tensors(), "encoders": _Tensors(), "vae": _Tensors()}
    elsewhere = {component for component, _ in ref.parts}
    try:
        for kind, tensors in _tensors(Path(ref.path), elsewhere):
            found[kind] += tensors
        for component, path in ref.parts:
            for _, tensors in _tensors(Path(path), set()):
                found[_kind_of_folder(component)] += tensors
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return None  # damage is told by who loads it
    kept = {kind: tensors.kept(number_bytes) for kind, tensors in found.items()}
    if not kept["denoiser"]:
        return None
    return ModelSize(**kept, is_compact=found["denoiser"].packed_bytes > 0)


def _tensors(path: Path, elsewhere: set[str]) -> Iterator[tuple[str, _Tensors]]:
    """(kind of part, its tensors) of a file, or of every file of a folder in diffusers' layout."""
    if path.suffix.lower() == ".gguf":  # blocks of 4 to 8 bits a number; the file is nothing but them
        yield "denoiser", _Tensors(packed_bytes=path.stat().st_size)
    elif path.is_file():
        yield from _of_file(path)
    else:
        for folder in sorted(path.iterdir()):
            if folder.is_dir() and folder.name not in elsewhere and folder.name not in _NEVER_LOADED:
                for file in _whole(folder):
                    for _, tensors in _of_file(file):
                        yield _kind_of_folder(folder.name), tensors


def _whole(folder: Path) -> list[Path]:
    """The weights of a component: of several variants, such as ``fp16`` or ``non_ema``, the plain one."""
    files = sorted(folder.glob("*.safetensors"))
    plain = [file for file in files if "." not in file.stem]
    return plain or files


def _kind_of_folder(name: str) -> str:
    return "vae" if name == "vae" else "encoders" if name.startswith(("text_encoder", "image_encoder")) else "denoiser"


def _kind_of_key(key: str) -> str:
    return "encoders" if key.startswith(_ENCODERS) else "vae" if key.startswith(_VAE) else "denoiser"


def _of_file(path: Path) -> Iterator[tuple[str, _Tensors]]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(_MOST_HEADER_BYTES, path.stat().st_size):
            raise ValueError("not the header of a safetensors file")
        header = json.loads(file.read(length))
    found: dict[str, _Tensors] = {}
    for key, row in header.items():
        if key != "__metadata__":
            numbers = math.prod(int(side) for side in row["shape"])
            kind = _kind_of_key(key)
            found[kind] = found.get(kind, _Tensors()) + _Tensors(numbers)
    yield from found.items()
