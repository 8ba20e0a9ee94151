"""Files nobody vouches for: whatever is in them, the answer is a recipe or one sentence, in a bounded memory."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fooocus_lite.errors import FooocusError
from fooocus_lite.guidances import GUIDANCES, KNOBS, OFF
from fooocus_lite.metadata import ReadPicture, a1111, read_stream, read_text
from fooocus_lite.metadata.mapping import Mapped, to_recipe
from fooocus_lite.metadata.parameters import to_parameters
from fooocus_lite.picture_text import PictureInfo, to_text
from fooocus_lite.png import encode_png
from fooocus_lite.recipe import MAX_SEED, Lora, Recipe, number_range
from fooocus_lite.registry import SAMPLERS, SCHEDULERS
from fooocus_lite.untrusted import MAX_TEXT_BYTES
from tests.deeds import foreign as f

MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MAX_MEMORY = 60 * MAX_TEXT_BYTES // 4


def outcome(read: Callable[[], ReadPicture]) -> ReadPicture | FooocusError:
    """What was found, or our error; anything else raises."""
    try:
        found = read()
    except FooocusError as exc:
        assert exc.code == "unreadable_picture"
        assert exc.hint and exc.problem.endswith(".") and exc.problem.count("\n") == 0 and len(exc.problem) < 300
        exc.problem.encode("utf-8")
        return exc
    json.dumps(found.to_dict(), allow_nan=False).encode("utf-8")
    "".join([*found.warnings, found.raw, found.recipe.prompt]).encode("utf-8")
    return found


def read(data: bytes) -> ReadPicture | FooocusError:
    return outcome(lambda: read_stream(io.BytesIO(data), None, name="it"))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + bytes(4)


def png_with(*chunks: bytes) -> bytes:
    plain = encode_png(bytes(12), 2, 2, {})
    return plain[:33] + b"".join(chunks) + plain[33:]


def text(key: bytes, value: bytes) -> bytes:
    return chunk(b"tEXt", key + b"\0" + value)


def jpeg_with(exif: bytes) -> bytes:
    plain = f.with_exif("JPEG", {f.SOFTWARE: "x"})
    end = 4 + struct.unpack(">H", plain[4:6])[0] if plain[2:4] == b"\xff\xe1" else 2
    block = b"Exif\0\0" + exif
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[end:]


BOMB = zlib.compress(bytes(100_000_000), 9)
WIDE = b"[" + b"[]," * 1_300_000 + b"[]]"
ROW = {
    str(n): f.node("KSampler", steps=1, seed=1, model=[str(n), 0], latent_image=[str(n + 1), 0]) for n in range(5000)
}
CHAIN = {"0": f.node("KSampler", seed=1, steps=5, cfg=2, latent_image=["1", 0], positive=["1", 0])} | {
    str(n): f.node("X", width=[str(n + 1), 0], latent=[str(n + 1), 0]) for n in range(1, 12_000)
}
LONG_COMMENT = b"UNICODE\0" + b"{a" * 1_900_000
#: Hostile, and yet they say something.
READABLE = {"quotes without end", "sizes that lead nowhere"}
HOSTILE = {
    "bomb zTXt": png_with(chunk(b"zTXt", b"parameters\0\0" + BOMB)),
    "bomb iTXt": png_with(chunk(b"iTXt", b"prompt\0\x01\0\0\0" + BOMB)),
    "bombs": png_with(*(chunk(b"zTXt", b"parameters\0\0" + BOMB) for _ in range(50))),
    "long text": png_with(text(b"parameters", b"x" * (MAX_TEXT_BYTES + 1))),
    "many long texts": png_with(*(text(key, b"x" * MAX_TEXT_BYTES) for key in (b"parameters", b"prompt", b"workflow"))),
    "deep list": png_with(text(b"prompt", b'{"1":' + b"[" * 400_000)),
    "deep objects": png_with(text(b"prompt", b'{"class_type":' * 100_000)),
    "wide list": png_with(text(b"prompt", b'{"class_type":' + WIDE + b"}")),
    "long number": png_with(text(b"invokeai_metadata", b'{"positive_prompt":"x","seed":' + b"9" * 1_000_000 + b"}")),
    "NaN": png_with(text(b"parameters", b'{"metadata_scheme":"fooocus","prompt":"x","guidance_scale":NaN}')),
    "infinity": png_with(text(b"parameters", b'{"metadata_scheme":"fooocus","prompt":"x","guidance_scale":1e999}')),
    "python": png_with(text(b"parameters", b"__import__('os').system('touch pwned')")),
    "a size of spaces": png_with(text(b"parameters", f.as_json(f.FOOOCUS | {"resolution": " " * 1_000_000}).encode())),
    "pickle": png_with(text(b"parameters", b"\x80\x04\x95\x0e\0\0\0\0\0\0\0\x8c\x05posix\x94.")),
    "half a character": png_with(text(b"parameters", json.dumps(f.FOOOCUS | {"prompt": "\ud800"}).encode())),
    "entities": png_with(text(b"parameters", b'<!DOCTYPE x [<!ENTITY a "&b;">]><x>&a;</x>')),
    "50,000 × 50,000": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    + text(b"parameters", f.A1111.encode())
    + chunk(b"IEND", b""),
    "chunks without end": b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"x\0y") * 60_000,
    "chunk beyond the end": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 0xFFFFFFFF) + b"tEXtparameters\0",
    "pairs without end": png_with(text(b"parameters", b"Steps: 1" + b", a: 1" * 40_000)),
    "quotes without end": png_with(text(b"parameters", b"Steps: 1" + b', a: ["' * 40_000)),
    "EXIF that points at itself": jpeg_with(b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0"),
    "EXIF beyond its end": jpeg_with(b"II*\0\xff\xff\xff\xff"),
    "EXIF of a thousand entries": jpeg_with(
        b"MM\0*\0\0\0\x08\xff\xff" + b"\x92\x86\0\x02\xff\xff\xff\xff\0\0\0\0" * 1000
    ),
    "EXIF that says the same 1,000 times": png_with(
        chunk(
            b"eXIf",
            struct.pack("<4sIH", b"II*\0", 8, 1000)
            + struct.pack("<HHII", 0x9286, 7, len(LONG_COMMENT), 12_010) * 1000
            + LONG_COMMENT,
        )
    ),
    "JPEG of fill bytes": b"\xff\xd8\xff" + b"\xff" * 1_000_000,
    "a long number in brackets": png_with(text(b"parameters", b"[::" + b"1" * 250_000 + b"x\nSteps: 5")),
    "sizes that lead nowhere": png_with(text(b"prompt", f.as_json(CHAIN).encode())),
    "WebP that claims more": b"RIFF\xff\xff\xff\x7fWEBPEXIF\xff\xff\xff\x7f",
    "samplers in a row": png_with(text(b"prompt", f.as_json(ROW).encode())),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_sentence_and_little_memory(name: str) -> None:
    tracemalloc.start()
    try:
        result = read(HOSTILE[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY, f"{peak:,} bytes"
    if name not in READABLE:
        assert isinstance(result, FooocusError), result


WHOLE = {
    "fooocus.png": f.png(parameters=f.as_json(f.FOOOCUS)),
    "fooocus.jpg": f.with_exif("JPEG", {f.USER_COMMENT: f.as_json(f.FOOOCUS)}),
    "fooocus.webp": f.with_exif("WEBP", {f.USER_COMMENT: f.as_json(f.FOOOCUS)}),
    "a1111.png": f.png(parameters=f.A1111),
    "a1111.jpg": f.with_exif("JPEG", folder={f.USER_COMMENT: f.comment(f.A1111)}),
    "comfy.png": f.png(prompt=f.as_json(f.COMFY), compressed=True),
    "comfy.webp": f.with_exif("WEBP", {f.MODEL: "prompt:" + f.as_json(f.COMFY)}),
    "invoke.png": f.png(invokeai_metadata=f.as_json(f.INVOKE)),
    "ours.png": encode_png(bytes(12), 2, 2, {"fooocus_lite": to_text(PictureInfo(recipe=Recipe(prompt="a fox")))}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_half_a_file_is_refused_wherever_it_is_cut(name: str) -> None:
    whole = WHOLE[name]
    assert isinstance(read(whole), ReadPicture)
    for end in {1, 8, 12, 20, 33, 40, 100, *range(0, len(whole), 97), len(whole) // 2, len(whole) - 13}:
        assert isinstance(read(whole[:end]), FooocusError), f"cut at {end} of {len(whole)}"


@pytest.mark.parametrize("fill", [1, 511, 512, 1_500])
def test_fill_bytes_before_a_marker_are_stepped_over(fill: int) -> None:
    whole = WHOLE["fooocus.jpg"]
    assert isinstance(read(whole[:2] + b"\xff" * fill + whole[2:]), ReadPicture)


@MANY
@given(st.binary(max_size=4_000))
def test_random_bytes(data: bytes) -> None:
    read(data)
    read(b"\x89PNG\r\n\x1a\n" + data)
    read(b"\xff\xd8\xff" + data)
    read(b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP" + data)
    read(jpeg_with(b"II*\0\x08\0\0\0" + data))


@MANY
@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6)), max_size=8),
)
def test_pictures_with_bytes_changed(name: str, changes: list[tuple[float, bytes]]) -> None:
    data = bytearray(WHOLE[name])
    for place, piece in changes:
        start = int(place * len(data))
        data[start : start + len(piece)] = piece
    read(bytes(data))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    sorted({*f.FOOOCUS, *f.INVOKE, *f.INVOKE_OLD, "recipe", "nodes", "links", "version", "Styles", "LoRA 1"})
)
INPUTS = (
    "seed", "steps", "cfg", "sampler_name", "model", "positive", "negative", "latent_image", "text", "ckpt_name",
    "lora_name", "width", "height", "guider", "sigmas", "lora_1", "image",
)  # fmt: skip
NODES = st.dictionaries(
    st.sampled_from("123456"),
    st.fixed_dictionaries(
        {"class_type": st.sampled_from(["KSampler", "X"]) | JSON},
        optional={
            "inputs": st.dictionaries(
                st.sampled_from(INPUTS),
                st.tuples(st.sampled_from("123456"), st.integers(0, 1)).map(list) | JSON,
            )
        },
    ),
)


@MANY
@given(st.dictionaries(KEYS, JSON, max_size=8) | NODES | JSON)
def test_random_json(data: Any) -> None:
    outcome(lambda: read_text(json.dumps(data), None))


@MANY
@given(st.dictionaries(KEYS, JSON, max_size=3))
def test_settings_with_values_changed(changes: dict[str, Any]) -> None:
    for whole in (f.FOOOCUS, f.INVOKE, f.INVOKE_OLD):
        outcome(lambda whole=whole: read_text(json.dumps(whole | changes), None))  # type: ignore[misc]


PIECES = st.sampled_from((
    "Steps: 5", "Negative prompt:", "\n", ", ", ": ", '"', "[", "{", "\\", "Seed: ", "Size: 1x", "Raw prompt: ",
    "<lora:a:1>", "Styles: ",
))  # fmt: skip


@MANY
@given(st.lists(PIECES | st.text(max_size=6), max_size=30).map("".join))
def test_random_a1111_text(words: str) -> None:
    outcome(lambda: read_text(words, None))
    outcome(lambda: read_text(f"{words}\nSteps: 5, {words}", None))


RECIPES = st.builds(
    Recipe,
    prompt=st.text(max_size=60) | st.lists(PIECES, max_size=6).map("".join),
    negative_prompt=st.text(max_size=30) | st.just(""),
    styles=st.lists(st.text(min_size=1, max_size=12), max_size=3).map(tuple),
    model=st.sampled_from(["starter", "a, b: c", "foxXL"]),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    seed=st.integers(0, MAX_SEED),
    steps=st.integers(1, 200),
    sampler=st.sampled_from(sorted(SAMPLERS)),
    scheduler=st.sampled_from(sorted(SCHEDULERS)),
    guidance_scale=st.floats(1, 30),
    **{name: st.just(off) | st.floats(*number_range(name)) for name, off in OFF.items() if name in KNOBS},
    loras=st.none() | st.just((Lora(name="ink", weight=0.5), Lora(name="soft lines", weight=-1.25))),
)


def as_found(recipe: Recipe, texts: tuple[str, ...]) -> Mapped:
    return to_recipe(a1111.read(to_parameters(PictureInfo(recipe=recipe, texts=texts))), None, (0, 0))


@MANY
@given(RECIPES, st.lists(st.text(max_size=20), max_size=2).map(tuple))
@example(Recipe(prompt="a\nSteps: 3, Seed: 4", steps=5, styles=("Ünï, code",)), ())
@example(Recipe(prompt="a\nNegative prompt: b", negative_prompt=" c ", steps=5), ("other",))
@example(
    Recipe(
        prompt="a", steps=30, mode="speed", guidance_scale=9, sharpness=2,
        adm_positive=1.5, adm_negative=1, adm_end=0.3,
    ),
    (),
)  # fmt: skip
def test_our_recipe_comes_back_from_the_text_for_others(recipe: Recipe, texts: tuple[str, ...]) -> None:
    mapped = as_found(recipe, texts)
    off = [row for row in GUIDANCES.values() if not row.is_on(recipe.weights())]
    wanted = recipe.model_copy(
        update={
            **{name: None for row in off for name in row.fields if name in KNOBS},
            "negative_prompt": recipe.negative_prompt or "",
            "styles": recipe.styles or (),
            "loras": recipe.loras or (),
        }
    )
    assert mapped.recipe == wanted


def test_half_characters_in_names_can_still_be_shown() -> None:
    changes = {"loras": [["\ud800ink", 1, ""]], "base_model": "foxXL", "vae": "\udfff", "refiner_model": "\ud800"}
    found = outcome(lambda: read_text(json.dumps(f.FOOOCUS | changes), f.LIBRARY))
    assert isinstance(found, ReadPicture)
    assert (found.recipe.loras or ())[0].name == "\N{REPLACEMENT CHARACTER}ink"


def test_what_moves_a_cursor_or_turns_text_around_is_not_in_a_warning() -> None:
    words = "\x1b[2J\u202egnp\x9b\r\n"
    found = read_text(json.dumps(f.FOOOCUS | {"styles": [words], "base_model": words, "vae": words}), f.LIBRARY)
    assert len(found.warnings) >= 4
    assert all(sentence.isprintable() for sentence in found.warnings)
