"""Adapters: each format against its definition, every naming, what is refused, and that they undo themselves."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from fooocus_lite.engine.adapter_layers import Layers, sgm_names
from fooocus_lite.engine.adapters import Adapters, Use, applied, check_fit
from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.model_parts import ModelParts
from fooocus_lite.engine.sdxl import ENCODERS
from fooocus_lite.engine.text import TextEncoders
from fooocus_lite.errors import BadValue, CorruptModel, MissingModel
from fooocus_lite.lora_keys import TEXT_ENCODER, TEXT_ENCODER_2, UNET
from fooocus_lite.plan import LoraRef
from tests.engine import lora_files as files
from tests.engine.lora_files import use, write
from tests.engine.tiny_sdxl import make_unet, model_ref

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
OUT = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"
CONV = "down_blocks.1.resnets.0.conv1"
SHORTCUT = "down_blocks.1.resnets.0.conv_shortcut"
TEXT = "encoder.layers.1.self_attn.q_proj"
EVERY = (ATTENTION, OUT, CONV, SHORTCUT)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def unet() -> Any:
    torch.manual_seed(3)
    return make_unet().eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def layers(unet: nn.Module, model: Path) -> Layers:
    texts = TextEncoders(ModelParts(model_ref(model)), choose_machine("cpu", "fp32"), ENCODERS)
    return Layers({UNET: unet, **texts.parts})


def weight_of(layers: Layers, path: str, part: str = UNET) -> Tensor:
    found = dict(layers.parts[part].named_modules())
    module = found.get(path) or found[f"text_model.{path}"]
    assert isinstance(module.weight, Tensor)
    return module.weight


def digest(layers: Layers) -> str:
    """Of every bit of every weight."""
    found = hashlib.sha256()
    for module in layers.parts.values():
        for name, tensor in module.state_dict().items():
            found.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def apply(layers: Layers, *uses: Use) -> Any:
    check_fit(layers, uses)
    return applied(layers, uses, layers.parts)


def kohya(path: str, part: str = UNET) -> str:
    prefix = {UNET: "lora_unet_", TEXT_ENCODER: "lora_te1_text_model_", TEXT_ENCODER_2: "lora_te2_text_model_"}
    return prefix[part] + path.replace(".", "_")


ANY = (files.lora, files.dora, files.dora_of_inputs, files.loha, files.lokr, files.lokr_of_products)
OF_KERNELS = (files.lora_with_core, files.loha_with_cores, files.lokr_with_core)
CASES = [*itertools.product(ANY, (ATTENTION, CONV)), *itertools.product(OF_KERNELS, (CONV, SHORTCUT))]


@pytest.mark.parametrize("alpha", [None, 1.5])
@pytest.mark.parametrize("make, path", CASES, ids=lambda case: getattr(case, "__name__", case))
def test_each_format_does_what_its_definition_says(
    layers: Layers, tmp_path: Path, make: files.Maker, path: str, alpha: float | None
) -> None:
    before = weight_of(layers, path).clone()
    factors = make(tuple(before.shape), files.dice())
    stored = {f"{kohya(path)}.{name}": tensor for name, tensor in factors.items()}
    stored |= {} if alpha is None else {f"{kohya(path)}.alpha": torch.tensor(alpha)}
    expected = files.change(factors, before, alpha)
    assert expected.abs().max() > 0.01
    for weight in (1.0, -0.6):
        with apply(layers, use(write(tmp_path / "x.safetensors", stored), weight)):
            torch.testing.assert_close(weight_of(layers, path) - before, weight * expected, atol=2e-6, rtol=1e-4)
    assert torch.equal(weight_of(layers, path), before)


def test_every_layer_has_its_own_alpha(layers: Layers, tmp_path: Path) -> None:
    stored, expected = {}, {}
    places = [(UNET, path) for path in EVERY] + [(part, TEXT) for part in (TEXT_ENCODER, TEXT_ENCODER_2)]
    for number, (part, path) in enumerate(places):
        factors = files.lora(tuple(weight_of(layers, path, part).shape), files.dice(number))
        alpha = 0.5 + number
        stored |= {f"{kohya(path, part)}.{name}": tensor for name, tensor in factors.items()}
        stored[f"{kohya(path, part)}.alpha"] = torch.tensor(alpha, dtype=torch.float16)
        expected[part, path] = files.change(factors, weight_of(layers, path, part), alpha)
    before = {place: weight_of(layers, place[1], place[0]).clone() for place in expected}
    with apply(layers, use(write(tmp_path / "x.safetensors", stored))):
        for (part, path), change in expected.items():
            moved = weight_of(layers, path, part) - before[part, path]
            torch.testing.assert_close(moved, change, atol=2e-6, rtol=1e-4)


SGM = "input_blocks.3.1.transformer_blocks.0.attn2.to_k"
#: Key of the layer → names of its two factors.
NAMINGS = {
    f"lora_unet_{ATTENTION.replace('.', '_')}": ("lora_down.weight", "lora_up.weight"),
    f"lora_unet_{SGM.replace('.', '_')}": ("lora_down.weight", "lora_up.weight"),
    f"unet.{ATTENTION}": ("lora_A.weight", "lora_B.weight"),
    f"unet.{ATTENTION} ": ("lora.down.weight", "lora.up.weight"),
    f"unet.{ATTENTION}  ": ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
    f"base_model.model.{ATTENTION}": ("lora_A.weight", "lora_B.weight"),
    f"base_model.model.unet.{ATTENTION}": ("lora_A.default.weight", "lora_B.default.weight"),
    f"unet.{ATTENTION.replace('to_k', 'processor.to_k_lora')}": ("down.weight", "up.weight"),
    ATTENTION.replace("to_k", "processor.to_k_lora"): ("down.weight", "up.weight"),
    f"diffusion_model.{SGM}": ("lora_A.weight", "lora_B.weight"),
}


@pytest.mark.parametrize("key", NAMINGS)
def test_every_naming_finds_its_layer(layers: Layers, tmp_path: Path, key: str) -> None:
    before = weight_of(layers, ATTENTION).clone()
    factors = files.lora(tuple(before.shape), files.dice())
    down, up = factors.values()
    names = NAMINGS[key]
    stored = {f"{key.strip()}.{names[0]}": down, f"{key.strip()}.{names[1]}": up}
    with apply(layers, use(write(tmp_path / "x.safetensors", stored))):
        torch.testing.assert_close(weight_of(layers, ATTENTION) - before, up @ down, atol=2e-6, rtol=1e-4)


TEXT_NAMINGS = {
    "lora_te1_text_model_encoder_layers_1_self_attn_q_proj.lora_{}.weight": TEXT_ENCODER,
    "lora_te_text_model_encoder_layers_1_self_attn_q_proj.lora_{}.weight": TEXT_ENCODER,
    "lora_te2_text_model_encoder_layers_1_self_attn_q_proj.lora_{}.weight": TEXT_ENCODER_2,
    "lora_te1_encoder_layers_1_self_attn_q_proj.lora_{}.weight": TEXT_ENCODER,
    "text_encoder.text_model.encoder.layers.1.self_attn.to_q_lora.{}.weight": TEXT_ENCODER,
    "text_encoder_2.text_model.encoder.layers.1.self_attn.q_proj.lora_linear_layer.{}.weight": TEXT_ENCODER_2,
    "base_model.model.text_model.encoder.layers.1.self_attn.q_proj.lora.{}.weight": TEXT_ENCODER,
    "text_encoders.clip_g.transformer.text_model.encoder.layers.1.self_attn.q_proj.lora_{}.weight": TEXT_ENCODER_2,
}


@pytest.mark.parametrize("pattern", TEXT_NAMINGS)
def test_text_encoders_have_their_namings_too(layers: Layers, tmp_path: Path, pattern: str) -> None:
    part = TEXT_NAMINGS[pattern]
    before = weight_of(layers, TEXT, part).clone()
    down, up = files.lora(tuple(before.shape), files.dice()).values()
    stored = {pattern.format("down"): down, pattern.format("up"): up}
    with apply(layers, use(write(tmp_path / "x.safetensors", stored))):
        torch.testing.assert_close(weight_of(layers, TEXT, part) - before, up @ down, atol=2e-6, rtol=1e-4)


def test_the_first_output_layer_of_attention_has_an_old_name(layers: Layers, tmp_path: Path) -> None:
    before = weight_of(layers, OUT).clone()
    down, up = files.lora(tuple(before.shape), files.dice()).values()
    old = OUT.replace("to_out.0", "processor.to_out_lora")
    stored = {f"unet.{old}.down.weight": down, f"unet.{old}.up.weight": up}
    with apply(layers, use(write(tmp_path / "x.safetensors", stored))):
        torch.testing.assert_close(weight_of(layers, OUT) - before, up @ down, atol=2e-6, rtol=1e-4)


def test_block_names_of_the_first_code_agree_with_diffusers_own_table() -> None:
    from diffusers.loaders import lora_conversion_utils

    blocks = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
    with torch.device("meta"):  # SDXL's own layout; widths do not matter
        sdxl: Any = UNet2DConditionModel(
            block_out_channels=(32, 64, 64), down_block_types=blocks, cross_attention_dim=32, attention_head_dim=8,
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
        )  # fmt: skip
    known = {path for path, _ in sdxl.named_modules()}
    blocks_of = {"input_blocks": "down_blocks", "middle_block": "mid_block", "output_blocks": "up_blocks"}
    ours = {
        sgm: path
        for sgm, path in sgm_names(sdxl)
        if path in known and sgm.split(".")[0] in blocks_of and "norm" not in path
    }
    ours.pop("input_blocks.0.0")
    keys = {f"lora_unet_{sgm.replace('.', '_')}.lora_down.weight": path for sgm, path in ours.items()}
    theirs = lora_conversion_utils._maybe_map_sgm_blocks_to_diffusers(dict(keys), sdxl.config)
    # Their function leaves the layers inside a residual block to a later one; attention is compared, layer by layer.
    compared = 0
    for key, path in theirs.items():
        mapped = key.removeprefix("lora_unet_").removesuffix(".lora_down.weight")
        for theirs_block, our_block in blocks_of.items():
            mapped = mapped.replace(theirs_block, our_block)
        if "attentions" in path:
            assert mapped == path.replace(".", "_")
            compared += 1
    assert compared > 700


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("outside", [False, True])
def test_what_was_there_comes_back_bit_for_bit(
    layers: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: bool, outside: bool
) -> None:
    monkeypatch.setattr("fooocus_lite.engine.adapters._goes_outside", lambda weights: outside)
    before, addresses = digest(layers), [weight_of(layers, path).data_ptr() for path in EVERY]
    stored = {f"{kohya(path)}.{name}": tensor for path in EVERY
              for name, tensor in files.dora(tuple(weight_of(layers, path).shape), files.dice()).items()}  # fmt: skip
    one = use(write(tmp_path / "x.safetensors", stored), 0.7)
    try:
        with apply(layers, one):
            assert digest(layers) != before
            if fail:
                raise RuntimeError("in the middle of a picture")
    except RuntimeError:
        assert fail
    assert digest(layers) == before
    assert [weight_of(layers, path).data_ptr() for path in EVERY] == addresses


def test_what_was_there_comes_back_when_a_change_fails_half_way(
    layers: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls = digest(layers), itertools.count()
    stored = {f"{kohya(path)}.{name}": tensor for path in EVERY
              for name, tensor in files.lora(tuple(weight_of(layers, path).shape), files.dice()).items()}  # fmt: skip
    one = use(write(tmp_path / "x.safetensors", stored))
    from fooocus_lite.engine import adapters

    right: Callable[..., None] = adapters._change

    def wrong(*args: Any) -> None:
        right(*args)
        if next(calls) == 2:
            raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(adapters, "_change", wrong)
    with pytest.raises(torch.OutOfMemoryError), apply(layers, one):
        raise AssertionError("never entered")
    assert digest(layers) == before


def test_weight_zero_is_no_lora_at_all(layers: Layers, tmp_path: Path) -> None:
    stored = {f"{kohya(ATTENTION)}.{name}": tensor for name, tensor in
              files.dora(tuple(weight_of(layers, ATTENTION).shape), files.dice()).items()}  # fmt: skip
    path = write(tmp_path / "x.safetensors", stored)
    assert Adapters().uses([LoraRef("ink", str(path), 0.0), LoraRef("gone", "/nowhere", 0.0)]) == ()
    before, none = digest(layers), use(path)
    with applied(layers, [Use("ink", none.adapter, 0.0, none.stamp)], layers.parts):
        assert digest(layers) == before


@pytest.mark.parametrize("dtype, atol", [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_several_loras_add_up_in_any_order(tmp_path: Path, dtype: torch.dtype, atol: float) -> None:
    torch.manual_seed(3)
    unet = make_unet().eval().requires_grad_(requires_grad=False).to(dtype)
    layers = Layers({UNET: unet})
    before = weight_of(layers, ATTENTION).clone()
    uses, expected = [], before.float()
    for seed, weight in ((1, 0.8), (2, -0.5), (3, 1.3)):
        factors = files.lora(tuple(before.shape), files.dice(seed))
        stored = {f"{kohya(ATTENTION)}.{name}": tensor for name, tensor in factors.items()}
        uses.append(use(write(tmp_path / f"{seed}.safetensors", stored), weight))
        expected = expected + weight * files.change(factors, before.float(), None)
    found = []
    for order in (uses, uses[::-1]):
        with apply(layers, *order):
            found.append(weight_of(layers, ATTENTION).clone())
    assert found[0].dtype == dtype
    for one in found:
        torch.testing.assert_close(one.float(), expected, atol=4 * atol, rtol=4 * atol)
        # Rounded once: but for a few sums that lie in the middle, all are the nearest number of that precision.
        assert dtype == torch.float32 or (one == expected.to(dtype)).float().mean() > 0.99
    assert torch.equal(weight_of(layers, ATTENTION), before)


def test_alphas_in_the_metadata_are_read(layers: Layers, tmp_path: Path) -> None:
    before = {path: weight_of(layers, path).clone() for path in (ATTENTION, OUT)}
    stored: dict[str, Tensor] = {}
    for path, weight in before.items():
        down, up = files.lora(tuple(weight.shape), files.dice()).values()
        stored |= {f"unet.{path}.lora_A.weight": down, f"unet.{path}.lora_B.weight": up}
    said = {"unet.lora_alpha": 6, "unet.alpha_pattern": {"attn1.to_out.0": 1.5}}
    for more, root in (({}, 3.0), ({"unet.use_rslora": True}, 3.0**0.5)):
        metadata = {"lora_adapter_metadata": json.dumps(said | more)}
        with apply(layers, use(write(tmp_path / "x.safetensors", stored, metadata))):
            for path, alpha in ((ATTENTION, 6.0), (OUT, 1.5)):
                down, up = stored[f"unet.{path}.lora_A.weight"], stored[f"unet.{path}.lora_B.weight"]
                moved = weight_of(layers, path) - before[path]
                torch.testing.assert_close(moved, alpha / root * up @ down, atol=2e-6, rtol=1e-4)
    for wrong in ("[", "[1]", '{"unet.lora_alpha": "x"}', '{"unet.lora_alpha": true, "unet.alpha_pattern": 5}'):
        with apply(layers, use(write(tmp_path / "x.safetensors", stored, {"lora_adapter_metadata": wrong}))):
            down, up = stored[f"unet.{OUT}.lora_A.weight"], stored[f"unet.{OUT}.lora_B.weight"]
            torch.testing.assert_close(weight_of(layers, OUT) - before[OUT], up @ down, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "stored, words",
    [
        ({"layers.0.q.lora_A.weight": (2, 2)}, "holds what nobody here can read: layers.0.q.lora_A.weight."),
        ({f"x{n}": (1,) for n in range(5)}, "x0, x1, x2 …"),
        ({"lora_unet_nothing.lora_down.weight": (3, 16), "lora_unet_nothing.lora_up.weight": (16, 3)},
         "changes the layer nothing, which this one does not have"),
        ({f"{kohya(ATTENTION)}.lora_down.weight": (3, 2048), f"{kohya(ATTENTION)}.lora_up.weight": (32, 3)},
         "made for another model (SDXL): its layer"),
        ({f"{kohya(ATTENTION)}.lora_down.weight": (3, 768), f"{kohya(ATTENTION)}.lora_up.weight": (32, 3)},
         "(Stable Diffusion 1.5)"),
        ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (3, 8),
          "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": (8, 3)}, "(FLUX)"),
        ({f"{kohya(ATTENTION)}.lora_down.weight": (3, 40), f"{kohya(ATTENTION)}.lora_up.weight": (32, 3),
          f"{kohya(ATTENTION)}.dora_scale": (7, 1)}, "magnitudes"),
        ({f"{kohya(ATTENTION)}.lora_down.weight": (3, 40), f"{kohya(ATTENTION)}.lora_up.weight": (32, 3),
          f"{kohya(ATTENTION)}.dora_scale": (1, 32)}, "are 1 × 32"),
        ({"\x1b[2J": (1,)}, "read: \N{REPLACEMENT CHARACTER}[2J."),
        ({"lora_unet_\x1b[2J.diff": (1,)}, "the layer \N{REPLACEMENT CHARACTER}[2J, which"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_belong_is_refused(
    layers: Layers, tmp_path: Path, stored: dict[str, tuple[int, ...]], words: str
) -> None:
    path = write(tmp_path / "x.safetensors", {key: torch.ones(shape) for key, shape in stored.items()})
    with pytest.raises(BadValue, match="The LoRA ink\N{REPLACEMENT CHARACTER}") as refused:
        check_fit(layers, [use(path, name="ink\x1b")])
    assert words in str(refused.value)
    assert refused.value.field == "loras"


GOOD = {
    f"{kohya(ATTENTION)}.lora_down.weight": torch.ones(3, 40),
    f"{kohya(ATTENTION)}.lora_up.weight": torch.ones(32, 3),
}


@pytest.mark.parametrize(
    "change, words",
    [
        ({f"{kohya(ATTENTION)}.lora_up.weight": None}, "up is missing"),
        ({f"{kohya(ATTENTION)}.lora_up.weight": torch.ones(32, 4)}, "up and down have the shapes"),
        ({f"{kohya(ATTENTION)}.lora_up.weight": torch.ones(32)}, "up has the shape"),
        ({f"{kohya(ATTENTION)}.lora_up.weight": torch.full((32, 3), torch.nan)}, "no usable numbers"),
        ({f"{kohya(ATTENTION)}.lora_up.weight": torch.ones(32, 3, dtype=torch.int8)}, "no numbers with a point"),
        ({f"{kohya(ATTENTION)}.alpha": torch.tensor(torch.inf)}, "no usable numbers"),
        ({f"{kohya(ATTENTION)}.alpha": torch.ones(2)}, "no usable numbers"),
        ({"lora_unet_\x1b.alpha": torch.ones(2)}, "\N{REPLACEMENT CHARACTER}.alpha holds"),
        ({"lora_unet_\x1b.lora_up.weight": torch.ones(2, 2)}, "of the layer \N{REPLACEMENT CHARACTER}, down"),
    ],
    ids=str,
)
def test_damage_is_told(tmp_path: Path, change: dict[str, Tensor | None], words: str) -> None:
    stored = {key: tensor for key, tensor in (GOOD | change).items() if tensor is not None}
    with pytest.raises(CorruptModel, match=r"The LoRA file .*x\.safetensors is damaged") as refused:
        use(write(tmp_path / "x.safetensors", stored))
    assert words in str(refused.value)


def test_files_cut_short_or_gone_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", GOOD)
    whole = path.read_bytes()
    for length in (0, 4, 60, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptModel):
            use(path)
    path.unlink()
    with pytest.raises(MissingModel, match="LoRA file"):
        use(path)


def test_files_are_read_once_and_kept_within_bounds(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}.safetensors", GOOD) for number in range(3)]
    size = sum(tensor.nbytes for tensor in GOOD.values())
    kept = Adapters(cache_bytes=2 * size)

    def read(number: int) -> Any:
        return kept.uses([LoraRef("ink", str(paths[number]), 1.0)])[0].adapter

    first = read(0)
    assert read(0) is first
    read(1)
    assert read(0) is first
    read(2)
    assert read(0) is first, "the one used last stays"
    read(1), read(2)
    assert read(0) is not first
    paths[0].write_bytes(paths[0].read_bytes())
    import os

    before = read(0)
    os.utime(paths[0], ns=(1, 1))
    assert read(0) is not before, "a changed file is read anew"
