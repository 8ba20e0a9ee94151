"""The HTTP interface. Routes are thin: they ask the queue, the log and the library, and say it in JSON."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import Example
from fastapi.responses import FileResponse, StreamingResponse

from fooocus_lite import images
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import BadValue, FooocusError, NotFound
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Progress, State
from fooocus_lite.library import Library
from fooocus_lite.metadata import MAX_FILE_BYTES, read_stream
from fooocus_lite.own_files import OwnFiles
from fooocus_lite.picture_words import words_of
from fooocus_lite.plan import batch_notes, expand, make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import Settings
from fooocus_lite.style_pictures import StylePictures
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task, work_of
from fooocus_lite.web import schemas as s
from fooocus_lite.web.files import FOR_GOOD, MEDIA_TYPES
from fooocus_lite.web.guard import LOCAL_NAMES
from fooocus_lite.web.language_api import add_language_route
from fooocus_lite.web.library_api import add_library_routes
from fooocus_lite.web.live import SSE_HEADERS, Live
from fooocus_lite.web.loras_api import add_lora_routes
from fooocus_lite.web.menu import Menu
from fooocus_lite.web.reveal import reveal
from fooocus_lite.web.sheets_api import add_sheet_routes
from fooocus_lite.web.style_pictures_api import add_style_picture_routes
from fooocus_lite.web.uploads import taken_in
from fooocus_lite.web.workers_api import add_worker_route

STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
EXAMPLES: dict[str, Example] = {
    "words only": {"value": {"prompt": "a red star on a blue background"}},
    "a batch in a style": {"value": {"prompt": "a house by the sea", "styles": ["Watercolor"], "count": 4, "seed": 7}},
}
READABLE = {
    "required": True,
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in dict.fromkeys(MEDIA_TYPES.values())
    }
    | {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/json")},
}
Limit = Annotated[int, Query(ge=1, le=200, description="At most this many.")]
FileName = Annotated[str, Query(min_length=1, max_length=200, description="What the errors call the file.")]
Before = Annotated[str | None, Query(max_length=40, description="Only what is older than this id.")]


@dataclass(frozen=True)
class Parts:
    """What the routes talk to."""

    settings: Settings
    library: Callable[[], Library]
    queue: TaskQueue
    log: EventLog
    dispatcher: Dispatcher


def make_router(parts: Parts) -> APIRouter:
    """All routes under ``/v1``."""
    router = APIRouter(prefix="/v1")
    live = Live(parts.queue, parts.log, parts.dispatcher)
    _add_menu(router, parts)
    _add_expansion(router, parts)
    _add_tasks(router, parts)
    _add_task(router, parts, live)
    _add_files(router, parts)
    _add_control(router, parts, live)
    _add_pictures(router, parts)
    _add_words(router, parts)
    add_library_routes(router, OwnFiles(parts.settings, parts.library), parts.library)
    add_style_picture_routes(router, StylePictures(parts.settings, parts.queue), parts.library)
    add_sheet_routes(router, parts.queue, parts.library)
    add_lora_routes(router, parts.library, parts.settings.data_dir / "thumbs")
    add_language_route(router, parts.library)
    add_worker_route(router, parts.dispatcher)
    _add_read(router, parts)
    return router


def _add_menu(router: APIRouter, parts: Parts) -> None:
    # Said by `Menu` and not checked against it at every call: the library made it, and a test compares the two.
    @router.get(
        "/menu",
        tags=["choices"],
        summary="Everything that can be chosen",
        response_model=None,
        responses={200: {"model": Menu}},
    )
    def menu() -> dict[str, Any]:
        """Styles, presets, models with their sizes, samplers, schedules, and the range of every field."""
        library = parts.library()
        answer = library.menu()
        for preset in answer["presets"]:
            preset["values"], preset["problem"] = _values(library, preset["name"])
        for model in answer["models"]:
            works = {mode["id"]: _work(library, model["name"], mode["id"]) for mode in model["modes"]}
            for mode in model["modes"]:
                mode["time"] = round(works[mode["id"]] / works["speed"], 2)
        return answer

    @router.post(
        "/plan", tags=["choices"], summary="What a recipe would do", responses=s.problems(400, 403, 409, 413, 422)
    )
    def plan(recipe: Annotated[Recipe, Body(openapi_examples=EXAMPLES)]) -> s.PlanOut:
        """Decides every open field, measures nothing, queues nothing."""
        library = parts.library()
        full = expand(recipe, library, 0)
        seconds = parts.dispatcher.seconds_per_picture(full[0])
        warnings = list(batch_notes(full, library, recipe))
        alike = sum(one.prompt == full[0].prompt for one in full)
        written: dict[str, Any] = {"seed": recipe.seed, "prompt": recipe.prompt or full[0].prompt, "count": alike}
        if recipe.seed is None:  # then nobody knows yet what a random style will be
            names = library.filled(recipe).styles or ()
            written["styles"] = tuple(library.find_style(name).name for name in names)
        decided = full[0].model_copy(update=written)
        peak = parts.dispatcher.bytes_per_picture(full[0])
        outlook = parts.dispatcher.outlook(make_plan(full[0], library, 0), full[0])
        return s.PlanOut(
            recipe=decided, count=len(full), seconds_per_picture=seconds, bytes_per_picture=peak, warnings=warnings,
            memory=outlook and s.MemoryOut(**asdict(outlook)),
        )  # fmt: skip


def _add_expansion(router: APIRouter, parts: Parts) -> None:
    @router.post(
        "/expand", tags=["choices"], summary="The words that Expand prompt adds",
        responses=s.problems(400, 403, 409, 413, 422),
    )  # fmt: skip
    def expand_prompt(recipe: Annotated[Recipe, Body(openapi_examples=EXAMPLES)]) -> s.Expansion:
        """Words for the recipe's first picture, with or without that style; an open seed is taken as 0.

        Also while pictures are drawn. Put them into `expansion` to have exactly these.
        """
        return s.Expansion(expansion=parts.dispatcher.words_for(recipe))


def _work(library: Library, model: str, mode: str) -> int:
    """How much drawing a picture of the model's own size is in the mode."""
    return work_of(library.models[model].under(Recipe(mode=mode)))


