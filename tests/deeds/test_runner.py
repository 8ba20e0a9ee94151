"""Real child processes, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.bench.children import child_environment
from fooocus_lite.errors import WorkerDied
from fooocus_lite.events import Event, Failed, ImageReady, Preview
from fooocus_lite.library import Library
from fooocus_lite.plan import Plan, make_plan
from fooocus_lite.runner import LocalRunner, last_words
from fooocus_lite.worker_process import SPIN_COUNT, patient_threads
from tests.deeds.conftest import FAKE, a_recipe, until
from tests.deeds.fake_engine import pixels

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")


def a_plan(library: Library, prompt: str = "a red circle", seed: int = 1, **fields: object) -> Plan:
    return make_plan(a_recipe(prompt, seed, **fields), library, 0)


def never() -> bool:
    return False


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_picture_crosses_the_pipe_whole(runner: LocalRunner, library: Library) -> None:
    plan = a_plan(library, seed=77, width=1024, height=1024)
    events = list(runner.run(plan, never))
    assert kinds(events) == [
        "started",
        "prompt_ready",
        "preview",
        *["progress", "preview"] * 2,
        "image_ready",
        "finished",
    ]
    image = events[-2]
    assert isinstance(image, ImageReady)
    assert image.rgb == pixels(plan)


def test_the_child_stays_warm_and_tells_about_itself(runner: LocalRunner, library: Library) -> None:
    assert runner.pid is None
    runner.warm_up(a_plan(library))
    until(lambda: runner.about.get("warmed"))  # it tells of its device before it has warmed up
    pid = runner.pid
    assert runner.about == {"device": "imaginary", "pid": pid, "warmed": "fake"}
    for _ in range(2):
        list(runner.run(a_plan(library), never))
    assert runner.pid == pid


def test_the_server_imports_no_engine(runner: LocalRunner, library: Library) -> None:
    code = (
        "import sys; import fooocus_lite.dispatcher, fooocus_lite.store, fooocus_lite.runner, fooocus_lite.images\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'gradio'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_stop_is_heard_and_the_child_goes_on(runner: LocalRunner, library: Library, tmp_path: Path) -> None:
    asked: list[bool] = []
    events: list[Event] = []
    for event in runner.run(a_plan(library, f"gate {tmp_path}/never"), lambda: bool(asked)):
        events.append(event)
        if isinstance(event, Preview):
            asked.append(True)
    pid = runner.pid
    assert kinds(events)[-1] == "cancelled"
    assert kinds(list(runner.run(a_plan(library), never)))[-1] == "finished"  # the stop was for the other one
    assert runner.pid == pid


def test_a_stop_that_is_ignored_ends_in_a_kill(runner: LocalRunner, library: Library, tmp_path: Path) -> None:
    hanging = tmp_path / "hanging"
    events: list[Event] = []
    for event in runner.run(a_plan(library, f"hang {hanging}"), hanging.exists):
        events.append(event)
    assert kinds(events)[-1] == "cancelled"
    assert runner.pid is None
    assert kinds(list(runner.run(a_plan(library), never)))[-1] == "finished"


def test_a_stop_while_the_model_loads_ends_the_picture_at_once(
    runner: LocalRunner, library: Library, tmp_path: Path
) -> None:
    loaded, asked = tmp_path / "loaded", list[bool]()
    told: list[Event] = []
    for event in runner.run(a_plan(library, f"load {loaded}"), lambda: bool(asked)):
        told.append(event)
        asked.append(True)
    assert kinds(told) == ["started", "cancelled"] and not loaded.exists()
    pid = runner.pid
    following = runner.run(a_plan(library, seed=6), never)
    loaded.touch()
    events = list(following)
    assert [event.rgb for event in events if isinstance(event, ImageReady)] == [pixels(a_plan(library, seed=6))]
    assert runner.pid == pid  # what it loaded was not thrown away


def test_a_worker_that_loads_without_end_is_replaced(library: Library, tmp_path: Path) -> None:
    runner = LocalRunner(FAKE, load_timeout_s=0.0)
    asked: list[bool] = []
    for _ in runner.run(a_plan(library, f"load {tmp_path}/never"), lambda: bool(asked)):
        asked.append(True)
    assert runner.pid is None
    assert kinds(list(runner.run(a_plan(library), never)))[-1] == "finished"
    runner.close()


def test_a_run_that_nobody_reads_on_does_not_disturb_the_next(runner: LocalRunner, library: Library) -> None:
    abandoned = runner.run(a_plan(library, "gate /nowhere", seed=5), never)
    assert next(abandoned).kind == "started"
    abandoned.close()  # type: ignore[attr-defined]
    events = list(runner.run(a_plan(library, seed=6), never))
    assert [event.rgb for event in events if isinstance(event, ImageReady)] == [pixels(a_plan(library, seed=6))]


@posix
@pytest.mark.parametrize(
    ("prompt", "sentence", "hint"),
    [
        (f"die {getattr(signal, 'SIGKILL', 9)}", "probably because memory ran out", "smaller size"),
        (f"die {int(signal.SIGSEGV)}", "ended by signal SIGSEGV", "doctor"),
        ("exit 3", "ended with code 3", "doctor"),
    ],
)
def test_a_dead_child_is_a_sentence_and_is_replaced(
    runner: LocalRunner, library: Library, caplog: pytest.LogCaptureFixture, prompt: str, sentence: str, hint: str
) -> None:
    with pytest.raises(WorkerDied, match=sentence) as caught:
        list(runner.run(a_plan(library, prompt), never))
    assert hint in caught.value.hint
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "last words" in said and len(said) < 800
    assert kinds(list(runner.run(a_plan(library), never)))[-1] == "finished"


@posix
def test_a_child_killed_while_idle_is_replaced(runner: LocalRunner, library: Library) -> None:
    list(runner.run(a_plan(library), never))
    pid = runner.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: runner.pid is None)
    assert kinds(list(runner.run(a_plan(library), never)))[-1] == "finished"


def test_an_engine_that_cannot_start_says_what_to_do(library: Library) -> None:
    runner = LocalRunner("tests.deeds.fake_engine:BrokenEngine")
    runner.warm_up(a_plan(library))
    (event,) = runner.run(a_plan(library), never)
    runner.close()
    assert isinstance(event, Failed)
    assert "No module named 'torch'" in event.problem
    assert "doctor" in event.hint
    assert "Traceback" in event.details
    assert "Traceback" not in event.problem


def test_chatter_of_libraries_goes_to_the_log(
    runner: LocalRunner, library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert kinds(list(runner.run(a_plan(library, "print"), never)))[-1] == "finished"
    until(lambda: "chatter of C code" in caplog.text)
    assert "chatter of a library" in caplog.text


def test_closing_ends_the_child_and_a_running_picture(
    runner: LocalRunner, library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = runner.run(a_plan(library, f"gate {tmp_path}/never"), never)
    assert next(running).kind == "started"
    pid = runner.pid
    assert pid
    runner.close()
    with pytest.raises(WorkerDied, match="shutting down"):
        list(running)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]  # nothing went wrong
    if os.name == "posix":
        assert not alive(pid)
    with pytest.raises(WorkerDied):
        list(runner.run(a_plan(library), never))


def test_the_workers_threads_wait_without_burning_the_processor(
    runner: LocalRunner, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    list(runner.run(a_plan(library), never))
    variables = Path(f"/proc/{runner.pid}/environ")
    if variables.exists():
        assert f"GOMP_SPINCOUNT={SPIN_COUNT}".encode() in variables.read_bytes().split(b"\0")
    assert patient_threads({}) == {"GOMP_SPINCOUNT": str(SPIN_COUNT)} == patient_threads({"OMP_NUM_THREADS": "2"})
    assert patient_threads({"OMP_WAIT_POLICY": "ACTIVE"}) == patient_threads({"GOMP_SPINCOUNT": "7"}) == {}
    assert child_environment(2)["GOMP_SPINCOUNT"] == str(SPIN_COUNT)  # and what it is compared with waits alike


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "none"),
        (["INFO a: 1", "", "INFO a: 2", "DEBUG b: 3", "INFO a: 4"], "INFO a: 2 | DEBUG b: 3 | INFO a: 4"),
        (["WARNING a: hot", *["INFO a: on"] * 19], "WARNING a: hot"),
        (["Traceback", "1", "2", "MemoryError", "INFO a: on"], "1 | 2 | MemoryError"),
        (["x" * 5000], "x" * 199 + "…"),
    ],
)
def test_last_words_are_few_and_say_what_went_wrong(lines: list[str], said: str) -> None:
    assert last_words(lines) == said


SERVER = """
import sys
from pathlib import Path
from typing import Any
from fooocus_lite.runner import LocalRunner
from tests.deeds.conftest import a_recipe, make_library
from tests.deeds.fake_engine import FakeEngine
from fooocus_lite.plan import make_plan
runner = LocalRunner(sys.argv[1])
for event in runner.run(make_plan(a_recipe("hang " + sys.argv[2]), make_library(Path(".")), 0), lambda: False):
    if event.kind == "preview":
        print(runner.pid, flush=True)
"""


@posix
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT] if os.name == "posix" else [])
def test_the_child_ends_when_its_server_is_gone(tmp_path: Path, how: signal.Signals) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, FAKE, str(tmp_path / "hanging")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert server.stdout
    pid = int(server.stdout.readline())
    until((tmp_path / "hanging").exists)
    assert alive(pid)
    server.send_signal(how)
    server.wait()
    server.stdout.close()
    until(lambda: not alive(pid), "the child's end")


def test_answers_are_read_on_when_their_reader_leaves_at_that_moment(runner: LocalRunner, library: Library) -> None:
    """Between the look for a reader and the answer to it another thread may forget it."""

    class Forgetful(dict[int, Any]):
        def __contains__(self, number: object) -> bool:
            return True  # as it was a moment ago

    list(runner.run(a_plan(library), lambda: False))
    child = runner._child  # pyright: ignore[reportPrivateUsage]
    assert child is not None
    child._inboxes = Forgetful()  # pyright: ignore[reportPrivateUsage]
    child.send(("run", 0, [a_plan(library)]))  # which nobody reads
    assert list(runner.run(a_plan(library), lambda: False))[-1].kind == "finished"
