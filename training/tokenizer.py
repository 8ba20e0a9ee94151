"""Makes the starter model's tokenizer: CLIP's byte-level BPE, learned from our captions.

Every byte is in the vocabulary, so any text, emoji and control characters included, falls to
pieces instead of failing. `CLIPTokenizer.from_pretrained(folder)` of transformers loads the result.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

from transformers import CLIPTokenizer

from training.config import Config, parse
from training.models import TOKENS
from training.words import caption, random_spec

START, END = "<|startoftext|>", "<|endoftext|>"
# Frequent English around pictures: words that people type and that no caption holds get fewer pieces.
COMMON = """
the of and to in is it you that he was for on are with as his they be at one have this from or had by word but what
some we can out other were all there when up use your how said an each she which do their time if will way about many
then them write would like so these her long make thing see him two has look more day could go come did number sound no
most people my over know water than call first who may down side been now find any new work part take get place made
live where after back little only round man year came show every good me give our under name very through just form
sentence great think say help low line differ turn cause much mean before move right boy old too same tell does set
three want air well also play small end put home read hand port large spell add even land here must big high such
follow act why ask men change went light kind off need house picture try us again animal point mother world near build
self earth father painting photo portrait landscape dog cat bird flower forest river city sky cloud night sunset ocean
beautiful bright dark soft sharp color style art artist cinematic fantasy dramatic realistic digital illustration
"""


def byte_alphabet() -> dict[int, str]:
    """The printable character that stands for each byte in GPT-2's and CLIP's vocabularies."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + index) for index, byte in enumerate(others)}}


def learn_merges(words: Counter[str], count: int) -> list[tuple[str, str]]:
    """The ``count`` most useful merges (Sennrich et al., arXiv:1508.07909), first ones first."""
    pieces = {word: [*word[:-1], f"{word[-1]}</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, parts in pieces.items():
            joined: list[str] = []
            for part in parts:
                if joined and (joined[-1], part) == best:
                    joined[-1] += part
                else:
                    joined.append(part)
            pieces[word] = joined
    return merges


def count_words(captions: int, seed: int) -> Counter[str]:
    """How often each lower-case word occurs in our captions, plus the common words a little."""
    rng = Random(f"tokenizer:{seed}")
    text = " ".join(caption(random_spec(rng), rng) for _ in range(captions)).lower()
    words = Counter("".join(letter if letter.isalpha() else " " for letter in text).split())
    floor = max(2, captions // 400)
    return words + Counter(dict.fromkeys(COMMON.split(), floor))


def build(config: Config, folder: Path) -> CLIPTokenizer:
    """Learns the tokenizer and saves it to ``folder``."""
    letters = list(byte_alphabet().values())
    base = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = learn_merges(count_words(20_000, config.seed), config.vocabulary - len(base) - 2)
    vocabulary = [*base, *(left + right for left, right in merges), START, END]
    tokenizer = CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocabulary)}, merges=merges, model_max_length=TOKENS
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(
        json.dumps({token: index for index, token in enumerate(vocabulary)}, ensure_ascii=False), "utf-8"
    )
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n", "utf-8")
    return tokenizer


def main() -> None:
    """The command line."""
    args, config = parse(__doc__ or "")
    tokenizer = build(config, args.work / "tokenizer")
    print(f"{len(tokenizer)} tokens in {args.work / 'tokenizer'}")


if __name__ == "__main__":
    main()
