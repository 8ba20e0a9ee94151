"""A1111's interface over our queue: drawing, what is being drawn, what is chosen; its lists are in `a1111_lists`."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import Example
from pydantic import BaseModel, Field

from fooocus_lite import __version__
from fooocus_lite.errors import BadValue, NotFound, Unsupported
from fooocus_lite.eventlog import EventLog
from fooocus_lite.events import Preview, Progress
from fooocus_lite.library import Library
from fooocus_lite.metadata.parameters import to_parameters
from fooocus_lite.picture_text import PictureInfo, read_picture
from fooocus_lite.plan import batch_notes, expand
from fooocus_lite.recipe import Recipe
from fooocus_lite.registry import SAMPLERS
from fooocus_lite.taskqueue import TaskQueue
from fooocus_lite.tasks import Task
from fooocus_lite.user import User
from fooocus_lite.web.a1111_lists import add_lists, add_png_info
from fooocus_lite.web.a1111_schemas import ImagesOut, Txt2Img, find_title, wish_of
from fooocus_lite.web.orders import CLIENT_GONE, End, HungUp, Order, Orders, Submit, pictures_of
from fooocus_lite.web.shapes import A1111Error, in_shape, route_class
from fooocus_lite.web.who import Who

EXAMPLES: dict[str, Example] = {
    "words only": {"value": {"prompt": "a red star on a blue background"}},
    "as most clients": {"value": {"prompt": "a red star", "seed": -1, "steps": 20, "sampler_name": "Euler a"}},
}
DRAWING = in_shape(A1111Error, 400, 403, 404, 409, 413, 422, 429, 500, 501, 507)
_NOT_HERE = {
    "img2img": "Draw from a picture", "extra-single-image": "Enlarge a picture",
    "extra-batch-images": "Enlarge pictures", "interrogate": "Describe a picture",
}  # fmt: skip


class ProgressOut(BaseModel):
    """What is being drawn now, wherever it was asked for. Nothing is when `progress` and `job_count` are 0."""

    progress: float = Field(description="0 to 1, of the batch.")
    eta_relative: float = Field(description="Seconds left of this picture; 0 while nobody knows.")
    state: dict[str, Any]
    current_image: str | None = Field(description="The picture as far as it is, as base64.")
    textinfo: str | None = None
    current_task: str | None = Field(description="Id of the batch.")


class Door:
    """What this interface remembers: its open requests, and the model that its clients chose."""

    def __init__(self, library: Callable[[], Library], queue: TaskQueue, log: EventLog, orders: Orders) -> None:
        self.library = library
        self.queue = queue
        self.log = log
        self.orders = orders
        #: Chosen with ``options``, by the user's name; until the server ends.
        self.models: dict[str, str] = {}

    def options(self, user: User) -> dict[str, Any]:
        """The settings that clients look for."""
        library = self.library()
        filled = library.filled(Recipe(model=self.models.get(user.name)))
        return {
            "sd_model_checkpoint": filled.model,
            "sd_checkpoint_hash": "",
            "sd_vae": "Automatic",
            "CLIP_stop_at_last_layers": filled.clip_skip or 1,
            "samples_format": filled.image_format or "png",
            "samples_save": True,
            "outdir_samples": "",
        }

    def choose(self, options: dict[str, Any], user: User) -> None:
        """Take over what means something here; clients also send back everything they were told."""
        title = options.get("sd_model_checkpoint")
        if title is None:
            return
        if not isinstance(title, str):
            hint = "Send the title of a model, as sd-models lists it."
            raise BadValue("sd_model_checkpoint is not a text.", hint, field="sd_model_checkpoint")
        self.models[user.name] = find_title(title, self.library())

    def drawn_first(self, user: User) -> Order | None:
        """The user's oldest request of this interface that is not answered yet; of an admin, anybody's."""
        return next((order for order in self.orders.open if user.sees in (None, order.owner)), None)


def make_a1111_router(library: Callable[[], Library], queue: TaskQueue, log: EventLog, submit: Submit) -> APIRouter:
    """The routes under ``/sdapi/v1``."""
    router = APIRouter(prefix="/sdapi/v1", route_class=route_class(library), tags=["a1111"])
    door = Door(library, queue, log, Orders(queue, log, submit, grace_s=0))  # nobody there asks twice
    _add_drawing(router, door)
    for name, what in _NOT_HERE.items():
        _add_refusal(router, name, what)
    _add_control(router, door)
    _add_options(router, door)
    add_lists(router, library)
    add_png_info(router)
    return router


def _add_drawing(router: APIRouter, door: Door) -> None:
    @router.post(
        "/txt2img", summary="Draw, for A1111's clients", response_model=ImagesOut, responses=DRAWING,
    )  # fmt: skip
    async def txt2img(request: Request, who: Who, asked: Annotated[Txt2Img, Body(openapi_examples=EXAMPLES)]) -> Any:
        """Answers when the pictures are drawn; who hangs up cancels them. What is not here is ignored and said in
        `notes` of `info`, or refused where the picture would not be what was asked for."""
        recipes, notes = await run_in_threadpool(_recipes, asked, door, who)
        order = await door.orders.place(recipes, request)
        end: End = "refused"
        try:
            tasks = await door.orders.drawn(order, request)
            end = "answered"
        except HungUp:
            end = "gone"
            return Response(status_code=CLIENT_GONE)
        finally:
            door.orders.leave(order, end)
        if any(task.state == "failed" for task in tasks):
            pictures_of([task for task in tasks if task.state != "cancelled"])
        drawn = [task for task in tasks if task.image_path]  # none, after an interrupt: as A1111, no error
        return await run_in_threadpool(_answer, drawn, asked, notes)


def _recipes(asked: Txt2Img, door: Door, user: User) -> tuple[list[Recipe], list[str]]:
    library = door.library()
    wish = wish_of(asked, library, door.models.get(user.name))
    recipes = expand(wish.recipe, library, secrets.randbelow(2**32))
    return recipes, list(dict.fromkeys((*wish.notes, *batch_notes(recipes, library, wish.recipe))))


def _answer(tasks: Sequence[Task], asked: Txt2Img, notes: list[str]) -> ImagesOut:
    files = [Path(task.image_path or "") for task in tasks]
    try:
        texts = [base64.b64encode(path.read_bytes()).decode("ascii") for path in files]
    except OSError as exc:
        raise NotFound("A picture is gone.", "It was moved or deleted outside this program.") from exc
    info = _info([read_picture(path) for path in files], asked, notes)
    return ImagesOut(
        images=texts if asked.send_images is not False else [], parameters=asked.model_dump(), info=json.dumps(info)
    )


def _info(pictures: Sequence[PictureInfo], asked: Txt2Img, notes: list[str]) -> dict[str, Any]:
    """What clients read of what was drawn, under A1111's names."""
    recipes = [picture.recipe for picture in pictures]
    words = [", ".join(text for text in picture.texts if text) or picture.recipe.prompt for picture in pictures]
    negatives = [", ".join(text for text in picture.negative_texts if text) for picture in pictures]
    first = recipes[0] if recipes else Recipe(prompt=asked.prompt)
    sampler = SAMPLERS[first.sampler].label if first.sampler in SAMPLERS else first.sampler or ""
    seeds = [recipe.seed for recipe in recipes]
    return {
        "prompt": words[0] if words else first.prompt, "all_prompts": words,
        "negative_prompt": negatives[0] if negatives else "", "all_negative_prompts": negatives,
        "seed": first.seed if recipes else -1, "all_seeds": seeds,
        "subseed": first.seed if recipes else -1, "all_subseeds": seeds, "subseed_strength": 0,
        "width": first.width, "height": first.height, "sampler_name": sampler, "scheduler": first.scheduler,
        "cfg_scale": first.guidance_scale, "steps": first.steps, "batch_size": asked.batch_size or 1,
        "restore_faces": False, "face_restoration_model": None, "sd_model_name": first.model, "sd_model_hash": "",
        "sd_vae_name": None, "sd_vae_hash": None, "seed_resize_from_w": -1, "seed_resize_from_h": -1,
        "denoising_strength": None, "extra_generation_params": {}, "index_of_first_image": 0,
        "infotexts": [to_parameters(picture) for picture in pictures], "styles": list(first.styles or ()),
        "job_timestamp": time.strftime("%Y%m%d%H%M%S"), "clip_skip": first.clip_skip,
        "is_using_inpainting_conditioning": False, "version": f"Fooocus Lite {__version__}", "notes": notes,
    }  # fmt: skip


