"""Assistants: the official client of the Model Context Protocol against a real server, in both of its dialects."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image

from fooocus_lite.web.mcp_door import NEEDED
from fooocus_lite.web.mcp_tools import MAX_ANSWER_BYTES, fitting
from tests.app.client import ask
from tests.faults.server import DEADLINE_S, ROOT, Server, until

Talk = Callable[[Client], Awaitable[Any]]
DIALECTS = ("legacy", "auto")


@asynccontextmanager
async def assistant(server: Server, *, mode: str = "auto", path: str = "/mcp") -> AsyncIterator[Client]:
    async with Client(server.address + path, mode=mode, read_timeout_seconds=DEADLINE_S) as client:
        yield client


def talk(server: Server, what: Talk, **options: str) -> Any:
    async def whole() -> Any:
        async with assistant(server, **options) as client:
            return await what(client)

    return asyncio.run(whole())


def call(server: Server, name: str, arguments: dict[str, Any], **options: str) -> CallToolResult:
    return talk(server, lambda client: client.call_tool(name, arguments), **options)


def words(result: CallToolResult) -> str:
    return " ".join(block.text for block in result.content if isinstance(block, TextContent))


def pictures(result: CallToolResult) -> list[Image.Image]:
    blocks = [block for block in result.content if isinstance(block, ImageContent)]
    opened = [Image.open(io.BytesIO(base64.b64decode(block.data))) for block in blocks]
    assert [f"image/{(picture.format or '').lower()}" for picture in opened] == [block.mime_type for block in blocks]
    return opened


def tasks_saying(server: Server, prompt: str) -> list[dict[str, Any]]:
    found = server.get("/v1/tasks?limit=200")[1]["tasks"]
    return [task for task in reversed(found) if task["recipe"]["prompt"] == prompt]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/gradio_api/mcp/"])
@pytest.mark.parametrize("mode", DIALECTS)
def test_what_there_is(quiet_server: Server, mode: str, path: str) -> None:
    found = talk(quiet_server, lambda client: client.list_tools(), mode=mode, path=path)
    tools = {tool.name: tool for tool in found.tools}
    assert set(tools) == {"generate", "styles", "queue", "picture", "cancel"}
    fields = tools["generate"].input_schema["properties"]
    assert {"prompt", "style", "preset", "size", "seed", "count"} <= set(fields)
    assert tools["generate"].input_schema["required"] == ["prompt"]
    assert all(field["description"] for field in fields.values())
    assert [name for name, tool in tools.items() if not tool.annotations.read_only_hint] == ["generate", "cancel"]


@pytest.mark.parametrize("mode", DIALECTS)
def test_pictures(quiet_server: Server, mode: str) -> None:
    prompt = f"a red circle for {mode}"
    asked = {"prompt": prompt, "style": "Watercolor", "size": "128x96", "seed": 7, "count": 2}
    result = call(quiet_server, "generate", asked, mode=mode)
    assert not result.is_error
    assert [picture.size for picture in pictures(result)] == [(128, 96)] * 2
    tasks = tasks_saying(quiet_server, prompt)
    assert [(task["recipe"]["seed"], task["recipe"]["styles"]) for task in tasks] == [
        (7, ["Watercolor"]),
        (8, ["Watercolor"]),
    ]
    assert all(task["id"] in words(result) for task in tasks) and "seed 7" in words(result)
    again = call(quiet_server, "picture", {"id": tasks[0]["id"]}, mode=mode)
    assert pictures(again)[0].tobytes() == pictures(result)[0].tobytes()


@pytest.mark.parametrize("mode", DIALECTS)
def test_it_tells_how_far_it_is(quiet_server: Server, mode: str) -> None:
    told: list[tuple[float, float | None, str]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message or ""))

    async def draw(client: Client) -> CallToolResult:
        asked = {"prompt": "a red circle", "count": 2, "size": "128x128"}
        return await client.call_tool("generate", asked, progress_callback=listen)

    assert len(pictures(talk(quiet_server, draw, mode=mode))) == 2
    shares = [share for share, _, _ in told]
    assert shares == sorted(set(shares)) and {total for _, total, _ in told} == {2}
    assert any("picture 1 of 2: step " in message for _, _, message in told)


@pytest.mark.parametrize("mode", DIALECTS)
def test_who_wants_it_no_more_cancels(quiet_server: Server, mode: str) -> None:
    prompt = f"a ring for nobody, {mode}"

    async def give_up(client: Client) -> None:
        asked = {"prompt": prompt, "count": 10}
        drawing = asyncio.ensure_future(client.call_tool("generate", asked))
        await asyncio.to_thread(until, lambda: tasks_saying(quiet_server, prompt), "the tasks")
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
        ids = [task["id"] for task in tasks_saying(quiet_server, prompt)]
        ended = await asyncio.to_thread(quiet_server.wait, *ids)
        assert ended[-1]["state"] == "cancelled"
        assert not (await client.call_tool("queue", {})).is_error, "and goes on talking"

    talk(quiet_server, give_up, mode=mode)


def test_one_that_does_not_wait(quiet_server: Server) -> None:
    result = call(quiet_server, "generate", {"prompt": "a slow ring", "wait": False, "count": 2})
    first, second = (task["id"] for task in tasks_saying(quiet_server, "a slow ring")[-2:])
    assert words(result).startswith(f"In line: {first}, {second}.") and pictures(result) == []
    assert words(call(quiet_server, "cancel", {"id": second})) in ("It is cancelled.", "It had already ended.")
    quiet_server.wait(first, second)
    assert words(call(quiet_server, "cancel", {"id": first})) == "It had already ended."
    assert len(pictures(call(quiet_server, "picture", {"id": first}))) == 1


def test_what_can_be_chosen_and_what_runs(quiet_server: Server) -> None:
    said = json.loads(words(call(quiet_server, "styles", {})))
    assert "Watercolor" in said["styles"] and "starter" in said["presets"]
    ids = quiet_server.submit("a ring of the page", steps=200, count=3)
    quiet_server.wait_until_drawing(ids[0])
    line = json.loads(words(call(quiet_server, "queue", {})))
    assert [(row["id"], row["steps"]) for row in line["drawing"]] == [(ids[0], 200)]
    assert [(row["id"], row["place"]) for row in line["waiting"]] == [(ids[1], 1), (ids[2], 2)]
    assert line["waiting_in_all"] == 2
    waits = json.loads(words(call(quiet_server, "picture", {"id": ids[2]})))
    assert (waits["state"], waits["prompt"]) == ("waiting", "a ring of the page")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("generate", {}, "prompt cannot be used"),
        ("generate", {"prompt": "x", "style": "Nope"}, "Nope"),
        ("generate", {"prompt": "x", "preset": "nope"}, "nope"),
        ("generate", {"prompt": "x", "size": "big"}, "1024x1024"),
        ("generate", {"prompt": "x", "size": "4096x4096"}, "Allowed for starter"),
        ("generate", {"prompt": "x", "count": 11}, "count"),
        ("generate", {"prompt": "x", "steps": 3}, "steps"),
        ("generate", {"prompt": "\n---\n".join("abcdefghijk")}, "at most 10"),
        ("picture", {"id": "nope"}, "There is no task 'nope'"),
        ("cancel", {"id": "nope"}, "There is no task 'nope'"),
        ("paint", {}, "There is no tool 'paint'"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_words(quiet_server: Server, name: str, arguments: dict[str, Any], said: str) -> None:
    before = quiet_server.get("/v1/tasks?limit=1")[1]
    result = call(quiet_server, name, arguments)
    assert result.is_error and said in words(result) and "Traceback" not in words(result)
    assert quiet_server.get("/v1/tasks?limit=1")[1] == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/gradio_api/mcp/"])
def test_other_websites_are_refused(quiet_server: Server, path: str, headers: dict[str, str]) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    kind = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    status, _, text = ask(quiet_server.address, "POST", path, body, kind | headers)
    assert status == 403 and json.loads(text)["code"] == "forbidden"


def test_bodies_are_bounded(quiet_server: Server) -> None:
    kind = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    assert ask(quiet_server.address, "POST", "/mcp", b" " * 2_000_000, kind)[0] == 413


def test_pictures_become_small_enough_for_an_assistant(tmp_path: Path) -> None:
    noise = Image.effect_noise((1400, 1000), 80).convert("RGB")
    noise.save(tmp_path / "noise.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "plain.webp")
    (as_it_is,) = fitting([tmp_path / "plain.webp"])
    assert (as_it_is.mime_type, as_it_is.data) == ("image/webp", (tmp_path / "plain.webp").read_bytes())
    for count in (1, 4):
        shown = fitting([tmp_path / "noise.png"] * count)
        assert {one.mime_type for one in shown} == {"image/jpeg"} and len(shown) == count
        assert sum(len(one.data) for one in shown) <= MAX_ANSWER_BYTES
        width, height = Image.open(io.BytesIO(shown[0].data)).size
        assert abs(width / height - 1.4) < 0.02 and width >= 256


WITHOUT = """
import importlib.abc, importlib.util, sys, asyncio

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mcp", "mcp_types"):
            raise ImportError(name)

