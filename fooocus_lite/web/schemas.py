"""The shapes that go over HTTP, for the routes and for OpenAPI, and the one shape of every error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import Response
from pydantic import BaseModel, Field

from fooocus_lite.download_state import Download
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Progress, State
from fooocus_lite.recipe import Recipe
from fooocus_lite.tasks import Task
from fooocus_lite.web.model_schemas import DownloadOut, ModelOut, download_out


class Problem(BaseModel):
    """Every error: what is wrong, and what to do next."""

    code: str = Field(description="Stable name for programs, such as `bad_value`.", examples=["bad_value"])
    problem: str = Field(description="One sentence: what is wrong.", examples=["steps cannot be 0."])
    hint: str = Field(
        default="", description="One sentence: what to do.", examples=["Allowed is a whole number from 1 to 200."]
    )
    field: str | None = Field(default=None, description="The field that is wrong, if one is.", examples=["steps"])


class Submitted(BaseModel):
    """The tasks that now stand in the queue, one per picture."""

    ids: list[str] = Field(examples=[["0d1f0a9e5b01", "0d1f0a9e5b9c"]])


class TaskProgress(BaseModel):
    """How far a running task is."""

    step: int
    steps: int
    seconds_left: float | None = Field(default=None, description="An estimate; null while unknown.")


class TaskOut(BaseModel):
    """One picture somebody asked for, and where it stands."""

    id: str = Field(examples=["0d1f0a9e5b01"])
    batch_id: str
    owner: str = Field(default="", description="The user who asked for it; empty where there are no users.")
    state: State
    attempt: int = Field(description="How often a worker took it; a killed worker costs one.")
    recipe: Recipe = Field(description="Settings frozen at the click, every field decided.")
    revision: int = Field(default=0, description="How often it was edited while it waited; an edit names it.")
    position: int | None = Field(
        default=None, description="Place in line; 1 = next. Null unless it waits for its turn alone."
    )
    progress: TaskProgress | None = Field(default=None, description="Null unless running.")
    waits_for: DownloadOut | None = Field(
        default=None, description="The files that it waits for, and how far they are; null unless it does."
    )
    error: Problem | None = Field(default=None, description="Null unless failed.")
    width: int | None = None
    height: int | None = None
    seconds: float | None = Field(default=None, description="From start to end, once ended.")
    created_at: float = Field(description="Unix time.")
    started_at: float | None = None
    finished_at: float | None = None


class TaskList(BaseModel):
    """Newest first; the next page is `before` = the last id of this one."""

    tasks: list[TaskOut]


class PictureOut(BaseModel):
    """A finished picture and everything needed to make it again."""

    id: str = Field(description="The task's id.")
    owner: str = Field(default="", description="The user who asked for it; empty where there are no users.")
    width: int
    height: int
    finished_at: float
    seconds: float | None = None
    file: str = Field(description="Day folder and file name.", examples=["2026-01-31/18-30-05_7_0d1f0a9e5b01.png"])
    recipe: Recipe


class UsedLora(BaseModel):
    """A LoRA of one picture."""

    name: str
    weight: float


class PictureWordsOut(BaseModel):
    """What became of a picture's prompt."""

    texts: list[str] = Field(description="As they were encoded, styles, wildcards and arrays applied; from the file.")
    negative_texts: list[str] = Field(description="Likewise for the unwanted.")
    loras: list[UsedLora] = Field(description="Those of the list, of tags in the prompt and of the mode.")
    changed: bool = Field(description="The recipe gives other words now: a style or word list was edited since.")


class PictureList(BaseModel):
    """Newest first. `next` is the `before` of the next page; null at the end."""

    pictures: list[PictureOut]
    next: str | None = None


class MemoryOut(BaseModel):
    """How a picture will be kept in the device's memory: an estimate."""

    rung: str = Field(description="`resident`, `offload`, `fp8`, `groups` or `cpu`: from the fastest to the smallest.")
    needs_bytes: int = Field(description="The most that will be on the device at once.")
    free_bytes: int | None = Field(description="What the device can give; null where nobody can tell.")
    words: str = Field(examples=["needs 7.1 GB, 8.0 free: fp16, encoders off the card after use, VAE in tiles"])
    is_tight: bool = Field(description="Not everything fits, or it takes more than half of what is free.")
    verdict: str = Field(
        description="Whether it fits; empty where nobody can tell.",
        examples=["Fits your graphics card: takes 9.0 of 11.2 GB"],
    )


