"""Routes for the styles' small pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from fooocus_lite.errors import NotFound
from fooocus_lite.library import Library
from fooocus_lite.style_pictures import StylePictures
from fooocus_lite.web.files import FOR_GOOD, MEDIA_TYPES
from fooocus_lite.web.schemas import problems
from fooocus_lite.web.who import Who


class StylePictureList(BaseModel):
    """Which styles have a picture."""

    versions: dict[str, str] = Field(
        description="By style; the `v` of the picture's address.", examples=[{"Neon": "0d1f0a9e5b01"}]
    )


def add_style_picture_routes(router: APIRouter, pictures: StylePictures, library: Callable[[], Library]) -> None:
    """Add them to the router of ``/v1``."""

    @router.get("/style-pictures", tags=["choices"], summary="Which styles have a picture")
    def versions(who: Who) -> StylePictureList:
        """One that ships, or the newest that was drawn here in that style alone: where there are users, by you."""
        found = {style.name: pictures.version(style, owner=who.sees) for style in library().styles.values()}
        return StylePictureList(versions={name: version for name, version in found.items() if version})

    @router.get(
        "/style-pictures/{name:path}",
        tags=["choices"],
        summary="What a style looks like",
        response_class=Response,
        responses=problems(404, 422, 507)
        | {200: {"content": {kind: {} for kind in ("image/webp", "image/jpeg")}}, 304: {"description": "As before."}},
    )
    def picture(name: str, who: Who, v: str = "", if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """At most 96 × 96 pixels and 4 KB."""
        style = library().known_style(name)
        found = style and pictures.small(style, owner=who.sees)
        if not style or not found:
            raise NotFound(f"There is no picture of the style {name[:60]!r} yet.", "Draw one in that style alone.")
        version, path = found
        headers = {"ETag": f'"{version}"'} | (FOR_GOOD if v == version else {"Cache-Control": "private, no-cache"})
        if if_none_match == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=headers)