found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "mcp" else found(name, package)
sys.meta_path.insert(0, Missing())
from fooocus_lite.web.mcp_door import McpDoor
said = []

async def send(message):
    said.append(message)

scope = {"type": "http", "path": "/mcp", "method": "POST", "headers": []}
asyncio.run(McpDoor(None)(scope, None, send))
print(said[0]["status"], said[1]["body"].decode())
"""


def test_without_the_package_it_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=True)
    status, _, body = done.stdout.partition(" ")
    assert status == "501" and "pip install" in json.loads(body)["hint"]


BROKEN = """
import asyncio, logging, sys, types
from fooocus_lite.web.mcp_door import McpDoor

async def ask(door):
    said = []

    async def send(message):
        said.append(message)

    scope = {"type": "http", "path": "/mcp", "method": "POST", "headers": []}
    await asyncio.wait_for(door(scope, None, send), 60)
    print(said[0]["status"], said[1]["body"].decode())

async def main():
    door = McpDoor(None)
    async with door.open():
        await ask(door)
        await ask(door)

logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
"""
OLD = "import importlib.metadata; importlib.metadata.version = lambda name: '1.12.4'"
#: What the package may do to us.
FAULTS = {
    "is too old": (OLD + "; sys.modules['mcp.server.context'] = None", "1.12.4", "2.3 or newer"),
    "raises at its start": (
        "from mcp.server.streamable_http_manager import StreamableHTTPSessionManager as M; M.run = lambda self: 1 / 0",
        "2.", "did not start (ZeroDivisionError)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_package_that_cannot_be_used_is_said_so_and_logged_once(name: str) -> None:
    fault, version, words_of_it = FAULTS[name]
    code = f"{BROKEN}\n{fault}\nasyncio.run(main())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    answers = [line.partition(" ") for line in done.stdout.splitlines()]
    assert [status for status, _, _ in answers] == ["503", "503"], done.stdout
    for _, _, text in answers:
        said = json.loads(text)
        assert said["code"] == "not_working"
        assert version in said["problem"] and words_of_it in said["problem"]
        assert "pip install" in said["hint"] and "start the server again" in said["hint"]
    assert done.stderr.count("WARNING") == 1


def test_the_version_that_is_asked_for_is_the_one_that_the_extra_installs() -> None:
    needed = ".".join(map(str, NEEDED))
    assert f'mcp = [\n    "mcp>={needed},<3",\n]' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_nothing_of_it_is_loaded_before_an_assistant_comes() -> None:
    code = "import sys, fooocus_lite.web.app; print(*{'mcp', 'mcp_types', 'jwt', 'cryptography'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
