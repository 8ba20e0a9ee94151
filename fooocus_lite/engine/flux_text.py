"""A prompt as FLUX reads it: CLIP's one vector of the whole, and T5's (arXiv:1910.10683) vector for every token."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.tokens import Tokenizer, plain_words
from fooocus_lite.engine.weights import damaged, load_module, missing
from fooocus_lite.lora_keys import TEXT_ENCODER, TEXT_ENCODER_2

#: Texts whose vectors are kept: 4 MB each in 16 bits.
KEPT_TEXTS = 16


@dataclass(frozen=True)
class Read:
    """A text as the model reads it.

    Attributes:
        prompt_embeds: (1, tokens, channels) of T5; unused places hold what T5 makes of padding, which FLUX was
            trained with and attends to.
        pooled: (1, channels) of CLIP.
        tokens_cut: How many tokens did not fit T5.
        was_weighted: It held weights in brackets, which are left out.
    """

    prompt_embeds: Tensor
    pooled: Tensor
    tokens_cut: int
    was_weighted: bool


class FluxTexts:
    """Both encoders of FLUX, and the texts they read last.

    Args:
        length: Of a text in T5's tokens.

    Raises (when made):
        MissingModel, CorruptModel: a file of the model is not there or not usable.
    """

    def __init__(self, parts: ModelParts, machine: Machine, *, length: int) -> None:
        self._machine, self._length = machine, length
        self._clip_tokens = Tokenizer(parts.tokenizer("tokenizer"))
        self._t5_tokens = _load_tokenizer(parts.tokenizer("tokenizer_2"))
        self._clip = load_module(
            parts.component("text_encoder"), _build_clip, device=machine.weights_device, dtype=machine.dtype
        )
        self._t5 = _load_t5(parts, machine)
        self._kept: OrderedDict[Hashable, Read] = OrderedDict()
        self._variant: Hashable = ()
        self._change: Callable[[], AbstractContextManager[None]] = nullcontext
        #: As `fooocus_lite.engine.text.TextEncoders.before_reading`.
        self.before_reading: Callable[[], None] = _nothing

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The encoders, by the names of their folders."""
        return {TEXT_ENCODER: self._clip, TEXT_ENCODER_2: self._t5}

    @contextmanager
    def changed(self, variant: Hashable, change: Callable[[], AbstractContextManager[None]]) -> Generator[None]:
        """As `fooocus_lite.engine.text.TextEncoders.changed`."""
        before = self._variant, self._change
        self._variant, self._change = variant, change
        try:
            yield
        finally:
            self._variant, self._change = before

    def read(self, text: str) -> Read:
        """The text; one seen lately runs no encoder."""
        key = (text, self._variant)
        found = self._kept.pop(key, None)
        if found is None:
            self.before_reading()
            with self._change():
                found = self._read(text)
        self._kept[key] = found
        while len(self._kept) > KEPT_TEXTS:
            self._kept.popitem(last=False)
        return found

    def _read(self, text: str) -> Read:
        plain, was_weighted = plain_words(text)  # T5's vectors are not made to be weighed
        embeds, cut = self._by_t5(plain)
        return Read(embeds, self._by_clip(plain), cut, was_weighted)

    def _by_clip(self, text: str) -> Tensor:
        marks = self._clip_tokens
        room = min(marks.max_length, int(self._clip.config.max_position_embeddings))
        tokens = marks.chunks([(text, 1.0)], 1_000_000, {})[0][: room - 2]
        ids = [marks.start, *(token.id for token in tokens), marks.end]
        ids += [marks.padding] * (room - len(ids))
        output = self._clip(torch.tensor([ids], device=self._machine.device))
        return output.pooler_output

    def _by_t5(self, text: str) -> tuple[Tensor, int]:
        ids: list[int] = self._t5_tokens(text, add_special_tokens=False, verbose=False)["input_ids"]
        kept = ids[: self._length - 1]
        padding, end = self._t5_tokens.pad_token_id, self._t5_tokens.eos_token_id
        row = [*kept, end, *[padding] * (self._length - 1 - len(kept))]
        states: Tensor = self._t5(torch.tensor([row], device=self._machine.device)).last_hidden_state
        return states.to(self._machine.dtype), len(ids) - len(kept)


def _nothing() -> None:
    """What is called where nobody wants to know."""


def _build_clip(config: dict[str, Any]) -> Any:
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel

    return CLIPTextModel(CLIPTextConfig.from_dict(config))


def _build_t5(config: dict[str, Any]) -> Any:
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    return T5EncoderModel(T5Config.from_dict(config))


def _load_t5(parts: ModelParts, machine: Machine) -> Any:
    t5: Any = load_module(
        parts.component("text_encoder_2"), _build_t5, device=machine.weights_device, dtype=machine.dtype
    )
    t5.set_input_embeddings(t5.shared)  # one table again, where the file has it under one name
    if machine.dtype == torch.float16:  # where its sums leave the range of fp16; the network casts there and back
        for name, module in t5.named_modules():
            if name.endswith(".wo"):
                module.float()
    return t5


def _load_tokenizer(folder: Path) -> Any:
    from transformers.models.t5.tokenization_t5 import T5Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise missing(path)
    try:
        return T5Tokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as exc:
        raise damaged(path, "it is not a tokenizer") from exc
