"""Models in memory: what stays, what moves, and what happens when it runs out."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
from fooocus_lite.engine.model_cache import RAM_RESERVE_BYTES, ModelCache
from fooocus_lite.engine.remembered import remembered
from fooocus_lite.engine.residence import Part
from fooocus_lite.engine.run import Engine
from fooocus_lite.events import Event, Failed, ImageReady, PromptReady
from fooocus_lite.families import FAMILIES
from fooocus_lite.memory import RUNGS, STEPPED_DOWN
from fooocus_lite.plan import LoraRef, Plan
from tests.engine import lora_files as files
from tests.engine.conftest import go_on
from tests.engine.tiny_sdxl import make_plan, make_unet, write_model

CPU = torch.device("cpu")


def picture(engine: Engine, plan: Plan) -> ImageReady:
    events = list(engine.run(plan, go_on))
    return next(event for event in events if isinstance(event, ImageReady))


def new(rung: str = "auto") -> Engine:
    return Engine(device="cpu", preview_fps=0, memory=rung)


@pytest.fixture(scope="module")
def kl_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("memory") / "kl", vae="kl", seed=3)


@contextmanager
def no_room_at(kind: str, *, call: int, times: int = 1) -> Iterator[list[int]]:
    """The ``call``-th forward of a class of modules, and the next ``times - 1``, find no memory."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    calls = [0]

    def refuse(module: Any, _args: Any) -> None:
        if type(module).__name__ == kind:
            calls[0] += 1
            if call <= calls[0] < call + times:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    handle = register_module_forward_pre_hook(refuse)
    try:
        yield calls
    finally:
        handle.remove()


# What stays.


def test_a_second_picture_reads_and_moves_nothing(model: Path) -> None:
    engine, plan = new(), make_plan(model)
    first = picture(engine, plan)
    assert (engine.models.reads, engine.models.moves) == (1, 0)
    assert picture(engine, plan).rgb == first.rgb
    assert picture(engine, dataclasses.replace(plan, texts=("other words",))).rgb != first.rgb
    assert (engine.models.reads, engine.models.moves) == (1, 0)


def test_switching_back_reads_nothing_while_there_is_room(model: Path, tmp_path: Path) -> None:
    engine, plan = new(), make_plan(model, steps=1)
    other = make_plan(write_model(tmp_path / "other", seed=1), steps=1)
    other = dataclasses.replace(other, model=dataclasses.replace(other.model, name="other"))
    first = picture(engine, plan).rgb
    picture(engine, other)
    assert picture(engine, plan).rgb == first
    assert engine.models.reads == 2
    assert engine.models.names == ["tiny", "other"]
    assert engine.describe()["models"] == ["tiny", "other"]


def test_the_model_used_longest_ago_leaves_first_and_really(model: Path, tmp_path: Path) -> None:
    engine = new()
    refs = [make_plan(write_model(tmp_path / f"m{seed}", seed=seed)).model for seed in (1, 2)]
    refs = [dataclasses.replace(ref, name=f"m{seed}") for seed, ref in enumerate(refs, start=1)]
    size = 0

    def free(_: torch.device) -> int:  # room for two models of this size besides the reserve
        held = sum(loaded.residence.size_bytes for loaded in engine.models._loaded.values())
        return RAM_RESERVE_BYTES + 2 * size + size // 2 - held

    first = make_plan(model).model
    engine.models = ModelCache(engine.machine, free_bytes=free)
    gone = weakref.ref(engine.family(first))
    size = engine.models._loaded[first].residence.size_bytes
    engine.family(refs[0])
    assert gone() is not None
    engine.family(refs[1])
    assert engine.models.names == ["m2", "m1"]
    assert gone() is None


def test_a_refiner_stays_beside_its_model(model: Path, tmp_path: Path) -> None:
    engine = new()
    second = make_plan(write_model(tmp_path / "second", seed=1)).model
    plan = make_plan(model, refiner=second, refiner_switch=0.5)
    engine.models = ModelCache(engine.machine, free_bytes=lambda _: 1)  # no room for anything that is not needed
    assert picture(engine, plan).rgb == picture(engine, plan).rgb
    assert (engine.models.reads, len(engine.models.names)) == (2, 2)


