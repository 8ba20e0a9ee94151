"""LoRAs for FLUX, in every naming, against the dense change of the matrix that the file means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fooocus_lite.engine.adapter_layers import Layers
from fooocus_lite.engine.adapters import applied, check_fit
from fooocus_lite.errors import BadValue
from fooocus_lite.lora_keys import TEXT_ENCODER_2, TEXT_ENCODER_3, TRANSFORMER, UNET
from tests.engine import lora_files as files
from tests.engine.lora_files import RANK, use, write
from tests.engine.tiny_flux import make_t5, make_transformer

DOUBLE, SINGLE = "transformer_blocks.1", "single_transformer_blocks.0"
IMAGE_QKV = tuple(f"{DOUBLE}.attn.{name}" for name in ("to_q", "to_k", "to_v"))
TEXT_QKV = tuple(f"{DOUBLE}.attn.{name}" for name in ("add_q_proj", "add_k_proj", "add_v_proj"))
SINGLE_QKV = tuple(f"{SINGLE}.attn.{name}" for name in ("to_q", "to_k", "to_v"))
LINEAR1 = (*SINGLE_QKV, f"{SINGLE}.proj_mlp")
PEFT = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}
XLABS = {"lora_down.weight": "down.weight", "lora_up.weight": "up.weight"}


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def layers() -> Layers:
    torch.manual_seed(3)
    transformer, t5 = make_transformer().eval(), make_t5(100).eval()
    for module in (transformer, t5):
        module.requires_grad_(requires_grad=False)
    return Layers({UNET: transformer, TRANSFORMER: transformer, TEXT_ENCODER_2: t5, TEXT_ENCODER_3: t5})


def state(layers: Layers) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in layers.parts[TRANSFORMER].state_dict().items()}


def matrix(layers: Layers, paths: tuple[str, ...], part: str = TRANSFORMER) -> Tensor:
    modules = dict(layers.parts[part].named_modules())
    return torch.cat([modules[path].weight for path in paths])  # type: ignore[arg-type]


CASES: list[tuple[str, tuple[str, ...], dict[str, str]]] = [
    ("lora_unet_double_blocks_1_img_attn_qkv", IMAGE_QKV, {}),
    ("lora_unet_double_blocks_1_txt_attn_qkv", TEXT_QKV, {}),
    ("lora_unet_double_blocks_1_img_mlp_0", (f"{DOUBLE}.ff.net.0.proj",), {}),
    ("lora_unet_double_blocks_1_txt_attn_proj", (f"{DOUBLE}.attn.to_add_out",), {}),
    ("lora_unet_double_blocks_1_img_mod_lin", (f"{DOUBLE}.norm1.linear",), {}),
    ("lora_unet_single_blocks_0_linear1", LINEAR1, {}),
    ("lora_unet_single_blocks_0_linear2", (f"{SINGLE}.proj_out",), {}),
    ("lora_transformer_transformer_blocks_1_attn_to_out_0", (f"{DOUBLE}.attn.to_out.0",), {}),
    ("diffusion_model.double_blocks.1.txt_attn.qkv", TEXT_QKV, PEFT),
    ("diffusion_model.single_blocks.0.linear1", LINEAR1, PEFT),
    ("transformer.transformer_blocks.1.attn.to_k", (f"{DOUBLE}.attn.to_k",), PEFT),
    ("transformer.single_transformer_blocks.0.proj_mlp", (f"{SINGLE}.proj_mlp",), PEFT),
    ("transformer.x_embedder", ("x_embedder",), PEFT),
    ("base_model.model.double_blocks.1.img_attn.qkv", IMAGE_QKV, PEFT),
    ("double_blocks.1.processor.qkv_lora1", IMAGE_QKV, XLABS),
    ("double_blocks.1.processor.qkv_lora2", TEXT_QKV, XLABS),
    ("double_blocks.1.processor.proj_lora1", (f"{DOUBLE}.attn.to_out.0",), XLABS),
    ("double_blocks.1.processor.proj_lora2", (f"{DOUBLE}.attn.to_add_out",), XLABS),
    ("single_blocks.0.processor.qkv_lora", SINGLE_QKV, XLABS),
    ("single_blocks.0.processor.proj_lora", (f"{SINGLE}.proj_out",), XLABS),
]


@pytest.mark.parametrize(("key", "paths", "ends"), CASES, ids=[case[0] for case in CASES])
def test_every_naming_changes_its_layers_and_no_others(
    layers: Layers, tmp_path: Path, key: str, paths: tuple[str, ...], ends: dict[str, str]
) -> None:
    before, whole = state(layers), matrix(layers, paths)
    factors = files.lora(tuple(whole.shape), files.dice())
    stored = {f"{key}.{ends.get(name, name)}": tensor for name, tensor in factors.items()}
    alpha = None if ends else 1.5
    stored |= {} if alpha is None else {f"{key}.alpha": torch.tensor(alpha)}
    made = use(write(tmp_path / "ink.safetensors", stored), -0.6)
    check_fit(layers, [made])
    with applied(layers, [made], layers.parts):
        # One addition and one product of rank 3 in float32.
        torch.testing.assert_close(matrix(layers, paths), whole - 0.6 * files.change(factors, whole, alpha))
        inside = state(layers)
        changed = {name for name, tensor in inside.items() if not torch.equal(tensor, before[name])}
    assert changed == {f"{path}.weight" for path in paths}
    after = state(layers)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("make", [files.dora, files.loha, files.lokr, files.lokr_of_products])
@pytest.mark.parametrize(
    ("key", "paths"), [("double_blocks_1_img_attn_qkv", IMAGE_QKV), ("single_blocks_0_linear1", LINEAR1)]
)
def test_every_format_parts_its_matrix(
    layers: Layers, tmp_path: Path, make: files.Maker, key: str, paths: tuple[str, ...]
) -> None:
    whole = matrix(layers, paths)
    factors = make(tuple(whole.shape), files.dice())
    stored = {f"lora_unet_{key}.{name}": tensor for name, tensor in factors.items()}
    made = use(write(tmp_path / "ink.safetensors", stored))
    check_fit(layers, [made])
    with applied(layers, [made], layers.parts):
        torch.testing.assert_close(matrix(layers, paths), whole + files.change(factors, whole, None))
    assert torch.equal(matrix(layers, paths), whole)


def test_the_last_layers_halves_stand_the_other_way_round_here(layers: Layers, tmp_path: Path) -> None:
    ours = ("norm_out.linear",)
    scale, shift = matrix(layers, ours).chunk(2)
    theirs = torch.cat([shift, scale])
    factors = files.lora(tuple(theirs.shape), files.dice())
    stored = {f"lora_unet_final_layer_adaLN_modulation_1.{name}": tensor for name, tensor in factors.items()}
    plain = {f"transformer.norm_out.linear.{PEFT[name]}": tensor for name, tensor in factors.items()}
    both = [
        use(write(tmp_path / "a.safetensors", stored), name="a"),
        use(write(tmp_path / "b.safetensors", plain), 0.5, name="b"),
    ]
    check_fit(layers, both)
    before = matrix(layers, ours).clone()
    change = files.change(factors, theirs, None)
    swapped = torch.cat(change.chunk(2)[::-1])
    with applied(layers, both[:1], layers.parts):
        torch.testing.assert_close(matrix(layers, ours), before + swapped)
    with applied(layers, both, layers.parts):
        torch.testing.assert_close(matrix(layers, ours), before + swapped + 0.5 * change)
    assert torch.equal(matrix(layers, ours), before)


def test_t5_is_the_third_encoder_of_trainers(layers: Layers, tmp_path: Path) -> None:
    path = ("encoder.block.1.layer.0.SelfAttention.q",)
    whole = matrix(layers, path, TEXT_ENCODER_2)
    factors = files.lora(tuple(whole.shape), files.dice())
    key = "lora_te3_encoder_block_1_layer_0_SelfAttention_q"
    made = use(write(tmp_path / "ink.safetensors", {f"{key}.{name}": tensor for name, tensor in factors.items()}))
    check_fit(layers, [made])
    with applied(layers, [made], layers.parts):
        torch.testing.assert_close(matrix(layers, path, TEXT_ENCODER_2), whole + files.change(factors, whole, None))


def wrong(key: str, shape: tuple[int, int], **more: Any) -> dict[str, Tensor]:
    return {f"{key}.{name}": tensor for name, tensor in files.lora(shape, files.dice()).items()} | more


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (wrong("lora_unet_double_blocks_9_img_attn_qkv", (96, 32)), "which this one does not have"),
        (wrong("lora_unet_double_blocks_1_img_attn_qkv", (9216, 32)), "is 9,216 × 32, and this one's 96 × 32"),
        (
            wrong(
                "lora_unet_double_blocks_1_img_attn_qkv", (96, 32),
                **{"lora_unet_double_blocks_1_img_attn_qkv.dora_scale": torch.ones(1, 32)},
            ),
            "the magnitudes of its layer",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(layers: Layers, tmp_path: Path, stored: dict[str, Tensor], words: str) -> None:
    with pytest.raises(BadValue, match=words) as caught:
        check_fit(layers, [use(write(tmp_path / "ink.safetensors", stored))])
    assert "FLUX" in caught.value.problem and RANK == 3
