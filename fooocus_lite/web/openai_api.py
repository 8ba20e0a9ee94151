"""OpenAI's images interface over our queue: ``/v1/images/generations`` and what belongs to it."""

from __future__ import annotations

import base64
import io
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse
from PIL import Image

from fooocus_lite.errors import BadValue, FooocusError, NotFound, Unsupported
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Preview
from fooocus_lite.library import Library
from fooocus_lite.picture_text import read_picture
from fooocus_lite.plan import expand
from fooocus_lite.recipe import Recipe
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task
from fooocus_lite.web.live import HEARTBEAT_S, SSE_HEADERS, sse
from fooocus_lite.web.openai_schemas import (
    MAX_PICTURES,
    ImageOut,
    ImageRequest,
    ImagesOut,
    OpenAIModel,
    Usage,
    openai_model,
    to_recipe,
)
from fooocus_lite.web.orders import CLIENT_GONE, End, HungUp, Order, Orders, Submit, pictures_of
from fooocus_lite.web.shapes import OpenAIError, in_shape, openai_problem, route_class

EXAMPLES: dict[str, Example] = {
    "words only": {"value": {"prompt": "a red star on a blue background"}},
    "with fields of a Recipe": {"value": {"prompt": "a house", "n": 2, "styles": ["Watercolor"], "seed": 7}},
}
_BODY: dict[str, Any] = {"requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object"}}}}}


@dataclass(frozen=True)
class _Door:
    library: Callable[[], Library]
    queue: TaskQueue
    log: EventLog
    orders: Orders


def make_openai_router(library: Callable[[], Library], queue: TaskQueue, log: EventLog, submit: Submit) -> APIRouter:
    """The routes under ``/v1/images``, and ``/v1/models/{name}``."""
    router = APIRouter(prefix="/v1", route_class=route_class(library), tags=["openai"])
    door = _Door(library, queue, log, Orders(queue, log, submit))
    _add_generations(router, door)
    for name, what in (("edits", "change a picture"), ("variations", "vary a picture")):
        _add_refusal(router, name, what)

    @router.get(
        "/models/{name:path}", summary="A model, for OpenAI's clients", responses=in_shape(OpenAIError, 403, 404, 422)
    )
    def model(name: str) -> OpenAIModel:
        """As `GET /v1/models` lists it in `data`."""
        return openai_model(library().find_model(name))

    return router


def _add_generations(router: APIRouter, door: _Door) -> None:
    @router.post(
        "/images/generations",
        summary="Draw, for OpenAI's clients",
        response_model=ImagesOut,
        response_model_exclude_none=True,
        responses=in_shape(OpenAIError, 400, 403, 404, 409, 413, 422, 429, 500, 507)
        | {200: {"content": {"text/event-stream": {}}}},
    )
    async def generate(request: Request, asked: Annotated[ImageRequest, Body(openapi_examples=EXAMPLES)]) -> Any:
        """Answers when the pictures are drawn. They stand in the same line as everybody's and stay in the gallery.

        A client that hangs up and asks the same again within 15 seconds gets the pictures that it asked for; after
        that, what is not drawn is cancelled. With an `Idempotency-Key` the same request is never drawn twice.
        """
        wish = await run_in_threadpool(lambda: to_recipe(asked, door.library()))
        recipes = await run_in_threadpool(_recipes, wish, door.library())
        order = await door.orders.place(recipes, request)
        if asked.stream:
            parts = _stream(door, order, asked)
            first = await anext(parts)  # from here on its end says goodbye, even if it is never read
            return StreamingResponse(_joined(first, parts), media_type="text/event-stream", headers=SSE_HEADERS)
        end: End = "refused"
        try:
            drawn = pictures_of(await door.orders.drawn(order, request))
            end = "answered"
        except HungUp:
            end = "gone"
            return Response(status_code=CLIENT_GONE)
        finally:
            door.orders.leave(order, end)
        base = str(request.base_url).rstrip("/")
        return await run_in_threadpool(lambda: _answer([_image(task, asked, base) for task in drawn], drawn[0], asked))


def _recipes(wish: Recipe, library: Library) -> list[Recipe]:
    recipes = expand(wish, library, secrets.randbelow(2**32))
    if len(recipes) > MAX_PICTURES:
        hint = f"A prompt with --- in it makes several; ask for at most {MAX_PICTURES} at once."
        raise BadValue(f"That would be {len(recipes)} pictures.", hint, field="n")
    return recipes


