"""A real Ray cluster of several machines that are one: each node has its own processes, which can be killed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.faults.server import DEADLINE_S, is_alive, until

STORE_BYTES = 80 * 1024 * 1024
needs_ray = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and importlib.util.find_spec("ray")),
    reason="needs Linux and Ray: pip install fooocus-lite[ray]",
)


class Machines:
    """The cluster; its head draws nothing."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_health_check_period_ms", "1000")
        self._cluster: Any = importlib.import_module("ray.cluster_utils").Cluster()
        self._add(num_cpus=0)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, *, cores: int = 1, **variables: object) -> Any:
        """One more machine, with these variables in its environment, once Ray has seen that those killed are gone."""
        self._cluster.wait_for_nodes(timeout=DEADLINE_S)
        environment = {name: str(value) for name, value in variables.items()}
        return self._add(num_cpus=cores, env_vars=environment)

    def _add(self, **options: Any) -> Any:
        return self._cluster.add_node(object_store_memory=STORE_BYTES, include_dashboard=False, **options)

    def kill(self, node: Any) -> None:
        """``kill -9`` of everything that runs on it, as when its power is cut."""
        self._cluster.worker_nodes.discard(node)  # first: whatever happens here, the next test waits for others only
        mine = processes_of(node)
        for process in mine:
            with suppress(psutil.NoSuchProcess):  # it ended with its parent
                process.kill()
        until(lambda: not any(is_alive(process.pid) for process in mine), "the end of the machine's processes")

    def kill_all(self) -> None:
        """All but the head, as `kill`: what a test that failed has left."""
        for node in tuple(self._cluster.worker_nodes):
            self.kill(node)

    def kill_ray(self, node: Any) -> None:
        """``kill -9`` of Ray's own process there, and of nothing else."""
        for info in node.all_processes["raylet"]:
            os.kill(info.process.pid, signal.SIGKILL)
        self._cluster.worker_nodes.discard(node)

    def workers(self, node: Any) -> list[int]:
        """Process ids of the workers that draw on it."""
        return [process.pid for process in processes_of(node) if "fooocus_lite.worker" in _command(process)]

    def close(self) -> None:
        self._cluster.shutdown()


def processes_of(node: Any) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for infos in node.all_processes.values():
        for info in infos:
            try:
                process = psutil.Process(info.process.pid)
                found += [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
