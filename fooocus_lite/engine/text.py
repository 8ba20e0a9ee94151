"""Texts into a model's text encoders: chunked when long, weighted, joined when several, kept when seen before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.embeddings import Stamp, load_embedding, stamp
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.tokens import Token, Tokenizer, split_sections
from fooocus_lite.engine.weights import load_module
from fooocus_lite.errors import BadValue
from fooocus_lite.textual_inversion import named_embeddings

#: Chunks of all texts of a side together; the rest is cut with a warning. 64 are some 4,800 tokens in SDXL.
MAX_CHUNKS = 64
#: Kept embeddings: some 200 chunks of SDXL in float32, or 400 in half precision.
CACHE_BYTES = 128 * 2**20
# Keeping the mean is for small shifts; beyond this the mean says nothing about the strength of a text.
_MOST_RESCALING = 2.0


@dataclass(frozen=True)
class EncoderSpec:
    """A text encoder of a family, as its model folders hold it.

    Attributes:
        tokenizer: Subfolder.
        encoder: Subfolder.
        embedding_key: Its name in textual inversion files.
        is_projected: The pooled vector is projected, as in CLIP's training.
        is_normed: The last layer norm is applied to the hidden states, whichever layer they are of.
    """

    tokenizer: str
    encoder: str
    embedding_key: str
    is_projected: bool = False
    is_normed: bool = False


@dataclass(frozen=True)
class Embedded:
    """One side's texts as the model reads them.

    Attributes:
        prompt_embeds: (1, tokens, channels of all encoders): hidden states side by side, texts one after another.
        pooled_prompt_embeds: (1, channels of the last encoder): the mean of the texts'.
        tokens_read: How many tokens of the texts are in it.
        tokens_cut: How many did not fit.
    """

    prompt_embeds: Tensor
    pooled_prompt_embeds: Tensor
    tokens_read: int
    tokens_cut: int


@dataclass(frozen=True)
class _Text:
    """One text: (1, tokens, channels), (1, channels), and how many tokens stand in each of its chunks."""

    prompt_embeds: Tensor
    pooled: Tensor
    chunk_tokens: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return self.prompt_embeds.nbytes + self.pooled.nbytes


_Key = tuple[str, int, tuple[Stamp, ...], Hashable]


class TextEncoders:
    """A family's tokenizers and text encoders, and the texts they read last.

    Args:
        specs: One per encoder; all read every text.
        cache_bytes: Most memory for embeddings of former texts, on the device.

    Raises (when made):
        MissingModel, CorruptModel: a file of the model folder is not there or not usable.
    """

    def __init__(
        self, parts: ModelParts, machine: Machine, specs: Sequence[EncoderSpec], *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._encoders = [_Encoder(parts, spec, machine) for spec in specs]
        self._kept = _Kept(cache_bytes)
        self._variant: Hashable = ()
        self._change: Callable[[], AbstractContextManager[None]] = nullcontext
        #: Called before the encoders read, and before anything changes them: whoever keeps them elsewhere brings them.
        self.before_reading: Callable[[], None] = _nothing
        # Both halves of a chunk must be as long; SDXL's are.
        self._length = min(encoder.max_length for encoder in self._encoders)

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The encoders, by the names of their folders."""
        return {encoder.spec.encoder: encoder.module for encoder in self._encoders}

    @contextmanager
    def changed(self, variant: Hashable, change: Callable[[], AbstractContextManager[None]]) -> Generator[None]:
        """Inside the block, texts are read by other weights.

        Args:
            variant: Names them: a text that they have read is not read again.
            change: Makes them so, as long as they read.
        """
        before = self._variant, self._change
        self._variant, self._change = variant, change
        try:
            yield
        finally:
            self._variant, self._change = before

    def embed(self, texts: Sequence[str], *, clip_skip: int, embeddings: Mapping[str, Path] | None = None) -> Embedded:
        """The texts, each read by itself, joined on the token axis; a text seen lately runs no encoder.

        The pooled vectors are averaged: the network was trained with that of one text, a sum would grow with the
        number of lines, and a line said twice counts as it does in attention: once more is no louder.

        Args:
            clip_skip: Which hidden states are read: 1 = the last layer's, 2 = the one before.
            embeddings: Files of textual inversions by their names in the texts; one without a file is left out.

        Raises:
            BadValue: the encoders have no such layer, or a textual inversion does not fit the model.
            MissingModel, CorruptModel: the file of a textual inversion is gone or not usable.
        """
        read: list[Tensor] = []
        pooled: list[Tensor] = []
        room, tokens_read, tokens = MAX_CHUNKS, 0, 0
        for text in texts or ("",):
            if room == 0:
                tokens += sum(len(chunk) for chunk in self._chunked(text, {})[0])
                continue
            one = self._text(text, clip_skip, embeddings or {})
            taken = min(len(one.chunk_tokens), room)
            room -= taken
            read.append(one.prompt_embeds[:, : taken * self._length])
            pooled.append(one.pooled)
            tokens_read += sum(one.chunk_tokens[:taken])
            tokens += sum(one.chunk_tokens)
        return Embedded(
            torch.cat(read, dim=1),
            torch.cat(pooled).mean(dim=0, keepdim=True),
            tokens_read=tokens_read,
            tokens_cut=tokens - tokens_read,
        )

    def _text(self, text: str, clip_skip: int, embeddings: Mapping[str, Path]) -> _Text:
        files = {name: embeddings[name] for name in named_embeddings([text]) if name in embeddings}
        key = (text, clip_skip, tuple(stamp(path) for path in files.values()), self._variant)
        kept = self._kept.get(key)
        if kept is None:
            self.before_reading()
            with self._change():
                kept = self._encode(text, clip_skip, self._vectors(files))
            self._kept.put(key, kept)
        return kept

    def _vectors(self, files: Mapping[str, Path]) -> dict[str, dict[str, Tensor]]:
        """(n, width) by the name of the textual inversion, by encoder."""
        widths = {encoder.spec.embedding_key: encoder.width for encoder in self._encoders}
        loaded = {name: load_embedding(name, path, widths, room=self._length - 2) for name, path in files.items()}
        return {key: {name: vectors[key] for name, vectors in loaded.items()} for key in widths}

    def _chunked(self, text: str, vectors: Mapping[str, Mapping[str, Tensor]]) -> list[list[list[Token]]]:
        """The chunks of each encoder; equally many, and those of one section side by side."""
        chunked: list[list[list[Token]]] = [[] for _ in self._encoders]
        for section in split_sections(text):
            parts = [
                encoder.tokenizer.chunks(section, self._length - 2, vectors.get(encoder.spec.embedding_key, {}))
                for encoder in self._encoders
            ]
            most = max(map(len, parts))
            for chunks, part in zip(chunked, parts, strict=True):
                chunks += part + [[]] * (most - len(part))
        return chunked

    def _encode(self, text: str, clip_skip: int, vectors: Mapping[str, Mapping[str, Tensor]]) -> _Text:
        _check_clip_skip(clip_skip, min(encoder.layers for encoder in self._encoders))
        chunked = self._chunked(text, vectors)
        hidden: list[Tensor] = []
        pooled = torch.empty(0)
        for encoder, chunks in zip(self._encoders, chunked, strict=True):
            states, pooled = encoder.encode(chunks[:MAX_CHUNKS], self._length, clip_skip)
            hidden.append(states)
        return _Text(torch.cat(hidden, dim=-1), pooled, tuple(map(len, chunked[0])))