class PlanOut(BaseModel):
    """What would happen: nothing was queued."""

    recipe: Recipe = Field(description="Every open field decided, the seed excepted.")
    count: int
    seconds_per_picture: float | None = Field(default=None, description="Measured on this machine; null before that.")
    bytes_per_picture: int | None = Field(default=None, description="The most memory one took; null before that.")
    memory: MemoryOut | None = Field(default=None, description="Null until a worker has said what it has.")
    warnings: list[str] = Field(default_factory=list)
    fetches: list[ModelOut] = Field(default_factory=list[ModelOut], description="What must be fetched first.")


class Expansion(BaseModel):
    """Words behind a person's own."""

    expansion: str = Field(description="Phrases between commas.", examples=["balanced light, richly detailed"])


class ReadOut(BaseModel):
    """The settings in a picture or text. All of it was written by whoever made that: show it escaped."""

    scheme: str = Field(description="`fooocus_lite`, `fooocus`, `a1111`, `comfyui` or `invokeai`.")
    recipe: Recipe = Field(description="What of it means something here; a model that is not here stays as written.")
    warnings: list[str] = Field(default_factory=list[str], description="What is not here, or has no counterpart.")
    raw: str = Field(default="", description="How the text that was found begins.")


class Count(BaseModel):
    """How many tasks were told to end."""

    cancelled: int


class Health(BaseModel):
    """The server answers; `page` says whether the page is there yet."""

    status: str = "ok"
    version: str = Field(default="", description="Empty for who is not logged in.")
    page: str = Field(description="`starting`, `ready` or `failed`.")
    problem: str | None = Field(default=None, description="Why the page failed.")


class QueueRow(BaseModel):
    """What the page's queue list shows of a task; small, whatever the prompt."""

    id: str
    batch_id: str
    owner: str = Field(default="", description="The user who asked for it; empty where there are no users.")
    index: int = Field(description="This is picture `index` …")
    of: int = Field(description="… of `of` in its batch.")
    state: State
    position: int | None = Field(default=None, description="Place in everybody's line; 1 = next. As in a task.")
    words: str = Field(description="How the prompt begins.")
    styles: list[str]
    width: int
    height: int
    seed: int | None
    label: str | None = Field(default=None, description="What it is called on a contact sheet, which is its batch.")
    cancelling: bool = False
    waits_for: str | None = Field(default=None, description="Name of the download that it waits for.")
    error: Problem | None = None
    revision: int = Field(default=0, description="How often it was edited; an edit names it.")
    seconds: float | None = Field(default=None, description="About how long it takes; null before that was measured.")


def task_out(task: Task, progress: Progress | None = None, download: Download | None = None) -> TaskOut:
    """The task as programs see it."""
    seconds = task.finished_at - task.started_at if task.finished_at and task.started_at else None
    return TaskOut(
        id=task.id,
        batch_id=task.batch_id,
        owner=task.owner,
        state=task.state,
        attempt=task.attempt,
        recipe=task.recipe,
        revision=task.revision,
        position=task.position,
        progress=_progress_out(progress) if progress else None,
        waits_for=download_out(download) if download else None,
        error=Problem(**task.error) if task.error else None,
        width=task.width,
        height=task.height,
        seconds=seconds,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
    )


def _progress_out(event: Progress) -> TaskProgress:
    return TaskProgress(step=event.step, steps=event.steps, seconds_left=event.seconds_left)


def picture_out(task: Task) -> PictureOut:
    """The finished task as a picture."""
    path = Path(task.image_path or "")
    return PictureOut(
        id=task.id,
        owner=task.owner,
        width=task.width or 0,
        height=task.height or 0,
        finished_at=task.finished_at or task.created_at,
        seconds=task.facts.get("seconds"),
        file="/".join(path.parts[-2:]),
        recipe=task.recipe,
    )


def problem_response(error: FooocusError, headers: dict[str, str] | None = None) -> Response:
    """The error in its one shape, with the status that its code means."""
    # ASCII escapes: what somebody sent may hold half characters that UTF-8 cannot carry back.
    return Response(
        json.dumps(error.to_dict()), status_code=error.http_status, media_type="application/json", headers=headers
    )


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors that a route can answer with."""
    words = {
        400: "The body is not JSON.",
        401: "Not logged in.",
        403: "Not allowed from there.",
        404: "There is no such thing.",
        409: "Not in this state.",
        413: "The body is too large.",
        422: "A value is not allowed; names the field and the range.",
        429: "It is more than you may ask for now.",
        507: "The disk is full or read-only.",
    }
    return {status: {"model": Problem, "description": words[status]} for status in statuses}