def _add_refusal(router: APIRouter, name: str, what: str) -> None:
    @router.post(
        f"/images/{name}",
        summary=f"{what.capitalize()}, for OpenAI's clients",
        responses=in_shape(OpenAIError, 400, 403, 413),
        status_code=400,
        response_model=OpenAIError,
        openapi_extra=_BODY,
        name=f"openai_{name}",
    )
    def refuse() -> Any:
        """Not yet: always answers with an error that says so."""
        hint = "Ask /v1/images/generations for a new picture."
        raise Unsupported(f"This version of Fooocus Lite cannot {what}.", hint)


def _answer(images: list[ImageOut], first: Task, asked: ImageRequest) -> ImagesOut:
    about = _about(asked, first.recipe)
    return ImagesOut(created=int(time.time()), data=images, **about)


def _about(asked: ImageRequest, recipe: Recipe) -> dict[str, Any]:
    """What every answer says of its pictures."""
    file_format, size = recipe.image_format or "png", f"{recipe.width}x{recipe.height}"
    return {"background": "opaque", "output_format": file_format, "quality": asked.quality or "auto", "size": size}


def _image(task: Task, asked: ImageRequest, base: str) -> ImageOut:
    path = Path(task.image_path or "")
    wants = asked.response_format
    return ImageOut(
        b64_json=_file_text(path) if wants != "url" else None,
        url=f"{base}/v1/tasks/{task.id}/image" if wants != "b64_json" else None,
        revised_prompt=_drawn_words(path, task.recipe.prompt),
    )


def _file_text(path: Path) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as exc:
        raise NotFound(f"The picture {path.name} is gone.", "It was moved or deleted outside this program.") from exc


def _drawn_words(path: Path, prompt: str) -> str | None:
    try:
        words = ", ".join(text for text in read_picture(path).texts if text)
    except FooocusError:  # no picture says less for lacking this
        return None
    return words if words != prompt else None


async def _stream(door: _Door, order: Order, asked: ImageRequest) -> AsyncIterator[str]:
    """Server-Sent Events: previews that are due, then each picture; an error is one, too."""
    end: End = "gone"
    try:
        yield ": the pictures are in line\n\n"
        for task_id in order.ids:
            async for message in _of_one(door, task_id, asked):
                yield message
        end = "answered" if await run_in_threadpool(_have_pictures, door, order) else "refused"
    finally:
        door.orders.leave(order, end)


def _have_pictures(door: _Door, order: Order) -> bool:
    return all(door.queue.get(task_id).image_path for task_id in order.ids)


async def _joined(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for message in rest:
        yield message


async def _of_one(door: _Door, task_id: str, asked: ImageRequest) -> AsyncIterator[str]:
    task = await run_in_threadpool(door.queue.get, task_id)
    due, wanted, steps = 0, asked.partial_images or 0, task.recipe.steps or 1
    about = _about(asked, task.recipe)
    async for events in door.log.afollow(task_id, heartbeat_s=HEARTBEAT_S):
        previews = [event for event in events if isinstance(event, Preview)]
        if previews and due < wanted and previews[-1].step * (wanted + 1) >= (due + 1) * steps:
            text = await run_in_threadpool(_recoded, previews[-1].jpeg, about["output_format"])
            yield _message("image_generation.partial_image", about, b64_json=text, partial_image_index=due)
            due += 1
        elif not events:
            yield ": still here\n\n"
    try:
        (task,) = pictures_of([await run_in_threadpool(door.queue.get, task_id)])
        text = await run_in_threadpool(_file_text, Path(task.image_path or ""))
    except FooocusError as exc:
        yield sse({"type": "error", "error": openai_problem(exc).model_dump()}, name="error")
    else:
        yield _message("image_generation.completed", about, b64_json=text, usage=Usage().model_dump())


def _message(kind: str, about: dict[str, Any], **more: Any) -> str:
    return sse({"type": kind, "created_at": int(time.time())} | about | more, name=kind)


def _recoded(jpeg: bytes, file_format: str) -> str:
    """A preview in the format that was asked for, as base64."""
    if file_format != "jpeg":
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(jpeg)) as preview:
            preview.save(buffer, file_format.upper())
        jpeg = buffer.getvalue()
    return base64.b64encode(jpeg).decode("ascii")
