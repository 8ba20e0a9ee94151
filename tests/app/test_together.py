"""A click of many pictures on a real server: drawn in batches, each with its own seed, words, events and file."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image

from fooocus_lite.images import read_picture
from fooocus_lite.speeds import MOST_TOGETHER
from tests.app.client import follow
from tests.faults.server import Server
from tests.starter.drawing import needs_starter

pytestmark = needs_starter
STEPS = 4


def levels(server: Server, task_id: str) -> np.ndarray:
    return np.asarray(Image.open(server.picture(task_id)).convert("RGB")).astype(int)


def together(server: Server, task_id: str) -> int:
    return read_picture(server.picture(task_id)).facts.get("together", 1)


def test_a_click_of_many_comes_in_batches_each_picture_its_own(quiet_server: Server) -> None:
    """Two alone first, so that one is timed warm; then two are tried together on any machine that is not very slow."""
    quiet_server.wait(*quiet_server.submit("a red circle", steps=STEPS))
    quiet_server.wait(*quiet_server.submit("a red circle", steps=STEPS))
    ids = quiet_server.submit("a red circle", steps=STEPS, count=9, seed=50)
    tasks = quiet_server.wait(*ids)
    assert [task["state"] for task in tasks] == ["finished"] * 9
    assert [task["recipe"]["seed"] for task in tasks] == list(range(50, 59))
    sizes = [together(quiet_server, task_id) for task_id in ids]
    assert sizes[0] == 1, "who asks an idle worker has the first alone"
    assert 1 < max(sizes) <= MOST_TOGETHER
    for task_id in ids:
        kinds = [event["event"] for event in follow(quiet_server.address, f"/v1/tasks/{task_id}/events")]
        assert [kind for kind in kinds if kind not in ("progress", "preview")] == [
            "queued", "started", "prompt_ready", "image_saved", "finished",
        ]  # fmt: skip
    pictures = [levels(quiet_server, task_id) for task_id in ids]
    assert all(np.abs(one - other).max() > 8 for one, other in pairwise(pictures))
    shared = next(number for number, size in enumerate(sizes) if size > 1)
    again = quiet_server.submit("a red circle", steps=STEPS, seed=50 + shared)
    quiet_server.wait(*again)
    assert together(quiet_server, again[0]) == 1
    assert np.abs(levels(quiet_server, again[0]) - pictures[shared]).max() <= 1


def test_one_of_many_is_cancelled_and_the_others_come(quiet_server: Server) -> None:
    ids = quiet_server.submit("a green star", steps=40, count=4, seed=9)
    quiet_server.wait_until_drawing(ids[1])
    quiet_server.cancel(ids[2])
    states = [task["state"] for task in quiet_server.wait(*ids)]
    assert states == ["finished", "finished", "cancelled", "finished"]
