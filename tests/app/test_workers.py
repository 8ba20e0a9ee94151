"""Several devices in one server, as a program sees them; here they are two processors that are one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fooocus_lite.settings import load_settings
from fooocus_lite.workers import device_names, engine_options, first_device
from tests.faults.server import Server, until


@pytest.fixture(scope="module")
def server(web_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("two"), web_models, device="cpu,cpu").start()
    yield running
    running.end()


def test_two_workers_share_the_queue_and_say_what_they_have(server: Server) -> None:
    status, answer = server.post("/v1/tasks", {"prompt": "a red circle", "count": 6})
    assert status == 201
    tasks = [f"/v1/tasks/{task_id}" for task_id in answer["ids"]]
    until(lambda: all(server.get(path)[1]["state"] == "finished" for path in tasks), "six pictures")
    workers = until(
        lambda: (told := server.get("/v1/workers")[1]["workers"]) and all(one["models"] for one in told) and told,
        "both workers' models",
    )
    assert [worker["name"] for worker in workers] == ["worker 1", "worker 2"]
    for worker in workers:
        assert (worker["device"], worker["memory"], worker["models"]) == ("cpu", "auto", ["starter"])
        assert worker["free_memory_bytes"] > 0


def test_a_plan_says_what_it_needs(server: Server) -> None:
    until(lambda: any(one["device"] for one in server.get("/v1/workers")[1]["workers"]), "a worker")
    status, plan = server.post("/v1/plan", {"prompt": "a red circle"})
    assert status == 200
    memory = plan["memory"]
    assert memory["rung"] == "resident" and not memory["is_tight"]
    assert re.fullmatch(r"needs 0\.\d GB, \d+\.\d free: fp32", memory["words"])
    assert 0 < memory["needs_bytes"] < memory["free_bytes"]


def test_the_setting_names_devices() -> None:
    settings = load_settings({"device": "cuda:0, cuda:1", "memory": "offload"}, env={})
    options = engine_options(settings)
    assert [one["device"] for one in options] == ["cuda:0", "cuda:1"]
    assert {one["memory"] for one in options} == {"offload"}
    assert (first_device(settings.device), first_device("all"), first_device("cpu")) == ("cuda:0", "auto", "cpu")


def test_all_devices_are_asked_for() -> None:
    import torch

    from fooocus_lite.engine.device import every_device

    assert device_names("all") == every_device()
    assert torch.cuda.is_available() or device_names("all") in (["cpu"], ["mps"])