def _add_refusal(router: APIRouter, name: str, what: str) -> None:
    @router.post(
        f"/{name}", summary=f"{what}, for A1111's clients", responses=in_shape(A1111Error, 403, 413, 501),
        status_code=501, response_model=A1111Error, name=f"a1111_{name}",
    )  # fmt: skip
    def refuse() -> Any:
        """Not yet: always answers with an error that says so."""
        raise Unsupported(f"This version of Fooocus Lite cannot do that: {what.lower()}.", "Ask txt2img for a new one.")


def _add_control(router: APIRouter, door: Door) -> None:
    @router.get("/progress", summary="What is being drawn", responses=in_shape(A1111Error, 403, 422))
    def progress(
        who: Who,
        skip_current_image: Annotated[bool, Query(description="Leave the preview out.")] = False,
    ) -> ProgressOut:
        """Of the whole queue, or of what a user asked for; a picture of the page shows here, too."""
        return _progress(door, who, with_image=not skip_current_image)

    @router.post("/interrupt", summary="End a request", responses=in_shape(A1111Error, 403, 507))
    def interrupt(who: Who) -> dict[str, Any]:
        """Cancels what is left of this interface's oldest request, which then answers with what is drawn. What the
        page or another interface asked for goes on."""
        order = door.drawn_first(who)
        for task_id in order.ids if order else ():
            door.queue.cancel(task_id)
        return {}

    @router.post("/skip", summary="Skip a picture", responses=in_shape(A1111Error, 403, 507))
    def skip(who: Who) -> None:
        """Cancels the next picture of this interface's oldest request; the others are drawn."""
        order = door.drawn_first(who)
        left = (task_id for task_id in (order.ids if order else ()) if door.queue.get(task_id).finished_at is None)
        for task_id in list(left)[:1]:
            door.queue.cancel(task_id)


