"""Reading practice: questions to the text encoders about what a text says, with answers known from the `Spec`.

Two linear heads, on an end token's state and on the pooled text, answer `words.QUESTIONS`; they are not exported.
"""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import CLIPTokenizer

from training.words import NOTHING_THERE, QUESTIONS, Spec, answers, caption, random_spec


def ends(ids: Tensor) -> Tensor:
    """(m,) for each text a random one of the end tokens that pad it: all of them have seen the whole text."""
    first = (ids == ids[:, -1:]).int().argmax(1)
    left = ids.shape[1] - first
    return first + (torch.rand(len(ids), device=ids.device) * left).long().clamp(max=ids.shape[1] - 1)


def reading_loss(answers_in_a_row: Tensor, right: Tensor) -> Tensor:
    """Mean cross-entropy over all questions: logits (m, sum of `QUESTIONS`), right answers (m, questions)."""
    parts = answers_in_a_row.float().split(QUESTIONS, dim=1)
    told = (right[:, 0] != NOTHING_THERE).sum().clamp(min=1)
    losses = [
        cross_entropy(part, right[:, k], ignore_index=NOTHING_THERE, reduction="sum") for k, part in enumerate(parts)
    ]
    return torch.stack(losses).mean() / told


def read_captions(tokenizer: CLIPTokenizer, rng: Random, count: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Token ids (count, tokens) of fresh captions, mostly of pairs, and the answers (count, questions)."""
    specs: list[Spec] = []
    while len(specs) < count:
        spec = random_spec(rng)
        if spec.kind == "pair" or rng.random() < 0.25:
            specs.append(spec)
    texts = [caption(spec, rng) for spec in specs]
    ids = tokenizer(texts, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt").input_ids
    return ids, torch.tensor([answers(spec) for spec in specs])
