"""The HTTP interface. Routes are thin: they ask the queue, the log and the library, and say it in JSON."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse

from fooocus_lite.desk import Desk
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.errors import FooocusError
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Progress, State
from fooocus_lite.library import Library
from fooocus_lite.missing_files import missing_offers
from fooocus_lite.own_files import OwnFiles
from fooocus_lite.plan import batch_notes, expand, make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.repeats import Repeats
from fooocus_lite.settings import Settings
from fooocus_lite.style_pictures import StylePictures
from fooocus_lite.supply import Supply
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import work_of
from fooocus_lite.web import schemas as s
from fooocus_lite.web.account_api import add_account_route
from fooocus_lite.web.language_api import add_language_route
from fooocus_lite.web.library_api import add_library_routes
from fooocus_lite.web.live import SSE_HEADERS, Live
from fooocus_lite.web.loras_api import add_lora_routes
from fooocus_lite.web.menu import Menu
from fooocus_lite.web.models_api import add_model_routes, model_rows
from fooocus_lite.web.once import Once
from fooocus_lite.web.pictures_api import Before, Limit, add_picture_routes
from fooocus_lite.web.queue_api import add_queue_routes
from fooocus_lite.web.sheets_api import add_sheet_routes
from fooocus_lite.web.sockets import add_sockets, event_number
from fooocus_lite.web.style_pictures_api import add_style_picture_routes
from fooocus_lite.web.who import Still, Who
from fooocus_lite.web.workers_api import add_worker_route
from fooocus_lite.webhooks import Webhooks

STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
WEBHOOK = "Where to `POST` a message when a task has ended; the setting `webhooks` must allow the address."
EXAMPLES: dict[str, Example] = {
    "words only": {"value": {"prompt": "a red star on a blue background"}},
    "a batch in a style": {"value": {"prompt": "a house by the sea", "styles": ["Watercolor"], "count": 4, "seed": 7}},
}


@dataclass(frozen=True)
class Parts:
    """What the routes talk to."""

    settings: Settings
    library: Callable[[], Library]
    queue: TaskQueue
    log: EventLog
    dispatcher: Dispatcher
    supply: Supply
    repeats: Repeats
    webhooks: Webhooks


def make_router(parts: Parts) -> APIRouter:
    """All routes under ``/v1``."""
    router = APIRouter(prefix="/v1")
    live = Live(parts.queue, parts.log, parts.dispatcher, parts.supply)
    _add_menu(router, parts)
    _add_expansion(router, parts)
    _add_tasks(router, parts)
    _add_task(router, parts, live)
    _add_control(router, parts, live)
    desk = Desk(parts.queue, parts.supply, parts.library)
    add_queue_routes(router, parts.queue, live.pages, desk, parts.repeats)
    add_sockets(router, parts.queue, live)
    add_library_routes(router, OwnFiles(parts.settings, parts.library), parts.library)
    add_style_picture_routes(router, StylePictures(parts.settings, parts.queue), parts.library)
    add_sheet_routes(router, parts.queue, parts.supply, parts.library)
    add_model_routes(router, parts.library, parts.supply, parts.dispatcher, parts.settings.models_dir)
    add_lora_routes(router, parts.library, parts.settings.data_dir / "thumbs")
    add_language_route(router, parts.library)
    add_worker_route(router, parts.dispatcher)
    add_account_route(router)
    add_picture_routes(router, parts.queue, parts.library, parts.settings)
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
        plan = make_plan(full[0], library, 0)
        outlook = parts.dispatcher.outlook(plan, full[0])
        lacking = {offer.name for offer in missing_offers(plan, library)}
        return s.PlanOut(
            recipe=decided,
            count=len(full),
            seconds_per_picture=seconds,
            bytes_per_picture=peak,
            warnings=warnings,
            fetches=list(model_rows(library, parts.supply, parts.dispatcher, lacking)),
            memory=outlook and s.MemoryOut(**asdict(outlook)),
        )


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
        responses=s.problems(400, 403, 409, 413, 422, 429, 507),
    )
    def submit(
        recipe: Annotated[Recipe, Body(openapi_examples=EXAMPLES)],
        who: Who,
        key: Once,
        webhook_url: Annotated[str | None, Header(max_length=2000, description=WEBHOOK)] = None,
    ) -> s.Submitted:
        """One task per picture; picture i has the first one's seed + i. They are on disk when this answers.

        A model that is not here and can be had is being fetched then; its tasks wait, and others pass them.
        The same body under the same `Idempotency-Key` is asked for once, however often it is sent.
        """
        if webhook_url:
            parts.webhooks.check(webhook_url)
        library = parts.library()
        recipes = expand(recipe, library, secrets.randbelow(2**32))
        there = parts.queue.asked(key)
        ids = there or parts.supply.submit(recipes, library, owner=who.name, key=key)
        if webhook_url:
            parts.webhooks.ask(ids, webhook_url, is_again=bool(there))
        return s.Submitted(ids=ids)

    @router.get("/tasks", tags=["tasks"], summary="List tasks", responses=s.problems(422))
    def tasks(who: Who, limit: Limit = 50, state: State | None = None, before: Before = None) -> s.TaskList:
        """Newest first, never more than asked for. Where there are users each sees their own, an admin all."""
        found = parts.queue.page(state, limit=limit, before=before, owner=who.sees)
        return s.TaskList(tasks=[s.task_out(task) for task in found])


def _add_task(router: APIRouter, parts: Parts, live: Live) -> None:
    @router.get("/tasks/{task_id}", tags=["tasks"], summary="Where a task stands", responses=s.problems(404, 422))
    def task(task_id: str, who: Who) -> s.TaskOut:
        """State, frozen recipe, place in line, progress or error."""
        found = parts.queue.get(task_id, owner=who.sees)
        steps = [event for event in parts.log.latest(task_id) if isinstance(event, Progress)]
        download = parts.supply.of_task(found.waits_for) if found.waits_for else None
        return s.task_out(found, steps[-1] if steps else None, download)

    @router.get(
        "/tasks/{task_id}/events",
        tags=["tasks"],
        summary="Follow a task",
        response_class=StreamingResponse,
        responses=s.problems(404, 422) | STREAM,
    )
    def events(
        task_id: str,
        who: Who,
        still: Still,
        last_event_id: Annotated[str | None, Header(description="Facts up to this id are not told again.")] = None,
    ) -> StreamingResponse:
        """Server-Sent Events: all facts so far, then live ones; ends after finished, failed or cancelled.

        The same as a WebSocket, a message to a frame: `/v1/tasks/{task_id}/ws`, with `?after=` the `seq` seen last.
        """
        parts.queue.get(task_id, owner=who.sees)
        return _stream(live.task_events(task_id, event_number(last_event_id, "Last-Event-ID"), still))

    @router.delete(
        "/tasks/{task_id}", tags=["tasks"], summary="Cancel a task", responses=s.problems(403, 404, 422, 507)
    )
    def cancel(task_id: str, who: Who) -> s.TaskOut:
        """A waiting task ends now, a running one at its next step; an ended one stays as it is."""
        parts.queue.cancel(task_id, owner=who.sees)
        return s.task_out(parts.queue.get(task_id))

    @router.post(
        "/tasks/{task_id}/retry",
        tags=["tasks"],
        status_code=201,
        summary="Try again",
        responses=s.problems(403, 404, 422, 429, 507),
    )
    def retry(task_id: str, who: Who) -> s.Submitted:
        """A new task with the same recipe at the end of the line."""
        return s.Submitted(ids=[parts.supply.retry(task_id, owner=who.sees)])


def _stream(messages: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(messages, media_type="text/event-stream", headers=SSE_HEADERS)


def _add_control(router: APIRouter, parts: Parts, live: Live) -> None:
    @router.post("/skip", tags=["page"], summary="Skip this picture", responses=s.problems(403, 409, 507))
    def skip(who: Who) -> s.Count:
        """Cancels what is drawn now; the next picture follows. Of others' pictures only an admin can."""
        return s.Count(cancelled=len(parts.dispatcher.skip(owner=who.sees)))

    @router.post("/stop", tags=["page"], summary="Stop this batch", responses=s.problems(403, 409, 507))
    def stop(who: Who) -> s.Count:
        """Cancels what is drawn now and the rest of its batch, and what repeats it. Of others' pictures only an admin
        can."""
        parts.repeats.end_all(owner=who.sees, of_batches=parts.dispatcher.batches_now(owner=who.sees))
        return s.Count(cancelled=parts.dispatcher.stop(owner=who.sees))

    @router.post("/clear", tags=["page"], summary="Clear the queue", responses=s.problems(403, 409, 507))
    def clear(who: Who) -> s.Count:
        """Cancels everything that waits, and what repeats; what is drawn now goes on. Of others' pictures only an
        admin can."""
        parts.repeats.end_all(owner=who.sees)
        return s.Count(cancelled=parts.queue.clear_waiting(owner=who.sees))

    @router.get(
        "/events",
        tags=["page"],
        summary="Follow everything",
        response_class=StreamingResponse,
        responses=STREAM,
    )
    def page_events(who: Who, still: Still) -> StreamingResponse:
        """Server-Sent Events for the page: a snapshot, then changes; never ends by itself. As a WebSocket: `/v1/ws`."""
        return _stream(live.page_messages(who, still))