# What moves.


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


@pytest.mark.parametrize("rung", ["offload", "groups", "cpu"])
def test_the_lower_rungs_draw_the_same_picture(kl_model: Path, rung: str) -> None:
    plan = make_plan(kl_model, sag_scale=0.4, pag_scale=1.0)
    wanted = picture(new("resident"), plan)
    found = picture(new(rung), plan)
    assert found.rgb == wanted.rgb
    assert (wanted.facts["memory"], found.facts["memory"]) == ("resident", rung)


def test_encoders_come_only_for_new_texts(kl_model: Path) -> None:
    engine, plan = new("offload"), make_plan(kl_model)
    picture(engine, plan)
    residence = engine.models._loaded[plan.model].residence
    assert [name for name, part in residence.parts.items() if part.is_awake] == ["unet"]
    moves = engine.models.moves
    picture(engine, dataclasses.replace(plan, seed=8))
    assert engine.models.moves - moves == 2, "the VAE came and went"
    picture(engine, dataclasses.replace(plan, texts=("new words",)))
    assert engine.models.moves - moves == 2 + 2 + 4, "and two encoders"


def test_groups_are_wired_into_every_layer(kl_model: Path) -> None:
    engine, plan = new("groups"), make_plan(kl_model)
    picture(engine, plan)
    unet = engine.models._loaded[plan.model].residence.parts["unet"].module
    leaves = [child for child in unet.modules() if isinstance(child, (nn.Linear, nn.Conv2d))]
    assert leaves
    assert all("group_offloading" in leaf._diffusers_hook.hooks for leaf in leaves)  # type: ignore[union-attr]


def test_encoders_can_come_in_groups(kl_model: Path) -> None:
    engine, plan = new("offload"), make_plan(kl_model, texts=("read in layers",))
    (loaded,) = engine.models.get([plan.model], "offload")
    loaded.residence.bring_in_groups(lambda part: part.startswith("text_encoder"))
    moves = engine.models.moves
    assert picture(engine, plan).rgb == picture(new("resident"), plan).rgb
    assert engine.models.moves - moves == 3, "the UNet came; the VAE came and went; encoders as wholes never"


def test_eight_bits_store_eight_bits_and_draw_nearly_the_same(kl_model: Path) -> None:
    engine, plan = new("fp8"), make_plan(kl_model)
    found = picture(engine, plan)
    unet = engine.models._loaded[plan.model].residence.parts["unet"]
    stored = {weight.dtype for name, weight in unet.module.named_parameters() if ".to_q." in name or ".conv1." in name}
    assert stored == {torch.float8_e4m3fn}
    plain = new("resident")
    wanted = picture(plain, plan)
    assert unet.size_bytes < 0.5 * plain.models._loaded[plan.model].residence.parts["unet"].size_bytes
    assert found.rgb != wanted.rgb
    assert picture(engine, plan).rgb == found.rgb


def test_back_up_the_ladder_the_files_are_read_again(kl_model: Path) -> None:
    engine, plan = new("fp8"), make_plan(kl_model)
    picture(engine, plan)
    engine.memory = "resident"
    assert picture(engine, plan).rgb == picture(new("resident"), plan).rgb
    assert engine.models.reads == 2


# LoRAs.


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> LoraRef:
    """On the UNet and on both text encoders."""
    stored: dict[str, torch.Tensor] = {}
    for encoder, width in (("te1", 16), ("te2", 24)):
        factors = files.lora((2 * width, width), files.dice(width))
        stored |= {
            f"lora_{encoder}_text_model_encoder_layers_0_mlp_fc1.{name}": 4 * factor for name, factor in factors.items()
        }
    for number, (path, child) in enumerate(make_unet().named_modules()):
        if "transformer_blocks" in path and isinstance(child, nn.Linear):
            factors = files.lora(tuple(child.weight.shape), files.dice(number))
            stored |= {f"lora_unet_{path.replace('.', '_')}.{name}": factor for name, factor in factors.items()}
    path = files.write(tmp_path_factory.mktemp("loras") / "both.safetensors", stored)
    return LoraRef(name="ink", path=str(path), weight=0.8)


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