def _values(library: Library, preset: str) -> tuple[dict[str, Any] | None, str]:
    """(what the page's fields show for a preset, ""); (None, why) if it names something that is not there."""
    try:
        return library.filled(Recipe(preset=preset)).set_fields(), ""
    except FooocusError as exc:
        return None, str(exc)


def _add_tasks(router: APIRouter, parts: Parts) -> None:
    @router.post(
        "/tasks",
        tags=["tasks"],
        status_code=201,
        summary="Ask for pictures",
        responses=s.problems(400, 403, 409, 413, 422, 507),
    )
    def submit(recipe: Annotated[Recipe, Body(openapi_examples=EXAMPLES)]) -> s.Submitted:
        """One task per picture; picture i has the first one's seed + i. They are on disk when this answers."""
        library = parts.library()
        recipes = expand(recipe, library, secrets.randbelow(2**32))
        make_plan(recipes[0], library, 0)
        library.check_available(recipes[0].model or "")
        return s.Submitted(ids=parts.queue.submit(recipes))

    @router.get("/tasks", tags=["tasks"], summary="List tasks", responses=s.problems(422))
    def tasks(limit: Limit = 50, state: State | None = None, before: Before = None) -> s.TaskList:
        """Newest first, never more than asked for."""
        return s.TaskList(tasks=[s.task_out(task) for task in parts.queue.page(state, limit=limit, before=before)])


