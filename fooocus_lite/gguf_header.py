"""The head of a GGUF file: its architecture, and types and shapes of its tensors; never a tensor.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. Numbers that count something are
bounded by the length of the file before anything is read by them.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from fooocus_lite.weight_header import NotWeights, Shape

#: Of a header; language models list their vocabulary there, which is passed over.
MAX_HEADER_BYTES = 64 * 2**20
MAX_TENSORS, MAX_KEYS, MAX_NAME = 100_000, 10_000, 65_536
#: By number of the type: bytes of a plain value.
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _ARRAY = 8, 9
#: By number of the tensor's type, those that models of pictures come in.
TYPES = {
    0: "F32",
    1: "F16",
    30: "BF16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    20: "IQ4_NL",
    23: "IQ4_XS",
}
#: Architectures of language models: what reads the prompt in newer models.
_READERS = ("t5", "t5encoder", "llama", "qwen2", "qwen2vl", "qwen3", "qwen3vl", "gemma2", "gemma3", "clip")


@dataclass(frozen=True)
class GgufHeader:
    """What the head of a file says.

    Attributes:
        architecture: ``general.architecture``, such as ``flux``; empty where nothing is said.
        tensors: Name → (type as in `TYPES`, shape as torch writes it); empty for a language model.
    """

    architecture: str
    tensors: dict[str, tuple[str, Shape]] = field(default_factory=dict[str, tuple[str, Shape]])


def read_gguf_header(path: str | os.PathLike[str]) -> GgufHeader:
    """The header of the GGUF file at ``path``.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        NotWeights: it is something else, or damaged.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(4) != b"GGUF":
            raise NotWeights("it is empty" if size == 0 else "it is no .gguf file")
        reader = _Reader(file, min(size, MAX_HEADER_BYTES), is_whole=size <= MAX_HEADER_BYTES)
        version = reader.number("<I")
        if version not in (2, 3):
            raise NotWeights(f"its version of the format is {version}, and 2 and 3 can be read")
        tensor_count, key_count = reader.number("<Q"), reader.number("<Q")
        if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
            raise NotWeights("it is damaged: it counts more tensors than any model has")
        architecture = ""
        for _ in range(key_count):
            key, kind = reader.text(), reader.number("<I")
            if key == "general.architecture" and kind == _TEXT:
                architecture = reader.text()[:60]
                if architecture in _READERS:  # its vocabulary, which follows, is long
                    return GgufHeader(architecture)
            else:
                reader.skip(kind)
        return GgufHeader(architecture, dict(reader.tensor() for _ in range(tensor_count)))


class _Reader:
    """Reads on from where the file stands, and refuses to pass its end."""

    def __init__(self, file: BinaryIO, end: int, *, is_whole: bool) -> None:
        self._file = file
        self._end = end
        self._reason = "it is cut short" if is_whole else "its header is too large"

    def number(self, form: str) -> int:
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def text(self) -> str:
        length = self.number("<Q")
        if length > MAX_NAME:
            raise NotWeights("it is damaged: a name in its header is too long")
        return self._take(length).decode(errors="replace")

    def skip(self, kind: int) -> None:
        """Pass over a value of that type."""
        if kind == _TEXT:
            self._pass(self.number("<Q"))
        elif kind == _ARRAY:
            of, count = self.number("<I"), self.number("<Q")
            if of == _TEXT:
                for _ in range(min(count, self._end)):
                    self._pass(self.number("<Q"))
            else:
                self._pass(self._width(of) * count)
        else:
            self._pass(self._width(kind))

    def tensor(self) -> tuple[str, tuple[str, Shape]]:
        name, rank = self.text(), self.number("<I")
        if rank > 8:
            raise NotWeights(f"it is damaged: {name[:60]!r} has {rank} sides")
        sides = tuple(self.number("<Q") for _ in range(rank))
        kind, _offset = self.number("<I"), self.number("<Q")
        return name, (TYPES.get(kind, f"type {kind}"), sides[::-1])

    def _width(self, kind: int) -> int:
        if kind not in _WIDTHS:
            raise NotWeights("it is damaged: its header holds a value of no known type")
        return _WIDTHS[kind]

    def _take(self, count: int) -> bytes:
        self._room(count)
        data = self._file.read(count)
        if len(data) < count:
            raise NotWeights("it is cut short")
        return data

    def _pass(self, count: int) -> None:
        self._room(count)
        self._file.seek(count, os.SEEK_CUR)

    def _room(self, count: int) -> None:
        if self._file.tell() + count > self._end:
            raise NotWeights(self._reason)
