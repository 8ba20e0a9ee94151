"""Disks that are full, read-only, locked, damaged or taken: one sentence each, and the queue goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import DAMAGED, fill
from tests.faults.server import DEADLINE_S, Server, until

pytestmark = pytest.mark.slow


@pytest.fixture
def unet(server: Server) -> Iterator[Path]:
    """The largest weights, put back afterwards."""
    (path,) = (server.models / "starter" / "unet").glob("*.safetensors")
    whole = path.read_bytes()
    yield path
    path.write_bytes(whole)


@pytest.mark.parametrize("damage", ["cut", "header", "empty"])
def test_damaged_weights_fail_with_their_name(server: Server, unet: Path, damage: str) -> None:
    whole = unet.read_bytes()
    unet.write_bytes({"cut": whole[: len(whole) // 2], "header": b"\xff" * 64 + whole[64:], "empty": b""}[damage])
    for pid in server.workers():  # a warm worker would not read the file again
        os.kill(pid, 9)
    (task,) = server.wait(*server.submit("a red circle"))
    assert task["state"] == "failed"
    assert task["error"]["code"] == "corrupt_model", task["error"]
    assert unet.name in task["error"]["problem"] and task["error"]["hint"]
    unet.write_bytes(whole)
    server.gives_a_red_circle()


def test_missing_weights_are_said_at_once(server: Server) -> None:
    catalog = [{"name": "gone", "family": "sdxl", "path": "gone-for-a-walk", "native_size": 128}]
    (server.data / "catalog.json").write_text(json.dumps(catalog))
    status, problem = server.post("/v1/tasks", {"prompt": "a red circle", "model": "gone"})
    assert (status, problem.get("code")) == (409, "missing_model")
    assert "gone-for-a-walk" in problem["problem"] and problem["hint"]
    server.gives_a_red_circle()


def test_full_and_read_only_disks(start: Callable[..., Server], small_disk: Callable[[str, str], Path]) -> None:
    disk, queue_disk = small_disk("small", "2m"), small_disk("queue", "8m")
    server = start(output_dir=disk / "outputs", data_dir=queue_disk)
    server.outputs, server.data = disk / "outputs", queue_disk
    server.gives_a_red_circle()

    ballast = fill(disk)
    for task in server.wait(*server.submit("a red circle", count=2)):
        assert task["state"] == "failed"
        assert task["error"]["code"] == "disk_full"
        assert str(disk) in task["error"]["problem"] and "Free some space" in task["error"]["hint"]
    assert not list(disk.rglob("*.part"))
    ballast.unlink()
    server.gives_a_red_circle()

    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    (task,) = server.wait(*server.submit("a red circle"))
    assert task["error"]["code"] == "not_writable"
    assert str(disk) in task["error"]["problem"] and "FOOOCUS_OUTPUT_DIR" in task["error"]["hint"]
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    server.gives_a_red_circle()

    waiting = server.submit("a red circle", count=2, steps=60, sampler="euler")
    server.wait_until_drawing(waiting[0])
    ballast = fill(queue_disk)
    refused = until(lambda: _refusal(server), "the refusal")  # there may be room left inside SQLite's files
    assert refused["code"] == "disk_full"
    assert str(queue_disk) in refused["problem"] and refused["hint"]
    assert server.get("/v1/tasks?limit=1")[0] == 200
    ballast.unlink()
    assert {task["state"] for task in server.wait(*waiting)} == {"finished"}
    server.gives_a_red_circle()


def _refusal(server: Server) -> dict[str, str] | None:
    status, answer = server.post("/v1/tasks", {"prompt": "x" * 15_000, "count": 60, "steps": 2})
    assert status in (201, 507), answer
    if status == 201:
        for task_id in answer["ids"]:
            server.cancel(task_id)
    return answer if status == 507 else None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output_folder_is_named(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    server.outputs.mkdir(exist_ok=True)
    server.outputs.chmod(0o500)
    (task,) = server.wait(*server.submit("a red circle"))
    assert task["error"]["code"] == "not_writable"
    server.outputs.chmod(0o700)
    server.gives_a_red_circle()


def test_a_second_server_is_told_about_the_first(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path, server.models, data_dir=server.data)
    assert other.launch().wait(DEADLINE_S) == 2
    assert re.fullmatch(rf".*process {server.process and server.process.pid}\b.*\n", other.log)  # one line
    assert server.address in other.log
    assert "Traceback" not in other.log
    server.gives_a_red_circle()


def test_a_locked_queue_file_is_a_sentence_until_it_is_free(server: Server) -> None:
    ids = server.submit("a blue square", count=2, steps=60)
    server.wait_until_drawing(ids[0])
    other = sqlite3.connect(server.data / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    status, problem = server.post("/v1/tasks", {"prompt": "a red circle"})
    assert (status, problem["code"]) == (409, "conflict")
    assert "locked" in problem["problem"]
    assert server.get("/v1/tasks?limit=5")[0] == 200
    other.execute("ROLLBACK")
    other.close()
    assert {task["state"] for task in server.wait(*ids)} == {"finished"}
    server.gives_a_red_circle()


def test_a_damaged_queue_file_is_put_aside_and_said(server: Server) -> None:
    (aside,) = server.data.glob("queue.db.damaged-*")
    assert aside.read_bytes() == DAMAGED
    assert f"moved to {aside.name}" in server.log
    shutil.rmtree(server.outputs, ignore_errors=True)
    server.gives_a_red_circle()