class _Kept:
    """The texts used last, up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._texts: OrderedDict[_Key, _Text] = OrderedDict()

    def get(self, key: _Key) -> _Text | None:
        if key in self._texts:
            self._texts.move_to_end(key)
        return self._texts.get(key)

    def put(self, key: _Key, text: _Text) -> None:
        self._texts[key] = text
        self._bytes += text.size_bytes
        while self._bytes > self._most_bytes:
            self._bytes -= self._texts.popitem(last=False)[1].size_bytes


class _Encoder:
    """A tokenizer and its encoder."""

    def __init__(self, parts: ModelParts, spec: EncoderSpec, machine: Machine) -> None:
        self.spec = spec
        self.tokenizer = Tokenizer(parts.tokenizer(spec.tokenizer))
        self._device = machine.device
        self._clip = _load_clip(parts, spec, machine)
        self.width = int(self._clip.config.hidden_size)
        self.layers = int(self._clip.config.num_hidden_layers)
        self.max_length = min(self.tokenizer.max_length, int(self._clip.config.max_position_embeddings))

    @property
    def module(self) -> nn.Module:
        """The encoder itself."""
        return self._clip

    def encode(self, chunks: list[list[Token]], length: int, clip_skip: int) -> tuple[Tensor, Tensor]:
        """(1, chunks · length, channels) hidden states; (1, channels) pooled of the first chunk, without weights."""
        marks = self.tokenizer
        is_weighted = any(token.weight != 1 for chunk in chunks for token in chunk)
        rows = [*chunks, []] if is_weighted else chunks
        ids = [[marks.start, *(token.id for token in chunk), marks.end] for chunk in rows]
        padded = [row + [marks.padding] * (length - len(row)) for row in ids]
        with self._own_vectors(rows):
            output = self._clip(torch.tensor(padded, device=self._device), output_hidden_states=True)
        states: Tensor = output.hidden_states[-clip_skip]
        if self.spec.is_normed:
            states = self._clip.final_layer_norm(states)
        if is_weighted:
            states = weigh(states[:-1], states[-1:], self._weights(chunks, length))
        pooled: Tensor = output.text_embeds if self.spec.is_projected else output.pooler_output
        return states.flatten(0, 1).unsqueeze(0), pooled[:1]

    def _weights(self, chunks: list[list[Token]], length: int) -> Tensor:
        """(chunks, length); marks and padding weigh 1."""
        rows = [[1.0, *(token.weight for token in chunk)] for chunk in chunks]
        return torch.tensor([row + [1.0] * (length - len(row)) for row in rows], device=self._device)

    @contextmanager
    def _own_vectors(self, rows: list[list[Token]]) -> Generator[None]:
        """Tokens with a vector of their own get it in place of the vocabulary's, until the block ends."""
        places = [
            (row, column, token.vector)
            for row, chunk in enumerate(rows)
            for column, token in enumerate(chunk, start=1)
            if token.vector is not None
        ]
        if not places:
            yield
            return
        at_rows, at_columns, vectors = zip(*places, strict=True)

        def put(_module: object, _ids: object, embedded: Tensor) -> Tensor:
            filled = embedded.clone()
            filled[list(at_rows), list(at_columns)] = torch.stack(vectors).to(embedded)
            return filled

        handle = self._clip.get_input_embeddings().register_forward_hook(put)
        try:
            yield
        finally:
            handle.remove()


