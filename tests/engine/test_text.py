"""Texts into the encoders, against the encoders themselves fed by hand: chunks, weights, lines, layers, the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.sdxl import ENCODERS
from fooocus_lite.engine.text import MAX_CHUNKS, EncoderSpec, TextEncoders, weigh
from fooocus_lite.engine.tokens import Tokenizer, split_sections
from fooocus_lite.errors import BadValue
from tests.engine.tiny_sdxl import BOS, EOS, TOKENS, model_ref

ROOM = TOKENS - 2
Rows = list[list[int]]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Tokenizer:
    return Tokenizer(model / "tokenizer")


@pytest.fixture(scope="module")
def theirs(model: Path) -> tuple[Any, Any]:
    """The two encoders as transformers loads them."""
    return (
        CLIPTextModel.from_pretrained(model / "text_encoder").eval(),
        CLIPTextModelWithProjection.from_pretrained(model / "text_encoder_2").eval(),
    )


@pytest.fixture
def make(model: Path) -> Callable[..., TextEncoders]:
    return lambda specs=ENCODERS, **options: TextEncoders(
        ModelParts(model_ref(model)), choose_machine("cpu", "fp32"), specs, **options
    )


@pytest.fixture
def texts(make: Callable[..., TextEncoders]) -> TextEncoders:
    return make()


@pytest.fixture(scope="module")
def vocabulary(model: Path) -> dict[str, int]:
    import json

    return json.loads((model / "tokenizer" / "vocab.json").read_text("utf-8"))


def rows_of(vocabulary: dict[str, int], *chunks: str) -> Rows:
    """Ids by hand: every letter is a token, ``|`` ends a word; marks around, end marks as padding."""
    rows: Rows = []
    for chunk in chunks:
        letters = [letter + "</w>" * chunk.startswith("|", at + 1) for at, letter in enumerate(chunk) if letter != "|"]
        ids = [vocabulary[BOS], *(vocabulary[letter] for letter in letters)]
        rows.append(ids + [vocabulary[EOS]] * (TOKENS - len(ids)))
    return rows


def states_of(encoder: Any, rows: Rows, layer: int = -2) -> Tensor:
    return encoder(torch.tensor(rows), output_hidden_states=True).hidden_states[layer]


def by_hand(theirs: tuple[Any, Any], rows: Rows) -> tuple[Tensor, Tensor]:
    joined = torch.cat([states_of(encoder, rows) for encoder in theirs], dim=-1)
    return joined.flatten(0, 1)[None], theirs[1](torch.tensor(rows)).text_embeds[:1]


@contextmanager
def counted_rows() -> Iterator[list[int]]:
    """How many rows each run of an encoder read."""
    from torch.nn.modules.module import register_module_forward_hook

    seen: list[int] = []

    def note(module: Any, args: Any, _output: Any) -> None:
        if type(module).__name__ == "CLIPTextModelWithProjection":
            seen.append(len(args[0]))

    handle = register_module_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("text", "chunk"), [("red dot", "red|dot|"), ("", ""), (" a ,  b ", "a|,|b|"), (r"\(a\) b", "(|a|)|b|")]
)
def test_a_short_plain_text_is_exactly_what_the_encoders_say(
    texts: TextEncoders, theirs: Any, vocabulary: dict[str, int], text: str, chunk: str
) -> None:
    hidden, pooled = by_hand(theirs, rows_of(vocabulary, chunk))
    embedded = texts.embed((text,), clip_skip=2)
    assert torch.equal(embedded.prompt_embeds, hidden)
    assert torch.equal(embedded.pooled_prompt_embeds, pooled)
    assert (embedded.tokens_read, embedded.tokens_cut) == (len(chunk.replace("|", "")), 0)


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("abcdefghijklmn", ["abcdefghijklmn|"]),  # just fits
        ("abcdefghijklmnop", ["abcdefghijklmn", "op|"]),
        ("a" * 30, ["a" * 14, "a" * 14, "aa|"]),
        ("aaaaaaaaaaa,bbbb", ["aaaaaaaaaaa|,|", "bbbb|"]),  # a comma among the last three ends the chunk
        ("aaaaaaaaaa,bbbbb", ["aaaaaaaaaa|,|bbb", "bb|"]),  # one before them does not
        ("aa,aaaaaaaaa,a,bbbb", ["aa|,|aaaaaaaaa|,|", "a|,|bbbb|"]),
        ("ab BREAK cd", ["ab|", "cd|"]),
        ("BREAK ab, BREAK, BREAK cd BREAK", ["ab|", "cd|"]),  # nothing to say, no chunk
        ("ab BREAKcd", ["ab|break" + "cd|"]),
        ("a" * 15 + " BREAK b", ["a" * 14, "a|", "b|"]),
        (" BREAK ", [""]),
    ],
)  # fmt: skip
def test_chunks(texts: TextEncoders, theirs: Any, vocabulary: dict[str, int], text: str, chunks: list[str]) -> None:
    hidden, pooled = by_hand(theirs, rows_of(vocabulary, *chunks))
    embedded = texts.embed((text,), clip_skip=2)
    assert torch.equal(embedded.prompt_embeds, hidden)
    assert torch.equal(embedded.pooled_prompt_embeds, pooled)  # of the first chunk


def slowly_weighed(encoder: Any, rows: Rows, weights: list[list[float]]) -> Tensor:
    """One token after another: towards the empty prompt by the weight; then the chunk's mean as it was."""
    empty = states_of(encoder, [[rows[0][0], *[rows[0][-1]] * (TOKENS - 1)]])[0]
    chunks: list[Tensor] = []
    for states, row in zip(states_of(encoder, rows), weights, strict=True):
        moved = states.clone()
        for place, weight in enumerate(row):
            moved[place + 1] = empty[place + 1] + (states[place + 1] - empty[place + 1]) * weight
        factor = float(states.mean()) / float(moved.mean())
        assert 0.5 < factor < 2 and (factor != 1 or set(row) == {1.0})
        chunks.append(moved * factor)
    return torch.cat(chunks)[None]


