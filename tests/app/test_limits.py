"""What is more than a user may ask for, at every door; and the command that says how much that is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from fooocus_lite.users_file import LimitsRow
from tests.app.client import ask
from tests.app.light import LightServer
from tests.app.people import KEYS, Client, people
from tests.faults.server import ROOT


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LightServer]:
    (tmp_path / "data").mkdir()
    people(tmp_path / "data", ana=LimitsRow(pictures_a_day=2), ben=LimitsRow(waiting=3, picture_megapixels=0.01))
    running = LightServer(tmp_path)
    yield running
    running.close()


def test_every_door_says_that_it_is_enough(server: LightServer) -> None:
    ana = Client(server, "ana")
    ana.submit(count=2)
    for path, body in {
        "/v1/tasks": {"prompt": "one more"},
        "/v1/sheets": {"recipe": {"prompt": "one more"}, "varies": ["mode"]},
        "/v1/repeats": {"recipe": {"prompt": "one more"}, "times": None},
        "/v1/queue/import": {"text": "one more\n", "recipe": {}},
        "/v1/images/generations": {"prompt": "one more"},
        "/sdapi/v1/txt2img": {"prompt": "one more"},
    }.items():
        headers = ana.headers | {"Content-Type": "application/json"}
        status, answered, text = ask(server.address, "POST", path, json.dumps(body).encode(), headers)
        assert (status, b"0 are left today" in text) == (429, True), path
        if path.startswith("/v1/images"):
            assert answered["x-should-retry"] == "false"
    (task,) = ana.ask("GET", "/v1/tasks?limit=1")[1]["tasks"]
    for path in ("retry", "duplicate"):
        assert ana.ask("POST", f"/v1/tasks/{task['id']}/{path}")[0] == 429
    assert server.store.queue.counts()["waiting"] == 2
    Client(server, "root").submit(count=5)


def test_openais_client_does_not_ask_again(server: LightServer) -> None:
    Client(server, "ana").submit(count=2)
    client = openai.OpenAI(base_url=f"{server.address}/v1", api_key=KEYS["ana"], max_retries=5)
    with client, pytest.raises(openai.RateLimitError) as error:
        client.images.generate(prompt="one more")
    assert (error.value.code, error.value.type) == ("limit_reached", "insufficient_quota")


def test_a_picture_may_be_too_large_and_too_many_may_wait(server: LightServer) -> None:
    ben = Client(server, "ben")
    (task_id, *_) = ben.submit(count=3)
    status, answer = ben.ask("POST", "/v1/tasks", {"prompt": "one more"})
    assert (status, answer["code"]) == (429, "too_many_waiting")
    status, answer = ben.ask("POST", "/v1/tasks", {"prompt": "large", "width": 128, "height": 128})
    assert (status, answer["code"], answer["field"]) == (422, "bad_value", "width")
    edit = {"recipe": {"width": 128, "height": 128}, "revision": 0}
    assert ben.ask("PATCH", f"/v1/tasks/{task_id}", edit)[0] == 422
    assert ben.ask("PATCH", f"/v1/tasks/{task_id}", {"recipe": {"prompt": "other"}, "revision": 0})[0] == 200


def command(data: Path, *words: str, said: str = "") -> tuple[int, str, str]:
    env = os.environ | {"FOOOCUS_DATA_DIR": str(data)}
    done = subprocess.run(
        [sys.executable, "-m", "fooocus_lite", "users", *words],
        cwd=ROOT, env=env, input=said, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_command_keeps_the_list(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert "There are no users" in command(data)[1]
    assert command(data, "add", "Ana", said="correct horse\n")[1] == "Ana is an admin now.\n"
    assert command(data, "add", "Ben", said="battery staple\n")[1] == "Ben is a user now.\n"
    code, _, wrong = command(data, "add", "ben", said="battery staple\n")
    assert code == 2 and wrong.startswith("There is a user called 'ben' already.")
    assert command(data, "add", "Cleo", said="short\n")[0] == 2
    code, said, _ = command(data, "limits", "Ben", "--pictures-a-day", "50", "--megapixels-a-day", "60.5")
    assert (code, said) == (0, "Ben may ask for 50 pictures a day, 60.5 megapixels a day.\n")
    assert command(data, "limits", "Ben", "--waiting", "many")[0] == 2
    key = command(data, "key", "add", "Ben", "laptop")[1].splitlines()[0]
    assert key.startswith("fl-") and key not in (data / "users.json").read_text()
    assert command(data, "remove", "Ben")[0] == 2  # nobody is there to say yes
    rows = json.loads(command(data, "list", "--json")[1])["users"]
    assert [(row["name"], row["is_admin"], len(row["keys"])) for row in rows] == [("Ana", True, 0), ("Ben", False, 1)]
    assert "scrypt" not in json.dumps(rows)
    assert command(data, "admin", "Ben")[1] == "Ben is an admin.\n"
    assert command(data, "key", "remove", "Ben", "laptop")[0] == 0
    assert command(data, "remove", "Ben", "--yes")[0] == 0
    (tmp_path / "auth.json").write_text('[{"user": "Old", "pass": "an old one"}]')
    code, said, _ = command(data, "import", str(tmp_path))
    assert code == 0 and "✓ Old" in said and "Admins are: Ana." in said
