"""Parts of a model on their way: to the card and home, layer by layer, and in which number format."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fooocus_lite.engine import device as devices
from fooocus_lite.engine import groups
from fooocus_lite.engine.device import Machine, choose_machine
from fooocus_lite.engine.model_cache import ModelCache
from fooocus_lite.engine.remembered import remembered
from fooocus_lite.engine.residence import Part
from fooocus_lite.engine.run import Engine
from fooocus_lite.events import Failed, ImageReady
from fooocus_lite.families import FAMILIES
from fooocus_lite.plan import LoraRef, Plan
from tests.engine.conftest import go_on
from tests.engine.tiny_sdxl import make_plan

CPU = torch.device("cpu")


def picture(engine: Engine, plan: Plan) -> bytes:
    return next(event.rgb for event in engine.run(plan, go_on) if isinstance(event, ImageReady))


def new(rung: str) -> Engine:
    return Engine(device="cpu", preview_fps=0, memory=rung)


# Whole parts.


def test_a_part_that_comes_and_goes_is_bit_for_bit_the_same() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False))
    with torch.inference_mode():
        home = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in module.named_parameters()}
        part = Part(module, torch.device("cpu:0"), is_awake=False)  # for torch another device than home
        part.wake()
        away = dict(module.named_parameters())
        assert all(tensor.data_ptr() != home[name][0] for name, tensor in away.items())
        for tensor in away.values():
            tensor.add_(1)  # what happens out there
        part.rest()
    for name, tensor in module.named_parameters():
        assert tensor.data_ptr() == home[name][0], "nothing was copied back"
        assert torch.equal(tensor, home[name][1])


def test_a_part_that_was_loaded_far_away_is_copied_home_once() -> None:
    module = nn.Linear(4, 4)
    with torch.inference_mode():
        part = Part(module, torch.device("cpu:0"), is_awake=True)
        module.to(torch.float16)
        wanted = module.weight.clone()
        part.rest()
        place = module.weight.data_ptr()
        part.wake()
        part.rest()
    assert not part._home, "nothing is held twice"
    assert module.weight.data_ptr() == place
    assert torch.equal(module.weight, wanted)


# Layer by layer.


class Streamed:
    """What a card with streams adds to group offloading, on a processor: copies that stay at home, and on the card."""

    def __init__(self, module: nn.Module) -> None:
        self.groups = list(groups._groups(module.modules()))
        stream = SimpleNamespace(synchronize=lambda: None)
        for group in self.groups:
            group.stream = stream
            group._torch_accelerator_module = SimpleNamespace(
                stream=lambda _: nullcontext(), current_stream=lambda: stream
            )
            inside = [tensor for child in group.modules for tensor in (*child.parameters(), *child.buffers())]
            kept = {weight: weight.data.clone() for weight in (*inside, *group.parameters, *group.buffers)}
            group.cpu_param_dict = kept
            group._pinned_memory_tensors = partial(nullcontext, kept)
            group._transfer_tensor_to_device = self._bring
            group.offload_()

    @staticmethod
    def _bring(weight: torch.Tensor, source: torch.Tensor, _stream: object) -> None:
        weight.data = source.clone()

    def at_home(self) -> list[torch.Tensor]:
        return [kept for group in self.groups for kept in group.cpu_param_dict.values()]


def test_loras_leave_no_trace_in_layers_that_were_still_on_the_card(kl_model: Path, ink_lora: LoraRef) -> None:
    engine, plan = new("groups"), make_plan(kl_model, steps=1, loras=(ink_lora,))
    with torch.inference_mode():
        (loaded,) = engine.models.get([plan.model], "groups")
        unet: Any = loaded.family.parts["unet"]
        streamed = Streamed(unet)
        before = [kept.clone() for kept in streamed.at_home()]
        uses = engine.adapters.uses(plan.loras)
        for _ in range(2):  # fetched in vain: by the picture before, and by this one
            with loaded.family.adapted(uses):
                assert not all(map(torch.equal, streamed.at_home(), before)), "changed at home, from where they come"
                for group in streamed.groups:
                    group.onload_()
            assert all(map(torch.equal, streamed.at_home(), before))
            for group in streamed.groups:
                group.onload_()


def test_layers_that_come_one_after_another_are_asked_at_every_step(kl_model: Path) -> None:
    (loaded,) = new("groups").models.get([make_plan(kl_model).model], "groups")
    places: Any = loaded.family
    former = [layer.forward for layer in places.layers.of_texts]
    assert former
    with remembered(places.layers.of_texts):
        assert [layer.forward for layer in places.layers.of_texts] == former
    (plain,) = new("resident").models.get([make_plan(kl_model).model], "resident")
    places = plain.family
    former = [layer.forward for layer in places.layers.of_texts]
    with remembered(places.layers.of_texts):
        assert not set(former) & {layer.forward for layer in places.layers.of_texts}


def test_a_model_that_was_stored_anew_by_half_is_read_again(kl_model: Path) -> None:
    engine, plan = new("groups"), make_plan(kl_model)
    (loaded,) = engine.models.get([plan.model], "resident")
    hooked: Any = list(loaded.residence.parts["unet"].module.modules())[-1]
    hooked._diffusers_hook = None  # the last layer cannot be wired
    failure = list(engine.run(plan, go_on))[-1]
    assert isinstance(failure, Failed)
    assert picture(engine, plan) == picture(new("resident"), plan)
    assert engine.models.reads == 2


# Number formats.


@pytest.mark.parametrize(
    "capability, chosen, wanted",
    [((8, 6), False, torch.bfloat16), ((7, 5), False, torch.float16), ((8, 6), True, torch.float16)],
)
def test_models_of_a_wide_range_are_drawn_in_bf16_where_the_card_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)  # there is no card to ask
    card = Machine(torch.device("cuda:0"), torch.float16, is_dtype_chosen=chosen)
    assert card.with_range().dtype == wanted
    assert card.with_range().device == card.device


def test_a_format_that_a_person_chose_stays() -> None:
    assert choose_machine("cpu", "fp16").with_range().dtype == torch.float16
    assert choose_machine("cpu").with_range().dtype == torch.float32


@pytest.mark.parametrize("wants_range", [True, False])
def test_the_family_says_whether_it_wants_the_range(
    kl_model: Path, monkeypatch: pytest.MonkeyPatch, wants_range: bool
) -> None:
    row = dataclasses.replace(FAMILIES["sdxl"], wants_range=wants_range)
    monkeypatch.setitem(FAMILIES, "sdxl", row)
    monkeypatch.setattr(devices, "has_bf16", lambda _: True)  # as a card would be, that fp16 was found best for
    models = ModelCache(lambda: Machine(CPU, torch.float16), free_bytes=lambda _: None)
    (loaded,) = models.get([make_plan(kl_model).model], "resident")
    assert loaded.machine.dtype == (torch.bfloat16 if wants_range else torch.float16)
    assert {weight.dtype for weight in loaded.residence.parts["unet"].module.parameters()} == {loaded.machine.dtype}


def test_families_that_were_trained_in_bf16_say_so() -> None:
    assert {key for key, row in FAMILIES.items() if not row.wants_range} == {"sdxl", "sd15"}


def test_this_computers_memory_is_asked_where_the_card_has_its_own() -> None:
    free = {"cpu": 7, "xpu": 5, "mps": 3}
    told = {
        kind: ModelCache(
            lambda kind=kind: Machine(torch.device(kind), torch.float16), free_bytes=lambda device: free[device.type]
        ).home_free_bytes()
        for kind in free
    }
    assert told == {"cpu": None, "xpu": 7, "mps": None}


def test_what_a_part_holds_at_home() -> None:
    module = nn.Linear(4, 4, bias=False)
    with torch.inference_mode():
        part = Part(module, torch.device("cpu:0"), is_awake=True)
        assert part.home_bytes == 0, "read straight to the card"
        part.rest()
        assert part.home_bytes == 64
        part.wake()
        assert part.home_bytes == 64, "left there, so that going home copies nothing"


def test_the_weights_are_counted_once_and_anew_when_they_are_stored_otherwise(kl_model: Path) -> None:
    engine, plan = new("resident"), make_plan(kl_model)
    (loaded,) = engine.models.get([plan.model], "resident")
    residence = loaded.residence
    full = {name: part.size_bytes for name, part in residence.parts.items()}
    engine.models.fit(plan)
    for part in residence.parts.values():
        part.module.parameters = None  # type: ignore[assignment]  # whoever asks the weights again ends here
    engine.models.fit(plan)
    for part in residence.parts.values():
        del part.module.parameters
    residence.store_in_8_bits()
    assert residence.parts["unet"].size_bytes < 0.5 * full["unet"]


# What a device says and is told.


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "MPS backend out of memory (MPS allocated: 9 GB)",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        "[enforce fail at alloc_cpu.cpp:113] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8",
        "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    ],
)
def test_every_way_of_saying_that_there_was_no_room(words: str) -> None:
    assert devices.is_out_of_memory(RuntimeError(words))
    assert not devices.is_out_of_memory(ValueError(words))
    assert not devices.is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize("name, told", [("cuda:1", ["cuda:1"]), ("cuda", []), ("cpu", [])])
def test_a_card_with_a_number_is_the_current_one(name: str, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: seen.append(str(device)))  # there is no card
    devices.make_current(torch.device(name))
    assert seen == told
