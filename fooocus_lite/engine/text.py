"""Prompts into SDXL's two text encoders: chunked when long, joined when several, kept when seen before."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.weights import damaged, load_module, missing

#: Chunks of one text that are encoded; the rest is cut with a warning. 32 are some 2,400 tokens in SDXL.
MAX_CHUNKS = 32
_CACHED_TEXTS = 64


@dataclass(frozen=True)
class Embedded:
    """One text as the model reads it.

    Attributes:
        prompt_embeds: (1, tokens, channels of both encoders): penultimate hidden states, side by side.
        pooled: (1, channels of the second encoder), of the first chunk.
        tokens_read: How many tokens of the text are in it.
        tokens_cut: How many did not fit.
    """

    prompt_embeds: Tensor
    pooled: Tensor
    tokens_read: int
    tokens_cut: int


class TextEncoders:
    """SDXL's two tokenizers and text encoders, and the texts they read last.

    Raises (when made):
        MissingModel, CorruptModel: a file of the model folder is not there or not usable.
    """

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._device = machine.device
        self._pairs = [
            _Pair(folder, tokenizer="tokenizer", encoder="text_encoder", machine=machine, projected=False),
            _Pair(folder, tokenizer="tokenizer_2", encoder="text_encoder_2", machine=machine, projected=True),
        ]
        self._kept: OrderedDict[str, Embedded] = OrderedDict()

    def embed(self, text: str) -> Embedded:
        """The embedding of one text; a text seen lately runs no encoder."""
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        embedded = self._encode(text)
        self._kept[text] = embedded
        if len(self._kept) > _CACHED_TEXTS:
            self._kept.popitem(last=False)
        return embedded

    def _encode(self, text: str) -> Embedded:
        bodies = [pair.chunks(text) for pair in self._pairs]
        count = min(max(len(chunks) for chunks in bodies), MAX_CHUNKS)
        hidden: list[Tensor] = []
        pooled = torch.empty(0)
        for pair, chunks in zip(self._pairs, bodies, strict=True):
            filled = (chunks + [[]] * count)[:count]
            states, pooled = pair.encode(filled, self._device)
            hidden.append(states)
        tokens = sum(map(len, bodies[0]))
        read = sum(map(len, bodies[0][:count]))
        return Embedded(torch.cat(hidden, dim=-1), pooled, tokens_read=read, tokens_cut=tokens - read)


class _Pair:
    """A tokenizer and its encoder."""

    def __init__(self, folder: Path, *, tokenizer: str, encoder: str, machine: Machine, projected: bool) -> None:
        self._tokenizer = _load_tokenizer(folder / tokenizer)
        self._projected = projected
        self._encoder = _load_encoder(folder / encoder, machine, projected=projected)
        self._length = min(int(self._tokenizer.model_max_length), int(self._encoder.config.max_position_embeddings))

    def chunks(self, text: str) -> list[list[int]]:
        """The text's token ids without marks, in pieces that fit the encoder; at least one piece."""
        readable = text.encode("utf-8", "ignore").decode("utf-8")  # a lone surrogate has no UTF-8
        ids: list[int] = self._tokenizer(readable, add_special_tokens=False, verbose=False)["input_ids"]
        # An end mark written into the prompt would end it for the pooled embedding.
        marks = {self._tokenizer.bos_token_id, self._tokenizer.eos_token_id}
        body = [token for token in ids if token not in marks]
        room = self._length - 2
        return [body[start : start + room] for start in range(0, max(len(body), 1), room)]

    def encode(self, chunks: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
        """(1, chunks · length, channels) hidden states before the last layer; (1, channels) pooled of the first."""
        tokenizer = self._tokenizer
        rows = [[tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id] for chunk in chunks]
        padded = [row + [tokenizer.pad_token_id] * (self._length - len(row)) for row in rows]
        output = self._encoder(torch.tensor(padded, device=device), output_hidden_states=True)
        # arXiv:2307.01952, section 2.1: the penultimate outputs of both encoders; pooled of the second only.
        states: Tensor = output.hidden_states[-2].flatten(0, 1).unsqueeze(0)
        pooled: Tensor = output.text_embeds if self._projected else output.pooler_output
        return states, pooled[:1]


def _load_encoder(folder: Path, machine: Machine, *, projected: bool) -> Any:
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    kind: Any = CLIPTextModelWithProjection if projected else CLIPTextModel
    return load_module(
        folder, lambda config: kind(CLIPTextConfig.from_dict(config)), device=machine.device, dtype=machine.dtype
    )


def _load_tokenizer(folder: Path) -> Any:
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

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
