"""Routes for pictures: their files, what they were made of, and the settings in a picture that somebody sends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from fooocus_lite import images
from fooocus_lite.errors import FooocusError, NotFound
from fooocus_lite.library import Library
from fooocus_lite.metadata import MAX_FILE_BYTES, read_stream
from fooocus_lite.picture_words import words_of
from fooocus_lite.settings import Settings
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task
from fooocus_lite.web import schemas as s
from fooocus_lite.web.files import FOR_GOOD, MEDIA_TYPES
from fooocus_lite.web.origins import LOCAL_NAMES
from fooocus_lite.web.reveal import reveal
from fooocus_lite.web.uploads import taken_in
from fooocus_lite.web.who import ADMINS_ONLY, Who

#: What the page says, too, of a file before it sends it: static/reading.js.
TOO_LARGE = "Choose the picture as the program that made it saved it."
READABLE = {
    "required": True,
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in dict.fromkeys(MEDIA_TYPES.values())
    }
    | {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/json")},
}
Limit = Annotated[int, Query(ge=1, le=200, description="At most this many.")]
Before = Annotated[str | None, Query(max_length=40, description="Only what is older than this id.")]
FileName = Annotated[str, Query(min_length=1, max_length=200, description="What the errors call the file.")]


def add_picture_routes(router: APIRouter, queue: TaskQueue, library: Callable[[], Library], settings: Settings) -> None:
    """Add them to the router of ``/v1``."""
    _add_files(router, queue, settings.data_dir / "thumbs")
    _add_pictures(router, queue, settings)
    _add_words(router, queue, library)
    _add_read(router, library)


def _add_files(router: APIRouter, queue: TaskQueue, thumbs: Path) -> None:
    @router.get(
        "/tasks/{task_id}/image",
        tags=["tasks"],
        summary="The picture file",
        response_class=FileResponse,
        responses=s.problems(404, 409, 422) | {200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}}},
    )
    def image(task_id: str, who: Who, download: bool = False) -> FileResponse:
        """The file as it was saved, with its recipe inside."""
        path = _picture_path(queue.get(task_id, owner=who.sees))
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
    def thumbnail(task_id: str, who: Who) -> FileResponse:
        """A JPEG of at most 20 KB."""
        path = images.thumbnail(_picture_path(queue.get(task_id, owner=who.sees)), thumbs)
        return FileResponse(path, media_type="image/jpeg", headers=FOR_GOOD)


def _picture_path(task: Task) -> Path:
    if task.image_path is None:
        raise FooocusError(f"Task {task.id} has no picture yet.", f"It is {task.state}.", code="conflict")
    path = Path(task.image_path)
    if not path.is_file():
        raise NotFound(f"The picture {path.name} is gone.", "It was moved or deleted outside this program.")
    return path


def _add_pictures(router: APIRouter, queue: TaskQueue, settings: Settings) -> None:
    @router.get("/pictures", tags=["pictures"], summary="Finished pictures", responses=s.problems(422))
    def pictures(
        who: Who,
        limit: Limit = 50,
        before: Before = None,
        since: Annotated[float, Query(description="Finished at this Unix time or later.")] = 0.0,
    ) -> s.PictureList:
        """Newest first. Pictures whose file was moved away are left out. Where there are users each sees their own,
        an admin all."""
        found = queue.pictures(limit=limit, before=before, since=since, owner=who.sees)
        there = [s.picture_out(task) for task in found if task.image_path and Path(task.image_path).is_file()]
        return s.PictureList(pictures=there, next=found[-1].id if len(found) == limit else None)

    @router.get("/pictures/{task_id}", tags=["pictures"], summary="A picture", responses=s.problems(404, 409, 422))
    def picture(task_id: str, who: Who) -> s.PictureOut:
        """As in the list, wherever in it."""
        found = queue.get(task_id, owner=who.sees)
        _picture_path(found)
        return s.picture_out(found)

    @router.delete(
        "/pictures/{task_id}",
        tags=["pictures"],
        status_code=204,
        summary="Delete the file",
        responses=s.problems(403, 404, 409, 422, 507),
    )
    def delete(task_id: str, who: Who) -> Response:
        """Deletes a picture that lies in the output folder, and its small copy, for good."""
        path = _picture_path(queue.get(task_id, owner=who.sees))
        if not path.resolve().is_relative_to(Path(settings.output_dir).resolve()):
            raise FooocusError(
                "The picture lies outside the output folder.", f"Delete {path} by hand.", code="conflict"
            )
        images.delete_picture(path, settings.data_dir / "thumbs")
        return Response(status_code=204)

    @router.post(
        "/pictures/{task_id}/open-folder",
        tags=["pictures"],
        status_code=204,
        summary="Show in the file manager",
        responses=s.problems(403, 404, 409, 422),
        dependencies=ADMINS_ONLY,  # others' pictures lie in that folder, too
    )
    def open_folder(task_id: str, request: Request) -> Response:
        """Only for a browser on the same machine, and where there are users for an admin."""
        if request.client is None or request.client.host not in LOCAL_NAMES:
            raise FooocusError(
                "The folder is on another machine.", "Use Download, or open it on that machine.", code="forbidden"
            )
        reveal(_picture_path(queue.get(task_id)))
        return Response(status_code=204)


def _add_words(router: APIRouter, queue: TaskQueue, library: Callable[[], Library]) -> None:
    @router.get(
        "/pictures/{task_id}/words",
        tags=["pictures"],
        summary="What became of a picture's prompt",
        responses=s.problems(404, 409, 422),
    )
    def words(task_id: str, who: Who) -> s.PictureWordsOut:
        """The words that were drawn, the LoRAs, and whether the recipe still gives these words."""
        task = queue.get(task_id, owner=who.sees)
        found = words_of(_picture_path(task), task.recipe, library())
        loras = [s.UsedLora(name=name, weight=weight) for name, weight in found.loras]
        return s.PictureWordsOut(
            texts=list(found.texts), negative_texts=list(found.negative_texts), loras=loras, changed=found.is_changed
        )


def _add_read(router: APIRouter, library: Callable[[], Library]) -> None:
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
        async with taken_in(request, MAX_FILE_BYTES, name, TOO_LARGE) as file:
            found = await run_in_threadpool(lambda: read_stream(file, library(), name=name))
        return s.ReadOut.model_validate(found.to_dict())