def test_loras_leave_no_trace_in_layers_that_were_still_on_the_card(kl_model: Path, lora: LoraRef) -> None:
    engine, plan = new("groups"), make_plan(kl_model, steps=1, loras=(lora,))
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
    assert picture(engine, plan).rgb == picture(new("resident"), plan).rgb
    assert engine.models.reads == 2


@pytest.mark.parametrize("rung", ["offload", "groups"])
def test_loras_work_on_the_lower_rungs_and_leave_no_trace(kl_model: Path, lora: LoraRef, rung: str) -> None:
    plain = make_plan(kl_model)
    changed = dataclasses.replace(plain, loras=(lora,))
    wanted = [picture(new("resident"), plan).rgb for plan in (plain, changed)]
    assert wanted[0] != wanted[1]
    engine = new(rung)
    assert [picture(engine, plan).rgb for plan in (plain, changed, plain, changed)] == wanted * 2


def test_eight_bits_refuse_loras_in_a_sentence(kl_model: Path, lora: LoraRef) -> None:
    plan = make_plan(kl_model, loras=(lora,))
    failure = list(new("fp8").run(plan, go_on))[-1]
    assert isinstance(failure, Failed)
    assert (failure.code, failure.field_name) == ("bad_value", "loras")
    assert "8 bits" in failure.problem and "groups" in failure.hint


# When it runs out.


def warnings_of(events: list[Event]) -> list[tuple[str, ...]]:
    return [event.warnings for event in events if isinstance(event, PromptReady)]


@pytest.mark.parametrize("call", [1, 3])
def test_out_of_memory_draws_the_picture_again_one_rung_down(kl_model: Path, call: int) -> None:
    plan = make_plan(kl_model)
    engine = new()
    with no_room_at("UNet2DConditionModel", call=call):
        events = list(engine.run(plan, go_on))
    drawn = next(event for event in events if isinstance(event, ImageReady))
    assert [event.kind for event in events if event.is_fact] == ["started", "prompt_ready", "prompt_ready", "finished"]
    first, second = warnings_of(events)
    assert not any(words.startswith(STEPPED_DOWN) for words in first)
    assert second[-1].startswith(STEPPED_DOWN) and RUNGS["fp8"].words in second[-1]
    assert (drawn.facts["memory"], drawn.facts["too_much"]) == ("fp8", "resident")
    assert drawn.facts["free_memory_bytes"] > 0
    assert drawn.rgb == picture(new("fp8"), plan).rgb, "as if it had been chosen at once"


def test_a_plan_that_ran_out_before_starts_lower(kl_model: Path) -> None:
    plan = make_plan(kl_model, memory="fp8")
    drawn = picture(new(), plan)
    assert drawn.facts["memory"] == "fp8"
    assert "too_much" not in drawn.facts


def test_out_of_memory_twice_is_told(kl_model: Path) -> None:
    engine = new()
    with no_room_at("UNet2DConditionModel", call=1, times=100) as calls:
        failure = list(engine.run(make_plan(kl_model), go_on))[-1]
    assert isinstance(failure, Failed) and failure.code == "out_of_memory"
    assert calls == [2], "once on each rung"
    assert picture(engine, make_plan(kl_model)).facts["memory"] == "resident"


def test_no_room_to_decode_at_once_means_tiles(kl_model: Path) -> None:
    engine, plan = new(), make_plan(kl_model)
    wanted = picture(engine, plan)
    engine.family(plan.model).decoder._tile_side = 64
    with no_room_at("Decoder", call=1):
        drawn = picture(engine, plan)
    assert drawn.facts["decoding"] == "in tiles"
    assert drawn.facts["memory"] == "resident"
    assert len(drawn.rgb) == len(wanted.rgb)


def test_a_machine_knows_where_weights_are_loaded_to() -> None:
    card = Machine(torch.device("cuda:1"), torch.float16)
    assert card.weights_device == card.device
    assert dataclasses.replace(card, loads_at_home=True).weights_device == CPU


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
