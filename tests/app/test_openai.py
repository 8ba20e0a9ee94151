"""OpenAI's images interface, asked by OpenAI's own client."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from PIL import Image

from fooocus_lite.images import read_recipe
from tests.app.client import ask, ask_json
from tests.app.proxy import Wire
from tests.faults.server import Server, until

SMALL: dict[str, Any] = {"size": "128x128", "extra_body": {"steps": 2, "seed": 7}}


def client_of(address: str, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="any", **options)


@pytest.fixture
def client(quiet_server: Server) -> openai.OpenAI:
    return client_of(quiet_server.address)


@pytest.fixture
def wire_to(quiet_server: Server) -> Iterator[Callable[..., Wire]]:
    wires: list[Wire] = []

    def make(on_answer: Callable[[int], bool] = lambda number: False) -> Wire:
        wires.append(Wire(quiet_server.address, on_answer))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


def opened(text: str | None) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(text or "")))
    picture.load()
    return picture


def tasks_saying(server: Server, prompt: str) -> list[dict[str, Any]]:
    found = server.get("/v1/tasks?limit=200")[1]["tasks"]
    return [task for task in found if task["recipe"]["prompt"] == prompt]


def test_pictures(quiet_server: Server, client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a red circle", n=2, quality="high", **SMALL)
    assert (answer.size, answer.output_format, answer.quality, answer.background) == (
        "128x128",
        "png",
        "high",
        "opaque",
    )
    assert len(answer.data or ()) == 2
    for number, image in enumerate(answer.data or ()):
        assert opened(image.b64_json).size == (128, 128)
        task_id = (image.url or "").split("/")[-2]
        status, _, data = ask(quiet_server.address, "GET", urlsplit(image.url or "").path)
        assert (status, data) == (200, base64.b64decode(image.b64_json or ""))
        recipe = read_recipe(quiet_server.picture(task_id))
        assert (recipe.seed, recipe.steps, recipe.mode) == (7 + number, 2, "quality")


@pytest.mark.parametrize("wanted", ["b64_json", "url"])
def test_only_what_was_asked_for(client: openai.OpenAI, wanted: Any) -> None:
    answer = client.images.generate(
        prompt="a red circle", model="dall-e-3", output_format="webp", response_format=wanted,
        extra_body={"steps": 2, "styles": ["Watercolor"]},
    )  # fmt: skip
    (image,) = answer.data or ()
    assert {name for name in ("b64_json", "url") if getattr(image, name)} == {wanted}
    assert "watercolor" in (image.revised_prompt or "")
    if image.b64_json:
        assert opened(image.b64_json).format == "WEBP"


def test_partial_images_come_while_it_is_drawn(client: openai.OpenAI) -> None:
    stream = client.images.generate(
        prompt="a green heart", stream=True, partial_images=3, output_format="jpeg", size="128x128",
        extra_body={"steps": 120},
    )  # fmt: skip
    events = list(stream)
    assert [event.type for event in events[:-1]] == ["image_generation.partial_image"] * (len(events) - 1)
    assert [event.partial_image_index for event in events[:-1]] == list(range(len(events) - 1))
    assert 1 <= len(events) - 1 <= 3
    last = events[-1]
    assert last.type == "image_generation.completed" and last.usage.total_tokens == 0
    assert {event.size for event in events} == {"128x128"} and {event.output_format for event in events} == {"jpeg"}
    assert [opened(event.b64_json).format for event in events] == ["JPEG"] * len(events)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["starter"]
    model = client.models.retrieve("starter")
    assert (model.id, model.object, model.owned_by) == ("starter", "model", "fooocus-lite") and model.created > 0
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


WRONG: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None, str]] = [
    ({"n": 11}, openai.BadRequestError, "n", "bad_value"),
    ({"n": 0}, openai.BadRequestError, "n", "bad_value"),
    ({"size": "large"}, openai.BadRequestError, "size", "bad_value"),
    ({"size": "7x7"}, openai.BadRequestError, "size", "bad_value"),
    ({"size": "4096x4096"}, openai.BadRequestError, "size", "bad_value"),
    ({"model": "nope"}, openai.NotFoundError, "model", "model_not_found"),
    ({"background": "transparent"}, openai.BadRequestError, "background", "unsupported"),
    ({"output_compression": 50}, openai.BadRequestError, "output_compression", "unsupported"),
    ({"output_format": "gif"}, openai.BadRequestError, "output_format", "bad_value"),
    ({"partial_images": 4, "stream": True}, openai.BadRequestError, "partial_images", "bad_value"),
    ({"prompt": "x" * 30_000}, openai.BadRequestError, "prompt", "bad_value"),
    ({"prompt": "\n---\n".join("abcdefghijk")}, openai.BadRequestError, "n", "bad_value"),
    ({"extra_body": {"stepz": 2}}, openai.BadRequestError, "stepz", "unknown_name"),
    ({"extra_body": {"steps": 0}}, openai.BadRequestError, "steps", "bad_value"),
    ({"extra_body": {"count": 2}}, openai.BadRequestError, "n", "unknown_name"),
    ({"extra_body": {"seed": float("nan")}}, openai.BadRequestError, None, ""),
]


@pytest.mark.parametrize(("fields", "kind", "param", "code"), WRONG, ids=lambda value: str(value)[:40])
def test_errors_have_its_shape(
    quiet_server: Server, client: openai.OpenAI, fields: dict[str, Any], kind: type, param: str | None, code: str
) -> None:
    before = quiet_server.get("/v1/tasks?limit=1")[1]
    try:
        client.images.generate(**({"prompt": "a star"} | fields))
    except openai.APIStatusError as exc:
        assert isinstance(exc, kind) and exc.type == "invalid_request_error"
        assert (exc.param, exc.code) == (param, code)
        assert exc.response.headers["x-should-retry"] == "false"
        assert len(exc.body["message"].split()) > 5  # type: ignore[index]
    except ValueError:
        assert not code, "its own client refuses to send that"
    else:
        raise AssertionError("no error")
    assert quiet_server.get("/v1/tasks?limit=1")[1] == before


def test_what_cannot_be_done_yet_is_said(client: openai.OpenAI) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=("a.png", buffer.getvalue()), mask=("b.png", buffer.getvalue()), prompt="bluer")
    assert caught.value.code == "unsupported" and "change a picture" in str(caught.value)
    with pytest.raises(openai.BadRequestError):
        client.images.create_variation(image=("a.png", buffer.getvalue()))


def test_a_retry_of_a_broken_connection_draws_nothing_twice(quiet_server: Server, wire_to: Any) -> None:
    wire = wire_to(lambda number: number == 1)  # the first answer never arrives
    prompt = "a yellow ring, once"
    answer = client_of(wire.address).images.generate(prompt=prompt, n=2, **SMALL)
    assert len(answer.data or ()) == 2 and wire.connections == 2
    assert len(tasks_saying(quiet_server, prompt)) == 2


def test_a_retry_while_it_is_drawn_draws_nothing_twice(quiet_server: Server, wire_to: Any) -> None:
    wire, prompt = wire_to(), "a yellow ring, slowly"
    answers: list[Any] = []

    def generate() -> None:
        extra = {"steps": 120, "seed": 7}
        answers.append(client_of(wire.address).images.generate(prompt=prompt, n=2, size="128x128", extra_body=extra))

    thread = threading.Thread(target=generate)
    thread.start()
    first = until(lambda: tasks_saying(quiet_server, prompt), "the tasks")
    quiet_server.wait_until_drawing(first[-1]["id"])
    wire.cut()
    thread.join()
    assert len(answers[0].data) == 2 and wire.connections == 2
    assert [task["id"] for task in tasks_saying(quiet_server, prompt)] == [task["id"] for task in first]


def test_the_same_words_again_are_another_request(quiet_server: Server, client: openai.OpenAI) -> None:
    prompt = "a yellow ring, again"
    for _ in range(2):
        client.images.generate(prompt=prompt, **SMALL)
    assert len(tasks_saying(quiet_server, prompt)) == 2


def test_a_key_makes_it_one_request_for_good(quiet_server: Server, client: openai.OpenAI) -> None:
    headers, prompt = {"Idempotency-Key": "a-key-of-mine"}, "a white ring"
    answers = [client.images.generate(prompt=prompt, extra_headers=headers, **SMALL) for _ in range(3)]
    assert len(tasks_saying(quiet_server, prompt)) == 1
    assert len({(answer.data or [])[0].url for answer in answers}) == 1
    client.images.generate(prompt=f"{prompt}, another one", extra_headers=headers, **SMALL)
    assert len(tasks_saying(quiet_server, f"{prompt}, another one")) == 1


def test_what_was_cancelled_under_a_key_is_drawn_when_asked_for_again(quiet_server: Server) -> None:
    body = {"prompt": "a pink ring", "n": 2, "steps": 120, "seed": 3, "response_format": "url"}
    key: dict[str, str] = {"Idempotency_Key": "another-key"}
    answers: list[tuple[int, Any]] = []
    path = "/v1/images/generations"
    thread = threading.Thread(target=lambda: answers.append(ask_json(quiet_server.address, "POST", path, body, **key)))
    thread.start()
    until(lambda: len(tasks_saying(quiet_server, "a pink ring")) == 2, "the tasks")
    for task in tasks_saying(quiet_server, "a pink ring"):
        quiet_server.cancel(task["id"])
    thread.join()
    assert answers[0][0] == 409 and answers[0][1]["error"]["code"] == "conflict"
    status, answer = ask_json(quiet_server.address, "POST", path, body, **key)
    assert status == 200 and len(answer["data"]) == 2
    states = sorted(task["state"] for task in tasks_saying(quiet_server, "a pink ring"))
    assert states == ["cancelled", "cancelled", "finished", "finished"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_nobody_waits_for_is_cancelled(quiet_server: Server, stream: bool) -> None:
    prompt = f"a purple ring {stream}"
    body = json.dumps({"prompt": prompt, "n": 10, "steps": 200, "stream": stream}).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    address = urlsplit(quiet_server.address)
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        until(lambda: tasks_saying(quiet_server, prompt), "the tasks")
    quiet_server.wait(*(task["id"] for task in tasks_saying(quiet_server, prompt)))
    assert "cancelled" in {task["state"] for task in tasks_saying(quiet_server, prompt)}


def test_a_key_counts_over_a_kill(web_models: Path, tmp_path: Path) -> None:
    server, path = Server(tmp_path, web_models).start(), "/v1/images/generations"
    try:
        body = {"prompt": "a black ring", "n": 2, "steps": 200, "size": "128x128", "response_format": "url"}
        key: dict[str, str] = {"Idempotency_Key": "over-a-kill"}
        keyed = threading.Thread(target=_ask_and_lose, args=(server.address, path, body, key), daemon=True)
        keyed.start()
        first = until(lambda: tasks_saying(server, "a black ring"), "the tasks")
        server.wait_until_drawing(first[-1]["id"])
        server.kill()
        keyed.join()
        server.start()
        status, answer = ask_json(server.address, "POST", path, body, **key)
        assert status == 200 and len(answer["data"]) == 2
        assert [task["id"] for task in tasks_saying(server, "a black ring")] == [task["id"] for task in first]
    finally:
        server.kill()


def _ask_and_lose(address: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask_json(address, "POST", path, body, **headers)
