"""Previews: the right colours, at most so many a second, and never a step that waits."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from fooocus_lite.engine.preview import MAX_SIDE, LatentColours, Previews, load_colours
from fooocus_lite.errors import CorruptModel

CPU = torch.device("cpu")
COLOURS = LatentColours(matrix=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), bias=(0.0, 0.0, -1.0))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_latents_become_their_colours() -> None:
    latents = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    previews = Previews(COLOURS, CPU, per_second=5)
    jpeg, width, height = previews.start(latents).jpeg(64, 64)
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.size == (width, height) == (64, 64)
        red, green, blue = image.getpixel((32, 32))  # type: ignore[misc]
    assert (red > 245, green < 10, blue < 10) == (True, True, True)


@pytest.mark.parametrize(("width", "height"), [(1024, 1024), (2048, 512), (256, 128), (4096, 8)])
def test_no_preview_is_longer_than_the_limit(width: int, height: int) -> None:
    previews = Previews(COLOURS, CPU, per_second=5)
    _, shown_width, shown_height = previews.start(torch.zeros(1, 2, 4, 4)).jpeg(width, height)
    assert max(shown_width, shown_height) == min(MAX_SIDE, max(width, height))
    assert shown_width / shown_height == pytest.approx(width / height, rel=0.01) or min(shown_width, shown_height) == 1


def test_at_most_so_many_a_second_and_none_while_busy() -> None:
    clock = Clock()
    previews = Previews(COLOURS, CPU, per_second=5, clock=clock)
    assert previews.is_due()
    previews.start(torch.zeros(1, 2, 4, 4))
    clock.now += 10
    assert not previews.is_due()  # nobody took the last one yet
    previews.busy = False
    assert previews.is_due()
    previews.start(torch.zeros(1, 2, 4, 4))
    previews.busy = False
    clock.now += 0.19
    assert not previews.is_due()
    clock.now += 0.02
    assert previews.is_due()


def test_a_models_own_map_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "preview.json"
    assert load_colours(path, 2) is None
    path.write_text(json.dumps({"matrix": [[1, 2, 3], [4, 5, 6]], "bias": [0, 0, 1]}))
    assert load_colours(path, 2) == LatentColours(((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), (0.0, 0.0, 1.0))
    with pytest.raises(CorruptModel, match="2 rows for 4"):
        load_colours(path, 4)
    for broken in ('{"matrix": [[1, 2]], "bias": [0, 0, 1]}', '{"matrix": [[1, 2, 3]]}', "{", "[]"):
        path.write_text(broken)
        with pytest.raises(CorruptModel, match=r"preview\.json"):
            load_colours(path, 1)