@pytest.mark.parametrize(
    ("text", "chunks", "weights"),
    [
        ("a (b:1.4) c", ["a|b|c|"], [[1, 1.4, 1]]),
        ("(ab:0.5), c", ["ab|,|c|"], [[0.5, 0.5, 1, 1]]),
        ("(a) b ((c))", ["a|b|c|"], [[1.1, 1, 1.21]]),
        ("(a:0) b", ["a|b|"], [[0, 1]]),
        ("abcdefgh (i:-0.3)", ["abcdefgh|i|"], [[*[1] * 8, -0.3]]),
        ("a (bcdefghijklmno:1.3) c", ["a|bcdefghijklmn", "o|c|"], [[1, *[1.3] * 13], [1.3, 1]]),
        ("(a BREAK b:1.3) BREAK c", ["a|", "b|", "c|"], [[1.3], [1.3], [1]]),
    ],
)
def test_weights_are_those_of_a_plain_loop(
    texts: TextEncoders, theirs: Any, vocabulary: dict[str, int], text: str, chunks: list[str], weights: Any
) -> None:
    rows = rows_of(vocabulary, *chunks)
    expected = torch.cat([slowly_weighed(encoder, rows, weights) for encoder in theirs], dim=-1)
    embedded = texts.embed((text,), clip_skip=2)
    torch.testing.assert_close(embedded.prompt_embeds, expected, rtol=1e-4, atol=1e-5)
    plain, pooled = by_hand(theirs, rows)
    assert not torch.allclose(embedded.prompt_embeds, plain, atol=1e-3)
    torch.testing.assert_close(embedded.pooled_prompt_embeds, pooled)  # never weighted


def test_weighing_keeps_the_mean_of_each_chunk_and_leaves_plain_ones_alone() -> None:
    torch.manual_seed(1)
    states, empty = torch.randn(3, 5, 8) + 2, torch.randn(1, 5, 8) + 2
    weights = torch.tensor([[1, 1.5, 1, 1, 1], [1.0] * 5, [1, 1, 0.2, 0.2, 1]])
    weighed = weigh(states, empty, weights)
    torch.testing.assert_close(weighed.mean(dim=(1, 2)), states.mean(dim=(1, 2)))
    assert torch.equal(weighed[1], states[1])
    assert not torch.allclose(weighed[0], states[0])
    half = weigh(states.half(), empty.half(), weights)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), weighed, rtol=0.01, atol=0.01)


def test_a_mean_near_zero_blows_nothing_up() -> None:
    states = torch.tensor([[[1.0, -1.0], [2.0, -1.999]]])
    empty = torch.tensor([[[1.0, -1.0], [0.0, 1.0]]])
    weights = torch.tensor([[1.0, 1.5]])
    assert torch.equal(weigh(states, empty, weights)[0, 1], empty[0, 1] + 1.5 * (states[0, 1] - empty[0, 1]))


def test_lines_are_read_each_by_itself(texts: TextEncoders, vocabulary: dict[str, int], theirs: Any) -> None:
    lines = ("a red dot", "(b:1.3) BREAK c", "d")
    alone = [texts.embed((line,), clip_skip=2) for line in lines]
    together = texts.embed(lines, clip_skip=2)
    assert torch.equal(together.prompt_embeds, torch.cat([one.prompt_embeds for one in alone], dim=1))
    expected = sum(one.pooled_prompt_embeds for one in alone) / 3
    torch.testing.assert_close(together.pooled_prompt_embeds, expected)
    assert together.prompt_embeds.shape == (1, 4 * TOKENS, 16 + 24)
    assert together.tokens_read == sum(one.tokens_read for one in alone) == 10
    twice = texts.embed(("d", "d"), clip_skip=2)
    assert torch.equal(twice.pooled_prompt_embeds, alone[2].pooled_prompt_embeds)  # said twice, no louder
    assert torch.equal(texts.embed((), clip_skip=2).prompt_embeds, texts.embed(("",), clip_skip=2).prompt_embeds)


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_clip_skip_counts_layers_from_the_end(
    texts: TextEncoders, theirs: Any, vocabulary: dict[str, int], clip_skip: int
) -> None:
    rows = rows_of(vocabulary, "ab|")
    expected = torch.cat([states_of(encoder, rows, -clip_skip) for encoder in theirs], dim=-1)
    assert torch.equal(texts.embed(("ab",), clip_skip=clip_skip).prompt_embeds, expected)


