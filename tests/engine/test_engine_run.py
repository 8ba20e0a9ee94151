"""The engine as its callers see it: events, repeatability, warm models, stopping."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fooocus_lite.engine.run import Engine
from fooocus_lite.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    ImageReady,
    Preview,
    Progress,
    PromptReady,
    Started,
)
from fooocus_lite.plan import Plan
from fooocus_lite.registry import SAMPLERS
from tests.engine.conftest import go_on
from tests.engine.tiny_sdxl import make_plan, write_model

Draw = Callable[[Plan], list[Event]]
Pixels = Callable[[Plan], bytes]


@contextmanager
def counted_forwards(kind: str) -> Iterator[list[str]]:
    """Names of the modules of a class whose forward ran, in order."""
    from torch.nn.modules.module import register_module_forward_hook

    seen: list[str] = []

    def note(module: Any, _args: Any, _output: Any) -> None:
        if type(module).__name__.startswith(kind):
            seen.append(type(module).__name__)

    handle = register_module_forward_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def of(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_picture_is_told_in_order(draw: Draw, model: Path) -> None:
    plan = make_plan(model, width=96, height=128, steps=3, warnings=("mind the gap",))
    events = draw(plan)
    assert [event.kind for event in events] == [
        "started", "prompt_ready", "progress", "progress", "progress", "image_ready", "finished",
    ]  # fmt: skip
    assert of(events, Started)[0].device
    ready: PromptReady = of(events, PromptReady)[0]
    assert (ready.texts, ready.negative_texts, ready.warnings) == (plan.texts, plan.negative_texts, ("mind the gap",))
    progress: list[Progress] = of(events, Progress)
    assert [(p.step, p.steps) for p in progress] == [(1, 3), (2, 3), (3, 3)]
    assert progress[-1].seconds_left == 0
    assert all(p.seconds_left is not None and p.seconds_left >= 0 for p in progress)
    picture: ImageReady = of(events, ImageReady)[0]
    assert (picture.width, picture.height, len(picture.rgb)) == (96, 128, 96 * 128 * 3)
    assert set(picture.facts) == {"device", "dtype", "seconds", "peak_memory_bytes", "memory"}
    assert of(events, Finished)[0].seconds > 0


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_the_same_plan_gives_the_same_bytes_in_any_order(pixels: Pixels, model: Path, sampler: str) -> None:
    plan = make_plan(model, sampler=sampler, sag_scale=0.5)
    other = dataclasses.replace(plan, seed=99, texts=("something else",), width=64, steps=2, guidance_scale=1.0)
    first = pixels(plan)
    between = pixels(other)
    assert pixels(plan) == first
    fresh = Engine(device="cpu", preview_fps=1000)  # alone, and with previews looking on
    events = list(fresh.run(plan, go_on))
    assert of(events, ImageReady)[0].rgb == first
    assert of(events, Preview)
    assert pixels(other) == between != first


def test_seed_text_and_size_matter(pixels: Pixels, model: Path) -> None:
    plan = make_plan(model)
    pictures = {
        pixels(plan),
        pixels(dataclasses.replace(plan, seed=plan.seed + 1)),
        pixels(dataclasses.replace(plan, texts=("a blue square",))),
        pixels(dataclasses.replace(plan, texts=("a red circle", "watercolor"))),
        pixels(dataclasses.replace(plan, negative_texts=("blurry",))),
        pixels(dataclasses.replace(plan, width=64)),
    }
    assert len(pictures) == 6


@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 72), (72, 136), (200, 64), (8, 8)])
@pytest.mark.parametrize("sag_scale", [0.0, 0.8])
def test_sizes_and_aspects(draw: Draw, model: Path, width: int, height: int, sag_scale: float) -> None:
    picture = of(draw(make_plan(model, width=width, height=height, steps=2, sag_scale=sag_scale)), ImageReady)[0]
    assert (picture.width, picture.height) == (width, height)
    assert len(picture.rgb) == width * height * 3


def test_a_size_between_latents_is_refused(draw: Draw, model: Path) -> None:
    failure: Failed = draw(make_plan(model, width=100))[-1]  # type: ignore[assignment]
    assert (failure.kind, failure.code, failure.field_name) == ("failed", "bad_value", "width")
    assert "multiple of 8" in failure.hint


@pytest.mark.parametrize(
    ("guidance_scale", "sag_scale", "forwards"), [(1.0, 0.0, 4), (3.0, 0.0, 4), (1.0, 0.7, 8), (3.0, 0.7, 8)]
)
def test_number_of_unet_passes(draw: Draw, model: Path, guidance_scale: float, sag_scale: float, forwards: int) -> None:
    with counted_forwards("UNet2DConditionModel") as seen:
        draw(make_plan(model, steps=4, guidance_scale=guidance_scale, sag_scale=sag_scale))
    assert len(seen) == forwards


def test_a_text_seen_before_runs_no_encoder(draw: Draw, model: Path) -> None:
    plan = make_plan(model, texts=("never seen before",), negative_texts=("nor this",))
    with counted_forwards("CLIPText") as seen:
        draw(plan)
        assert {"CLIPTextModel", "CLIPTextModelWithProjection"} <= set(seen)
        seen.clear()
        draw(dataclasses.replace(plan, seed=1, steps=2))
        assert seen == []
        draw(dataclasses.replace(plan, texts=("never seen before, but",), negative_texts=("nor this",)))
        assert seen.count("CLIPTextModelWithProjection") == 1


def test_a_batch_reads_its_words_once_and_a_new_line_only_itself(draw: Draw, model: Path) -> None:
    plan = make_plan(model, texts=("one (line:1.2)", "another"), negative_texts=("not this",), steps=1)
    with counted_forwards("CLIPTextModelWithProjection") as seen:
        for seed in range(3):
            draw(dataclasses.replace(plan, seed=seed))
        assert len(seen) == 3  # two lines and what is not wanted
        seen.clear()
        draw(dataclasses.replace(plan, texts=(*plan.texts, "a third")))
        draw(dataclasses.replace(plan, texts=plan.texts[::-1], negative_texts=("another",)))
        assert len(seen) == 1
        draw(dataclasses.replace(plan, negative_texts=("not this", "nor that")))
        assert len(seen) == 2


def test_weights_layers_and_own_vectors_matter(pixels: Pixels, model: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "f.safetensors"
    save_file({"clip_l": torch.ones(1, 16), "clip_g": torch.ones(1, 24)}, file)
    plan = make_plan(model, texts=("a red circle",))
    named = dataclasses.replace(plan, texts=("a red circle embedding:f",))
    assert pixels(named) == pixels(plan)  # no file, no word
    pictures = {
        pixels(plan),
        pixels(dataclasses.replace(plan, texts=("a (red:1.5) circle",))),
        pixels(dataclasses.replace(plan, texts=("a (red:0.5) circle",))),
        pixels(dataclasses.replace(plan, clip_skip=1)),
        pixels(dataclasses.replace(named, embeddings=(("f", str(file)),))),
    }
    assert len(pictures) == 5


def test_a_layer_that_the_model_lacks_is_refused(draw: Draw, model: Path) -> None:
    failure: Failed = draw(make_plan(model, clip_skip=3))[-1]  # type: ignore[assignment]
    assert (failure.kind, failure.code, failure.field_name) == ("failed", "bad_value", "clip_skip")


def test_without_guidance_the_unwanted_text_is_not_encoded(draw: Draw, model: Path) -> None:
    with counted_forwards("CLIPTextModelWithProjection") as seen:
        draw(make_plan(model, texts=("only me",), negative_texts=("not encoded",), guidance_scale=1.0))
    assert len(seen) == 1


@pytest.mark.parametrize("after", [0, 1, 3])
def test_stopping_ends_at_the_next_step_boundary(model: Path, engine: Engine, after: int) -> None:
    stop = threading.Event()
    steps_seen = 0
    kinds: list[str] = []
    with counted_forwards("UNet2DConditionModel") as forwards:
        if after == 0:
            stop.set()
        for event in engine.run(make_plan(model, steps=50), _asked_after(stop, forwards, after)):
            kinds.append(event.kind)
            steps_seen += isinstance(event, Progress)
    assert kinds[-1] == "cancelled"
    assert "image_ready" not in kinds
    assert len(forwards) == after == steps_seen


def _asked_after(stop: threading.Event, forwards: list[str], after: int) -> Callable[[], bool]:
    return lambda: stop.is_set() or (after > 0 and len(forwards) >= after)


def test_a_stopped_engine_draws_the_next_picture_as_ever(model: Path, engine: Engine, pixels: Pixels) -> None:
    plan = make_plan(model, sag_scale=0.5)
    expected = pixels(plan)
    assert isinstance(list(engine.run(plan, lambda: True))[-1], Cancelled)
    assert pixels(plan) == expected


def test_a_reader_that_walks_away_ends_the_drawing(model: Path, engine: Engine) -> None:
    with counted_forwards("UNet2DConditionModel") as forwards:
        running = engine.run(make_plan(model, steps=150), go_on)
        for event in running:
            if isinstance(event, Progress):
                break
        running.close()  # type: ignore[attr-defined]
        reached = len(forwards)
        assert reached < 150
        assert of(list(engine.run(make_plan(model, steps=1), go_on)), Finished)
        assert len(forwards) == reached + 1


def test_previews_are_small_jpegs_of_the_pictures_shape(model: Path) -> None:
    engine = Engine(device="cpu", preview_fps=1000)
    events = list(engine.run(make_plan(model, width=128, height=64, steps=5), go_on))
    previews: list[Preview] = of(events, Preview)
    assert 1 <= len(previews) <= 4
    for preview in previews:
        with Image.open(io.BytesIO(preview.jpeg)) as image:
            assert image.format == "JPEG"
            assert image.size == (preview.width, preview.height) == (128, 64)
    assert of(list(Engine(device="cpu", preview_fps=0).run(make_plan(model), go_on)), Preview) == []


def test_progress_is_told_as_often_as_a_person_can_read(model: Path) -> None:
    engine = Engine(device="cpu", preview_fps=0, progress_fps=0.001)
    progress: list[Progress] = of(list(engine.run(make_plan(model, steps=6), go_on)), Progress)
    assert [event.step for event in progress] == [1, 6]
    engine = Engine(device="cpu", preview_fps=1000, progress_fps=0.001)
    events = list(engine.run(make_plan(model, steps=6), go_on))
    progress = of(events, Progress)
    assert {event.step for event in of(events, Preview)} | {1, 6} == {event.step for event in progress}


@pytest.mark.parametrize("vae", ["tiny", "kl"])
def test_both_kinds_of_autoencoder_draw(tmp_path: Path, vae: str) -> None:
    folder = write_model(tmp_path / "m", vae=vae, channels=6, prediction_type="v_prediction")
    events = list(Engine(device="cpu").run(make_plan(folder, sag_scale=0.3), go_on))
    assert isinstance(events[-1], Finished), events[-1]


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "🎨🖌️ a 🔴 circle", "a\x00b", "דג אדום על רקע כחול", "赤い丸", "\u202eright to left\u202c", "a\ud800b",
        "<|endoftext|> red <|startoftext|>", "%s {prompt} \\n $(x)", "long " * 4000,
    ],
)  # fmt: skip
def test_any_text_is_drawn(draw: Draw, model: Path, text: str) -> None:
    events = draw(make_plan(model, texts=(text,), negative_texts=(text[:50],), steps=1, width=64, height=64))
    assert isinstance(events[-1], Finished), events[-1]


def test_a_prompt_is_called_too_long_only_if_it_was_cut(draw: Draw, model: Path) -> None:
    from fooocus_lite.engine.text import MAX_CHUNKS

    room = MAX_CHUNKS * (16 - 2)  # the tiny tokenizer spends a token on every letter

    def warnings(text: str) -> tuple[str, ...]:
        plan = make_plan(model, texts=(text,), steps=1, width=64, height=64)
        return of(draw(plan), PromptReady)[0].warnings

    assert warnings("a" * room) == ()
    assert warnings("a" * (room + 5)) == (f"The prompt is longer than {room} tokens; the last 5 were left out.",)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"device": "toaster"}, "device"), ({"device": "cpu:x"}, "device"), ({"dtype": "fp7"}, "dtype")],
)
def test_an_impossible_machine_is_one_sentence(model: Path, options: dict[str, Any], field: str) -> None:
    failure = list(Engine(**options).run(make_plan(model), go_on))[-1]
    assert isinstance(failure, Failed)
    assert (failure.code, failure.field_name) == ("bad_value", field)
    assert failure.hint.startswith("Use ")


def test_out_of_memory_says_what_to_do_and_the_engine_lives(model: Path, engine: Engine, draw: Draw) -> None:
    def no_room(*_: Any) -> bool:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    failure = list(engine.run(make_plan(model), no_room))[-1]
    assert isinstance(failure, Failed)
    assert failure.code == "out_of_memory"
    assert "smaller" in failure.hint
    assert "Traceback" in failure.details
    assert "Traceback" not in failure.problem + failure.hint
    assert isinstance(draw(make_plan(model))[-1], Finished)


def test_a_bug_is_told_once_and_never_raised(model: Path, engine: Engine, draw: Draw) -> None:
    def bug() -> bool:
        raise ZeroDivisionError("deep inside")

    events = list(engine.run(make_plan(model), bug))
    assert [event.kind for event in events].count("failed") == 1
    failure = events[-1]
    assert isinstance(failure, Failed)
    assert failure.code == "internal"
    assert "deep inside" in failure.details
    assert isinstance(draw(make_plan(model))[-1], Finished)


def test_a_device_that_refuses_even_to_be_freed_ends_the_picture_and_not_the_drawing_thread(
    model: Path, engine: Engine, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any) -> bool:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "forget", fault)
        failure = list(engine.run(make_plan(model), fault))[-1]
    assert isinstance(failure, Failed) and failure.code == "device_error"
    assert isinstance(draw(make_plan(model))[-1], Finished)


def test_describe_names_device_and_format() -> None:
    facts = Engine(device="cpu", dtype="bf16").describe()
    assert facts["device"] == "cpu"
    assert facts["dtype"] == "bf16"
    assert "toaster" in Engine(device="toaster").describe()["problem"]


def test_a_warm_engine_loads_nothing_more(model: Path) -> None:
    engine, plan = Engine(device="cpu"), make_plan(model)
    engine.warm_up(plan)
    loaded = engine.family(plan.model)
    with counted_forwards("CLIPText") as seen:
        assert isinstance(list(engine.run(plan, go_on))[-1], Finished)
    assert seen == []
    assert engine.family(plan.model) is loaded
    engine.warm_up(make_plan(model.parent / "nowhere"))  # told by the first task, not here


def test_half_precision_draws_nearly_the_same(model: Path, pixels: Pixels) -> None:
    plan = make_plan(model)
    exact = torch.frombuffer(bytearray(pixels(plan)), dtype=torch.uint8).float()
    rough_bytes = of(list(Engine(device="cpu", dtype="bf16").run(plan, go_on)), ImageReady)[0].rgb
    rough = torch.frombuffer(bytearray(rough_bytes), dtype=torch.uint8).float()
    assert rough.shape == exact.shape
    # bf16 keeps 8 bits: a relative 2^-8 per operation; far from a broken picture, which is off by tens.
    assert float((rough - exact).abs().mean()) < 8
