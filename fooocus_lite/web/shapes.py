"""Every error in the shape that the door has it through which it was asked: ours, OpenAI's or A1111's."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from fooocus_lite.errors import BadFile, FooocusError
from fooocus_lite.library import Library
from fooocus_lite.web.invalid import as_our_error
from fooocus_lite.web.schemas import problem_response

#: Where the routes of each door begin.
OPENAI_PATHS, A1111_PATHS = ("/v1/images/", "/v1/models/"), ("/sdapi/",)
Say = Callable[[FooocusError], Response]
#: Fields of a Recipe → what OpenAI calls them.
_PARAMS = {"width": "size", "height": "size", "count": "n", "image_format": "output_format", "mode": "quality"}


class OpenAIProblem(BaseModel):
    """What is wrong, as OpenAI's clients read it."""

    message: str = Field(description="What is wrong, and what to do next.", examples=["n cannot be 0."])
    type: str = Field(
        description="`invalid_request_error`, `insufficient_quota` or `server_error`.",
        examples=["invalid_request_error"],
    )
    param: str | None = Field(default=None, description="The field that is wrong, if one is.", examples=["n"])
    code: str | None = Field(default=None, description="Stable name for programs.", examples=["bad_value"])


class OpenAIError(BaseModel):
    """Every error of the routes that OpenAI's clients use."""

    error: OpenAIProblem


class A1111Error(BaseModel):
    """Every error of the routes that A1111's clients use."""

    error: str = Field(description="Stable name for programs.", examples=["bad_value"])
    detail: str = Field(description="What is wrong, and what to do next.", examples=["steps cannot be 0."])
    body: str = Field(default="", description="Always empty.")
    errors: str = Field(default="", description="The field that is wrong, if one is.", examples=["steps"])


def openai_problem(error: FooocusError) -> OpenAIProblem:
    """The error as OpenAI's clients read it."""
    is_model = error.code == "unknown_name" and error.field == "model"
    status = _openai_status(error)
    kind = "insufficient_quota" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    code = "model_not_found" if is_model else error.code
    return OpenAIProblem(message=str(error), type=kind, param=_PARAMS.get(error.field or "", error.field), code=code)


def _openai_status(error: FooocusError) -> int:
    """What it has for a value that is wrong, or unknown to it, is 400; for a model that is not there, 404."""
    if error.code == "unknown_name" and error.field == "model":
        return 404
    return 400 if error.http_status in (422, 501) else error.http_status


def openai_response(error: FooocusError) -> Response:
    """Never to be tried again: their client would by itself, and what failed here fails again."""
    return _json(OpenAIError(error=openai_problem(error)), _openai_status(error), {"x-should-retry": "false"})


def a1111_response(error: FooocusError) -> Response:
    """The error as A1111's clients read it."""
    said = A1111Error(error=error.code, detail=str(error), errors=error.field or "")
    return _json(said, error.http_status)


def problem_at(path: str) -> Say:
    """How an error is said to whoever asked for ``path``."""
    if path.startswith(OPENAI_PATHS):
        return openai_response
    return a1111_response if path.startswith(A1111_PATHS) else problem_response


def _json(said: BaseModel, status: int, headers: dict[str, str] | None = None) -> Response:
    # ASCII escapes: what somebody sent may hold half characters that UTF-8 cannot carry back.
    text = json.dumps(said.model_dump())
    return Response(text, status_code=status, media_type="application/json", headers=headers)


def route_class(library: Callable[[], Library]) -> type[APIRoute]:
    """Routes whose errors have the shape of their door."""

    class InShape(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle, say = super().get_route_handler(), problem_at(self.path)

            async def handle_and_say(request: Request) -> Response:
                try:
                    return await handle(request)
                except FooocusError as exc:
                    return say(exc)
                except RequestValidationError as exc:
                    return say(as_our_error(exc, request.url.path, library))
                except HTTPException as exc:
                    if exc.status_code != 400:
                        raise
                    return say(BadFile("The body is not readable JSON.", "Send a JSON object in UTF-8."))

            return handle_and_say

    return InShape


def in_shape(shape: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors that a route of a door can answer with."""
    words = {
        400: "A value is not allowed, or the body is not JSON.",
        403: "Not allowed from there.",
        404: "There is no such thing.",
        409: "A model is missing, or the pictures were cancelled.",
        413: "The body is too large.",
        422: "A value is not allowed.",
        429: "It is more than you may ask for now.",
        500: "The picture failed.",
        501: "This program cannot do that.",
        507: "The disk is full, or there is not enough memory.",
    }
    return {status: {"model": shape, "description": words[status]} for status in statuses}