def _add_task(router: APIRouter, parts: Parts, live: Live) -> None:
    @router.get("/tasks/{task_id}", tags=["tasks"], summary="Where a task stands", responses=s.problems(404, 422))
    def task(task_id: str) -> s.TaskOut:
        """State, frozen recipe, place in line, progress or error."""
        found = parts.queue.get(task_id)
        steps = [event for event in parts.log.latest(task_id) if isinstance(event, Progress)]
        return s.task_out(found, steps[-1] if steps else None)

    @router.get(
        "/tasks/{task_id}/events",
        tags=["tasks"],
        summary="Follow a task",
        response_class=StreamingResponse,
        responses=s.problems(404, 422) | STREAM,
    )
    def events(
        task_id: str,
        last_event_id: Annotated[str | None, Header(description="Facts up to this id are not told again.")] = None,
    ) -> StreamingResponse:
        """Server-Sent Events: all facts so far, then live ones; ends after finished, failed or cancelled."""
        parts.queue.get(task_id)
        return _stream(live.task_events(task_id, _event_number(last_event_id)))

    @router.delete(
        "/tasks/{task_id}", tags=["tasks"], summary="Cancel a task", responses=s.problems(403, 404, 422, 507)
    )
    def cancel(task_id: str) -> s.TaskOut:
        """A waiting task ends now, a running one at its next step; an ended one stays as it is."""
        parts.queue.cancel(task_id)
        return s.task_out(parts.queue.get(task_id))

    @router.post(
        "/tasks/{task_id}/retry",
        tags=["tasks"],
        status_code=201,
        summary="Try again",
        responses=s.problems(403, 404, 422, 507),
    )
    def retry(task_id: str) -> s.Submitted:
        """A new task with the same recipe at the end of the line."""
        return s.Submitted(ids=[parts.queue.retry(task_id)])


def _add_files(router: APIRouter, parts: Parts) -> None:
    @router.get(
        "/tasks/{task_id}/image",
        tags=["tasks"],
        summary="The picture file",
        response_class=FileResponse,
        responses=s.problems(404, 409, 422) | {200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}}},
    )
    def image(task_id: str, download: bool = False) -> FileResponse:
        """The file as it was saved, with its recipe inside."""
        path = _picture_path(parts.queue.get(task_id))
        disposition = "attachment" if download else "inline"
        kind = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
        return FileResponse(
            path, media_type=kind, filename=path.name, content_disposition_type=disposition, headers=FOR_GOOD
        )

    @router.get(
        "/tasks/{task_id}/thumbnail",
        tags=["tasks"],
        summary="A small copy",
        response_class=FileResponse,
        responses=s.problems(404, 409, 422) | {200: {"content": {"image/jpeg": {}}}},
    )
    def thumbnail(task_id: str) -> FileResponse:
        """A JPEG of at most 20 KB."""
        path = images.thumbnail(_picture_path(parts.queue.get(task_id)), parts.settings.data_dir / "thumbs")
        return FileResponse(path, media_type="image/jpeg", headers=FOR_GOOD)


