"""Machines of a Ray cluster: found, lost, joined, killed in the middle of a picture. A real cluster, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import FooocusError, WorkerAway
from fooocus_lite.expansion import Expansion
from fooocus_lite.images import read_picture
from fooocus_lite.library import CatalogEntry, Library
from fooocus_lite.model_files import ModelFile
from fooocus_lite.offers import Offer
from fooocus_lite.ray_runner import RayFleet, RayRunner, RemoteProcess
from fooocus_lite.ray_wire import Seat
from fooocus_lite.runner import Runner
from fooocus_lite.settings import Settings, load_settings
from fooocus_lite.store import Store, open_store
from tests.deeds.conftest import FAKE, a_recipe, make_library, until
from tests.fake_hub import FakeHub, Stall, random_bytes
from tests.faults.server import ENDED, is_alive
from tests.ray_cluster import Machines, needs_ray

pytestmark = [needs_ray, pytest.mark.slow]
REPO, FILE, SIZE = "somebody/big", "big.safetensors", 300_000


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    made = Machines()
    yield made
    made.close()


class Site:
    """A queue, and a dispatcher whose workers are on the cluster's machines."""

    def __init__(self, folder: Path, address: str) -> None:
        (folder / "models").mkdir()
        self.settings = settings_of(folder, address)
        self.store: Store = open_store(folder / "data")
        self.library = with_big_model(make_library(folder), self.settings)
        self.dispatcher = Dispatcher(self.store, [], library=lambda: self.library, output_dir=folder / "outputs")
        self.fleet = RayFleet(self.settings, lambda: self.library, {"device": "cpu"}, engine=FAKE)
        self.dispatcher.start()
        self.fleet.start(self.dispatcher)
        self.outputs = folder / "outputs"

    def here(self) -> list[dict[str, Any]]:
        return [worker for worker in self.dispatcher.workers() if worker["state"] != "away"]

    def submit(self, prompt: str, **fields: object) -> str:
        return self.store.queue.submit([a_recipe(prompt, **({"model": "fake"} | fields))])[0]

    def wait(self, *ids: str) -> list[Any]:
        until(lambda: all(self.store.queue.get(one).state in ENDED for one in ids), "the end of the tasks")
        return [self.store.queue.get(one) for one in ids]

    def previewed(self, task_id: str) -> bool:
        return any(event.kind == "preview" for event in self.store.log.latest(task_id))

    def worker_of(self, task_id: str) -> dict[str, Any]:
        return next(worker for worker in self.dispatcher.workers() if task_id in worker["task_ids"])

    def close(self) -> None:
        self.dispatcher.close()
        self.fleet.close()
        self.store.close()


def settings_of(folder: Path, address: str) -> Settings:
    names = {"data_dir": folder / "data", "models_dir": folder / "models"}
    env = {f"FOOOCUS_{name.upper()}": str(path) for name, path in names.items()}
    env |= {"FOOOCUS_ENGINE": "ray", "FOOOCUS_RAY_ADDRESS": address, "FOOOCUS_DEVICE": "cpu"}
    return load_settings(env=env, root=folder)


def with_big_model(library: Library, settings: Settings) -> Library:
    """A model that the server has, and that other machines can fetch; one that they cannot."""
    big, own = settings.models_dir / FILE, settings.models_dir / "own.safetensors"
    for path in (big, own):
        path.write_bytes(random_bytes(SIZE))
    entry = library.models["fake"]
    files = (ModelFile(path=str(big), repo=REPO, path_in_repo=FILE, size_bytes=SIZE),)
    models: dict[str, CatalogEntry] = {
        name: replace(entry, name=name, path=str(path)) for name, path in (("big", big), ("own", own))
    }
    offer = Offer(name="big", label="Big one", kind="checkpoint", description="", files=files)
    return replace(library, models={**library.models, **models}, downloadable={"big": offer})


@pytest.fixture
def site(machines: Machines, tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path, machines.address)
    yield opened
    opened.close()
    machines.kill_all()


def has_all(site: Site, count: int) -> None:
    until(lambda: len(site.here()) == count, f"{count} machines")


