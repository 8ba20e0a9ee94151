"""Words that may be added to a prompt, and the rule that holds a language model to them.

The model decides which words suit; it can only say curated ones, each once, in phrases between commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor

from fooocus_lite.engine.weights import damaged, read_json

MIN_PHRASES = 2
MAX_PHRASE_WORDS = 6
#: When so many have been said, the phrase is the last one.
MAX_WORDS = 28
#: A little below 1 keeps to what the model is rather sure of.
TEMPERATURE = 0.9
TOP_K = 50
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Group:
    """Words for prompts that name one of ``subjects`` and none of ``unless``."""

    words: tuple[str, ...]
    subjects: frozenset[str]
    unless: frozenset[str]


@dataclass(frozen=True)
class Vocabulary:
    """Curated words, as ``words.json`` holds them.

    Attributes:
        glue: Words such as "of": they may come again, and neither begin nor end a phrase.
        general: Words that suit every prompt.
    """

    glue: tuple[str, ...]
    general: tuple[str, ...]
    groups: tuple[Group, ...]

    def words_for(self, text: str) -> tuple[str, ...]:
        """Those that suit the prompt ``text`` and are not in it yet, glue left out."""
        said = words_in(text)
        singular = said | {word[:-1] for word in said if word.endswith("s")}
        fitting = [
            group
            for group in self.groups
            if not singular.isdisjoint(group.subjects) and singular.isdisjoint(group.unless)
        ]
        words = dict.fromkeys((*self.general, *(word for group in fitting for word in group.words)))
        return tuple(word for word in words if word not in said)


def words_in(text: str) -> set[str]:
    """Its words, without case."""
    return set(_WORD.findall(text.casefold()))


def read_vocabulary(path: Path) -> Vocabulary:
    """The curated words in a file.

    Raises:
        MissingModel: it is not there.
        CorruptModel: it is something else.
    """
    data = read_json(path)
    try:
        groups = tuple(
            Group(_words(row["words"]), frozenset(_words(row["subjects"])), frozenset(_words(row["unless"])))
            for row in data["groups"].values()
        )
        return Vocabulary(_words(data["glue"]), _words(data["any"]), groups)
    except (KeyError, TypeError, AttributeError) as exc:
        raise damaged(path, "it does not hold lists of words") from exc


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise TypeError("not a list of words")
    return tuple(value)


@dataclass
class _Node:
    """A place on the way through the tokens of the words; ``below`` are the words that can still be reached."""

    children: dict[int, _Node] = field(default_factory=dict[int, "_Node"])
    below: set[str] = field(default_factory=set[str])
    word: str | None = None


class Words:
    """Words as the tokens of one tokenizer.

    Args:
        words: Content and glue.
        encode: Token ids of a text.
    """

    def __init__(self, words: Iterable[str], encode: Callable[[str], Sequence[int]]) -> None:
        self.root = _Node()
        for word in words:
            node = self.root
            for token in encode(f" {word}"):
                node = node.children.setdefault(token, _Node())
                node.below.add(word)
            node.word = word


class Sentence:
    """What has been said so far, and which tokens may follow: ``, word word, word word`` and then the end.

    Args:
        words: What may be said.
        glue: Those among them that hold a phrase together.
        comma: Token between phrases.
        end: Token that ends the sentence.
    """

    def __init__(self, words: Words, glue: Iterable[str], *, comma: int, end: int) -> None:
        self._root, self._glue, self._comma, self._end = words.root, frozenset(glue), comma, end
        self._node: _Node | None = None  # before the first comma
        self._said: set[str] = set()
        self._phrase: list[str] = []
        self.phrases: list[str] = []

    def follow(self, tokens: Iterable[int]) -> None:
        """Take in tokens, each of which `allowed` allows."""
        for token in tokens:
            node = self._node
            if node is not None and token in node.children:
                self._node = node.children[token]
                continue
            if node is not None and node.word is not None:
                self._phrase.append(node.word)
                self._said |= {node.word} - self._glue
            if token in (self._comma, self._end):
                self._close_phrase()
                self._node = self._root
            else:
                self._node = self._root.children[token]

    def _close_phrase(self) -> None:
        if self._phrase:
            self.phrases.append(" ".join(self._phrase))
        self._phrase = []

    def allowed(self) -> list[int]:
        """The tokens that may come next; never none."""
        node = self._node
        if node is None:
            return [self._comma]
        tokens = self._into(node, self._is_new)
        if node.word is not None and self._is_new(node.word):
            tokens += self._after(node.word)
        elif node is self._root:  # after a comma: no phrase begins with glue
            tokens = self._into(node, lambda word: word not in self._glue and self._is_new(word))
        return tokens or [self._end]

    def _after(self, word: str) -> list[int]:
        """What may follow when ``word`` ends here."""
        words_in_phrase, is_glue = len(self._phrase) + 1, word in self._glue
        is_last = len(self._said) + 1 >= MAX_WORDS
        if is_glue:
            return self._into(self._root, lambda other: other != word and self._is_new(other, after=word))
        tokens = [] if is_last else [self._comma]
        if is_last or len(self.phrases) + 1 >= MIN_PHRASES:
            tokens.append(self._end)
        if words_in_phrase < MAX_PHRASE_WORDS and not is_last:
            tokens += self._into(self._root, lambda other: self._is_new(other, after=word))
        return tokens

    def _is_new(self, word: str, after: str = "") -> bool:
        return word != after and word not in self._said

    def _into(self, node: _Node, may_say: Callable[[str], bool]) -> list[int]:
        return [token for token, child in node.children.items() if any(map(may_say, child.below))]


class CuratedWords(LogitsProcessor):
    """Leaves exactly one token possible: one that `Sentence` allows, drawn with the seed's own dice.

    Adding Gumbel noise and taking the best is drawing from the softmax (arXiv:1611.01144, equation 1), so that
    greedy generation is random by our seed alone, whatever else the process does with random numbers.

    Args:
        sentence: Empty.
        start: How many tokens the prompt has.
        seed: 0 … 2^63 − 1.
    """

    def __init__(self, sentence: Sentence, *, start: int, seed: int) -> None:
        self._sentence, self._seen = sentence, start
        self._dice = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(1, tokens) so far and (1, vocabulary) logits -> logits of one token only."""
        self._sentence.follow(input_ids[0, self._seen :].tolist())
        self._seen = input_ids.shape[1]
        allowed = torch.tensor(self._sentence.allowed())
        noise = -torch.empty(scores.shape[-1]).exponential_(generator=self._dice).log()
        logits = scores[0].float().cpu()[allowed]
        likely = logits.topk(min(TOP_K, len(allowed))).indices
        best = allowed[likely[(logits[likely] / TEMPERATURE + noise[allowed[likely]]).argmax()]]
        only = torch.full_like(scores, -torch.inf)
        only[0, best] = 0.0
        return only


def first_of(data: Mapping[str, Any], *names: str) -> int | None:
    """The first of these numbers that a config holds."""
    return next((int(data[name]) for name in names if isinstance(data.get(name), int)), None)