def _stream(messages: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(messages, media_type="text/event-stream", headers=SSE_HEADERS)


def _event_number(text: str | None) -> int:
    if text is None or text == "":
        return 0
    if not text.isdecimal() or len(text) > 18:
        raise BadValue(
            "Last-Event-ID is not a number.", "Send the id of the last event you saw.", field="Last-Event-ID"
        )
    return int(text)


def _picture_path(task: Task) -> Path:
    if task.image_path is None:
        raise FooocusError(f"Task {task.id} has no picture yet.", f"It is {task.state}.", code="conflict")
    path = Path(task.image_path)
    if not path.is_file():
        raise NotFound(f"The picture {path.name} is gone.", "It was moved or deleted outside this program.")
    return path


def _add_control(router: APIRouter, parts: Parts, live: Live) -> None:
    @router.get("/queue", tags=["page"], summary="The head of the line")
    def queue() -> s.QueueHead:
        """Next first, at most 100 rows."""
        return live.head()

    @router.post("/skip", tags=["page"], summary="Skip this picture", responses=s.problems(403, 409, 507))
    def skip() -> s.Count:
        """Cancels what is drawn now; the next picture follows."""
        return s.Count(cancelled=len(parts.dispatcher.skip()))

    @router.post("/stop", tags=["page"], summary="Stop this batch", responses=s.problems(403, 409, 507))
    def stop() -> s.Count:
        """Cancels what is drawn now and the rest of its batch."""
        return s.Count(cancelled=parts.dispatcher.stop())

    @router.post("/clear", tags=["page"], summary="Clear the queue", responses=s.problems(403, 409, 507))
    def clear() -> s.Count:
        """Cancels everything that waits; what is drawn now goes on."""
        return s.Count(cancelled=parts.queue.clear_waiting())

    @router.get(
        "/events",
        tags=["page"],
        summary="Follow everything",
        response_class=StreamingResponse,
        responses=STREAM,
    )
    def page_events() -> StreamingResponse:
        """Server-Sent Events for the page: a snapshot, then changes; never ends by itself."""
        return _stream(live.page_messages())


def _add_pictures(router: APIRouter, parts: Parts) -> None:
    @router.get("/pictures", tags=["pictures"], summary="Finished pictures", responses=s.problems(422))
    def pictures(
        limit: Limit = 50,
        before: Before = None,
        since: Annotated[float, Query(description="Finished at this Unix time or later.")] = 0.0,
    ) -> s.PictureList:
        """Newest first. Pictures whose file was moved away are left out."""
        found = parts.queue.pictures(limit=limit, before=before, since=since)
        there = [s.picture_out(task) for task in found if task.image_path and Path(task.image_path).is_file()]
        return s.PictureList(pictures=there, next=found[-1].id if len(found) == limit else None)

    @router.get("/pictures/{task_id}", tags=["pictures"], summary="A picture", responses=s.problems(404, 409, 422))
    def picture(task_id: str) -> s.PictureOut:
        """As in the list, wherever in it."""
        found = parts.queue.get(task_id)
        _picture_path(found)
        return s.picture_out(found)

    @router.delete(
        "/pictures/{task_id}",
        tags=["pictures"],
        status_code=204,
        summary="Delete the file",
        responses=s.problems(403, 404, 409, 422, 507),
    )
    def delete(task_id: str) -> Response:
        """Deletes a picture that lies in the output folder, and its small copy, for good."""
        path = _picture_path(parts.queue.get(task_id))
        if not path.resolve().is_relative_to(Path(parts.settings.output_dir).resolve()):
            raise FooocusError(
                "The picture lies outside the output folder.", f"Delete {path} by hand.", code="conflict"
            )
        images.delete_picture(path, parts.settings.data_dir / "thumbs")
        return Response(status_code=204)

    @router.post(
        "/pictures/{task_id}/open-folder",
        tags=["pictures"],
        status_code=204,
        summary="Show in the file manager",
        responses=s.problems(403, 404, 409, 422),
    )
    def open_folder(task_id: str, request: Request) -> Response:
        """Only for a browser on the same machine."""
        if request.client is None or request.client.host not in LOCAL_NAMES:
            raise FooocusError(
                "The folder is on another machine.", "Use Download, or open it on that machine.", code="forbidden"
            )
        reveal(_picture_path(parts.queue.get(task_id)))
        return Response(status_code=204)


def _add_words(router: APIRouter, parts: Parts) -> None:
    @router.get(
        "/pictures/{task_id}/words",
        tags=["pictures"],
        summary="What became of a picture's prompt",
        responses=s.problems(404, 409, 422),
    )
    def words(task_id: str) -> s.PictureWordsOut:
        """The words that were drawn, the LoRAs, and whether the recipe still gives these words."""
        task = parts.queue.get(task_id)
        found = words_of(_picture_path(task), task.recipe, parts.library())
        loras = [s.UsedLora(name=name, weight=weight) for name, weight in found.loras]
        return s.PictureWordsOut(
            texts=list(found.texts), negative_texts=list(found.negative_texts), loras=loras, changed=found.is_changed
        )


def _add_read(router: APIRouter, parts: Parts) -> None:
    @router.post(
        "/read",
        tags=["pictures"],
        summary="The settings in a picture or text",
        responses=s.problems(403, 413, 422),
        openapi_extra={"requestBody": READABLE},
    )
    async def read(request: Request, name: FileName = "What was sent") -> s.ReadOut:
        """The file as the body, up to 64 MB, whatever its content type says: a picture of Fooocus, A1111, ComfyUI,
        InvokeAI or this program, or what was copied out of one. Nothing is kept, and no pixel is decoded."""
        async with taken_in(request, MAX_FILE_BYTES, name) as file:
            found = await run_in_threadpool(lambda: read_stream(file, parts.library(), name=name))
        return s.ReadOut.model_validate(found.to_dict())
