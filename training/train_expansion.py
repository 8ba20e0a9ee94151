"""The small language model that lengthens prompts: tokenizer, training and export in one command.

    python -m training.train_expansion

A GPT-2 of 3 layers reads a prompt and writes an ending. Prompts and endings come from `expansion_grammar`, a new
batch at every step, drawn with the step's own seed: a run that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from training import expansion_grammar as grammar
from training.config import HERE, parse, save_atomic
from training.tokenizer import COMMON

TARGET = HERE.parent / "models" / "expansion"
END = "<|endoftext|>"
SEED = 1
TOKENS = 2200
POSITIONS = 160
WIDTH, LAYERS, HEADS = 96, 3, 3
BATCH, POOL, STEPS, RATE, WARM_UP = 40, 4, 400, 4e-3, 40
REPORT_EVERY, SAVE_EVERY = 25, 25
IGNORED = -100  # the label that the loss passes over
PAIRS_FOR_TOKENS = 20_000


def make_tokenizer(seed: int = SEED) -> PreTrainedTokenizerFast:
    """Byte-level BPE as in GPT-2: any text falls to pieces instead of failing, and every curated word is one token."""
    rng = Random(f"tokens:{seed}")
    words = [word for kind in _word_lists() for word in kind] + COMMON.split()
    texts = ["".join(grammar.example(rng)).casefold() for _ in range(PAIRS_FOR_TOKENS)]
    texts += [f" {word}" for word in words] * (PAIRS_FOR_TOKENS // 200)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=TOKENS, special_tokens=[END], initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END, model_max_length=POSITIONS
    )


def _word_lists() -> list[list[str]]:
    groups = grammar.GROUPS.values()
    return [list(grammar.GLUE), grammar.words_of(grammar.ANY), *(grammar.words_of(group.phrases) for group in groups)]


def make_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """Untrained; the output layer shares the weights of the input's."""
    end = tokenizer.eos_token_id
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=end, eos_token_id=end,
        )
    )  # fmt: skip


def make_batch(tokenizer: PreTrainedTokenizerFast, rng: Random, size: int) -> tuple[Tensor, Tensor]:
    """(size, tokens) ids, and labels that are the ids where an ending stands and `IGNORED` elsewhere.

    Rows of like length out of a larger pool: padding would cost as much as words.
    """
    end = tokenizer.eos_token_id
    pool = []
    for _ in range(POOL * size):
        text, ending = grammar.example(rng)
        read = tokenizer.encode(text.casefold())[-(POSITIONS // 2) :]
        said = [*tokenizer.encode(ending), end][: POSITIONS - len(read)]
        pool.append(([*read, *said], [IGNORED] * len(read) + said))
    pool.sort(key=lambda row: len(row[0]))
    first = rng.randrange(len(pool) - size + 1)
    rows = pool[first : first + size]
    longest = len(rows[-1][0])
    ids = torch.tensor([row + [end] * (longest - len(row)) for row, _ in rows])
    return ids, torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in rows])


def loss_of(model: GPT2LMHeadModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the next token where there is a label; the output layer runs nowhere else."""
    wanted = labels[:, 1:]
    hidden = model.transformer(input_ids=ids).last_hidden_state[:, :-1][wanted != IGNORED]
    return functional.cross_entropy(model.lm_head(hidden), wanted[wanted != IGNORED])


def learning_rate(step: int, steps: int) -> float:
    """A short rise, then half a cosine down to nothing."""
    rise = min(1.0, (step + 1) / WARM_UP)
    return RATE * rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(work: Path, device: torch.device, steps: int) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The trained model on the CPU, and its tokenizer; goes on from the checkpoint in ``work`` if there is one."""
    tokenizer = make_tokenizer()
    torch.manual_seed(SEED)
    model = make_model(tokenizer).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    checkpoint, done = work / "expansion.pt", 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["step"]
        print(f"goes on at step {done}", flush=True)
    started, losses = time.monotonic(), list[float]()
    for step in range(done, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        ids, labels = make_batch(tokenizer, Random(f"batch:{SEED}:{step}"), BATCH)
        loss = loss_of(model, ids.to(device), labels.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % REPORT_EVERY == 0:
            mean = sum(losses[-REPORT_EVERY:]) / len(losses[-REPORT_EVERY:])
            print(f"{time.monotonic() - started:6.0f} s  step {step + 1}  loss {mean:.4f}", flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_atomic(state, checkpoint)
    return model.cpu().eval(), tokenizer


def export(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The folder that the program loads: float16 safetensors, config, tokenizer and curated words."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.half().save_pretrained(part)
    tokenizer.save_pretrained(part)
    text = json.dumps(grammar.vocabulary(), indent=1, ensure_ascii=False)
    (part / "words.json").write_text(f"{text}\n", "utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    for path in part.iterdir():
        path.replace(folder / path.name)
    part.rmdir()


def main() -> None:
    """The command line."""
    args, _ = parse(
        __doc__ or "",
        steps={"type": int, "default": STEPS, "help": "batches of training"},
        target={"type": Path, "default": TARGET, "help": "folder of the finished model"},
    )
    model, tokenizer = train(args.work, args.device, args.steps)
    export(model, tokenizer, args.target)
    size = sum(path.stat().st_size for path in args.target.iterdir())
    print(f"{sum(map(torch.numel, model.parameters())):,} weights, {size:,} bytes in {args.target}")


if __name__ == "__main__":
    main()
