"""From the queue to the disk, with a real worker process."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
from PIL import Image

from fooocus_lite import images, saver
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import DiskProblem
from fooocus_lite.events import Event, Preview, fold
from fooocus_lite.images import read_picture
from fooocus_lite.library import Library
from fooocus_lite.plan import make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.runner import LocalRunner
from fooocus_lite.store import Store, open_store
from fooocus_lite.tasks import Task
from tests.deeds.conftest import FAKE, a_recipe, until
from tests.deeds.fake_engine import FACTS, pixels

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")


def wait_for(store: Store, *ids: str) -> list[Task]:
    for task_id in ids:
        for _ in store.log.follow(task_id):
            pass
    return [store.queue.get(task_id) for task_id in ids]


def ask(store: Store, *prompts: str, **fields: object) -> list[str]:
    return store.queue.submit([a_recipe(prompt, seed, **fields) for seed, prompt in enumerate(prompts, start=1)])


def a_red_circle(store: Store) -> None:
    """Whatever happened before: the next picture comes."""
    (task,) = wait_for(store, *ask(store, "a red circle"))
    assert task.state == "finished"
    assert task.image_path and Path(task.image_path).is_file()


def kinds(store: Store, task_id: str) -> list[str]:
    return [event.kind for event in store.log.facts(task_id)]


def test_a_start_clears_what_a_kill_left_half_written(store: Store, library: Library, tmp_path: Path) -> None:
    left = tmp_path / "outputs" / "2031-05-04" / "03-02-01_7_0d1f0a9e5b01.png.part"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (1e9, 1e9))
    dispatcher = Dispatcher(store, [], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    until(lambda: not left.exists())
    dispatcher.close()


@pytest.mark.usefixtures("dispatcher")
def test_pictures_come_out_with_everything_inside(store: Store, library: Library, tmp_path: Path) -> None:
    ids = ask(store, "one ★", "two", "three")
    for seed, task in enumerate(wait_for(store, *ids), start=1):
        assert task.state == "finished"
        assert kinds(store, task.id) == ["queued", "started", "prompt_ready", "image_saved", "finished"]
        path = Path(task.image_path or "")
        assert path.is_relative_to(tmp_path / "outputs")
        assert path.name.endswith(f"_{seed}_{task.id}.png")
        info = read_picture(path)
        plan = make_plan(info.recipe, library, 0)
        assert (info.texts, info.facts) == (plan.texts, FACTS)
        with Image.open(path) as picture:
            assert picture.tobytes() == pixels(plan)
        assert task.facts == FACTS
        result = fold(store.log.facts(task.id))
        assert (result.state, result.image_path, result.width) == ("finished", task.image_path, 32)
    assert not list((tmp_path / "outputs").rglob("*.part"))


@pytest.mark.usefixtures("dispatcher")
def test_a_follower_sees_progress_and_previews(store: Store, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (task_id,) = ask(store, f"gate {gate}")
    seen: list[Event] = []
    for event in store.log.follow(task_id):
        assert event is not None
        seen.append(event)
        if isinstance(event, Preview):
            gate.touch()
    assert [event.kind for event in seen if event.is_fact][-1] == "finished"
    assert any(isinstance(event, Preview) and event.jpeg for event in seen)
    assert [event.seq for event in seen] == sorted(event.seq for event in seen)
    assert fold(seen).state == "finished"


@pytest.mark.usefixtures("dispatcher")
def test_bad_plans_and_engine_failures_fail_alone(store: Store) -> None:
    (bad,) = store.queue.submit([Recipe(prompt="p", width=33, height=32, seed=1)])
    (gone,) = store.queue.submit([Recipe(prompt="p", model="nobody", seed=1)])
    ids = [bad, gone, *ask(store, "fail now", "raise now")]
    errors = [task.error for task in wait_for(store, *ids)]
    assert [error and error["code"] for error in errors] == [
        "bad_value",
        "unknown_name",
        "out_of_memory",
        "device_error",
    ]
    assert errors[0] and errors[0]["field"] == "width"
    assert all(error and error["problem"] and error["hint"] for error in errors)
    a_red_circle(store)


@posix
@pytest.mark.usefixtures("dispatcher")
def test_a_killed_worker_costs_one_attempt(store: Store, tmp_path: Path) -> None:
    ids = ask(store, f"once {tmp_path}/tried", "after")
    first, second = wait_for(store, *ids)
    assert (first.state, first.attempt, second.state) == ("finished", 2, "finished")
    assert kinds(store, first.id) == [
        "queued", "started", "prompt_ready", "queued", "started", "prompt_ready", "image_saved", "finished",
    ]  # fmt: skip
    assert (first.finished_at or 0) <= (second.finished_at or 0)  # it kept its place
    a_red_circle(store)


@posix
@pytest.mark.usefixtures("dispatcher")
def test_a_task_that_kills_every_worker_fails_and_the_queue_goes_on(store: Store) -> None:
    ids = ask(store, f"die {int(signal.SIGKILL)}", "after")
    first, second = wait_for(store, *ids)
    assert (first.state, first.attempt, second.state) == ("failed", 2, "finished")
    assert first.error and first.error["code"] == "worker_died" and "memory" in first.error["problem"]
    a_red_circle(store)


def test_skip_ends_one_and_stop_ends_the_batch(store: Store, dispatcher: Dispatcher, tmp_path: Path) -> None:
    never = f"gate {tmp_path}/never"
    ids = ask(store, never, never, never)
    other = ask(store, "another batch")
    until(lambda: store.log.latest(ids[0]))
    assert dispatcher.skip() == [ids[0]]
    assert wait_for(store, ids[0])[0].state == "cancelled"
    until(lambda: store.log.latest(ids[1]))
    assert dispatcher.stop() == 2
    tasks = wait_for(store, *ids, *other)
    assert [task.state for task in tasks] == ["cancelled", "cancelled", "cancelled", "finished"]
    assert dispatcher.skip() == []


def test_a_stop_that_the_engine_ignores(store: Store, dispatcher: Dispatcher, tmp_path: Path) -> None:
    hanging = tmp_path / "hanging"
    (task_id,) = ask(store, f"hang {hanging}")
    until(hanging.exists)
    dispatcher.skip()
    assert wait_for(store, task_id)[0].state == "cancelled"
    a_red_circle(store)


def test_shutting_down_puts_the_picture_back_at_no_cost(store: Store, library: Library, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    ids = ask(store, f"gate {gate}", "after")
    for _ in range(3):
        dispatcher = Dispatcher(
            store, [LocalRunner(FAKE)], library=lambda: library, output_dir=tmp_path / "outputs"
        )  # fmt: skip
        dispatcher.start()
        until(lambda: store.log.latest(ids[0]))
        dispatcher.close()
        assert [(task.id, task.attempt) for task in store.queue.waiting()] == [(ids[0], 0), (ids[1], 0)]
    gate.touch()
    dispatcher = Dispatcher(store, [LocalRunner(FAKE)], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    assert [task.state for task in wait_for(store, *ids)] == ["finished", "finished"]
    dispatcher.close()


def test_two_workers_share_the_line(store: Store, library: Library, tmp_path: Path) -> None:
    runners = [LocalRunner(FAKE), LocalRunner(FAKE)]
    dispatcher = Dispatcher(store, runners, library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    gate = tmp_path / "gate"
    ids = ask(store, f"gate {gate}", f"gate {gate}", *["p"] * 20)
    until(lambda: len(store.queue.running()) == 2, "two at once")
    assert {worker["state"] for worker in dispatcher.workers()} == {"drawing"}
    gate.touch()
    assert {task.state for task in wait_for(store, *ids)} == {"finished"}
    dispatcher.close()
    assert len(list((tmp_path / "outputs").rglob("*.png"))) == len(ids)


def test_saving_does_not_hold_up_the_next_picture(
    store: Store, dispatcher: Dispatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fooocus_lite import saver as module

    really_save, may_save = module.save_image, threading.Event()

    def slow_disk(*args: object, **options: object) -> object:
        may_save.wait(60)
        return really_save(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "save_image", slow_disk)
    first, second = ask(store, "first", f"gate {tmp_path}/gate")
    until(lambda: store.log.latest(second), "the second while the first is saved")
    assert store.queue.get(first).state == "running"
    assert kinds(store, first)[-1] == "prompt_ready"
    may_save.set()
    (tmp_path / "gate").touch()
    assert [task.state for task in wait_for(store, first, second)] == ["finished", "finished"]


@pytest.mark.usefixtures("dispatcher")
def test_an_output_folder_that_cannot_be_written_fails_the_task_and_names_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file in its place")
    (task,) = wait_for(store, *ask(store, "p"))
    assert task.state == "failed"
    assert task.error and task.error["code"] == "not_writable"
    assert "outputs" in task.error["problem"] and "FOOOCUS_OUTPUT_DIR" in task.error["hint"]
    (tmp_path / "outputs").unlink()
    a_red_circle(store)


def test_a_queue_that_cannot_be_written_is_tried_again(
    store: Store, dispatcher: Dispatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_write, full = store.database.write, threading.Event()

    def write() -> object:
        if full.is_set():
            raise DiskProblem("The disk is full.", "Free some space.")
        return really_write()

    monkeypatch.setattr(store.database, "write", write)
    (task_id,) = ask(store, f"gate {tmp_path}/gate")
    until(lambda: store.log.latest(task_id))
    full.set()
    (tmp_path / "gate").touch()
    until(lambda: dispatcher.trouble, "the trouble")
    assert store.queue.get(task_id).state == "running"
    full.clear()
    assert wait_for(store, task_id)[0].state == "finished"
    a_red_circle(store)
    until(lambda: dispatcher.trouble is None)


def test_a_picture_that_was_saved_before_the_kill_is_not_drawn_twice(
    store: Store, library: Library, tmp_path: Path
) -> None:
    """The server died between the last byte of the file and the row that says so."""
    (task_id,) = ask(store, "p")
    dispatcher = Dispatcher(store, [LocalRunner(FAKE)], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    wait_for(store, task_id)
    dispatcher.close()
    with store.database.write() as transaction:
        transaction.execute("UPDATE tasks SET state = 'running', image_path = NULL WHERE id = ?", (task_id,))
        transaction.execute("DELETE FROM events WHERE kind IN ('image_saved', 'finished')")
    store.close()
    store = open_store(tmp_path / "data")
    dispatcher = Dispatcher(store, [LocalRunner(FAKE)], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    (task,) = wait_for(store, task_id)
    dispatcher.close()
    assert task.state == "finished" and task.image_path
    assert [str(path) for path in (tmp_path / "outputs").rglob("*.png")] == [task.image_path]
    store.close()


def test_a_worker_warms_up_when_it_may_and_has_nothing_to_do(
    store: Store, dispatcher: Dispatcher, runner: LocalRunner
) -> None:
    assert runner.pid is None  # nothing was asked for, and the page may still be starting
    dispatcher.warm_up()
    until(lambda: runner.about.get("warmed") == "fake", "the warm-up")
    a_red_circle(store)


def test_a_waiting_task_needs_no_warm_up(
    store: Store, runner: LocalRunner, library: Library, tmp_path: Path
) -> None:  # fmt: skip
    dispatcher = Dispatcher(store, [runner], library=lambda: library, output_dir=tmp_path / "outputs")
    ids = ask(store, "at once", "and again")
    dispatcher.start()
    dispatcher.warm_up()
    assert [task.state for task in wait_for(store, *ids)] == ["finished", "finished"]
    until(lambda: runner.about, "what the worker says about itself")
    a_red_circle(store)
    assert runner.about["warmed"] is None
    dispatcher.close()


def test_a_new_library_is_used_without_a_restart(store: Store, runner: LocalRunner, tmp_path: Path) -> None:
    from tests.deeds.conftest import make_library

    shelf = [Library()]
    dispatcher = Dispatcher(store, [runner], library=lambda: shelf[-1], output_dir=tmp_path / "outputs")
    dispatcher.start()
    (task,) = wait_for(store, *ask(store, "p"))
    assert task.error and task.error["code"] == "missing_model"
    shelf.append(make_library(tmp_path))
    a_red_circle(store)
    dispatcher.close()


def test_speeds_are_measured_once_warm(store: Store, dispatcher: Dispatcher, library: Library) -> None:
    recipe = make_resolved(library)
    assert dispatcher.seconds_per_picture(recipe) is None
    assert dispatcher.seconds_left() is None
    wait_for(store, *ask(store, "the first loads the model"))
    assert dispatcher.seconds_per_picture(recipe) is None
    wait_for(store, *ask(store, "p"))
    once = dispatcher.seconds_per_picture(recipe)
    assert once is not None and once > 0
    twice = dispatcher.seconds_per_picture(recipe.model_copy(update={"steps": (recipe.steps or 0) * 2}))
    assert twice == pytest.approx(2 * once)
    assert dispatcher.seconds_left() == 0
    longer = recipe.model_copy(update={"steps": (recipe.steps or 0) * 2})
    assert dispatcher.bytes_per_picture(longer) == FACTS["peak_memory_bytes"]
    assert dispatcher.bytes_per_picture(recipe.model_copy(update={"width": 64})) is None


@pytest.mark.usefixtures("dispatcher")
def test_what_ran_out_of_memory_begins_lower_the_next_time(store: Store) -> None:
    (first,) = wait_for(store, *ask(store, "large"))
    assert first.facts["too_much"] == "resident"
    (second,) = wait_for(store, *ask(store, "large"))
    assert (second.facts["memory"], second.facts.get("too_much")) == ("groups", None)
    (smaller,) = wait_for(store, *ask(store, "large", width=16))
    assert smaller.facts["too_much"] == "resident", "another size has its own memory"


def make_resolved(library: Library) -> Recipe:
    from fooocus_lite.plan import resolve

    return resolve(a_recipe(), library, 0)


@posix
def test_a_worker_killed_from_outside_mid_picture(store: Store, dispatcher: Dispatcher, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (task_id,) = ask(store, f"gate {gate}")
    until(lambda: store.log.latest(task_id))
    until(lambda: dispatcher.workers()[0].get("pid"), "its process id")
    os.kill(dispatcher.workers()[0]["pid"], signal.SIGKILL)
    gate.touch()
    (task,) = wait_for(store, task_id)
    assert (task.state, task.attempt) == ("finished", 2)
    shutil.rmtree(tmp_path / "outputs")
    a_red_circle(store)


def test_what_the_last_kill_left_half_written_is_cleared_once_it_is_old(
    store: Store, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment after a kill it could be what another program writes just now."""
    for module in (images, saver):
        monkeypatch.setattr(module, "PART_AGE_S", 0.2)
    left = tmp_path / "outputs" / "2031-05-04" / "03-02-01_7_0d1f0a9e5b01.png.part"
    left.parent.mkdir(parents=True)
    left.touch()
    dispatcher = Dispatcher(store, [], library=lambda: library, output_dir=tmp_path / "outputs")
    dispatcher.start()
    until(lambda: not left.exists(), "the end of it")
    dispatcher.close()