def _progress(door: Door, user: User, *, with_image: bool) -> ProgressOut:
    running = door.queue.running(owner=user.sees)
    now = next(iter(running or door.queue.waiting(limit=1, owner=user.sees)), None)
    if now is None:
        return ProgressOut(progress=0.0, eta_relative=0.0, state=_state(), current_image=None, current_task=None)
    batch = door.queue.batch(now.batch_id)
    place = batch.index(now.id)
    latest = door.log.latest(now.id)
    steps = [event for event in latest if isinstance(event, Progress)]
    previews = [event for event in latest if isinstance(event, Preview)]
    step, of, left = (steps[-1].step, steps[-1].steps, steps[-1].seconds_left) if steps else (0, 0, None)
    share = (place + (step / of if of else 0.0)) / len(batch)
    image = base64.b64encode(previews[-1].jpeg).decode("ascii") if previews and with_image else None
    return ProgressOut(
        progress=min(share, 0.99),  # 1, or 0, would say that it is done
        eta_relative=left or 0.0,
        state=_state(now, place, len(batch), step, of),
        current_image=image,
        current_task=now.batch_id,
    )


def _state(now: Task | None = None, place: int = 0, count: int = 0, step: int = 0, steps: int = 0) -> dict[str, Any]:
    stopping = bool(now and now.cancel_requested)
    stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(now.created_at)) if now else "0"
    return {
        "skipped": False, "interrupted": stopping, "stopping_generation": stopping, "job": now.id if now else "",
        "job_count": count, "job_timestamp": stamp, "job_no": place, "sampling_step": step, "sampling_steps": steps,
    }  # fmt: skip


def _add_options(router: APIRouter, door: Door) -> None:
    @router.get("/options", summary="Settings, for A1111's clients", responses=in_shape(A1111Error, 403, 409))
    def options(who: Who) -> dict[str, Any]:
        """Those that clients look for."""
        return door.options(who)

    @router.post("/options", summary="Choose a model", responses=in_shape(A1111Error, 400, 403, 413, 422))
    def choose(options: Annotated[dict[str, Any], Body()], who: Who) -> None:
        """Takes `sd_model_checkpoint` for what this interface draws for you from now on, until the server ends; the
        page keeps its own. Everything else that A1111 knows is ignored."""
        door.choose(options, who)
