"""Routes for the LoRAs and their small pictures. What a file says of itself comes from anybody: show it escaped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from fooocus_lite.errors import NotFound
from fooocus_lite.images import thumbnail
from fooocus_lite.library import Library
from fooocus_lite.lora_files import lora_rows, preview_path
from fooocus_lite.web.schemas import problems

SIDE = 96  # pixels


class LoraRow(BaseModel):
    """A LoRA, by the name that a Recipe's `loras` takes."""

    name: str = Field(examples=["sub/ink"])
    title: str = Field(description="What its maker calls it; empty where nothing is said.")
    note: str = Field(description="A sentence of its maker.")
    kind: str = Field(description="What kind of model it was made for; empty where nobody can tell.")
    rank: int = Field(description="How many numbers a layer's change is made of; 0 = unknown.")
    words: list[str] = Field(description="Words that make it show, the most usual first.", examples=[["inkwash"]])
    size_bytes: int
    fits: list[str] = Field(description="Names of the models here that it can be used with.")
    has_picture: bool = Field(description="`GET /v1/lora-pictures/{name}` has one.")
    problem: str = Field(description="Why it cannot be used at all; else empty.")


class LoraList(BaseModel):
    """Every LoRA in the folders, by name."""

    loras: list[LoraRow]


def add_lora_routes(router: APIRouter, library: Callable[[], Library], thumbs: Path) -> None:
    """Add them to the router of ``/v1``.

    Args:
        thumbs: Takes small copies of pictures.
    """

    @router.get("/loras", tags=["choices"], summary="The LoRAs")
    def loras() -> LoraList:
        """What their headers say; each file is read once until it changes."""
        return LoraList(loras=[LoraRow(**row) for row in lora_rows(library())])

    @router.get(
        "/lora-pictures/{name:path}",
        tags=["choices"],
        summary="What a LoRA looks like",
        response_class=Response,
        responses=problems(404, 422, 507) | {200: {"content": {"image/jpeg": {}}}},
    )
    def picture(name: str) -> Response:
        """A small copy of the picture beside the file: `ink.png` or `ink.preview.png`."""
        path = library().loras.find(name)
        beside = preview_path(path) if path else None
        if beside is None:
            raise NotFound(f"There is no picture of the LoRA {name[:60]!r}.", "Put one beside it, such as ink.png.")
        small = thumbnail(beside, thumbs, SIDE)
        return FileResponse(small, media_type="image/jpeg", headers={"Cache-Control": "private, no-cache"})