def test_machines_come_and_are_killed_while_they_draw(machines: Machines, site: Site, tmp_path: Path) -> None:
    assert site.dispatcher.trouble is not None  # it says so from the first moment
    first = site.submit("a red circle", seed=5)
    one = machines.add()
    (done,) = site.wait(first)  # whoever waited is drawn as soon as a machine has joined
    assert (done.state, done.attempt, site.dispatcher.trouble) == ("finished", 1, None)
    assert read_picture(Path(done.image_path or "")).recipe.seed == 5
    (worker,) = site.here()
    assert worker["machine"] and worker["address"] and worker["device"] == "cpu"

    two = machines.add()
    has_all(site, 2)
    ids = [site.submit(f"gate {tmp_path}/open", seed=number) for number in range(2)]
    until(lambda: all(site.previewed(task_id) for task_id in ids), "both machines to draw")
    assert {site.worker_of(task_id)["name"] for task_id in ids} == {"worker 1", "worker 2"}

    machines.kill(one)
    until(lambda: [worker["state"] for worker in site.dispatcher.workers()].count("away") == 1, "the loss")
    (tmp_path / "open").touch()
    tasks = site.wait(*ids)
    assert [task.state for task in tasks] == ["finished"] * 2
    assert sorted(task.attempt for task in tasks) == [1, 2]  # one attempt of what it drew, nothing of the other
    assert len(list(site.outputs.rglob("*.png"))) == 3

    last = site.submit(f"gate {tmp_path}/later", seed=9)
    until(lambda: site.previewed(last), "its first preview")
    machines.kill(two)
    until(lambda: site.dispatcher.trouble, "the trouble")
    trouble = site.dispatcher.trouble
    assert trouble is not None and "the queue waits" in trouble.problem and "ray start" in trouble.hint
    (tmp_path / "later").touch()
    three = machines.add()
    (task,) = site.wait(last)
    assert (task.state, task.attempt) == ("finished", 2)
    assert site.dispatcher.trouble is None
    assert len(site.dispatcher.workers()) == 2  # it took the place of one that is away
    machines.kill(three)


def test_stops_faults_and_words_are_as_on_this_machine(machines: Machines, site: Site, tmp_path: Path) -> None:
    node = machines.add()
    has_all(site, 1)
    gated = site.submit(f"gate {tmp_path}/never")
    until(lambda: site.previewed(gated), "its first preview")
    (pid,) = machines.workers(node)
    site.store.queue.cancel(gated)
    assert site.wait(gated)[0].state == "cancelled"
    (killed,) = site.wait(site.submit(f"once {tmp_path}/tried"))
    assert (killed.state, killed.attempt) == ("finished", 2)
    assert machines.workers(node) != [pid]
    (failed,) = site.wait(site.submit(f"die {int(signal.SIGKILL)}"))
    assert failed.state == "failed" and "memory ran out" in failed.error["problem"]
    (runner,) = [runner for runner in site.fleet.runners if runner.is_here]
    assert runner.expand(Expansion("a star", 7, "", "")) == "words 7"
    machines.kill(node)


def test_who_speaks_to_ray_may_die(machines: Machines, site: Site, tmp_path: Path) -> None:
    node = machines.add()
    has_all(site, 1)
    task_id = site.submit(f"gate {tmp_path}/open")
    until(lambda: site.previewed(task_id), "its first preview")
    (worker,) = machines.workers(node)
    bridge = site.fleet.bridge_pid
    assert bridge
    os.kill(bridge, signal.SIGKILL)
    until(lambda: not is_alive(worker), "the end of the worker that nobody speaks for")
    (tmp_path / "open").touch()
    (task,) = site.wait(task_id)
    assert (task.state, task.attempt) == ("finished", 2)
    assert site.fleet.bridge_pid != bridge
    (worker,) = machines.workers(node)
    machines.kill_ray(node)
    until(lambda: not is_alive(worker), "the end of the worker whose machine has no Ray any more")


class Stumbling:
    """Is given workers, and fails at that the first time."""

    def __init__(self) -> None:
        self.stumbled = 0

    def staff(self, runners: Sequence[Runner], nobody: FooocusError | None = None) -> None:
        del nobody
        if runners and not self.stumbled:
            self.stumbled += 1
            raise ValueError("a fault of ours")


