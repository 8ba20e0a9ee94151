"""Pictures drawn as one batch: the same as alone, whoever leaves on the way, in as few walks as there is room for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fooocus_lite.engine.run import Engine
from fooocus_lite.events import Cancelled, Event, Failed, Finished, ImageReady, Preview, Progress, PromptReady
from fooocus_lite.plan import LoraRef, Plan
from fooocus_lite.registry import SAMPLERS
from tests.engine.test_engine_run import counted_forwards
from tests.engine.test_memory import no_room_at
from tests.engine.tiny_sdxl import make_plan

#: Levels of 255. Kernels sum a batch in another order, so a value that stood at a half may be rounded the other way;
#: `tests/starter/test_together.py` measures it on a model that draws.
TOLERANCE = 1
#: What a step looks at besides one pass; APG remembers, so it sees whether rows stay whose they are.
GUIDANCE: list[dict[str, float]] = [
    {"guidance_scale": 1.0},
    {"sag_scale": 0.5},
    {"pag_scale": 2.0},
    {"apg_momentum": -0.5, "apg_eta": 0.5, "apg_threshold": 5.0},
    {"perp_neg": 1.0},
    {"guidance_start": 0.3, "guidance_end": 0.8, "guidance_rescale": 0.7, "sharpness": 5.0},
    {"freeu_b1": 1.2, "freeu_s1": 0.8, "adm_positive": 1.5, "adm_negative": 0.8},
]
SHORT, LONG = "a red circle", "a blue square on a very wide and green field, " * 3

Run = dict[int, list[Event]]


def nobody(number: int) -> bool:
    """Nobody asks to stop."""
    del number
    return False


def run(engine: Engine, plans: Sequence[Plan], should_stop: Callable[[int], bool] = nobody) -> Run:
    events: Run = {number: [] for number in range(len(plans))}
    for number, event in engine.run_together(plans, should_stop):
        events[number].append(event)
    return events


def image(events: Sequence[Event]) -> ImageReady:
    (found,) = [event for event in events if isinstance(event, ImageReady)]
    return found


def levels(events: Sequence[Event]) -> Any:
    return np.frombuffer(image(events).rgb, np.uint8).astype(int)


def four(model: Path, **changes: Any) -> list[Plan]:
    words = [(SHORT,), (LONG,), ("a green star", "in oil"), (SHORT,)]
    return [
        make_plan(model, texts=texts, negative_texts=("grey",), seed=seed, **changes)
        for seed, texts in enumerate(words)
    ]


def assert_as_alone(engine: Engine, plans: Sequence[Plan], together: Run, numbers: Sequence[int]) -> None:
    for number in numbers:
        alone = levels(run(engine, [plans[number]])[0])
        assert np.abs(levels(together[number]) - alone).max() <= TOLERANCE
    apart = [levels(together[number]) for number in numbers]
    assert all(np.abs(one - other).max() > 8 for i, one in enumerate(apart) for other in apart[:i])


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_draws_each_of_a_batch_as_alone(engine: Engine, model: Path, sampler: str) -> None:
    plans = four(model, sampler=sampler, steps=max(5, SAMPLERS[sampler].min_steps))
    with counted_forwards("UNet2DConditionModel") as forwards:
        together = run(engine, plans)
    walked = len(forwards)
    with counted_forwards("UNet2DConditionModel") as forwards:
        run(engine, plans[:1])
    assert walked == len(forwards), "one walk for all"
    assert_as_alone(engine, plans, together, range(4))


@pytest.mark.parametrize("guidance", GUIDANCE, ids=lambda one: next(iter(one)))
def test_every_guidance_draws_each_of_a_batch_as_alone(engine: Engine, model: Path, guidance: dict[str, float]) -> None:
    plans = four(model, **guidance)
    assert_as_alone(engine, plans, run(engine, plans), range(4))


def test_loras_and_a_refiner_draw_each_of_a_batch_as_alone(engine: Engine, model: Path, ink_lora: LoraRef) -> None:
    plain = make_plan(model)
    plans = four(model, loras=(ink_lora,), refiner=plain.model, refiner_switch=0.5, sampler="dpmpp_2m")
    assert_as_alone(engine, plans, run(engine, plans), range(4))


def test_each_tells_its_own_story(model: Path) -> None:
    engine = Engine(device="cpu", preview_fps=math.inf, progress_fps=math.inf)
    plans = [dataclasses.replace(plan, warnings=(f"mind {plan.seed}",)) for plan in four(model)]
    previews: set[bytes] = set()
    for number, events in run(engine, plans).items():
        kinds = [event.kind for event in events if not isinstance(event, Preview)]
        assert kinds == ["started", "prompt_ready", *["progress"] * 4, "image_ready", "finished"]
        told = [event for event in events if isinstance(event, PromptReady)]
        assert [(event.texts, event.warnings) for event in told] == [(plans[number].texts, plans[number].warnings)]
        assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3, 4]
        assert image(events).facts["together"] == 4
        own = {event.jpeg for event in events if isinstance(event, Preview)}
        assert own and not own & previews
        previews |= own


@pytest.mark.parametrize("sampler, guidance", [("uni_pc", GUIDANCE[3]), ("dpmpp_3m_sde", GUIDANCE[1]), ("lms", {})])
def test_who_is_stopped_leaves_and_the_others_go_on_unharmed(
    engine: Engine, model: Path, sampler: str, guidance: dict[str, float]
) -> None:
    """Samplers and a guidance that look back, so that a row in the wrong place would show."""
    plans, rows = four(model, sampler=sampler, steps=8, **guidance), list[int]()
    done: set[int] = set()
    events: Run = {number: [] for number in range(4)}
    with _counted_rows(rows):
        for number, event in engine.run_together(plans, lambda number: {0: 2, 2: 4}.get(number, 99) in done):
            events[number].append(event)
            if isinstance(event, Progress):
                done.add(event.step)
    assert [type(events[number][-1]) for number in range(4)] == [Cancelled, Finished, Cancelled, Finished]
    assert rows[0] == 2 * max(rows[-2:]), "who has left is not computed"
    assert_as_alone(engine, plans, events, [1, 3])


def _counted_rows(rows: list[int]) -> Any:
    from contextlib import contextmanager

    from torch.nn.modules.module import register_module_forward_hook

    def note(module: Any, args: Any, _output: Any) -> None:
        if type(module).__name__ == "UNet2DConditionModel":
            rows.append(len(args[0]))

    @contextmanager
    def counting() -> Any:
        handle = register_module_forward_hook(note)
        try:
            yield
        finally:
            handle.remove()

    return counting()


def test_all_stopped_is_the_end_and_the_engine_draws_on(engine: Engine, model: Path) -> None:
    plans = four(model, steps=50)
    with counted_forwards("UNet2DConditionModel") as forwards:
        events = run(engine, plans, lambda _: len(forwards) >= 2)
    assert all(isinstance(told[-1], Cancelled) for told in events.values())
    assert len(forwards) == 2
    assert isinstance(run(engine, plans[:1])[0][-1], Finished)


def test_one_that_cannot_be_read_fails_alone(engine: Engine, model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "ann.safetensors"
    damaged.write_bytes(b"no weights")
    plans = four(model)
    plans[1] = dataclasses.replace(plans[1], texts=("embedding:ann",), embeddings=(("ann", str(damaged)),))
    events = run(engine, plans)
    failure = events[1][-1]
    assert isinstance(failure, Failed) and "ann" in failure.problem and failure.hint
    assert_as_alone(engine, plans, events, [0, 2, 3])


def test_a_bug_over_one_takes_no_other_along(engine: Engine, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = four(model)
    family = engine.family(plans[0].model)
    encode = family.encode

    def faulty(plan: Plan) -> Any:
        if plan.seed == plans[1].seed:
            raise ZeroDivisionError("deep inside")
        return encode(plan)

    with monkeypatch.context() as patched:
        patched.setattr(family, "encode", faulty)
        events = run(engine, plans)
    failure = events[1][-1]
    assert isinstance(failure, Failed) and "deep inside" in failure.details
    assert_as_alone(engine, plans, events, [0, 2, 3])


def test_who_is_stopped_while_words_are_read_or_pictures_decoded_leaves(engine: Engine, model: Path) -> None:
    plans, stopped = four(model), set[int]()
    events: Run = {number: [] for number in range(4)}
    for number, event in engine.run_together(plans, stopped.__contains__):
        events[number].append(event)
        if isinstance(event, PromptReady) and number == 0:
            stopped.add(3)
        if isinstance(event, ImageReady) and number == 0:
            stopped.add(2)
    assert [type(events[number][-1]) for number in (0, 1)] == [Finished, Finished]
    assert isinstance(events[3][-1], Cancelled)
    assert_as_alone(engine, plans, events, [0, 1])


def test_who_walks_another_way_is_drawn_in_its_own_walk_and_the_order_stays(engine: Engine, model: Path) -> None:
    plans = four(model)
    plans[2] = dataclasses.replace(plans[2], steps=3)
    finished: list[int] = []
    events: Run = {number: [] for number in range(4)}
    for number, event in engine.run_together(plans, nobody):
        events[number].append(event)
        finished += [number] if isinstance(event, Finished) else []
    assert finished == [0, 1, 2, 3]
    assert [image(events[number]).facts.get("together", 1) for number in range(4)] == [2, 2, 1, 1]
    assert_as_alone(engine, plans, events, range(4))


def test_texts_too_different_in_length_to_share_a_batch_are_drawn_alone(engine: Engine, model: Path) -> None:
    plans = [make_plan(model, texts=("word " * many,), seed=many) for many in (1, 23, 60, 97)]
    events = run(engine, plans)
    assert {image(told).facts.get("together", 1) for told in events.values()} == {1}
    assert all(isinstance(told[-1], Finished) for told in events.values())


def test_out_of_memory_halves_the_batch_and_is_remembered(model: Path) -> None:
    engine = Engine(device="cpu", preview_fps=0)
    plans = four(model)
    with no_room_at("UNet2DConditionModel", call=3):
        events = run(engine, plans)
    assert [image(told).facts.get("together") for told in events.values()] == [2] * 4
    assert all("too_much" not in image(told).facts for told in events.values()), "no lower rung for one of two"
    assert_as_alone(engine, plans, events, range(4))
    assert image(run(engine, plans)[0]).facts["together"] == 2
    other = [dataclasses.replace(plan, steps=3) for plan in plans]
    assert image(run(engine, other)[0]).facts["together"] == 4, "another walk has its own memory"


def test_out_of_memory_to_the_last_takes_the_ladder_for_one(model: Path) -> None:
    engine = Engine(device="cpu", preview_fps=0)
    with no_room_at("UNet2DConditionModel", call=1, times=3):  # of four, of two, of one
        events = run(engine, four(model)[:4])
    facts = [image(told).facts for told in events.values()]
    assert [one.get("together", 1) for one in facts] == [1] * 4
    assert [one.get("too_much") for one in facts] == ["resident", None, None, None]


def test_out_of_memory_while_decoding_keeps_what_is_done(model: Path) -> None:
    engine = Engine(device="cpu", preview_fps=0)
    plans = four(model)
    with no_room_at("DecoderTiny", call=2):
        events = run(engine, plans)
    assert [image(told).facts.get("together", 1) for told in events.values()] == [4, 2, 2, 1]
    assert_as_alone(engine, plans, events, range(4))


def test_a_batch_has_the_room_that_is_there_and_takes_no_lower_rung(model: Path) -> None:
    engine, plans = Engine(device="cpu", preview_fps=0), four(model, perp_neg=1.0, pag_scale=2.0)
    models = engine.models
    run(engine, plans[:1])
    needs = {many: models.needs(plans[0], together=many).peak("resident", in_tiles=False) for many in (1, 2, 4)}
    assert needs[4] > needs[2]
    free_bytes = models.free_bytes
    for free, together in ((needs[4], 4), (needs[4] - 1, 2)):
        models.free_bytes = lambda free=free: free  # type: ignore[method-assign]
        facts = [image(told).facts for told in run(engine, plans).values()]
        models.free_bytes = free_bytes  # type: ignore[method-assign]
        assert [one.get("together", 1) for one in facts] == [together] * 4
        assert {one["memory"] for one in facts} == {"resident"}


def test_a_reader_that_walks_away_ends_the_whole_batch(model: Path, engine: Engine) -> None:
    with counted_forwards("UNet2DConditionModel") as forwards:
        told = engine.run_together(four(model, steps=100), nobody)
        next(event for _, event in told if isinstance(event, Progress))
        told.close()
        assert len(forwards) < 100
