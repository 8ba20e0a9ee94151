"""Who one is here: ``GET /v1/me``."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fooocus_lite.web.schemas import problems
from fooocus_lite.web.who import Who


class MeOut(BaseModel):
    """The user who asks."""

    name: str = Field(description="Empty where nobody has to log in.", examples=["ana"])
    is_admin: bool = Field(description="Sees and may change what everybody asked for.")


def add_account_route(router: APIRouter) -> None:
    """``GET /me``."""

    @router.get("/me", tags=["server"], summary="Who am I?", responses=problems(401))
    def me(who: Who) -> MeOut:
        """The user whose session, password or API key came with the request. Pages log in and out at `/login` and
        `/logout`; programs send `Authorization: Bearer KEY`, `X-API-Key: KEY`, or a name and password (HTTP Basic)."""
        return MeOut(name=who.name, is_admin=who.is_admin)
