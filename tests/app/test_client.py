"""The Python client against a real server, and every example of docs/api.md as a person would run it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fooocus_lite.client import Client, Unreachable
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import ImageSaved, Preview, fold
from fooocus_lite.images import read_recipe
from tests.app.proxy import Wire
from tests.faults.server import Server
from tests.house.code import ROOT

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def client(quiet_server: Server) -> Client:
    return Client(quiet_server.address)


def test_pictures(client: Client, tmp_path: Path) -> None:
    pictures = client.draw("a red circle", count=2, steps=2, seed=5)
    assert [picture.recipe.seed for picture in pictures] == [5, 6]
    for picture in pictures:
        picture.save(tmp_path / "picture.png")
        assert read_recipe(tmp_path / "picture.png") == picture.recipe
        assert Image.open(io.BytesIO(picture.data)).size == (picture.recipe.width, picture.recipe.height)


def test_events_to_the_end(client: Client) -> None:
    (task_id,) = client.submit("a red circle", steps=60)
    events = list(client.events(task_id))
    result = fold(events)
    assert result.state == "finished" and result.attempt == 1
    assert any(isinstance(event, Preview) and event.jpeg.startswith(b"\xff\xd8") for event in events)
    assert [type(event) for event in events if event.kind == "image_saved"] == [ImageSaved]
    assert client.task(task_id).state == "finished" and (client.task(task_id).seconds or 0) > 0


def test_a_broken_connection_is_taken_up_again(quiet_server: Server) -> None:
    wire = Wire(quiet_server.address)
    try:
        client = Client(wire.address)
        (task_id,) = client.submit("a red circle", steps=120)
        facts: list[int] = []
        for event in client.events(task_id):
            if event.is_fact:
                facts.append(event.seq)
            if event.kind == "preview" and wire.connections < 4:
                wire.cut()
        assert wire.connections >= 3 and facts == sorted(set(facts)), "none twice"
        assert [event.seq for event in Client(quiet_server.address).events(task_id) if event.is_fact] == facts
    finally:
        wire.close()


def test_a_lost_answer_asks_for_nothing_twice(quiet_server: Server) -> None:
    wire = Wire(quiet_server.address, lambda number: number <= 2)
    try:
        ids = Client(wire.address).submit("a ring, asked for once", count=2, steps=2)
    finally:
        wire.close()
    rows = quiet_server.get("/v1/tasks?limit=20")[1]["tasks"]
    assert wire.connections == 3
    assert sorted(row["id"] for row in rows if row["recipe"]["prompt"] == "a ring, asked for once") == ids


def test_cancel_and_retry(client: Client, quiet_server: Server) -> None:
    (task_id,) = client.submit("a red circle", steps=200)
    quiet_server.wait_until_drawing(task_id)
    client.cancel(task_id)
    assert [task.state for task in client.wait([task_id])] == ["cancelled"]
    again = client.retry(task_id)
    assert client.task(again).recipe == client.task(task_id).recipe
    client.cancel(again)


def test_errors_are_the_server_s(client: Client) -> None:
    with pytest.raises(FooocusError) as caught:
        client.draw("a red circle", steps=0)
    assert (caught.value.code, caught.value.field) == ("bad_value", "steps") and "1 to 200" in caught.value.hint
    with pytest.raises(FooocusError) as caught:
        list(client.events("nope"))
    assert caught.value.code == "not_found"
    with pytest.raises(FooocusError) as caught:
        client.submit("a red circle", stepz=3)
    assert caught.value.code == "unknown_name"
    with pytest.raises(FooocusError) as caught:
        Client("ftp://here")
    assert caught.value.field == "address"


def test_nobody_there() -> None:
    with pytest.raises(Unreachable) as caught:
        Client("http://127.0.0.1:9").menu()
    assert "127.0.0.1:9" in caught.value.problem and caught.value.hint


def test_it_brings_nothing_heavy_along() -> None:
    code = "import sys, fooocus_lite.client; print(*{'torch', 'gradio', 'fastapi', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_document(quiet_server: Server, tmp_path: Path, number: int) -> None:
    port = quiet_server.address.rpartition(":")[2]
    code = EXAMPLES[number].replace("7865", port)
    assert code != EXAMPLES[number] and len(code.strip().splitlines()) <= 16
    path = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for picture in [*tmp_path.glob("*.png"), *tmp_path.glob("*.jpg")]:
        Image.open(picture).load()
    assert list(tmp_path.glob("*.png"))
