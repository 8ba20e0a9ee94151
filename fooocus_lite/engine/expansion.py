"""Prompt expansion: a causal language model that adds words about look, light and composition behind a prompt.

It runs on the CPU in float32, whatever draws the pictures: the same prompt, seed and model give the same words, and
no memory of a graphics card is taken. It is loaded with the first prompt that wants it.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from fooocus_lite.attention_weights import parse_weights
from fooocus_lite.engine.curated import CuratedWords, Sentence, Vocabulary, Words, first_of, read_vocabulary
from fooocus_lite.engine.weights import check_length, damaged, missing, read_json, weight_files
from fooocus_lite.errors import FooocusError, MissingModel
from fooocus_lite.plan import Expansion

log = logging.getLogger(__name__)
#: Tokens of a prompt that are read: its end, which the words go behind.
READ_TOKENS = 64
MAX_NEW_TOKENS = 96
#: A prompt's last characters hold more than `READ_TOKENS` tokens; what is before them need not be split at all.
READ_CHARS = 2_000
KEPT_TEXTS = 256
_NAMED = re.compile(r"\bembedding:[^\s,]+")


class Expander:
    """Chooses words; safe from every thread, and keeps the last model and the last answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writer: tuple[tuple[str, str], Writer] | None = None
        self._kept: OrderedDict[Expansion, str] = OrderedDict()

    def words(self, wish: Expansion) -> str:
        """The words to add, phrases between commas; the same wish gives the same ones.

        Raises:
            MissingModel, CorruptModel: the language model is not there or not usable.
        """
        with self._lock:
            if wish not in self._kept:
                self._kept[wish] = self._load(wish).write(wish.text, wish.seed)
            self._kept.move_to_end(wish)
            if len(self._kept) > KEPT_TEXTS:
                self._kept.popitem(last=False)
            return self._kept[wish]

    def _load(self, wish: Expansion) -> Writer:
        key = (wish.model, wish.words)
        if self._writer is None or self._writer[0] != key:
            started = time.monotonic()
            self._writer = None
            self._writer = (key, load_writer(wish.model, Path(wish.words)))
            log.info("expansion model %s loaded in %.1f s", Path(wish.model).name, time.monotonic() - started)
        return self._writer[1]


class Writer:
    """A loaded language model, its tokenizer, and the words that it may say.

    Raises (when made):
        CorruptModel: the tokenizer is of no use here.
    """

    def __init__(self, model: Any, tokenizer: Any, vocabulary: Vocabulary, folder: Path) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._vocabulary = vocabulary
        comma = self._encode(",")
        if len(comma) != 1 or tokenizer.eos_token_id is None:
            raise damaged(folder, "its tokenizer has no comma or no end", "expansion model")
        self._comma, self._end = comma[0], int(tokenizer.eos_token_id)

    def write(self, text: str, seed: int) -> str:
        """Words that suit ``text``, chosen by ``seed``."""
        from transformers.generation.configuration_utils import GenerationConfig
        from transformers.generation.logits_process import LogitsProcessorList

        plain = readable(text)
        ids = self._encode(plain)[-READ_TOKENS:] or [self._end]
        glue = self._vocabulary.glue
        words = Words((*glue, *self._vocabulary.words_for(plain)), self._encode)
        config = GenerationConfig(
            do_sample=False, max_new_tokens=MAX_NEW_TOKENS, eos_token_id=self._end, pad_token_id=self._end
        )
        rule = CuratedWords(self._sentence(words), start=len(ids), seed=_own_seed(plain, seed))
        with torch.inference_mode():
            written = self.model.generate(
                input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                generation_config=config, logits_processor=LogitsProcessorList([rule]),
            )  # fmt: skip
        sentence = self._sentence(words)
        sentence.follow(written[0, len(ids) :].tolist())
        return ", ".join(sentence.phrases)

    def _sentence(self, words: Words) -> Sentence:
        return Sentence(words, self._vocabulary.glue, comma=self._comma, end=self._end)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def readable(text: str) -> str:
    """A prompt as a language model reads it: no weights, no names of embeddings, small letters."""
    plain = "".join(piece for piece, _ in parse_weights(text[-READ_CHARS:]))
    return " ".join(_NAMED.sub("", plain).casefold().split())


def _own_seed(text: str, seed: int) -> int:
    """Another prompt is another throw of the dice; with the seed alone, all prompts would get nearly the same words."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8], "big") >> 1


def load_writer(model: str, words: Path) -> Writer:
    """The language model in a folder, or that of the hub's on this disk.

    Args:
        words: Curated words for a model that brings none.

    Raises:
        MissingModel: it, or its words, are not there.
        CorruptModel: a file is cut short or something else.
    """
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM
    from transformers.models.auto.tokenization_auto import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    folder = _folder_of(model)
    own = folder / words.name
    vocabulary = read_vocabulary(own if own.is_file() else words)
    config = read_json(folder / "config.json")
    positions = first_of(config, "n_positions", "max_position_embeddings") or READ_TOKENS + MAX_NEW_TOKENS
    if positions < READ_TOKENS + MAX_NEW_TOKENS:
        raise damaged(folder / "config.json", f"it reads {positions} tokens, which are too few", "expansion model")
    for path in _weights(folder):
        check_length(path, "expansion model")
    disable_progress_bar()  # it would draw into the log
    causal: Any = AutoModelForCausalLM  # its types do not know the second value
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        loaded, report = causal.from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
    except Exception as exc:  # a foreign folder: whatever these two raise is about its files
        raise damaged(folder, f"it cannot be loaded ({type(exc).__name__})", "expansion model") from exc
    if report["missing_keys"] or report["mismatched_keys"]:
        raise damaged(folder, "weights are missing in it", "expansion model")
    if max(tokenizer.get_vocab().values(), default=0) >= loaded.get_input_embeddings().num_embeddings:
        raise damaged(folder, "its tokenizer has more tokens than its weights", "expansion model")
    return Writer(loaded.eval(), tokenizer, vocabulary, folder)


def _weights(folder: Path) -> list[Path]:
    try:
        return weight_files(folder)
    except MissingModel:
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pt")]
        if not pickles:
            raise missing(folder / "model.safetensors", "expansion model") from None
        raise MissingModel(
            f"The expansion model {folder.name} is a pickle, and opening a pickle can run a stranger's code.",
            "Choose one with a model.safetensors in the setting expansion_model.",
        ) from None


def _folder_of(model: str) -> Path:
    """The folder itself, or that of a hub model which is in the hub's cache; nothing is downloaded."""
    folder = Path(model)
    if folder.is_absolute():
        if folder.is_dir():
            return folder
        raise missing(folder / "model.safetensors", "expansion model")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (OSError, HFValidationError, ValueError) as exc:
        raise FooocusError(
            f"The expansion model {model[:100]!r} is not on this disk.",
            "Fetch it with `hf download` and its name, or name a folder in the setting expansion_model.",
            code="missing_model",
        ) from exc
