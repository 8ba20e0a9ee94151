"""GGUF files: packed where it saves memory, the same numbers as when unpacked by hand, one sentence when broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor
from gguf import GGMLQuantizationType, GGUFWriter, quants
from safetensors.torch import save_file
from torch import Tensor

from fooocus_lite.engine.device import choose_machine
from fooocus_lite.engine.family import load_family
from fooocus_lite.engine.gguf_files import is_packed
from fooocus_lite.errors import CorruptModel, MissingModel
from fooocus_lite.events import Event, Failed
from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import LoraRef, Plan
from tests.engine import tiny_sdxl
from tests.engine.checkpoints import unet_tensors
from tests.engine.lora_files import write

MACHINE = choose_machine("cpu", "fp32")
PACKINGS = ["Q8_0", "Q4_0", "BF16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sdxl.write_model(tmp_path_factory.mktemp("model") / "tiny")


def write_gguf(path: Path, tensors: dict[str, Tensor], packing: str, *, plain: str = "") -> dict[str, Tensor]:
    """The file; returns its numbers, unpacked by the library that unpacks them at every use.

    Args:
        plain: What is in the names of those that are left as they are.
    """
    kind, exact = GGMLQuantizationType[packing], dict[str, Tensor]()
    writer = GGUFWriter(path, "sdxl")
    for name, value in tensors.items():
        array = value.detach().float().numpy()
        if array.ndim == 2 and array.shape[1] % 32 == 0 and not (plain and plain in name):
            packed = quants.quantize(array, kind)
            writer.add_tensor(name, packed, raw_dtype=kind)
            exact[name] = dequantize_gguf_tensor(GGUFParameter(torch.from_numpy(packed), quant_type=kind)).float()
            # The package itself unpacks in float32; the library rounds to fp16 once or twice on the way.
            torch.testing.assert_close(
                exact[name], torch.from_numpy(quants.dequantize(packed, kind).copy()), rtol=2**-9, atol=2**-14
            )
        else:
            writer.add_tensor(name, array.astype(np.float16))
            exact[name] = value.half().float()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return exact


def unet_of(folder: Path) -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(folder / "unet")


def packed_ref(folder: Path, path: Path) -> ModelRef:
    parts = tuple((name, str(folder / name)) for name in ("vae", "text_encoder", "text_encoder_2"))
    return replace(tiny_sdxl.model_ref(path), configs=str(folder), parts=parts)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_network_draws_what_its_numbers_say(
    folder: Path, tmp_path: Path, pixels: Callable[[Plan], bytes], packing: str
) -> None:
    exact = write_gguf(tmp_path / "unet.gguf", unet_tensors(unet_of(folder)), packing)
    save_file({name: value.contiguous() for name, value in exact.items()}, tmp_path / "unet.safetensors")
    plan = tiny_sdxl.make_plan(folder, steps=2, width=64, height=64)
    packed, plain = (packed_ref(folder, tmp_path / f"unet.{ending}") for ending in ("gguf", "safetensors"))
    assert pixels(replace(plan, model=packed)) == pixels(replace(plan, model=plain))
    family: Any = load_family(packed, MACHINE)
    bytes_of = [weight.nbytes for weight in family._unet.parameters() if is_packed(weight)]
    assert bool(bytes_of) == (packing != "BF16")


def test_a_lora_says_that_it_cannot_change_packed_weights(
    folder: Path, tmp_path: Path, draw: Callable[[Plan], list[Event]]
) -> None:
    write_gguf(tmp_path / "unet.gguf", unet_tensors(unet_of(folder)), "Q8_0")
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    lora = write(tmp_path / "lora.safetensors", {
        f"{layer}.lora_down.weight": torch.ones(2, 32), f"{layer}.lora_up.weight": torch.ones(32, 2),
    })  # fmt: skip
    plan = tiny_sdxl.make_plan(folder, steps=1, model=packed_ref(folder, tmp_path / "unet.gguf"))
    last = draw(replace(plan, loras=(LoraRef("some", str(lora), 1.0),)))[-1]
    assert isinstance(last, Failed)
    assert "GGUF" in last.problem and last.hint


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def beheaded(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def web_page(path: Path) -> None:
    path.write_text("<html>no</html>")


def other(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" * 100)


def endless(path: Path) -> None:
    head = bytearray(path.read_bytes())
    head[8:16] = (2**40).to_bytes(8, "little")  # so many tensors
    path.write_bytes(head)


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "cut short"),
        (beheaded, "cut short"),
        (emptied, "empty"),
        (web_page, "web page"),
        (other, "not a GGUF file"),
        (endless, "more tensors than any model"),
        (gone, "missing"),
    ],
)
def test_damage_is_one_sentence(folder: Path, tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "unet.gguf"
    write_gguf(path, unet_tensors(unet_of(folder)), "Q8_0")
    damage(path)
    with pytest.raises((CorruptModel, MissingModel), match=words) as caught:
        load_family(packed_ref(folder, path), MACHINE)
    assert "unet.gguf" in caught.value.problem and caught.value.hint


def test_what_a_file_of_one_network_lacks_is_named(folder: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "unet.gguf", unet_tensors(unet_of(folder)), "Q8_0")
    with pytest.raises(MissingModel, match="no text encoder"):
        load_family(replace(packed_ref(folder, tmp_path / "unet.gguf"), parts=()), MACHINE)
