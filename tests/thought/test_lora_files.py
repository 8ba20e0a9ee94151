"""LoRAs by name, what their headers say, and which are refused before any model is loaded."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.errors import BadValue, CorruptModel, MissingModel
from fooocus_lite.library import Library, load_library
from fooocus_lite.lora_files import LoraCards, Takes, lora_row, preview_path, trigger_words
from fooocus_lite.lora_keys import MadeFor, delta_shape, find_place, fits, made_for, unknown_keys
from fooocus_lite.plan import Plan, make_plan, resolve
from fooocus_lite.recipe import MAX_LORAS, Lora, parse_recipe
from fooocus_lite.settings import load_settings
from fooocus_lite.wording import LoraRef
from tests.lora_header import CROSS, FLUX, lora_bytes, safetensors_bytes

Load = Callable[[], Library]


@pytest.fixture
def loras(root: Path) -> Path:
    """``models/loras`` with three files, beside a model whose UNet reads texts of 40 numbers."""
    folder = root / "models" / "loras"
    (folder / "sub").mkdir(parents=True)
    for name in ("ink", "sub/Soft Lines", "sub/ink"):
        (folder / f"{name}.safetensors").write_bytes(lora_bytes())
    (root / "models" / "tiny" / "unet").mkdir()
    (root / "models" / "tiny" / "unet" / "config.json").write_text('{"cross_attention_dim": 40}')
    return folder


def plan(library: Library, **fields: Any) -> Plan:
    return make_plan(parse_recipe({"prompt": "a star", "model": "tiny", **fields}), library, 1)


@pytest.mark.parametrize(
    "name, file",
    [
        ("ink", "ink"), ("INK.safetensors", "ink"), ("sub/ink", "sub/ink"), ("sub\\ink.safetensors", "sub/ink"),
        ("soft-lines", "sub/Soft Lines"), ("Sub/SOFT_LINES", "sub/Soft Lines"),
    ],
)  # fmt: skip
def test_names_are_found_as_people_write_them(loras: Path, load: Load, name: str, file: str) -> None:
    path = str(loras / f"{file}.safetensors")
    assert plan(load(), loras=[{"name": name, "weight": 0.5}]).loras == (LoraRef(file, path, 0.5),)
    assert plan(load(), prompt=f"<lora:{name}:0.5> x").loras == (LoraRef(name, path, 0.5),)


def test_the_list_comes_before_the_prompt_and_is_stronger(loras: Path, load: Load) -> None:
    found = plan(
        load(),
        prompt="x <lora:sub/ink:0.3> <lora:ink:0.9> <lora:sub/ink:0.2>",
        loras=[
            {"name": "ink.safetensors", "weight": -0.5},
            {"name": "soft lines", "weight": 0},
            {"name": "soft lines", "weight": 0.7, "enabled": False},
        ],
    )
    assert [(lora.name, lora.weight) for lora in found.loras] == [
        ("ink", -0.5), ("sub/ink", 0.3), ("sub/ink", 0.2),
    ]  # fmt: skip
    assert found.warnings == ()


def test_a_file_that_comes_later_does_not_change_a_resolved_recipe(loras: Path, load: Load) -> None:
    (loras / "old.pt").write_bytes(b"x")
    rows = [{"name": "soft_lines", "weight": 0.5}, {"name": "OLD", "enabled": False}, {"name": "gone"}]
    wish = parse_recipe({"model": "tiny", "prompt": "<lora:INK:1>", "loras": rows})
    full = resolve(wish, load(), 1)
    assert [lora.name for lora in full.loras or ()] == ["sub/Soft Lines", "old", "gone"]
    assert full.prompt == "<lora:INK:1>"
    before = make_plan(full, load(), 1)
    for name in ("soft_lines", "soft lines"):
        (loras / f"{name}.safetensors").write_bytes(lora_bytes())
    assert make_plan(full, load(), 1) == before
    assert make_plan(wish, load(), 1).loras[0].path.endswith("/loras/soft_lines.safetensors")


def test_a_name_longer_than_a_recipe_holds_stays_as_written(loras: Path, load: Load) -> None:
    (loras / ("a" * 150)).mkdir()
    (loras / ("a" * 150) / f"{'b' * 90}.safetensors").write_bytes(lora_bytes())
    full = resolve(parse_recipe({"model": "tiny", "loras": [{"name": "B" * 90}]}), load(), 1)
    assert parse_recipe(full.model_dump(mode="json")) == full and make_plan(full, load(), 1).loras


def test_what_is_missing_is_a_warning_and_nothing_else(loras: Path, load: Load) -> None:
    found = plan(load(), loras=[{"name": "inc"}, {"name": "gone", "weight": 0}, {"name": "off", "enabled": False}])
    assert found.loras == ()
    assert len(found.warnings) == 1 and found.warnings[0].startswith("There is no LoRA 'inc' in models/loras. Did you")


def test_more_than_anybody_uses_are_refused(loras: Path, load: Load) -> None:
    many = [{"name": "ink", "weight": 0.1}] * 15
    assert len(plan(load(), loras=many, prompt="<lora:sub/ink:1>" * 5).loras) == MAX_LORAS
    with pytest.raises(BadValue, match=r"21 LoRAs at once are too many. Use at most 20"):
        plan(load(), loras=many, prompt="<lora:sub/ink:1>" * 6)
    with pytest.raises(BadValue, match="40 LoRAs at once"):
        plan(load(), prompt="<lora:ink:1>" * 40)
    assert plan(load(), prompt="<lora:ink:0>" * 40).loras == ()
    with pytest.raises(BadValue, match=r"loras cannot be this list. Allowed is a list of at most 20 LoRAs"):
        parse_recipe({"loras": [{"name": "ink"}] * 21})


@pytest.mark.parametrize(
    "row, words",
    [
        ({"name": "ink", "weight": 11}, "The weight of a LoRA cannot be 11. Allowed is a list of at most 20 LoRAs"),
        ({"name": "ink", "weight": True}, "The weight of a LoRA cannot be True."),
        ({"name": "ink", "weight": "x"}, "The weight of a LoRA cannot be 'x'."),
        ({"name": ""}, "The name of a LoRA cannot be ''."),
        ({"name": "ink", "strength": 1}, "The strength of a LoRA cannot be 1."),
        ({"weight": 1}, "The name of a LoRA cannot be an object."),
        ("ink", "loras cannot be 'ink'."),
    ],
)
def test_a_wrong_row_is_named(row: Any, words: str) -> None:
    with pytest.raises(BadValue) as refused:
        parse_recipe({"loras": [row]})
    assert words in str(refused.value) and refused.value.field == "loras"


def test_a_weight_in_a_tag_has_the_same_range(loras: Path, load: Load) -> None:
    with pytest.raises(BadValue, match=r"The weight of the LoRA ink cannot be 10.5. Allowed is -10 to 10"):
        plan(load(), prompt="<lora:ink:10.5> x")


def test_rows_are_part_of_a_recipe_as_any_other_field(loras: Path, load: Load) -> None:
    wish = parse_recipe({"loras": [{"name": "a\0b", "weight": "0.5"}, {"name": "c", "enabled": False}]})
    assert wish.loras == (Lora(name="ab", weight=0.5), Lora(name="c", enabled=False))
    assert parse_recipe(json.loads(wish.model_dump_json())) == wish
    assert parse_recipe({"loras": []}).over(wish).loras == ()
    assert parse_recipe({"steps": 3}).over(wish).loras == wish.loras
    assert load().filled(parse_recipe({"preset": "plain"})).loras == ()


def test_where_files_are_looked_for(root: Path, loras: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    theirs, elsewhere = tmp_path_factory.mktemp("Fooocus"), tmp_path_factory.mktemp("models")
    for folder in (theirs / "models" / "loras", theirs / "more", root / "models" / "adapters"):
        folder.mkdir(parents=True)
        (folder / f"of {folder.name}.safetensors").write_bytes(lora_bytes())
        (folder / "ink.safetensors").write_bytes(lora_bytes())
    (theirs / "config.txt").write_text(json.dumps({"path_loras": ["models/loras", "more"]}))
    settings = load_settings({"preset": "plain"}, env={"FOOOCUS_LEGACY_FOLDER": str(theirs)}, root=root)
    library = load_library(settings)
    assert set(library.loras) == {"ink", "sub/Soft Lines", "sub/ink", "of adapters", "of loras", "of more"}
    assert library.loras.find("ink") == str(loras / "ink.safetensors")
    moved = load_settings({"preset": "plain"}, env={"FOOOCUS_MODELS_DIR": str(elsewhere)}, root=root)
    assert load_library(moved).loras.find("ink") == str(root / "models" / "adapters" / "ink.safetensors")
    assert library.refreshed() is library
    (theirs / "more" / "new.safetensors").write_bytes(lora_bytes())
    assert "new" in library.refreshed().loras


@pytest.mark.parametrize("ending", ["pt", "CKPT", "pth", "bin"])
def test_pickles_are_known_only_to_be_refused(loras: Path, load: Load, ending: str) -> None:
    (loras / f"old.{ending}").write_bytes(b"x")
    (loras / f"ink.{ending}").write_bytes(b"x")
    for name in ("old", f"old.{ending}"):
        with pytest.raises(BadValue, match=rf"The LoRA loras/old.{ending} is a pickle.*safetensors"):
            plan(load(), loras=[{"name": name}])
    assert plan(load(), loras=[{"name": "ink"}]).loras[0].path.endswith("ink.safetensors")


@pytest.mark.parametrize(
    "content, words",
    [
        (lora_bytes(2048), "The LoRA odd was made for SDXL, and tiny is another kind of model."),
        (lora_bytes(768), "was made for Stable Diffusion 1.5, and tiny"),
        (lora_bytes(1024), "was made for Stable Diffusion 2, and tiny"),
        (lora_bytes(64), "was made for a model whose texts are 64 numbers wide, and tiny"),
        (lora_bytes(64, layer=FLUX), "was made for FLUX, and tiny"),
        (lora_bytes(64, layer="transformer.blocks.0.attn"), "was made for a transformer model, and tiny"),
    ],
)
def test_another_familys_is_refused_before_any_model_is_loaded(
    loras: Path, load: Load, content: bytes, words: str
) -> None:
    (loras / "odd.safetensors").write_bytes(content)
    with pytest.raises(BadValue) as refused:
        plan(load(), prompt="<lora:odd:1> x")
    assert words in str(refused.value) and refused.value.field == "loras"
    assert plan(load(), prompt="<lora:odd:0> x").loras == ()


def test_a_model_that_says_nothing_of_itself_refuses_none(loras: Path, load: Load) -> None:
    (loras.parent / "tiny" / "unet" / "config.json").write_text("{")
    (loras / "odd.safetensors").write_bytes(lora_bytes(2048))
    assert plan(load(), prompt="<lora:odd:1> x").loras


WHOLE = lora_bytes()


def with_header(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def with_sides(side: str) -> bytes:
    """A layer whose inputs are as many as the product of two such sides."""
    row = f'{{"dtype": "F32", "shape": [2, {side}], "data_offsets": [0, 0]}}'
    return with_header(f'{{"{CROSS}.lokr_w1": {row}, "{CROSS}.lokr_w2": {row}}}')


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x08", WHOLE[:40], WHOLE[:-1], struct.pack("<Q", 2**63) + WHOLE[8:],
        struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 6) + b'{"a":1', struct.pack("<Q", 8) + b'{"a": 1}',
        struct.pack("<Q", 20) + b'{"a": {"shape": 7}} ', struct.pack("<Q", 200_000) + b"[" * 200_000,
        safetensors_bytes({"a": [2]}).replace(b"[0, 8]", b"[0, 9]"), b"PK\x03\x04" + bytes(60),
        with_header(f'{{"__metadata__": [{"[]," * 1_000_000}[]]}}'), with_header('{"__metadata__": {"a": NaN}}'),
        with_sides("9" * 4000), with_sides("-1"), with_sides("2147483648"), with_sides("2.0"), with_sides('"2"'),
    ],
    ids=range(19),
)  # fmt: skip
def test_hostile_files_end_in_one_sentence(loras: Path, load: Load, content: bytes) -> None:
    (loras / "odd.safetensors").write_bytes(content)
    with pytest.raises(CorruptModel, match=r"The LoRA file loras/odd.safetensors is damaged: .*Put an intact copy"):
        plan(load(), prompt="<lora:odd:1> x")
    row = lora_row("odd", str(loras / "odd.safetensors"), LoraCards(), {"tiny": Takes(40)})
    assert "is damaged" in row["problem"] and row["fits"] == []


def test_a_file_that_went_is_told(loras: Path, load: Load) -> None:
    library = load()
    (loras / "ink.safetensors").unlink()
    with pytest.raises(MissingModel, match=r"The LoRA file loras/ink.safetensors is missing"):
        plan(library, prompt="<lora:ink:1> x")


def test_files_are_read_once_until_they_change(loras: Path) -> None:
    cards, path = LoraCards(), loras / "ink.safetensors"
    first = cards.of(str(path))
    assert cards.of(str(path)) is first
    os.utime(path, ns=(1, 1))
    assert cards.of(str(path)) is not first


def test_a_damaged_file_is_read_once_until_it_changes(loras: Path) -> None:
    cards, path = LoraCards(), loras / "ink.safetensors"
    for content in (b"x" * len(WHOLE), WHOLE):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
        with pytest.raises(CorruptModel, match=r"loras/ink.safetensors is damaged: .* Put an intact copy"):
            cards.of(str(path))
    os.utime(path, ns=(2, 2))
    assert cards.of(str(path)).made_for.rank == 3


METADATA = {
    "modelspec.title": "Ink &\x1b[2J <b>wash</b>",
    "modelspec.trigger_phrase": "inkwash, a  drawing",
    "modelspec.description": "x" * 5000,
    "ss_tag_frequency": json.dumps({"10_a": {"paper": 3, "brush": 9}, "5_b": {"paper": 20, "inkwash": 1}}),
    "ss_base_model_version": "sdxl_base_v1-0",
}


def test_a_card_says_what_its_maker_wrote_within_bounds(loras: Path) -> None:
    (loras / "ink.safetensors").write_bytes(lora_bytes(2048, rank=16, metadata=METADATA))
    (loras / "ink.preview.png").write_bytes(b"x")
    row = lora_row(
        "ink", str(loras / "ink.safetensors"), LoraCards(), {"tiny": Takes(40), "xl": Takes(2048), "unknown": Takes()}
    )
    assert row["title"] == "Ink &\N{REPLACEMENT CHARACTER}[2J <b>wash</b>" and len(row["note"]) == 200
    assert row["words"] == ["inkwash", "a drawing", "paper", "brush"]
    assert (row["kind"], row["rank"], row["fits"]) == ("SDXL", 16, ["xl", "unknown"])
    assert row["has_picture"] and row["problem"] == ""
    assert preview_path(str(loras / "sub/ink.safetensors")) is None


@pytest.mark.parametrize(
    "text", ["", "[", "[1]", '{"a": 1}', '{"a": {"b": "x"}}', '{"a": {"b": 1e999}}', "[" * 99_999, None, 5]
)
def test_words_that_cannot_be_read_are_none(text: Any) -> None:
    assert trigger_words({"ss_tag_frequency": text, "modelspec.trigger_phrase": 7}) == ()


def test_words_are_looked_for_within_bounds() -> None:
    """Of a million parts only the first count; a list of words that no trainer writes counts for nothing."""
    phrase = ", " * 2_000 + "inkwash"
    assert trigger_words({"modelspec.trigger_phrase": phrase}) == ()
    assert trigger_words({"modelspec.trigger_phrase": phrase[100:]}) == ("inkwash",)
    for count, words in ((9, ("ink",)), (600_000, ())):
        said = '{"a": {' + '"": 1, ' * count + '"ink": 5}}'
        assert trigger_words({"ss_tag_frequency": said}) == words


def test_words_are_few_and_short() -> None:
    said = {f"{'w' * 99}{number}": number for number in range(50)}
    words = trigger_words({"ss_tag_frequency": json.dumps({"a": said})})
    assert len(words) <= 12 and all(len(word) <= 60 for word in words)


@pytest.mark.parametrize(
    "shapes, kind",
    [
        ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 8)}, "SDXL"),
        ({"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 8)}, ""),
        ({"lora_unet_joint_blocks_0_x.lora_down.weight": (4, 8)}, "Stable Diffusion 3"),
        ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (4, 8)}, "FLUX"),
        ({f"{CROSS}.hada_w1_a": (8, 4), f"{CROSS}.hada_w1_b": (4, 2048), f"{CROSS}.hada_w2_a": (8, 4),
          f"{CROSS}.hada_w2_b": (4, 2048)}, "SDXL"),
        ({f"{CROSS}.lokr_w1": (2, 16), f"{CROSS}.lokr_w2": (4, 128)}, "SDXL"),
        ({f"{CROSS}.lora_down.weight": ()}, ""),
        ({"x": (4,)}, ""),
    ],
)  # fmt: skip
def test_names_and_shapes_tell_what_a_file_is_for(shapes: dict[str, tuple[int, ...]], kind: str) -> None:
    assert made_for(shapes).kind == kind
    assert isinstance(made_for(shapes), MadeFor)


def test_keys_without_a_place_have_none() -> None:
    assert find_place("model.diffusion_model.x") is None
    assert find_place("lora_unet_x.lora_down.bias") is None
    assert find_place("bundle_emb.word.string_to_param") is None
    long = f"lora_unet_{'x' * 500}.alpha"
    assert unknown_keys([f"{CROSS}.alpha", "x", long]) == ["x", long]


def test_magnitudes_have_peft_s_names_too() -> None:
    for ending in ("", ".weight", ".default.weight"):
        place = find_place(f"unet.mid_block.x.lora_magnitude_vector{ending}")
        assert place is not None and (place.layer, place.parameter) == ("mid_block_x", "dora_scale")


def test_the_longest_key_is_no_work() -> None:
    """A search that is quadratic in its length would not end."""
    assert find_place("lora_unet_x" + ".lora_magnitude_vector" * 1_000_000 + "!") is None


@pytest.mark.parametrize(
    "shapes",
    [
        {"down": (9000, 1), "up": (1, 9000)},
        {"down": (1, 1, 1, 1), "mid": (9000, 1, 1, 1), "up": (1, 9000, 1, 1)},
        {"down": (9000, 1, 1, 1), "mid": (1, 9000, 1, 1), "up": (1, 1, 1, 1)},
        {f"hada_w{n}_{side}": (1, 9000) if side == "a" else (9000, 1) for n in "12" for side in "ab"},
        {"lokr_w1": (1, 1), "lokr_t2": (1, 9000, 1, 1), "lokr_w2_a": (1, 1), "lokr_w2_b": (9000, 1)},
    ],
    ids=str,
)
def test_inner_sides_that_would_fill_the_memory_are_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    fitting = {name: tuple(min(side, 8192) for side in shape) for name, shape in shapes.items()}
    assert delta_shape(fitting)[:2] == (1, 1)
    with pytest.raises(ValueError, match=r"have the shapes .*9000"):
        delta_shape(shapes)


def test_a_matrix_and_a_small_convolution_are_the_same() -> None:
    assert fits((4, 3), (4, 3, 1, 1)) and fits((4, 3, 1, 1), (4, 3)) and fits((4, 27), (4, 3, 3, 3))
    assert not fits((4, 3, 3, 3), (4, 3)) and not fits((3, 4), (4, 3)) and not fits((4, 3, 3, 1), (4, 3, 1, 3))
    with pytest.raises(ValueError, match="missing"):
        delta_shape({"alpha": ()})
