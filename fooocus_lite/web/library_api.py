"""Routes for a person's own styles, presets, favourites and default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Body, Response
from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field

from fooocus_lite.errors import NotFound
from fooocus_lite.library import Library
from fooocus_lite.menu import preset_row, style_row
from fooocus_lite.own_files import MAX_NAME_CHARS, OwnFiles
from fooocus_lite.recipe import MAX_PROMPT_CHARS, Recipe
from fooocus_lite.style_files import Style
from fooocus_lite.web.menu import PresetOut, StyleRow
from fooocus_lite.web.schemas import problems
from fooocus_lite.web.who import ADMINS_ONLY

STYLE_EXAMPLES: dict[str, Example] = {
    "a style": {
        "value": {"name": "Foggy Morning", "prompt": "{prompt} in dense morning fog", "negative_prompt": "clear sky"}
    }
}
PRESET_EXAMPLES: dict[str, Example] = {
    "a preset": {"value": {"label": "Wide and calm", "recipe": {"width": 192, "height": 128, "styles": ["Watercolor"]}}}
}


class StyleIn(BaseModel):
    """A style to save."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=MAX_NAME_CHARS, description="What people read; compared without case and dashes.")
    prompt: str = Field(default="", max_length=MAX_PROMPT_CHARS, description="Text with `{prompt}` in it.")
    negative_prompt: str = Field(default="", max_length=MAX_PROMPT_CHARS, description="What it must not show.")

    def as_style(self) -> Style:
        """The same as the library speaks of it."""
        return Style(self.name, self.prompt, self.negative_prompt)


class StyleOut(StyleRow):
    """A style with its words."""

    prompt: str
    negative_prompt: str


