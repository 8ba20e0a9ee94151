"""Textual inversions: vectors in the encoders, against a vocabulary that was really extended; and hostile files."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.embeddings import load_embedding
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.run import Engine
from fooocus_lite.engine.sdxl import ENCODERS
from fooocus_lite.engine.text import EncoderSpec, TextEncoders
from fooocus_lite.errors import BadValue, CorruptModel, FooocusError, MissingModel
from fooocus_lite.events import Failed
from tests.engine.conftest import go_on
from tests.engine.tiny_sdxl import TOKENS, make_plan, model_ref

WIDTHS = {"clip_l": 16, "clip_g": 24}
ROOM = TOKENS - 2


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def texts(model: Path) -> TextEncoders:
    return TextEncoders(ModelParts(model_ref(model)), choose_machine("cpu", "fp32"), ENCODERS)


def vectors(count: int = 1, *, seed: int = 5, **widths: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(count, width, generator=generator) for key, width in (widths or WIDTHS).items()}


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def with_more_words(kind: Any, folder: Path, added: Tensor) -> Any:
    """The encoder with vectors at the end of its vocabulary: what a new token of a tokenizer would read."""
    encoder = kind.from_pretrained(folder).eval()
    before = encoder.get_input_embeddings()
    after = torch.nn.Embedding.from_pretrained(torch.cat([before.weight, added]))
    encoder.set_input_embeddings(after)
    return encoder


def by_hand(folder: Path, added: dict[str, Tensor], rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    ids = torch.tensor(rows)
    both = [
        with_more_words(CLIPTextModel, folder / "text_encoder", added["clip_l"])(ids, output_hidden_states=True),
        with_more_words(CLIPTextModelWithProjection, folder / "text_encoder_2", added["clip_g"])(
            ids, output_hidden_states=True
        ),
    ]
    return torch.cat([said.hidden_states[-2] for said in both], -1).flatten(0, 1)[None], both[1].text_embeds[:1]


def ids_of(folder: Path, *words: str | int) -> list[list[int]]:
    """One row: letters by name, own vectors by number."""
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text("utf-8"))
    size = len(vocabulary)
    ids = [size - 2, *(size + word if isinstance(word, int) else vocabulary[f"{word}</w>"] for word in words)]
    return [ids + [size - 1] * (TOKENS - len(ids))]


@pytest.mark.parametrize("shape", ["rows", "row"])
@pytest.mark.parametrize("names", [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")])
def test_a_vector_stands_for_a_word(
    texts: TextEncoders, model: Path, tmp_path: Path, names: tuple[str, str], shape: str
) -> None:
    own = vectors()
    stored = {name: tensor if shape == "rows" else tensor[0] for name, tensor in zip(names, own.values(), strict=True)}
    file = write(tmp_path / "f.safetensors", stored)
    hidden, pooled = by_hand(model, own, ids_of(model, "a", 0, "b"))
    plain = texts.embed(("a b",), clip_skip=2)
    embedded = texts.embed(("a embedding:my/f b",), clip_skip=2, embeddings={"my/f": file})
    torch.testing.assert_close(embedded.prompt_embeds, hidden)
    torch.testing.assert_close(embedded.pooled_prompt_embeds, pooled)
    assert embedded.tokens_read == 3
    fresh = TextEncoders(ModelParts(model_ref(model)), choose_machine("cpu", "fp32"), ENCODERS).embed(
        ("a b",), clip_skip=2
    )
    assert torch.equal(fresh.prompt_embeds, plain.prompt_embeds)
    fooled = texts.embed(("a b c",), clip_skip=2)  # the vocabulary is as it was
    assert not torch.allclose(fooled.prompt_embeds[:, :3], embedded.prompt_embeds[:, :3], atol=1e-3)


def test_several_vectors_stay_together_and_take_weights(texts: TextEncoders, model: Path, tmp_path: Path) -> None:
    own = vectors(4)
    files = {"f": write(tmp_path / "f.safetensors", own)}
    once = texts.embed(("embedding:f, x",), clip_skip=2, embeddings=files)
    hidden, _ = by_hand(model, own, ids_of(model, 0, 1, 2, 3, ",", "x"))
    torch.testing.assert_close(once.prompt_embeds, hidden)
    # 12 letters leave room for two of the four
    parted = texts.embed(("abcdefghijkl embedding:f",), clip_skip=2, embeddings=files)
    alone = texts.embed(("embedding:f",), clip_skip=2, embeddings=files)
    torch.testing.assert_close(parted.prompt_embeds[:, TOKENS:], alone.prompt_embeds)
    weighed = texts.embed(("(embedding:f:1.3), x",), clip_skip=2, embeddings=files)
    same = (weighed.prompt_embeds / once.prompt_embeds).reshape(TOKENS, -1)[6:, :16]
    torch.testing.assert_close(same, same[0, 0].expand_as(same), rtol=1e-3, atol=1e-3)  # only the mean's factor
    assert not torch.allclose(weighed.prompt_embeds[:, 1:5], same[0, 0] * once.prompt_embeds[:, 1:5], atol=1e-3)


def test_a_name_without_a_file_is_left_out(texts: TextEncoders) -> None:
    left_out = texts.embed(("a embedding:gone b",), clip_skip=2)
    assert torch.equal(left_out.prompt_embeds, texts.embed(("a b",), clip_skip=2).prompt_embeds)


def test_a_changed_file_is_read_again(texts: TextEncoders, tmp_path: Path) -> None:
    file = write(tmp_path / "f.safetensors", vectors(1))
    said = [texts.embed(("embedding:f",), clip_skip=2, embeddings={"f": file}).prompt_embeds for _ in range(2)]
    assert torch.equal(*said)
    write(file, vectors(2))
    assert not torch.equal(texts.embed(("embedding:f",), clip_skip=2, embeddings={"f": file}).prompt_embeds, said[0])
    file.unlink()
    with pytest.raises(MissingModel, match=r"embedding file .*f\.safetensors is missing"):
        texts.embed(("embedding:f",), clip_skip=2, embeddings={"f": file})


@pytest.mark.parametrize("key", ["emb_params", "<my-word>", "clip_l"])
@pytest.mark.parametrize("count", [1, 3])
def test_files_for_one_encoder(model: Path, tmp_path: Path, key: str, count: int) -> None:
    """Stable Diffusion 1.5: one tensor, whatever the trainer called it."""
    file = write(tmp_path / "f.safetensors", vectors(count, **{key: 16}))
    read = load_embedding("f", file, {"clip_l": 16}, room=ROOM)
    assert torch.equal(read["clip_l"], vectors(count, **{key: 16})[key])
    one = TextEncoders(
        ModelParts(model_ref(model)),
        choose_machine("cpu", "fp32"),
        [EncoderSpec("tokenizer", "text_encoder", "clip_l")],
    )
    assert one.embed(("embedding:f",), clip_skip=1, embeddings={"f": file}).tokens_read == count


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_width_of_number_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    file = write(tmp_path / "f.safetensors", {key: tensor.to(dtype) for key, tensor in vectors(2).items()})
    read = load_embedding("f", file, WIDTHS, room=ROOM)
    assert {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in read.items()} == {
        "clip_l": ((2, 16), torch.float32), "clip_g": ((2, 24), torch.float32),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tensors", "widths", "said"),
    [
        (
            vectors(emb_params=768),
            {"clip_l": 768, "clip_g": 1280},
            "of 768 numbers, and this model reads 768 and 1,280",
        ),
        (vectors(clip_l=768, clip_g=1280), {"clip_l": 768}, "of 768 and 1,280 numbers, and this model reads 768"),
        (vectors(emb_params=1024), {"clip_l": 768}, "of 1,024 numbers, and this model reads 768"),
        (vectors(clip_g=1280), {"clip_l": 768, "clip_g": 1280}, "of 1,280 numbers"),
        (vectors(clip_l=24, clip_g=16), WIDTHS, "another kind of model"),
        ({"steps": torch.tensor([3])}, WIDTHS, "of no numbers"),
        ({"clip_l": torch.zeros(1, 8, dtype=torch.float4_e2m1fn_x2)}, {"clip_l": 16}, "of no numbers"),
        ({"emb_params": torch.zeros(0, 16)}, {"clip_l": 16}, "of no numbers"),
        ({"a": torch.zeros(1, 16), "b": torch.zeros(1, 16)}, {"clip_l": 16}, "another kind of model"),
        (vectors(ROOM + 1), WIDTHS, "holds 15 vectors, and at most 14"),
    ],
)
def test_one_for_another_model_is_refused(tmp_path: Path, tensors: Any, widths: dict[str, int], said: str) -> None:
    with pytest.raises(BadValue) as caught:
        load_embedding("f", write(tmp_path / "f.safetensors", tensors), widths, room=ROOM)
    assert said in caught.value.problem
    assert "embedding:f" in caught.value.hint
    assert caught.value.field == "prompt"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff\x13<html>not here</html>" * 1000)


def pickled(path: Path) -> None:
    torch.save(vectors(), path)


def with_header(path: Path, text: bytes, body: bytes = b"\0" * 64) -> None:
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def deep(path: Path) -> None:
    with_header(path, b"[" * 200_000)


def strange_offsets(path: Path) -> None:
    with_header(path, b'{"clip_l": {"dtype": "F32", "shape": [1, 16], "data_offsets": [0, 1e400]}}')


def text_for_offsets(path: Path) -> None:
    with_header(path, b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, null]}, "b": 5}')


def huge_shape(path: Path) -> None:
    with_header(path, b'{"clip_l": {"dtype": "F32", "shape": [99999999999, 16], "data_offsets": [0, 64]}}')


def unknown_numbers(path: Path) -> None:
    with_header(path, b'{"clip_l": {"dtype": "Q7", "shape": [1, 16], "data_offsets": [0, 64]}}')


def overlapping(path: Path) -> None:
    row = b'{"dtype": "F32", "shape": [1, 16], "data_offsets": [0, 64]}'
    with_header(path, b'{"clip_l": ' + row + b', "clip_g": ' + row + b"}")


def too_large(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(17 * 2**20)


def not_a_number(path: Path) -> None:
    write(path, vectors() | {"clip_l": torch.full((1, 16), torch.nan)})


def infinite(path: Path) -> None:
    write(path, vectors() | {"clip_g": torch.full((1, 24), 1e30)})


def unequal(path: Path) -> None:
    write(path, {"clip_l": vectors(1)["clip_l"], "clip_g": vectors(2)["clip_g"]})


HOSTILE = [
    cut, empty, garbage, pickled, deep, strange_offsets, text_for_offsets, huge_shape, unknown_numbers, overlapping,
    too_large, not_a_number, infinite, unequal,
]  # fmt: skip


@pytest.mark.parametrize("damage", HOSTILE, ids=lambda damage: damage.__name__)
def test_a_damaged_or_hostile_file_is_one_sentence(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = write(tmp_path / "f.safetensors", vectors())
    damage(file)
    with pytest.raises(FooocusError) as caught:
        load_embedding("f", file, WIDTHS, room=ROOM)
    assert isinstance(caught.value, CorruptModel)
    assert caught.value.problem.startswith("The embedding file ")
    assert "f.safetensors is damaged: " in caught.value.problem
    assert len(caught.value.problem) < 300 and "\n" not in caught.value.problem
    assert "the embedding again" in caught.value.hint


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        (vectors(clip_l=16, clip_g=23), "bad_value"),
        (vectors(clip_l=16) | {"clip_g": torch.full((1, 24), torch.inf)}, "corrupt_model"),
    ],
)
def test_nothing_is_drawn_with_a_file_that_does_not_fit(model: Path, tmp_path: Path, tensors: Any, code: str) -> None:
    file = write(tmp_path / "f.safetensors", tensors)
    engine = Engine(device="cpu", preview_fps=0)
    plan = make_plan(model, texts=("a", "b embedding:f"), embeddings=(("f", str(file)),), steps=1)
    events = list(engine.run(plan, go_on))
    assert [event.kind for event in events] == ["started", "failed"]
    assert isinstance(events[-1], Failed) and events[-1].code == code
    write(file, vectors())
    assert [event.kind for event in engine.run(plan, go_on)][-1] == "finished"
