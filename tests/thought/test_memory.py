"""What a picture needs of the memory, and the ladder that goes by it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.memory import (
    FOOTPRINTS,
    GIB,
    LADDERS,
    RUNGS,
    Fit,
    Needs,
    choose_rung,
    make_needs,
    models_of,
    next_rung,
    passes_at_once,
    sizes_of,
)
from fooocus_lite.model_files import ModelRef
from fooocus_lite.weight_sizes import ModelSize, size_of

SDXL = FOOTPRINTS["sdxl"].typical


@dataclass(frozen=True)
class Asked:
    """A picture, as far as memory is concerned."""

    model: ModelRef
    width: int = 1024
    height: int = 1024
    refiner: ModelRef | None = None
    loras: tuple[Any, ...] = ()
    guidance_scale: float = 4.0
    perp_neg: float = 0.0
    pag_scale: float = 0.0


@dataclass(frozen=True)
class Lora:
    weight: float


def ref(path: Path | str = "nowhere", **changes: Any) -> ModelRef:
    return ModelRef(
        **{"name": "m", "family": "sdxl", "path": str(path), "native_size": 1024, "max_size": 2048, "size_multiple": 8}
        | changes
    )


def needs(*, dtype: str = "fp16", models: tuple[ModelSize, ...] = (SDXL,), **changes: Any) -> Needs:
    return make_needs(Asked(ref(), **changes), models, dtype=dtype)


def write_weights(path: Path, shapes: dict[str, tuple[list[int], str]]) -> Path:
    """Headers only: what stands behind them is never read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, (shape, dtype) in shapes.items()}
    header = json.dumps({"__metadata__": {"format": "pt"}, **rows}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


# Sizes.


def test_sizes_of_a_folder_are_its_numbers_in_the_machines_format(tmp_path: Path) -> None:
    write_weights(tmp_path / "unet/diffusion_pytorch_model.safetensors", {"a": ([10, 10], "F32")})
    write_weights(tmp_path / "unet/diffusion_pytorch_model.fp16.safetensors", {"a": ([10, 10], "F16")})
    write_weights(tmp_path / "text_encoder/model.safetensors", {"a": ([7], "F32")})
    write_weights(tmp_path / "text_encoder_2/model.safetensors", {"b": ([3], "BF16")})
    write_weights(tmp_path / "vae/diffusion_pytorch_model.safetensors", {"a": ([5], "F16")})
    (tmp_path / "scheduler").mkdir()
    assert size_of(ref(tmp_path), number_bytes=2) == ModelSize(200, 20, 10)
    assert size_of(ref(tmp_path), number_bytes=4) == ModelSize(400, 40, 20)


def test_sizes_of_one_file_go_by_the_names_in_it(tmp_path: Path) -> None:
    path = write_weights(
        tmp_path / "m.safetensors",
        {
            "model.diffusion_model.input_blocks.0.weight": ([100], "F16"),
            "conditioner.embedders.0.transformer.weight": ([20], "F16"),
            "first_stage_model.decoder.weight": ([3], "F32"),
        },
    )
    assert size_of(ref(path), number_bytes=2) == ModelSize(200, 40, 6)
    vae = write_weights(tmp_path / "vae.safetensors", {"decoder.weight": ([50], "F16")})
    assert size_of(ref(path, parts=(("vae", str(vae)),)), number_bytes=2) == ModelSize(200, 40, 106)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F16", "F32"])
def test_what_is_cast_while_it_is_read_takes_the_machines_bytes(tmp_path: Path, dtype: str) -> None:
    path = write_weights(tmp_path / "m.safetensors", {"double_blocks.0.weight": ([1000], dtype)})
    assert size_of(ref(path), number_bytes=4) == ModelSize(4000, 0, 0)


def test_what_is_packed_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "q4.gguf"
    path.write_bytes(b"GGUF" + bytes(996))
    reader = write_weights(tmp_path / "t5.safetensors", {"shared.weight": ([10], "F8_E4M3")})
    parts = (("text_encoder_2", str(reader)),)
    assert size_of(ref(path, parts=parts), number_bytes=4) == ModelSize(1000, 40, 0, is_compact=True)


def test_weights_that_are_never_loaded_do_not_count(tmp_path: Path) -> None:
    for name in ("unet/diffusion_pytorch_model", "unet/diffusion_pytorch_model.non_ema", "safety_checker/model"):
        write_weights(tmp_path / f"{name}.safetensors", {"a": ([10], "F16")})
    assert size_of(ref(tmp_path), number_bytes=2) == ModelSize(20, 0, 0)


@pytest.mark.parametrize("content", [b"", b"{}", b"<html>", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"[]"])
def test_what_cannot_be_read_has_the_typical_size(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert size_of(ref(path), number_bytes=2) is None
    assert sizes_of(Asked(ref(path)), dtype="fp16") == [SDXL]
    (twice,) = sizes_of(Asked(ref(path)), dtype="fp16", memory_bytes=2 * SDXL.total)
    assert twice.total == pytest.approx(2 * SDXL.total, abs=3)


# The ladder.


def test_passes_that_run_as_one_batch() -> None:
    assert passes_at_once(Asked(ref(), guidance_scale=1.0)) == 1
    assert passes_at_once(Asked(ref())) == 2
    assert passes_at_once(Asked(ref(), perp_neg=1.0, pag_scale=3.0)) == 4
    assert passes_at_once(Asked(ref(), guidance_scale=1.0, perp_neg=1.0)) == 1


def test_every_step_down_needs_less() -> None:
    for family, footprint in FOOTPRINTS.items():
        asked = make_needs(Asked(ref(family=family)), [footprint.typical], dtype="fp16")
        for in_tiles in (False, True):
            peaks = [asked.peak(rung, in_tiles=in_tiles) for rung in RUNGS]
            assert peaks == sorted(peaks, reverse=True), family
        assert asked.peak("resident", in_tiles=True) <= asked.peak("resident", in_tiles=False)


def test_more_memory_never_means_a_lower_rung() -> None:
    order = [(rung, in_tiles) for rung in RUNGS for in_tiles in (False, True)]
    chosen = [choose_rung(needs(), tenth * GIB // 10) for tenth in range(240)]
    places = [order.index((fit.rung, fit.in_tiles)) for fit in chosen]
    assert places == sorted(places, reverse=True)
    assert {fit.rung for fit in chosen} == set(RUNGS)
    assert all(fit.is_enough for fit in chosen)


def test_unknown_memory_means_the_first_rung() -> None:
    assert choose_rung(needs(), None) == Fit("resident", False, needs().peak("resident", in_tiles=False), None)


def test_a_choice_and_a_memory_of_the_last_time_hold() -> None:
    assert choose_rung(needs(), 1000 * GIB, forced="groups").rung == "groups"
    assert choose_rung(needs(), 1 * GIB, forced="resident").rung == "resident"
    assert choose_rung(needs(), 1000 * GIB, start="fp8").rung == "fp8"
    assert choose_rung(needs(), 1000 * GIB, start="nonsense").rung == "resident"


def test_loras_pass_the_rung_that_they_cannot_use() -> None:
    just_for_fp8 = needs().peak("fp8", in_tiles=True)
    assert choose_rung(needs(), just_for_fp8).rung == "fp8"
    assert choose_rung(needs(loras=(Lora(0.5),)), just_for_fp8).rung == "groups"
    assert choose_rung(needs(loras=(Lora(0.0),)), just_for_fp8).rung == "fp8"
    assert not needs(loras=(Lora(0.5),)).gains_by_fp8 and needs(loras=(Lora(0.0),)).gains_by_fp8
    assert next_rung("offload", device="cuda", gains_by_fp8=False) == "groups"


def test_a_network_stored_in_few_bits_gains_nothing_from_eight() -> None:
    compact = needs(models=(ModelSize(SDXL.denoiser // 4, SDXL.encoders, SDXL.vae, is_compact=True),))
    assert compact.peak("fp8", in_tiles=True) == compact.peak("offload", in_tiles=True)
    assert not compact.gains_by_fp8
    assert choose_rung(compact, 1000 * GIB, start="fp8").rung == "groups", "the way down leads past it"
    assert needs(models=(compact.models[0], SDXL)).gains_by_fp8, "its refiner does"


def test_a_computer_with_little_memory_of_its_own_is_told() -> None:
    flux = FOOTPRINTS["flux"].typical
    asked = needs(models=(flux,))
    assert asked.peak_at_home("groups") == flux.total
    card = asked.peak("groups", in_tiles=True)
    short = choose_rung(asked, card, home_free_bytes=14 * GIB)
    assert (short.rung, short.is_short_at_home) == ("groups", True)
    assert short.words("bf16").endswith("; this computer's own memory (RAM) is short: needs 31.4 GB, 14.0 free")
    assert "RAM" not in choose_rung(asked, card, home_free_bytes=flux.total).words("bf16")
    assert "RAM" not in choose_rung(asked, 1000 * GIB, home_free_bytes=0).words("bf16"), "it goes straight to the card"
    with_loras = needs(models=(flux,), loras=(Lora(1.0),))
    assert with_loras.peak_at_home("groups") == flux.total + flux.denoiser, "the originals are kept"
    assert asked.peak_at_home("cpu") == 2 * flux.total, "a processor computes in fp32"
    assert "RAM" in choose_rung(asked, 0, home_free_bytes=GIB).words("bf16")
    assert not choose_rung(asked, card).is_short_at_home, "nobody can tell"


def test_a_refiner_is_not_on_the_card_beside_its_model_below_the_first_rung() -> None:
    alone, both = needs(), needs(models=(SDXL, SDXL))
    assert both.peak("resident", in_tiles=False) == alone.peak("resident", in_tiles=False) + SDXL.total
    assert both.peak("offload", in_tiles=False) == alone.peak("offload", in_tiles=False)


def test_a_model_that_refines_itself_is_there_once() -> None:
    asked = Asked(ref(), refiner=ref())
    assert models_of(asked) == [ref()] and sizes_of(asked, dtype="fp16") == [SDXL]
    assert len(models_of(Asked(ref(), refiner=ref(name="other")))) == 2


@pytest.mark.parametrize("device", LADDERS)
def test_the_way_down_ends(device: str) -> None:
    for gains in (False, True):
        for first in RUNGS:
            seen, rung = [first], next_rung(first, device=device, gains_by_fp8=gains)
            while rung is not None:
                seen.append(rung)
                rung = next_rung(rung, device=device, gains_by_fp8=gains)
            assert len(seen) == len(set(seen)) and ("fp8" not in seen[1:] or gains)


def test_the_sentence_is_the_one_a_person_reads() -> None:
    fit = Fit("offload", in_tiles=True, needs_bytes=int(7.1 * GIB), free_bytes=8 * GIB)
    assert fit.words("fp16") == "needs 7.1 GB, 8.0 free: fp16, encoders off the card after use, VAE in tiles"
    assert Fit("resident", False, int(0.6 * GIB), None).words("fp32") == "needs 0.6 GB: fp32"
    assert "processor" in choose_rung(needs(), 0).words("fp16")


def test_a_processor_without_memory_draws_as_well_as_it_can() -> None:
    assert choose_rung(needs(dtype="fp32"), 0, device="cpu").rung == "resident"
    just_for_fp8 = needs(dtype="fp32").peak_in_ram("fp8", in_tiles=True)
    assert choose_rung(needs(dtype="fp32"), just_for_fp8, device="cpu").rung == "fp8"
