"""Models in memory: what stays, what moves, and what happens when it runs out."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fooocus_lite.engine.device import Machine
from fooocus_lite.engine.model_cache import RAM_RESERVE_BYTES, ModelCache
from fooocus_lite.engine.run import Engine
from fooocus_lite.events import Event, Failed, ImageReady, PromptReady
from fooocus_lite.memory import RUNGS, STEPPED_DOWN
from fooocus_lite.plan import LoraRef, Plan
from tests.engine.conftest import go_on
from tests.engine.tiny_sdxl import make_plan, write_model

CPU = torch.device("cpu")


def picture(engine: Engine, plan: Plan) -> ImageReady:
    events = list(engine.run(plan, go_on))
    return next(event for event in events if isinstance(event, ImageReady))


def new(rung: str = "auto") -> Engine:
    return Engine(device="cpu", preview_fps=0, memory=rung)


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


@pytest.mark.parametrize("rung", ["offload", "groups"])
def test_loras_work_on_the_lower_rungs_and_leave_no_trace(kl_model: Path, ink_lora: LoraRef, rung: str) -> None:
    plain = make_plan(kl_model)
    changed = dataclasses.replace(plain, loras=(ink_lora,))
    wanted = [picture(new("resident"), plan).rgb for plan in (plain, changed)]
    assert wanted[0] != wanted[1]
    engine = new(rung)
    assert [picture(engine, plan).rgb for plan in (plain, changed, plain, changed)] == wanted * 2


def test_eight_bits_refuse_loras_in_a_sentence(kl_model: Path, ink_lora: LoraRef) -> None:
    plan = make_plan(kl_model, loras=(ink_lora,))
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
