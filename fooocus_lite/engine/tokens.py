"""From a text to what an encoder reads: weighted tokens in chunks that fit it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fooocus_lite.attention_weights import parse_weights
from fooocus_lite.engine.weights import damaged, missing, read_json
from fooocus_lite.textual_inversion import split_embeddings

#: A part of a text that gets chunks of its own: (words, weight) in order.
Section = list[tuple[str, float]]

_BREAK = re.compile(r"[\s,]*\bBREAK\b[\s,]*")
# A chunk ends after a comma when there is one among the last 20 of 75 tokens, as in A1111's default.
_COMMA_REACH = 20 / 75
_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt")


@dataclass(frozen=True)
class Token:
    """One place of a chunk.

    Attributes:
        id: In the tokenizer's vocabulary; without meaning where a ``vector`` stands.
        weight: 1 = as written.
        vector: (width,), of a textual inversion, in place of the vocabulary's.
        is_inside: It belongs to the vector before it, and the two stay in one chunk.
    """

    id: int
    weight: float = 1.0
    vector: Tensor | None = None
    is_inside: bool = False


def split_sections(text: str) -> list[Section]:
    """The weighted words of a text, parted at every ``BREAK``; a part without words is left out."""
    readable = text.encode("utf-8", "ignore").decode("utf-8")  # a lone surrogate has no UTF-8
    sections: list[Section] = [[]]
    for words, weight in parse_weights(readable):
        head, *rest = _BREAK.split(words)
        sections[-1].append((head, weight))
        sections += [[(words, weight)] for words in rest]
    spoken = ([(words, weight) for words, weight in section if words.strip()] for section in sections)
    return [section for section in spoken if section] or [[]]


def plain_words(text: str) -> tuple[str, bool]:
    """(the text without the brackets that mean weights, whether there were any), for encoders that are not weighed."""
    pieces = [piece for section in split_sections(text) for piece in section]
    return "".join(words for words, _ in pieces).strip(), any(weight != 1 for _, weight in pieces)


class Tokenizer:
    """CLIP's byte-pair tokenizer (arXiv:2103.00020, section 2.4), from a folder.

    Raises (when made):
        MissingModel, CorruptModel: a file of the folder is not there or not usable.
    """

    def __init__(self, folder: Path) -> None:
        self._clip = _load_clip(folder)
        self.start: int = self._clip.bos_token_id
        self.end: int = self._clip.eos_token_id
        self.padding: int = self._clip.pad_token_id
        self.max_length = int(self._clip.model_max_length)
        comma = self._ids(",")
        self._comma = comma[0] if len(comma) == 1 else None

    def chunks(self, section: Section, room: int, vectors: Mapping[str, Tensor]) -> list[list[Token]]:
        """The section in pieces of at most ``room`` tokens without marks; at least one piece.

        Args:
            vectors: (n, width) by the name of each textual inversion; one that is not among them is left out.
        """
        tokens = list(self._read(section, vectors))
        chunks: list[list[Token]] = []
        start = 0
        while len(tokens) - start > room:
            end = self._end_of_chunk(tokens, start, room)
            chunks.append(tokens[start:end])
            start = end
        return [*chunks, tokens[start:]]

    def _read(self, section: Section, vectors: Mapping[str, Tensor]) -> Iterator[Token]:
        for words, weight in section:
            for plain, name in split_embeddings(words):
                for token in self._ids(plain):
                    yield Token(token, weight)
                # The start mark as a stand-in: unlike the end mark it never decides where the text ends.
                for index, vector in enumerate(vectors.get(name, ())):
                    yield Token(self.start, weight, vector, is_inside=index > 0)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._clip(text, add_special_tokens=False, verbose=False)["input_ids"]
        # An end mark written into the prompt would end it for the pooled embedding.
        return [token for token in ids if token not in (self._clip.bos_token_id, self._clip.eos_token_id)]

    def _end_of_chunk(self, tokens: list[Token], start: int, room: int) -> int:
        full = start + room
        for end in range(full, full - int(room * _COMMA_REACH), -1):
            if tokens[end - 1].id == self._comma:
                return end
        end = full
        while end > start and tokens[end].is_inside:
            end -= 1
        return end if end > start else full


def _load_clip(folder: Path) -> Any:
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    if not any((folder / name).is_file() for name in _VOCABULARIES) and _shared_merges(folder).is_file():
        return _shared_clip(folder)
    whole, parts = folder / "tokenizer.json", [folder / "vocab.json", folder / "merges.txt"]
    files = parts if any(part.is_file() for part in parts) and not whole.is_file() else [whole]
    for file in files:
        if not file.is_file():
            raise missing(file)
    try:
        tokenizer: Any = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as exc:
        raise damaged(files[0], "it is not a tokenizer") from exc
    return tokenizer


def _shared_merges(folder: Path) -> Path:
    """The vocabulary that tokenizers without one have, two folders up: of all families that ship, one file."""
    return folder.parent.parent / "clip" / "merges.txt"


def _shared_clip(folder: Path) -> Any:
    """A tokenizer of its own marks with the vocabulary of CLIP, whose numbers follow from the order of the merges."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    config, path = read_json(folder / "tokenizer_config.json"), _shared_merges(folder)
    letters = sorted(ByteLevel.alphabet())
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[1:]
        merges = [(first, second) for first, second in (line.split() for line in lines if line)]
        marks = (str(config["bos_token"]), str(config["eos_token"]))
        words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), *marks]
        vocabulary = {word: number for number, word in enumerate(words)}
        kind: Any = CLIPTokenizer
        return kind(vocabulary, merges, **config)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise damaged(path, "it is not a vocabulary") from exc