def weigh(states: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    """Hidden states with every token moved away from what the empty prompt has in its place, or towards it.

        moved = empty + weight (states - empty);  result = moved · mean(states) / mean(moved), chunk by chunk

    Interpolation as in ComfyUI and Fooocus: a weight of 0 says nothing, where scaling (A1111) would make a vector
    that no encoder gives. The mean of a chunk is then restored by a factor, as in A1111 and Fooocus, so that the
    text as a whole gets no louder. A factor beyond 1/2 … 2, where means are near zero, is left at 1.

    Args:
        states: (chunks, length, channels).
        empty: (1, length, channels), of a chunk without words.
        weights: (chunks, length).

    Returns:
        As ``states``; a chunk whose weights are all 1 is exactly as it was.
    """
    base, wanted = empty.float(), states.float()
    moved = base + weights.unsqueeze(-1) * (wanted - base)
    factor = wanted.mean(dim=(1, 2), keepdim=True) / moved.mean(dim=(1, 2), keepdim=True)
    is_small = (factor >= 1 / _MOST_RESCALING) & (factor <= _MOST_RESCALING)
    result = (moved * torch.where(is_small, factor, 1.0)).to(states.dtype)
    is_plain = (weights == 1).all(dim=1)[:, None, None]
    return torch.where(is_plain, states, result)


def _nothing() -> None:
    pass


def _check_clip_skip(clip_skip: int, layers: int) -> None:
    if not 1 <= clip_skip <= layers:
        raise BadValue(
            f"clip_skip cannot be {clip_skip}.",
            f"The text encoders of this model have {layers} layers.",
            field="clip_skip",
        )


def _load_clip(parts: ModelParts, spec: EncoderSpec, machine: Machine) -> Any:
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    kind: Any = CLIPTextModelWithProjection if spec.is_projected else CLIPTextModel
    return load_module(
        parts.component(spec.encoder),
        lambda config: kind(CLIPTextConfig.from_dict(config)),
        device=machine.weights_device,
        dtype=machine.dtype,
    )
