"""Measures the expansion model of a folder: the table in its README.

python -m training.evaluate_expansion
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from random import Random

import torch

from fooocus_lite.engine.curated import read_vocabulary
from fooocus_lite.engine.expansion import load_writer, readable
from training import expansion_grammar as grammar
from training.train_expansion import IGNORED, TARGET, loss_of, make_batch

HELD_OUT = "held out"
BATCHES, BATCH = 8, 40


def perplexity(model: torch.nn.Module, tokenizer: object) -> float:
    """Of endings that no training step saw, per token."""
    losses, tokens = 0.0, 0
    with torch.inference_mode():
        for number in range(BATCHES):
            ids, labels = make_batch(tokenizer, Random(f"{HELD_OUT}:{number}"), BATCH)
            count = int((labels != IGNORED).sum())
            losses += loss_of(model, ids, labels).item() * count
            tokens += count
    return math.exp(losses / tokens)


def measure(folder: Path, prompts: int) -> dict[str, float]:
    """Figures over ``prompts`` prompts of the grammar that were not trained on."""
    words_file = folder / "words.json"
    writer = load_writer(str(folder.absolute()), words_file)
    vocabulary = read_vocabulary(words_file)
    rng = Random(HELD_OUT)
    known = said = repeated = phrases = fitting = with_group = 0
    seen: set[str] = set()
    started = time.monotonic()
    for seed in range(prompts):
        text = grammar.prompt(rng)
        answer = writer.write(text, seed)
        words = [word for word in answer.replace(",", "").split() if word not in vocabulary.glue]
        own = set(vocabulary.words_for(readable(text)))
        special = own - set(vocabulary.general)
        seen.add(answer)
        phrases += answer.count(", ") + 1
        said += len(words)
        known += sum(word in own for word in words)
        repeated += len(words) - len(set(words))
        with_group += bool(special)
        fitting += bool(special & set(words))
    return {
        "prompts": prompts, "phrases": phrases / prompts, "words": said / prompts,
        "in the vocabulary, %": 100 * known / said, "said twice, %": 100 * repeated / said,
        "different answers, %": 100 * len(seen) / prompts,
        "says a word of the subject's own, where there are any, %": 100 * fitting / max(1, with_group),
        "perplexity": perplexity(writer.model, writer.tokenizer),
        "seconds a prompt": (time.monotonic() - started) / prompts,
    }  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=TARGET)
    parser.add_argument("--prompts", type=int, default=200)
    args = parser.parse_args()
    for name, value in measure(args.folder, args.prompts).items():
        print(f"{name}: {value:.3g}")


if __name__ == "__main__":
    main()
