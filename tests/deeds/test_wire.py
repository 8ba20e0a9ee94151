"""What may pass between the server and its worker, and what may not."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.events import KINDS, Event, Failed, ImageReady, Preview, Progress, PromptReady
from fooocus_lite.library import Library
from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import MAX_SEED
from fooocus_lite.wire import Message, read_frame, send_frame
from fooocus_lite.wording import LoraRef
from tests.deeds.conftest import a_recipe


def through(*messages: Message) -> list[Message | None]:
    """What the other side reads, and then its end of the stream."""
    pipe = io.BytesIO()
    for message in messages:
        send_frame(pipe, message)
    pipe.seek(0)
    return [read_frame(pipe) for _ in range(len(messages) + 1)]


def test_every_kind_of_event_arrives_as_it_was() -> None:
    told: list[Event] = [kind() for kind in KINDS.values()]
    told += [
        PromptReady(texts=("★ \udcff", ""), warnings=("mind",)),
        Progress(step=1, steps=3, seconds_left=0.1 + 0.2),
        Preview(jpeg=bytes(range(256)), width=3, height=2),
        ImageReady(rgb=b"\0" * 3_000_000, width=1000, height=1000, facts={"device": "CPU", "seconds": 0.5}),
        Failed(problem="p", field_name="width", details="a\nb"),
    ]
    messages: list[Message] = [
        ("event", number, (place, event)) for place in (0, 7) for number, event in enumerate(told)
    ]
    *seen, end = through(*messages)
    assert seen == messages
    assert end is None


def test_a_plan_arrives_exactly(library: Library) -> None:
    recipe = a_recipe("a ★ {x}", seed=MAX_SEED, guidance_scale=1.1, negative_prompt="blur")
    named = {"loras": (LoraRef("ink", "/ink.safetensors", 0.5),), "embeddings": (("ann", "/ann.safetensors"),)}
    plan = replace(make_plan(recipe, library, 0), **named)
    about = {"device": "cpu", "total_memory_bytes": None}
    messages: list[Message] = [
        ("run", 7, [plan, plan]),
        ("warm_up", 0, plan),
        ("warm_up", 0, None),
        ("stop", 7, 1),
        ("about", 0, about),
    ]
    assert through(*messages) == [*messages, None]


class _Trap:
    """What a pickle of it does when it is read: make a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def test_nothing_that_comes_through_the_pipe_is_run(tmp_path: Path) -> None:
    """Both as an order to a real worker and as an answer to the server."""
    trap = pickle.dumps(_Trap(tmp_path / "sprung"))
    pickle.loads(trap)
    (tmp_path / "sprung").rmdir()  # it does spring
    for header in (struct.pack(">II", len(trap), 0), struct.pack(">Q", len(trap))):
        worker = subprocess.run(
            [sys.executable, "-m", "fooocus_lite.worker"], input=header + trap, capture_output=True, timeout=300
        )
        assert worker.returncode != 0 or not worker.stdout
    with pytest.raises(ValueError):
        read_frame(io.BytesIO(struct.pack(">II", len(trap), 0) + trap))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "text",
    [b"no json", b"\xff\xfe", b"7", b"[1, 2]", b'["event", 1, null]', b'["event", 1, [0, {"kind": "exploded"}]]',
     b'["event", 1, [0, {"kind": ["progress"]}]]', b'["event", 1, ["x", {"kind": "finished"}]]', b'["event", 1, [0]]',
     b'["run", 1, [{"texts": []}]]', b'["run", 1, 7]', b'["run", "x", null]'],
)  # fmt: skip
def test_what_is_no_message_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_frame(io.BytesIO(struct.pack(">II", len(text), 0) + text))


def test_a_stream_that_breaks_off_has_ended() -> None:
    pipe = io.BytesIO()
    send_frame(pipe, ("event", 1, (0, Preview(jpeg=b"jpeg"))))
    whole = pipe.getvalue()
    for length in range(len(whole)):
        assert read_frame(io.BytesIO(whole[:length])) is None


def test_what_json_cannot_say_is_refused_before_a_byte_is_written() -> None:
    pipe = io.BytesIO()
    with pytest.raises(TypeError):
        send_frame(pipe, ("about", 0, {"path": Path(".")}))
    assert pipe.getvalue() == b""