class PresetIn(BaseModel):
    """A preset to save."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(max_length=100, description="What people read; its name is made of it.")
    description: str = Field(default="", max_length=500)
    recipe: Recipe = Field(description="The fields it fills; leave out what it leaves open.")


class Favourites(BaseModel):
    """Favourite styles, the dearest first."""

    model_config = ConfigDict(extra="forbid")

    styles: list[str] = Field(examples=[["Watercolor", "Neon"]])


class DefaultIn(BaseModel):
    """The preset that fills what is left open."""

    model_config = ConfigDict(extra="forbid")

    preset: str | None = Field(description="Its name; null leaves it to the settings.", examples=["starter-fast"])


class DefaultOut(BaseModel):
    """What fills what is left open, from now on."""

    preset: str
    note: str = Field(description="Says why, when it is another one than was asked for; else empty.")


class A1111In(BaseModel):
    """Whether pictures also hold the text that other programs read."""

    model_config = ConfigDict(extra="forbid")

    a1111_text: bool | None = Field(description="Null leaves it to the settings.", examples=[True])


class A1111Out(BaseModel):
    """What holds from now on."""

    a1111_text: bool
    note: str = Field(description="Says why, when it is not what was asked for; else empty.")


def add_library_routes(router: APIRouter, own: OwnFiles, library: Callable[[], Library]) -> None:
    """Add them to the router of ``/v1``."""
    _add_styles(router, own, library)
    _add_presets(router, own, library)
    _add_choices(router, own)


def _style_out(style: Style, library: Library) -> StyleOut:
    row = style_row(style, library)
    return StyleOut(**row, prompt=style.prompt, negative_prompt=style.negative_prompt)


def _add_styles(router: APIRouter, own: OwnFiles, library: Callable[[], Library]) -> None:
    @router.get("/styles/{name:path}", tags=["own"], summary="A style's words", responses=problems(404, 422))
    def style(name: str) -> StyleOut:
        """The menu lists the names; this gives one style whole."""
        now = library()
        found = now.known_style(name)
        if found is None:
            raise NotFound(f"There is no style {name[:60]!r}.", "`GET /v1/menu` lists them.")
        return _style_out(found, now)

    @router.post(
        "/styles",
        tags=["own"],
        status_code=201,
        summary="Save a style",
        responses=problems(400, 403, 409, 413, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def add(style: Annotated[StyleIn, Body(openapi_examples=STYLE_EXAMPLES)]) -> StyleOut:
        """Saves a new style of your own; 409 when the name is taken."""
        return _style_out(own.add_style(style.as_style()), library())

    @router.put(
        "/styles/{name:path}",
        tags=["own"],
        summary="Change a style",
        responses=problems(400, 403, 404, 409, 413, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def change(name: str, style: Annotated[StyleIn, Body(openapi_examples=STYLE_EXAMPLES)]) -> StyleOut:
        """Changes or renames your own; one that ships stays, and yours takes its place until you delete it."""
        return _style_out(own.change_style(name, style.as_style()), library())

    @router.delete(
        "/styles/{name:path}",
        tags=["own"],
        status_code=204,
        summary="Delete a style",
        responses=problems(403, 404, 409, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def delete(name: str) -> Response:
        """Deletes one of your own; 409 for one that ships or stands in your Fooocus folder."""
        own.delete_style(name)
        return Response(status_code=204)


def _add_presets(router: APIRouter, own: OwnFiles, library: Callable[[], Library]) -> None:
    @router.post(
        "/presets",
        tags=["own"],
        status_code=201,
        summary="Save a preset",
        responses=problems(400, 403, 409, 413, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def add(preset: Annotated[PresetIn, Body(openapi_examples=PRESET_EXAMPLES)]) -> PresetOut:
        """Saves a new preset of your own; 409 when the name that its label makes is taken."""
        saved = own.add_preset(preset.label, preset.description, preset.recipe)
        return PresetOut.model_validate(preset_row(saved, library()))

    @router.put(
        "/presets/{name:path}",
        tags=["own"],
        summary="Change a preset",
        responses=problems(400, 403, 404, 409, 413, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def change(name: str, preset: Annotated[PresetIn, Body(openapi_examples=PRESET_EXAMPLES)]) -> PresetOut:
        """Changes your own; one that ships stays, and yours takes its place until you delete it."""
        saved = own.change_preset(name, preset.label, preset.description, preset.recipe)
        return PresetOut.model_validate(preset_row(saved, library()))

    @router.delete(
        "/presets/{name:path}",
        tags=["own"],
        status_code=204,
        summary="Delete a preset",
        responses=problems(403, 404, 409, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def delete(name: str) -> Response:
        """Deletes one of your own; 409 for one that ships or stands in your Fooocus folder."""
        own.delete_preset(name)
        return Response(status_code=204)


def _add_choices(router: APIRouter, own: OwnFiles) -> None:
    @router.put(
        "/favourites",
        tags=["own"],
        summary="Set the favourites",
        responses=problems(400, 403, 413, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def favourites(wanted: Favourites) -> Favourites:
        """Replaces the list; they survive restarts, and `GET /v1/menu` shows them."""
        return Favourites(styles=list(own.set_favourites(wanted.styles)))

    @router.put(
        "/default-preset",
        tags=["own"],
        summary="Make this my default",
        responses=problems(400, 403, 413, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def default(wanted: DefaultIn) -> DefaultOut:
        """The preset that fills what is left open from now on. What is set for a start is stronger."""
        preset, note = own.set_default_preset(wanted.preset)
        return DefaultOut(preset=preset, note=note)

    @router.put(
        "/a1111-text",
        tags=["own"],
        summary="Write A1111's text, too",
        responses=problems(400, 403, 413, 422, 507),
        dependencies=ADMINS_ONLY,
    )
    def a1111(wanted: A1111In) -> A1111Out:
        """Pictures from now on also hold the text that A1111 and Civitai read. What is set for a start is stronger."""
        in_force, note = own.set_a1111_text(wanted.a1111_text)
        return A1111Out(a1111_text=in_force, note=note)
