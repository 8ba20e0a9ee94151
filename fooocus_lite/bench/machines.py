"""Two workers of a Ray cluster, of one thread each, against one: what a second machine is worth."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from statistics import median

import psutil

from fooocus_lite.bench.base import Bench
from fooocus_lite.bench.children import AppServer, Died, child_environment
from fooocus_lite.bench.report import Row

PICTURES = 32  # a queue, not a click: so many that how large batches are is found out in the first round
ROUNDS = 3
STORE_BYTES = 80 * 1024 * 1024
NAME = "two Ray workers ÷ one"
LIMIT = 1 / 1.7  # of the time


def measure_machines(bench: Bench) -> Iterator[Row]:
    """The time of a batch on a cluster of two single-core machines, and on a cluster of one, in turns."""
    if importlib.util.find_spec("ray") is None:
        yield Row(NAME, None, LIMIT, "Ray is not installed: pip install fooocus-lite[ray]")
        return
    took: dict[int, list[float]] = {1: [], 2: []}
    with ExitStack() as open_now:
        servers: dict[int, AppServer] = {}
        process_ids: dict[int, tuple[int, int]] = {}
        for count in took:
            address, cluster_id = open_now.enter_context(_cluster(count))
            servers[count] = open_now.enter_context(_server(bench, address, f"machines-{count}"))
            process_ids[count] = (cluster_id, servers[count].process.pid)
            _wait_for_workers(servers[count], count)
        for number in range(ROUNDS + 1):
            for count, server in servers.items():
                with _asleep(process_ids[3 - count]):
                    took[count].append(_batch(server, bench.recipe(seed=number * PICTURES)))
            bench.say(f"  round {number} of {ROUNDS}: {took[2][-1]:.2f} s and {took[1][-1]:.2f} s")
    for seconds in took.values():
        del seconds[0]  # it loads the model
    above, below = median(took[2]), median(took[1])
    told = f"{PICTURES} pictures, one thread a worker: {above:.2f} s ÷ {below:.2f} s, {below / above:.2f} times as many"
    yield Row(NAME, above / below, LIMIT, told)


@contextmanager
def _asleep(process_ids: tuple[int, ...]) -> Generator[None]:
    """Stop the other cluster and its server meanwhile: Ray's daemons look around all the time, on the same cores."""
    roots = [psutil.Process(number) for number in process_ids]
    theirs = [process for root in roots for process in (root, *root.children(recursive=True))]
    for process in theirs:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in theirs:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@contextmanager
def _server(bench: Bench, address: str, name: str) -> Generator[AppServer]:
    more = {"FOOOCUS_ENGINE": "ray", "FOOOCUS_RAY_ADDRESS": address}
    with AppServer(bench.settings, bench.folder / name, threads=1, more=more) as server:
        server.wait_for_page()
        yield server


def _wait_for_workers(server: AppServer, count: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        workers = json.loads(server.ask("GET", "/v1/workers"))["workers"]
        if len(workers) == count and all(worker["device"] for worker in workers):
            return
        time.sleep(0.2)
    raise Died(f"the {count} workers of the cluster did not come")


def _batch(server: AppServer, recipe: dict[str, object]) -> float:
    started = time.perf_counter()
    ids = json.loads(server.ask("POST", "/v1/tasks", recipe | {"count": PICTURES}))["ids"]
    for task_id in ids:
        with server.following(f"/v1/tasks/{task_id}/events") as messages:
            if not any(name == "finished" for name, _ in messages):
                raise Died("a picture was not drawn")
    return time.perf_counter() - started


_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster()
cluster.add_node(num_cpus=0, object_store_memory=int(sys.argv[2]), include_dashboard=False)
for _ in range(int(sys.argv[1])):
    cluster.add_node(num_cpus=1, object_store_memory=int(sys.argv[2]), include_dashboard=False)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextmanager
def _cluster(machines: int) -> Generator[tuple[str, int]]:
    """Address, and process id, of a cluster of so many machines that are this one, each with one core."""
    command = [sys.executable, "-c", _CLUSTER, str(machines), str(STORE_BYTES)]
    env = child_environment(1) | {"RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert running.stdin is not None and running.stdout is not None
        try:
            address = running.stdout.readline().decode().strip()
            if not address:
                raise Died("the Ray cluster did not start")
            yield address, running.pid
        finally:
            running.stdin.close()
            running.wait(60)
