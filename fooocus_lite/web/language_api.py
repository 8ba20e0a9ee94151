"""The route for the language of the page. What a file says comes from anybody: show it as text."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fooocus_lite.library import Library


class LanguageOut(BaseModel):
    """What the page says in another language."""

    name: str = Field(description="The file's name; empty for English.", examples=["de"])
    words: dict[str, str] = Field(description="By English text.", examples=[{"Generate": "Erzeugen"}])


def add_language_route(router: APIRouter, library: Callable[[], Library]) -> None:
    """Add it to the router of ``/v1``."""

    @router.get("/language", tags=["page"], summary="The page's words in another language")
    def language() -> LanguageOut:
        """The file that the setting `language` names; what it does not hold stays English."""
        now = library().language
        return LanguageOut(name=now.name, words=dict(now.words))