@pytest.mark.parametrize("clip_skip", [0, 3, 12])
def test_a_layer_that_is_not_there(texts: TextEncoders, clip_skip: int) -> None:
    with pytest.raises(BadValue, match=f"clip_skip cannot be {clip_skip}") as caught:
        texts.embed(("ab",), clip_skip=clip_skip)
    assert caught.value.field == "clip_skip"
    assert "2 layers" in caught.value.hint


def test_a_family_with_one_encoder_and_a_last_norm(
    make: Callable[..., TextEncoders], theirs: Any, vocabulary: dict[str, int]
) -> None:
    """Stable Diffusion 1.5 reads its one encoder so: the chosen layer through the last layer norm."""
    one = make([EncoderSpec("tokenizer", "text_encoder", "clip_l", is_normed=True)])
    rows = rows_of(vocabulary, "ab|")
    said = theirs[0](torch.tensor(rows), output_hidden_states=True)
    assert torch.equal(one.embed(("ab",), clip_skip=1).prompt_embeds, said.last_hidden_state)
    assert torch.equal(one.embed(("ab",), clip_skip=1).pooled_prompt_embeds, said.pooler_output)
    normed = theirs[0].final_layer_norm(said.hidden_states[-2])
    assert torch.equal(one.embed(("ab",), clip_skip=2).prompt_embeds, normed)


def test_every_text_counts_towards_the_limit(texts: TextEncoders) -> None:
    lines = ["ab"] * (MAX_CHUNKS - 1) + ["c" * (ROOM + 1)]
    with counted_rows() as rows:
        whole = texts.embed(lines[1:], clip_skip=2)
        assert (whole.prompt_embeds.shape[1], whole.tokens_cut) == (MAX_CHUNKS * TOKENS, 0)
        cut = texts.embed([*lines, "never read"], clip_skip=2)
    assert cut.prompt_embeds.shape[1] == MAX_CHUNKS * TOKENS
    assert cut.tokens_read == 2 * (MAX_CHUNKS - 1) + ROOM
    assert cut.tokens_cut == 1 + len("neverread")
    assert rows == [1, 2]  # each text once, and the last not at all


def test_a_text_seen_lately_runs_no_encoder_up_to_a_number_of_bytes(make: Callable[..., TextEncoders]) -> None:
    chunk = (TOKENS * (16 + 24) + 24) * 4
    texts = make(cache_bytes=2 * chunk)
    with counted_rows() as rows:
        for text in ("a", "b", "a", "b"):
            texts.embed((text,), clip_skip=2)
        assert rows == [1, 1]
        texts.embed(("c",), clip_skip=2)  # "a" was used longest ago
        texts.embed(("b",), clip_skip=2)
        assert rows == [1, 1, 1]
        texts.embed(("a",), clip_skip=2)
        assert rows == [1, 1, 1, 1]
        texts.embed(("d" * 3 * ROOM,), clip_skip=2)  # larger than the whole cache: used, not kept
        texts.embed(("d" * 3 * ROOM,), clip_skip=2)
        assert rows[4:] == [3, 3]
        texts.embed(("e",), clip_skip=2)
        texts.embed(("e",), clip_skip=1)
        texts.embed(("e",), clip_skip=2)
        assert rows[6:] == [1, 1]


def test_what_is_kept_cannot_be_changed_from_outside(texts: TextEncoders) -> None:
    first = texts.embed(("a",), clip_skip=2)
    expected = first.prompt_embeds.clone(), first.pooled_prompt_embeds.clone()
    first.prompt_embeds.zero_()
    first.pooled_prompt_embeds.zero_()
    again = texts.embed(("a",), clip_skip=2)
    assert torch.equal(again.prompt_embeds, expected[0])
    assert torch.equal(again.pooled_prompt_embeds, expected[1])


def test_sections_are_split_at_the_word_only() -> None:
    assert split_sections("a BREAK (b:1.5) BREAKFAST \ud800") == [[("a", 1.0)], [("b", 1.5), (" BREAKFAST ", 1.0)]]
    assert split_sections("") == [[]]


def test_marks_in_a_prompt_are_no_marks(tokenizer: Tokenizer) -> None:
    ids = [token.id for chunk in tokenizer.chunks([(f"{EOS} a {BOS}", 1.0)], ROOM, {}) for token in chunk]
    assert len(ids) == 1
    assert not {tokenizer.start, tokenizer.end} & set(ids)
