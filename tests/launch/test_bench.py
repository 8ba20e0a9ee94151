"""The report of `bench`: what counts as met, and how it reads. The measuring itself is no test."""

from __future__ import annotations

import pytest

from fooocus_lite.bench import PARTS, line, machines, measure, parts, sampling, throughput
from fooocus_lite.bench.base import ratio_row
from fooocus_lite.bench.report import Report, Row
from fooocus_lite.errors import BadValue
from fooocus_lite.settings import load_settings


@pytest.mark.parametrize(
    "value, limit, is_within", [(1.0, 1.05, True), (1.05, 1.05, True), (1.06, 1.05, False), (None, 1.05, False)]
)
def test_a_target_is_met_or_not(value: float | None, limit: float, is_within: bool) -> None:
    assert Row("x", value, limit, "").is_within == is_within
    assert Report([Row("x", value, limit, "")], machine="m", day="d").all_within == is_within


def test_a_ratio_is_of_the_medians() -> None:
    row = ratio_row("x", 1.5, [0.2, 9.0, 0.2], [0.1, 0.1, 7.0], "above ÷ below")
    assert row.value == pytest.approx(2.0)
    assert row.how == "above ÷ below: 200.0 ms ÷ 100.0 ms"


def test_the_table_for_the_readme() -> None:
    rows = [Row("fast", 1.01, 1.05, "how"), Row("slow", 2.0, 1.5, "how"), Row("memory", 321.4, 400, "", "MB")]
    lines = Report(rows, machine="a machine", day="2030-01-02").as_markdown().splitlines()
    assert lines[0] == "Measured on 2030-01-02: a machine."
    assert lines[4:] == [
        "| fast | 1.01 × | ≤ 1.05 × | how |",
        "| slow | **2.00 ×** | ≤ 1.50 × | how |",
        "| memory | 321 MB | ≤ 400 MB |  |",
    ]


def test_every_measurement_is_a_part_and_there_are_no_others() -> None:
    modules = (line, machines, parts, sampling, throughput)
    written = {name for module in modules for name in vars(module) if name.startswith("measure_")}
    assert written == {f"measure_{name}" for name in PARTS}
    with pytest.raises(BadValue, match="There is no part 'speed'"):
        measure(load_settings(), only=["speed"], say=lambda text: None)