def test_never_do_two_processes_speak_to_ray(machines: Machines, tmp_path: Path) -> None:
    node = machines.add()
    fleet = RayFleet(settings_of(tmp_path, machines.address), lambda: make_library(tmp_path), {"device": "cpu"})
    staff = Stumbling()
    try:
        fleet.start(staff)
        until(lambda: fleet.bridge_pid, "the first one")
        first = fleet.bridge_pid
        assert first
        until(lambda: fleet.bridge_pid != first, "another one")
        assert staff.stumbled and not is_alive(first)
        until(lambda: any(runner.is_here for runner in fleet.runners), "the machine again")
    finally:
        fleet.close()
    machines.kill(node)


def test_a_worker_that_could_not_be_asked_for_costs_nothing() -> None:
    """Who speaks to Ray has just ended, and nobody was told yet."""

    def open_process(key: str, machine: str) -> RemoteProcess:
        del key
        process = RemoteProcess(1, lambda kind, number, data: None, machine)
        process.lose("The process that speaks to Ray ended.")
        return process

    runner = RayRunner(Seat("key", "there", "192.0.2.1"), open_process, FAKE, {})
    with pytest.raises(WorkerAway):
        runner.warm_up()


def test_a_machine_fetches_what_it_lacks_and_leaves_the_rest_to_others(
    machines: Machines, site: Site, tmp_path: Path
) -> None:
    with FakeHub() as hub:
        hub.put(REPO, FILE, random_bytes(SIZE))
        hub.next(FILE, Stall(100_000))
        theirs = tmp_path / "theirs"
        poor = machines.add(FOOOCUS_MODELS_DIR=theirs, FOOOCUS_HUB_ENDPOINT=hub.address)
        (site.settings.models_dir / FILE).rename(tmp_path / "away")  # it cannot be found at the server's path, either
        (site.settings.models_dir / "own.safetensors").rename(tmp_path / "own.safetensors")
        has_all(site, 1)
        big = site.submit("a star", model="big")
        until(lambda: any(event.kind == "downloading" for event in site.store.log.latest(big)), "the news of it")
        site.store.queue.cancel(big)
        assert site.wait(big)[0].state == "cancelled"
        (done,) = site.wait(site.submit("a star", model="big"))
        assert done.state == "finished"
        assert (theirs / FILE).read_bytes() == random_bytes(SIZE)

        (failed,) = site.wait(site.submit("a star", model="own"))
        assert failed.state == "failed"
        assert "own.safetensors is not on the machine" in failed.error["problem"]
        assert "FOOOCUS_MODELS_DIR" in failed.error["hint"]
        rich_folder = tmp_path / "rich"
        rich_folder.mkdir()
        (tmp_path / "own.safetensors").rename(rich_folder / "own.safetensors")
        rich = machines.add(FOOOCUS_MODELS_DIR=rich_folder)
        has_all(site, 2)
        tasks = site.wait(*(site.submit("a star", model="own", seed=seed) for seed in range(4)))
        assert [(task.state, task.attempt) for task in tasks] == [("finished", 1)] * 4
        machines.kill(poor)
        machines.kill(rich)


def test_a_cluster_of_this_machine_alone_wants_a_token_and_ends_with_the_server(tmp_path: Path) -> None:
    site = Site(tmp_path, "")
    try:
        has_all(site, 1)
        (done,) = site.wait(site.submit("a red circle"))
        assert done.state == "finished"
        assert site.fleet.bridge_pid
        ours = [psutil.Process(site.fleet.bridge_pid), *psutil.Process(site.fleet.bridge_pid).children(recursive=True)]
        (gcs,) = [process for process in ours if "gcs_server" in process.name()]
        assert gcs.environ()["RAY_AUTH_MODE"] == "token"
    finally:
        site.close()
    until(lambda: not any(is_alive(process.pid) for process in ours), "the end of the cluster")


SERVER = """
import sys
from pathlib import Path
from tests.deeds.test_ray import Site
site = Site(Path(sys.argv[1]), sys.argv[2])
task_id = site.submit("hang " + sys.argv[1] + "/hanging")
print("waiting", flush=True)
site.wait(task_id)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_when_the_server_is_gone(machines: Machines, tmp_path: Path, how: signal.Signals) -> None:
    node = machines.add()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path), machines.address],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    until((tmp_path / "hanging").exists, "the picture")
    (worker,) = machines.workers(node)
    server.send_signal(how)
    server.wait()
    until(lambda: not is_alive(worker), "the worker's end")
    until(lambda: not machines.workers(node), "the machine to be free")
    machines.kill(node)
