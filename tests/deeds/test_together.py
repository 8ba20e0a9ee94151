"""Tasks drawn as one batch: which are taken, how many, and what becomes of each when something happens to one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import DiskProblem
from fooocus_lite.events import Cancelled, Event, Failed, Finished, ImageReady, Preview
from fooocus_lite.library import ByName, Library
from fooocus_lite.plan import Plan, make_plan, resolve
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import LocalRunner
from fooocus_lite.speeds import LONGEST_BATCH_S, MOST_TOGETHER, Speeds
from fooocus_lite.store import Store
from fooocus_lite.tasks import Task
from tests.deeds.conftest import FAKE, a_recipe, until
from tests.deeds.fake_engine import pixels
from tests.deeds.test_dispatcher import ask, kinds, wait_for
from tests.lora_header import lora_bytes

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
SINGLY, BATCHED = 1.0, 0.5  # seconds a picture


# Which are taken.


def claimed(store: Store, limit: int = 7) -> list[str]:
    """Prompts of the first in line and what is taken with it."""
    first = store.queue.claim("w")
    assert first is not None
    return [task.recipe.prompt for task in (first, *store.queue.claim_more(first, "w", limit))]


def test_what_follows_in_line_is_taken_up_to_the_first_of_another_kind(store: Store) -> None:
    store.queue.submit([a_recipe("a"), a_recipe("b", seed=2, negative_prompt="x", styles=["Watercolor"])])
    store.queue.submit([a_recipe("wide", width=64), a_recipe("c"), a_recipe("d")])
    assert claimed(store) == ["a", "b"]
    assert [task.recipe.prompt for task in store.queue.waiting()] == ["wide", "c", "d"]
    assert claimed(store) == ["wide"]
    assert claimed(store) == ["c", "d"]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"}, {"width": 16}, {"steps": 3}, {"sampler": "lcm"}, {"scheduler": "karras"},
        {"guidance_scale": 2.0}, {"sag_scale": 0.5}, {"loras": [{"name": "ink", "weight": 1.0}]},
        {"refiner": "other"}, {"clip_skip": 1}, {"mode": "lightning"},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_what_makes_another_walk_makes_another_kind(store: Store, other: dict[str, Any]) -> None:
    store.queue.submit([a_recipe("a"), a_recipe("b", **other), a_recipe("c", **other)])
    assert claimed(store) == ["a"]
    assert claimed(store) == ["b", "c"]


def test_no_more_than_asked_for_and_each_with_its_own_story(store: Store) -> None:
    ids = store.queue.submit([a_recipe(str(number), seed=number) for number in range(5)])
    assert claimed(store, limit=2) == ["0", "1", "2"]
    assert {task.id: (task.state, task.attempt) for task in map(store.queue.get, ids[:3])} == dict.fromkeys(
        ids[:3], ("running", 1)
    )
    assert all(kinds(store, task_id) == ["queued", "started"] for task_id in ids[:3])


def test_one_whose_worker_died_is_never_taken_with_others(store: Store) -> None:
    ids = store.queue.submit([a_recipe(str(number), seed=number) for number in range(4)])
    claimed(store, limit=1)
    for task_id in ids[:2]:
        store.queue.put_back(task_id, Failed(problem="It died."))
    assert [task.id for task in store.queue.waiting()] == ids, "each has its place again"
    first = store.queue.claim("w")
    assert first and (first.id, first.attempt) == (ids[0], 2)
    assert store.queue.claim_more(first, "w", 7) == []
    second = store.queue.claim("w")
    assert second and (second.id, second.attempt) == (ids[1], 2)
    assert [task.id for task in store.queue.claim_more(second, "w", 7)] == ids[2:], (
        "whoever takes them draws them apart"
    )


def test_users_in_turn_stay_in_turn(store: Store) -> None:
    for owner in ("ann", "ann", "bob", "bob"):
        store.queue.submit([a_recipe(f"{owner}", width=64 if owner == "bob" else 32)], owner=owner)
    first = store.queue.claim("w")
    assert first and first.owner == "ann"
    assert store.queue.claim_more(first, "w", 7) == [], "it is bob's turn, and his is another kind"


# How many.


def a_speed(store: Store, library: Library, seconds: float = SINGLY) -> tuple[Speeds, Recipe]:
    recipe = resolve(a_recipe(), library, 0)
    store.speeds.record(recipe, seconds)
    return store.speeds, recipe


def learned(speeds: Speeds, recipe: Recipe, seconds: Callable[[int], float], rounds: int = 20) -> list[int]:
    """The sizes that are chosen one after another on a machine that needs so many seconds a picture."""
    sizes: list[int] = []
    for _ in range(rounds):
        sizes.append(speeds.best_together(recipe))
        if sizes[-1] > 1:
            speeds.record_together(recipe, sizes[-1], seconds(sizes[-1]))
    return sizes


def test_nothing_is_batched_before_one_alone_was_timed(store: Store, library: Library) -> None:
    assert store.speeds.best_together(resolve(a_recipe(), library, 0)) == 1


def test_where_batches_are_faster_they_grow_to_the_most(store: Store, library: Library) -> None:
    assert learned(*a_speed(store, library), lambda many: SINGLY / many)[:4] == [2, 4, 8, MOST_TOGETHER]


def test_where_they_are_not_two_tries_are_all(store: Store, library: Library) -> None:
    assert learned(*a_speed(store, library), lambda many: SINGLY)[:4] == [2, 2, 1, 1]


def test_they_grow_as_far_as_it_pays(store: Store, library: Library) -> None:
    took = {2: 0.7, 4: 0.5, 8: 0.5}
    assert learned(*a_speed(store, library), took.__getitem__)[:6] == [2, 4, 8, 8, 4, 4]


def test_one_slow_try_is_no_verdict(store: Store, library: Library) -> None:
    speeds, recipe = a_speed(store, library)
    speeds.record_together(recipe, 2, 3 * SINGLY)
    speeds.record_together(recipe, 2, BATCHED)
    assert speeds.best_together(recipe) == 4


@pytest.mark.parametrize("seconds, most", [(LONGEST_BATCH_S, 1), (LONGEST_BATCH_S / 2, 2), (0.4 * LONGEST_BATCH_S, 4)])
def test_nobody_waits_longer_for_the_first_picture_than_a_batch_may_take(
    store: Store, library: Library, seconds: float, most: int
) -> None:
    """Halved by a batch of two, so the third has a batch of four, of no more seconds than a batch may take."""
    sizes = learned(*a_speed(store, library, seconds), lambda many: seconds * 0.6)
    assert max(sizes) == most


# What a worker makes of it.


def a_plan(library: Library, prompt: str, seed: int) -> Plan:
    return make_plan(a_recipe(prompt, seed), library, 0)


def nothing(place: int, event: Event) -> None:
    del place, event


def read(told: Iterator[tuple[int, Event]], then: Callable[[int, Event], None] = nothing) -> dict[int, list[Event]]:
    events: dict[int, list[Event]] = {}
    for place, event in told:
        events.setdefault(place, []).append(event)
        then(place, event)
    return events


def test_several_plans_cross_the_pipe_and_each_has_its_pixels(runner: LocalRunner, library: Library) -> None:
    plans = [a_plan(library, "p", seed) for seed in range(3)]
    events = read(runner.run_together(plans, lambda _: False))
    assert [[event.rgb for event in events[place] if isinstance(event, ImageReady)] for place in range(3)] == [
        [pixels(plan)] for plan in plans
    ]


def test_a_stop_is_for_one_of_them(runner: LocalRunner, library: Library, tmp_path: Path) -> None:
    gate, asked = tmp_path / "gate", set[int]()
    plans = [a_plan(library, "p", 1), a_plan(library, f"gate {gate}", 2), a_plan(library, "p", 3)]

    def then(place: int, event: Event) -> None:
        if place == 1 and isinstance(event, Preview):
            asked.add(1)

    events = read(runner.run_together(plans, asked.__contains__), then)
    assert [type(events[place][-1]) for place in range(3)] == [Finished, Cancelled, Finished]


def test_the_next_run_is_in_the_worker_before_this_one_has_ended(
    runner: LocalRunner, library: Library, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    this = runner.run_together([a_plan(library, f"gate {gate}", 1)], lambda _: False)
    following = runner.run_together([a_plan(library, "p", 2)], lambda _: False)
    gate.touch()
    assert read(this)[0][-1].kind == read(following)[0][-1].kind == "finished"


def test_a_stop_of_the_next_run_does_not_touch_this_one(runner: LocalRunner, library: Library, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    this = runner.run_together([a_plan(library, f"gate {gate}", 1)], lambda _: False)
    next(this)
    following = runner.run_together([a_plan(library, "p", 2)], lambda _: False)
    following.close()
    abandoned = runner.run_together([a_plan(library, "gate /nowhere", 3)], lambda _: True)
    gate.touch()
    assert read(this)[0][-1].kind == "finished"
    assert read(abandoned)[0][-1].kind == "cancelled"


# From the queue to the disk.


@pytest.fixture
def batching(store: Store, library: Library) -> None:
    """As if this machine had learned that batches pay."""
    speeds, recipe = a_speed(store, library, 0.01)
    learned(speeds, recipe, lambda many: 0.01 / many)


def behind_a_gate(store: Store, gate: Path, *prompts: str) -> tuple[str, list[str]]:
    """A task that keeps the worker, and those that wait behind it meanwhile."""
    (first,) = ask(store, f"gate {gate}", width=64)
    until(lambda: store.log.latest(first))
    return first, ask(store, *prompts)


@pytest.mark.usefixtures("batching")
def test_what_waits_is_drawn_in_one_batch(store: Store, dispatcher: Dispatcher, tmp_path: Path) -> None:
    gate, never = tmp_path / "gate", tmp_path / "never"
    first, ids = behind_a_gate(store, gate, "a", f"gate {never}", "c", "d")
    gate.touch()
    until(lambda: len(store.queue.running()) >= 4, "all at once")
    (worker,) = dispatcher.workers()
    until(lambda: dispatcher.workers()[0]["task_ids"] == ids)
    assert worker["state"] == "drawing"
    never.touch()
    tasks = wait_for(store, first, *ids)
    assert [task.facts.get("together", 1) for task in tasks] == [1, 4, 4, 4, 4]
    assert all(task.state == "finished" and Path(task.image_path or "").is_file() for task in tasks)
    assert [task.attempt for task in tasks] == [1] * 5


@pytest.mark.usefixtures("batching", "dispatcher")
def test_who_asks_an_idle_worker_has_the_first_picture_alone(store: Store) -> None:
    tasks = wait_for(store, *ask(store, *"abcde"))
    assert [task.facts.get("together", 1) for task in tasks] == [1, 4, 4, 4, 4]


@pytest.mark.usefixtures("batching")
def test_cancel_takes_one_out_and_skip_takes_all_that_are_drawn(
    store: Store, dispatcher: Dispatcher, tmp_path: Path
) -> None:
    gate, never = tmp_path / "gate", tmp_path / "never"
    _, ids = behind_a_gate(store, gate, f"gate {never}", "b", f"gate {tmp_path}/b", "d")
    gate.touch()
    until(lambda: dispatcher.workers()[0]["task_ids"] == ids)
    store.queue.cancel(ids[0])
    assert wait_for(store, ids[0])[0].state == "cancelled"
    until(lambda: ids[0] not in dispatcher.workers()[0]["task_ids"])
    skipped = dispatcher.skip()
    assert set(skipped) <= set(ids[1:]) and ids[2] in skipped
    tasks = wait_for(store, *ids)
    assert [task.state for task in tasks][2] == "cancelled"
    assert {task.state for task in tasks} <= {"cancelled", "finished"}


@posix
@pytest.mark.usefixtures("batching", "dispatcher")
def test_a_worker_that_dies_costs_each_one_attempt_and_then_they_are_drawn_singly(store: Store, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    _, ids = behind_a_gate(store, gate, "a", f"die {int(signal.SIGKILL)}", "c", "d")
    gate.touch()
    tasks = wait_for(store, *ids)
    assert [task.state for task in tasks] == ["finished", "failed", "finished", "finished"]
    assert [task.attempt for task in tasks] == [2, 2, 2, 2]
    assert all("together" not in task.facts for task in tasks)
    ended = sorted((task.finished_at or 0, task.id) for task in tasks if task.state == "finished")
    assert [task_id for _, task_id in ended] == [ids[0], ids[2], ids[3]], "the order is kept"


@pytest.mark.usefixtures("batching", "dispatcher")
def test_one_that_fails_takes_no_other_along(store: Store, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    _, ids = behind_a_gate(store, gate, "a", "fail now", "c")
    gate.touch()
    assert [task.state for task in wait_for(store, *ids)] == ["finished", "failed", "finished"]


@pytest.mark.usefixtures("batching")
def test_words_that_name_a_lora_keep_their_place_and_are_drawn_apart(
    store: Store, runner: LocalRunner, library: Library, tmp_path: Path
) -> None:
    """The recipes look alike; only the plans tell that they walk another way."""
    ink = tmp_path / "ink.safetensors"
    ink.write_bytes(lora_bytes(2048))
    library = replace(library, loras=ByName({"ink": str(ink)}))
    dispatcher = Dispatcher(store, [runner], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    gate = tmp_path / "gate"
    _, ids = behind_a_gate(store, gate, "a", "b", "c <lora:ink:0.5>", "d")
    gate.touch()
    tasks = wait_for(store, *ids)
    dispatcher.close()
    assert [task.state for task in tasks] == ["finished"] * 4
    assert [task.facts.get("together", 1) for task in tasks] == [2, 2, 1, 1]
    assert [task.attempt for task in tasks] == [1] * 4, "to be put back costs nothing"
    assert [task.id for task in sorted(tasks, key=lambda task: task.finished_at or 0)] == ids


def test_shutting_down_puts_a_whole_batch_back_at_no_cost(store: Store, library: Library, tmp_path: Path) -> None:
    speeds, recipe = a_speed(store, library, 0.01)
    learned(speeds, recipe, lambda many: 0.01 / many)
    dispatcher = Dispatcher(store, [LocalRunner(FAKE)], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    gate = tmp_path / "gate"
    _, ids = behind_a_gate(store, gate, "a", f"gate {tmp_path}/never", "c")
    gate.touch()
    until(lambda: dispatcher.workers()[0]["task_ids"][:1] == ids[:1] or store.queue.get(ids[0]).state == "finished")
    until(lambda: store.log.latest(ids[1]))
    dispatcher.close()
    waiting = {task.id: task.attempt for task in store.queue.waiting()}
    finished = {task_id for task_id in ids if store.queue.get(task_id).state == "finished"}
    assert waiting == {task_id: 0 for task_id in ids if task_id not in finished} and ids[1] in waiting


@pytest.mark.usefixtures("batching")
def test_two_workers_share_what_waits(store: Store, library: Library, tmp_path: Path) -> None:
    runners = [LocalRunner(FAKE), LocalRunner(FAKE)]
    dispatcher = Dispatcher(store, runners, library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    gate = tmp_path / "gate"
    firsts = ask(store, f"gate {gate}", f"gate {gate}", width=64)
    until(lambda: len(store.queue.running()) == 2)
    ids = ask(store, *"abcdef")
    gate.touch()
    tasks = wait_for(store, *firsts, *ids)
    dispatcher.close()
    assert {task.state for task in tasks} == {"finished"}
    assert max(task.facts.get("together", 1) for task in tasks) <= 3


@pytest.mark.usefixtures("batching", "dispatcher")
def test_a_disk_that_fails_between_the_first_and_the_rest_loses_none(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_more, failures = store.queue.claim_more, [DiskProblem("The disk is full.", "Free some space.")]

    def failing(*args: Any, **options: Any) -> list[Task]:
        if failures:
            raise failures.pop()
        return claim_more(*args, **options)

    gate = tmp_path / "gate"
    _, ids = behind_a_gate(store, gate, *"abc")
    monkeypatch.setattr(store.queue, "claim_more", failing)
    gate.touch()
    tasks = wait_for(store, *ids)
    assert not failures and [(task.state, task.attempt) for task in tasks] == [("finished", 1)] * 3
