"""Textual inversions (arXiv:2208.01618): vectors learned for a word, from safetensors files nobody vouches for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fooocus_lite.engine.weights import check_length, damaged, missing
from fooocus_lite.errors import BadValue

_WHAT = "embedding"
# 75 vectors of 2,048 numbers take 600 kB; nothing that is much larger is one.
_MAX_BYTES = 16 * 2**20
# Names of SDXL's tensors in A1111's, ComfyUI's and kohya's files, and in those of diffusers' newer trainer.
_NAMINGS = ({"clip_l": "clip_l", "clip_g": "clip_g"}, {"clip_l": "text_encoders_0", "clip_g": "text_encoders_1"})

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

#: Identity of a file's content: path, mtime, size.
Stamp = tuple[str, int, int]


def stamp(path: Path, what: str = _WHAT) -> Stamp:
    """Equal stamps mean that the file was not changed.

    Args:
        what: The kind of file, for the error.

    Raises:
        MissingModel: the file is not there.
    """
    try:
        status = path.stat()
    except OSError as exc:
        raise missing(path, what) from exc
    return (str(path), status.st_mtime_ns, status.st_size)


def load_embedding(name: str, path: Path, widths: Mapping[str, int], *, room: int) -> dict[str, Tensor]:
    """(n, width) float32 vectors for each encoder, in one number n for all of them.

    Args:
        name: What a person calls it.
        widths: Width of each encoder of the model, by its key in such files: ``clip_l``, ``clip_g``.
        room: Most vectors that fit into a chunk.

    Raises:
        MissingModel, CorruptModel: the file is not there, or no safetensors file of such vectors.
        BadValue: it was made for another kind of model, or has more vectors than fit.
    """
    if stamp(path)[2] > _MAX_BYTES:
        raise damaged(path, f"it is larger than the {_MAX_BYTES >> 20} MB of any {_WHAT}", _WHAT)
    check_length(path, _WHAT)
    try:
        with safe_open(str(path), framework="pt") as file:
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the handle is not a dict
    except SafetensorError as exc:
        raise damaged(path, "its tensors cannot be read", _WHAT) from exc
    vectors = {
        key: tensor.reshape(-1, tensor.shape[-1]).float() for key, tensor in stored.items() if _is_vectors(tensor)
    }
    found = _by_encoder(vectors, widths)
    if found is None:
        sizes = " and ".join(f"{size:,}" for size in sorted({tensor.shape[1] for tensor in vectors.values()}))
        wanted = " and ".join(f"{width:,}" for width in widths.values())
        raise BadValue(
            f"The embedding {name} was made for another kind of model: it holds vectors of {sizes or 'no'} numbers, "
            f"and this model reads {wanted}.",
            f"Use one that was made for this kind of model, or take embedding:{name} out of the prompt.",
            field="prompt",
        )
    _check_values(name, path, found, room)
    return found


def _is_vectors(tensor: Tensor) -> bool:
    return tensor.dtype in _DTYPES and 1 <= tensor.dim() <= 2 and tensor.numel() > 0


def _by_encoder(vectors: Mapping[str, Tensor], widths: Mapping[str, int]) -> dict[str, Tensor] | None:
    """The vectors by the encoder they are for; ``None`` if they do not fit the encoders one to one.

    SDXL's refiner has the second of its encoders alone and reads its part of a file for both. A file for both does not
    fit a model that has the first alone: that is another kind of model.
    """
    unread = {"clip_l"} - widths.keys()
    for naming in _NAMINGS:
        named = {key: vectors[stored] for key, stored in naming.items() if stored in vectors}
        if named:
            named = {key: tensor for key, tensor in named.items() if key not in unread}
            break
    else:  # one encoder, and a name of the trainer's choice: A1111's ``emb_params``, or the word itself
        named = dict(zip(widths, vectors.values(), strict=False)) if len(vectors) == 1 else {}
    fits = {key: tensor.shape[1] for key, tensor in named.items()} == dict(widths)
    return named if fits else None


def _check_values(name: str, path: Path, vectors: Mapping[str, Tensor], room: int) -> None:
    counts = {tensor.shape[0] for tensor in vectors.values()}
    if len(counts) > 1:
        raise damaged(path, "it holds unequal numbers of vectors for the two text encoders", _WHAT)
    if max(counts) > room:
        raise BadValue(
            f"The embedding {name} holds {max(counts):,} vectors, and at most {room} can be read together.",
            f"Take embedding:{name} out of the prompt.",
            field="prompt",
        )
    # 65,504 is the largest number of half precision.
    if not all(bool((tensor.abs() <= 65_504).all()) for tensor in vectors.values()):
        raise damaged(path, "it holds values that are no usable numbers", _WHAT)
