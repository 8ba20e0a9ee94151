"""The README's examples of the doors for other programs, each run as it stands there, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp.client import Client as McpClient
from PIL import Image

from tests.faults.server import DEADLINE_S, Server
from tests.house.code import ROOT

SECTION = (ROOT / "README.md").read_text("utf-8").partition("\n## Other programs\n")[2].partition("\n## ")[0]
#: (what it is called, its language, its lines)
DOORS = re.findall(r"^\*\*([\w' ]+)\*\*.*?```(\w+)\n(.*?)```", SECTION, re.DOTALL | re.MULTILINE)
EXPECTED = ["curl", "Python", "WebSocket", "OpenAI's images", "A1111", "Assistants", "Webhook"]
RUN = [door for door in DOORS if door[1] != "json"]
MAX_LINES = 10


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def hook_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(web_models: Path, tmp_path_factory: pytest.TempPathFactory, hook_port: int) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doors")
    running = Server(folder, web_models, webhooks=f"http://127.0.0.1:{hook_port}").start()
    yield running
    running.end()


def test_every_door_has_its_example() -> None:
    assert [name for name, _, _ in DOORS] == EXPECTED
    assert SECTION.count("```") == 2 * len(DOORS)
    for name, _, text in DOORS:
        assert len([line for line in text.splitlines() if line]) <= MAX_LINES, name


@pytest.mark.parametrize(
    "name, language, text", [door for door in DOORS if door[1] != "json"], ids=lambda text: text[:9]
)
def test_it_does_what_it_says(
    server: Server, hook_port: int, tmp_path: Path, name: str, language: str, text: str
) -> None:
    code = text.replace("7865", server.address.rpartition(":")[2]).replace("9000", str(hook_port))
    assert code != text
    command = {"python": [sys.executable, "-c", code], "sh": ["sh", "-ec", code]}[language]
    if language == "sh" and shutil.which("curl") is None:
        pytest.skip("no curl here")
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"] if language == "sh" else "", "HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    saved = list(tmp_path.glob("*.png"))
    assert saved
    for path in saved:
        Image.open(path).load()
    said = {"curl": "event: finished", "WebSocket": "progress 20", "Webhook": "task.finished"}.get(name, "")
    assert said in done.stdout


def test_assistants_find_the_tools(server: Server) -> None:
    (config,) = [json.loads(text) for _, language, text in DOORS if language == "json"]
    url = config["mcpServers"]["fooocus-lite"]["url"].replace("http://127.0.0.1:7865", server.address)

    async def tools() -> list[str]:
        async with McpClient(url) as client:
            return [tool.name for tool in (await client.list_tools()).tools]

    names = asyncio.run(tools())
    (paragraph,) = re.findall(r"\*\*Assistants\*\*.*?```", SECTION, re.DOTALL)
    assert all(f"`{name}`" in paragraph for name in names)
