"""Routes for the line: looking at it, and changing what waits in it."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from fooocus_lite.desk import Desk
from fooocus_lite.errors import BadFile
from fooocus_lite.events import State
from fooocus_lite.queue_file import MAX_FILE_BYTES, write_prompts, write_queue
from fooocus_lite.repeats import Repeats
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.user import User
from fooocus_lite.web import queue_schemas as q
from fooocus_lite.web import schemas as s
from fooocus_lite.web.line_pages import LinePages
from fooocus_lite.web.once import IdempotencyKey, Once, id_of_key
from fooocus_lite.web.pictures_api import Before, Limit
from fooocus_lite.web.uploads import taken_in
from fooocus_lite.web.who import ADMINS_ONLY, Who

After = Annotated[str | None, Query(max_length=400, description="The `next` of the page before.")]
MOVES: dict[str, Example] = {
    "a batch to the front": {"value": {"batch_id": "0d1f0a9e5b01", "to": "first"}},
    "two pictures behind another": {"value": {"ids": ["0d1f0a9e5b01", "0d1f0a9e5b9c"], "after": "0d1f0a9e6000"}},
}
EDITS: dict[str, Example] = {"another size": {"value": {"recipe": {"width": 1152, "height": 896}, "revision": 0}}}
EDITS_OF_ALL: dict[str, Example] = {
    "a batch in another style": {"value": {"batch_id": "0d1f0a9e5b01", "recipe": {"styles": ["Watercolor"]}}},
    "two pictures as they were read": {
        "value": {"ids": ["0d1f0a9e5b01", "0d1f0a9e5b9c"], "revisions": [0, 2], "recipe": {"steps": 30}}
    },
}
REPEATS: dict[str, Example] = {
    "until it is ended": {"value": {"recipe": {"prompt": "a house by the sea"}}},
    "ten rounds of four": {"value": {"recipe": {"prompt": "a house by the sea", "count": 4}, "times": 10}},
}
TOO_LARGE = "Send it in parts."
#: Of the body that is taken in by the route itself, because it may be larger than any other.
IMPORT_BODY = {
    "required": True,
    "content": {"application/json": {"schema": q.IMPORT_SCHEMA}},
}


def add_queue_routes(router: APIRouter, queue: TaskQueue, pages: LinePages, desk: Desk, repeats: Repeats) -> None:
    """Add them to the router of ``/v1``."""
    _add_line(router, queue, pages)
    _add_order(router, queue, desk)
    _add_switches(router, queue)
    _add_files(router, queue, desk)
    _add_waiting(router, queue, desk)
    _add_repeats(router, queue, repeats)


def _add_line(router: APIRouter, queue: TaskQueue, pages: LinePages) -> None:
    @router.get("/queue", tags=["queue"], summary="The line", responses=s.problems(422))
    def line(who: Who, limit: Limit = 50, after: After = None) -> q.QueuePage:
        """One entry for each batch, next first; behind them those that wait for files. At most 20 KB a page."""
        return pages.line(limit=limit, after=after, owner=who.sees)

    @router.get(
        "/queue/batches/{batch_id}",
        tags=["queue"],
        summary="What waits of a batch",
        responses=s.problems(404, 422),
    )
    def waiting(who: Who, batch_id: str, limit: Limit = 50, after: After = None) -> q.WaitingPage:
        """Its pictures that wait, next first. At most 20 KB a page."""
        return pages.waiting(batch_id, limit=limit, after=after, owner=who.sees)

    @router.get("/history", tags=["queue"], summary="What has ended", responses=s.problems(422))
    def history(who: Who, limit: Limit = 30, before: Before = None, state: State | None = None) -> q.History:
        """Newest first, with what it took, and why it failed if it did. At most 20 KB a page."""
        tasks = queue.history(state=q.ended(state), limit=limit, before=before, owner=who.sees)
        rows = [q.history_row(task, row) for task, row in zip(tasks, pages.rows(tasks), strict=True)]
        fit = q.that_fit(rows, q.History(tasks=[], next=None))
        is_last = len(fit) == len(tasks) and len(tasks) < limit
        return q.History(tasks=fit, next=None if is_last else fit[-1].id)


def _add_order(router: APIRouter, queue: TaskQueue, desk: Desk) -> None:
    @router.post(
        "/queue/move", tags=["queue"], summary="Move in line", responses=s.problems(400, 403, 404, 409, 422, 507)
    )
    def move(who: Who, wish: Annotated[q.MoveIn, Body(openapi_examples=MOVES)]) -> q.Moved:
        """Pictures in the order in which they are named, or a batch in its own. What began meanwhile stays."""
        spot, owner = wish.spot(), who.sees
        if wish.batch_id is not None:
            return q.Moved(moved=queue.move_batch(wish.batch_id, spot, owner=owner))
        return q.Moved(moved=queue.move(wish.chosen(), spot, owner=owner))

    @router.post(
        "/queue/edit",
        tags=["queue"],
        summary="Change what waits",
        responses=s.problems(400, 403, 404, 409, 413, 422, 429, 507),
    )
    def edit_all(who: Who, wish: Annotated[q.EditAllIn, Body(openapi_examples=EDITS_OF_ALL)]) -> q.Edited:
        """The same fields of all of them, at once: no page and no worker sees some of them changed and others not.
        What began meanwhile, or somebody else changed, stays as it is and is named; a recipe that is refused changes
        none."""
        ids, owner = wish.chosen(), who.sees
        if wish.batch_id is not None:
            ids = queue.waiting_ids(wish.batch_id, owner=owner)
        return q.edited(ids, desk.edit_all(ids, wish.recipe, revisions=wish.known(), owner=owner))

    @router.post(
        "/queue/cancel", tags=["queue"], summary="Take out of the line", responses=s.problems(400, 403, 404, 422, 507)
    )
    def cancel(who: Who, wish: q.CancelIn) -> s.Count:
        """Cancels those that wait; what is drawn goes on, and what has ended stays as it is."""
        ids, owner = wish.chosen(), who.sees
        if wish.batch_id is not None:
            return s.Count(cancelled=queue.cancel_waiting_batch(wish.batch_id, owner=owner))
        return s.Count(cancelled=queue.cancel_waiting(ids, owner=owner))

    @router.post(
        "/queue/duplicate",
        tags=["queue"],
        status_code=201,
        summary="Draw once more",
        responses=s.problems(400, 403, 404, 409, 422, 429, 507),
    )
    def duplicate(who: Who, wish: q.DuplicateAllIn, key: Once) -> s.Submitted:
        """Copies as a batch of their own, right behind the last of the originals that waits, else at the end."""
        ids = wish.chosen()
        if wish.batch_id is not None and not queue.asked(key):
            ids = queue.waiting_ids(wish.batch_id, owner=who.sees)
        return s.Submitted(ids=desk.duplicate(ids, new_seed=wish.new_seed, asker=who.name, owner=who.sees, key=key))


def _add_switches(router: APIRouter, queue: TaskQueue) -> None:
    @router.post(
        "/queue/pause",
        tags=["queue"],
        summary="Pause the queue",
        responses=s.problems(403, 507),
        dependencies=ADMINS_ONLY,
    )
    def pause() -> q.Paused:
        """Nothing new is begun until it is resumed, also after a restart; what is drawn goes on."""
        queue.pause()
        return q.Paused(paused=queue.is_paused)

    @router.post(
        "/queue/resume", tags=["queue"], summary="Go on", responses=s.problems(403, 507), dependencies=ADMINS_ONLY
    )
    def resume() -> q.Paused:
        """The next in line is begun."""
        queue.resume()
        return q.Paused(paused=queue.is_paused)


def _add_files(router: APIRouter, queue: TaskQueue, desk: Desk) -> None:
    @router.get(
        "/queue/export",
        tags=["queue"],
        summary="The line as a file",
        response_class=StreamingResponse,
        responses=s.problems(422) | {200: {"content": {"application/json": {}, "text/plain": {}}}},
    )
    def export(who: Who, form: Literal["json", "text"] = "json") -> StreamingResponse:
        """What waits, in its order: whole recipes as JSON, or one prompt a line as text. Import takes both."""
        write, kind, ending = (
            (write_queue, "application/json", "json") if form == "json" else (write_prompts, "text/plain", "txt")
        )
        headers = {"Content-Disposition": f'attachment; filename="fooocus-queue.{ending}"', "Cache-Control": "no-store"}
        return StreamingResponse(write(queue.in_line(who.sees)), media_type=kind, headers=headers)

    @router.post(
        "/queue/import",
        tags=["queue"],
        status_code=201,
        summary="Put a file in line",
        responses=s.problems(400, 403, 409, 413, 422, 429, 507) | {201: {"model": q.Imported}},
        response_model=q.Imported,
        openapi_extra={"requestBody": IMPORT_BODY},
    )
    async def take_in(who: Who, request: Request, idempotency_key: IdempotencyKey = None) -> q.Imported:
        """All of it or nothing, at the end of the line: `{"text": …, "recipe": …}`, where `text` is an exported queue,
        or one prompt a line (`#` begins a comment) drawn with `recipe`. What is wrong is named by its line or task."""
        async with taken_in(request, MAX_FILE_BYTES, "The file", TOO_LARGE) as file:
            body = await run_in_threadpool(file.read)
        path = request.url.path
        ids, notes = await run_in_threadpool(lambda: _taken_in(body, desk, who, path, idempotency_key))
        return q.Imported(ids=ids, notes=notes)


def _taken_in(body: bytes, desk: Desk, who: User, path: str, key: str | None) -> tuple[list[str], list[str]]:
    try:
        wish = q.ImportIn.model_validate_json(body)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        if errors[0]["type"] == "json_invalid":
            raise BadFile("The body is not readable JSON.", "Send a JSON object in UTF-8.") from exc
        places = [{**error, "loc": ("body", *error["loc"])} for error in errors]
        raise RequestValidationError(places, body=json.loads(body)) from exc
    return desk.take_in(wish.text, wish.recipe, asker=who.name, key=id_of_key(key, who, path, body) if key else None)


def _add_waiting(router: APIRouter, queue: TaskQueue, desk: Desk) -> None:
    @router.patch(
        "/tasks/{task_id}",
        tags=["tasks"],
        summary="Change a waiting picture",
        responses=s.problems(400, 403, 404, 409, 413, 422, 429, 507),
    )
    def edit(who: Who, task_id: str, wish: Annotated[q.EditIn, Body(openapi_examples=EDITS)]) -> s.TaskOut:
        """Only the fields that are sent change, with what follows from them: another model has other sizes. A
        picture that began meanwhile, or that somebody else changed, stays as it is (409)."""
        desk.edit(task_id, wish.recipe, revision=wish.revision, owner=who.sees)
        return s.task_out(queue.get(task_id))

    @router.post(
        "/tasks/{task_id}/duplicate",
        tags=["tasks"],
        status_code=201,
        summary="Draw it once more",
        responses=s.problems(400, 403, 404, 409, 422, 429, 507),
    )
    def duplicate(who: Who, task_id: str, key: Once, wish: q.DuplicateIn | None = None) -> s.Submitted:
        """A copy as a batch of its own: right behind a picture that waits, else at the end of the line."""
        new_seed = wish is not None and wish.new_seed
        return s.Submitted(ids=desk.duplicate([task_id], new_seed=new_seed, asker=who.name, owner=who.sees, key=key))


def _add_repeats(router: APIRouter, queue: TaskQueue, repeats: Repeats) -> None:
    @router.post(
        "/repeats",
        tags=["queue"],
        status_code=201,
        summary="Draw again and again",
        responses=s.problems(400, 403, 409, 413, 422, 429, 507),
    )
    def add(who: Who, key: Once, wish: Annotated[q.RepeatIn, Body(openapi_examples=REPEATS)]) -> q.RepeatOut:
        """With new seeds each time, so many rounds or until it is ended; one round is always ahead. A picture that
        fails stops it."""
        return q.repeat_out(repeats.add(wish.recipe, times=wish.times, owner=who.name, key=key))

    @router.get("/repeats", tags=["queue"], summary="What is repeated")
    def all_of_them(who: Who) -> q.RepeatList:
        """Those that go on, and those that an error stopped."""
        return q.RepeatList(repeats=[q.repeat_out(repeat) for repeat in queue.repeats(who.sees)])

    @router.delete(
        "/repeats/{repeat_id}", tags=["queue"], summary="Repeat it no more", responses=s.problems(403, 404, 422, 507)
    )
    def end(who: Who, repeat_id: str) -> s.Count:
        """What is begun of it goes on; the round that nobody has begun is cancelled. One that an error stopped leaves
        the list."""
        return s.Count(cancelled=repeats.end(repeat_id, owner=who.sees))
