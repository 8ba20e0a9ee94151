"""Who sent a request. `fooocus_lite.web.guard` finds out before any route sees it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fooocus_lite.user import LOCAL, User

#: Where the guard puts the user of a connection into its ASGI scope.
SCOPE_KEY = "fooocus_lite.user"


def user_of(connection: HTTPConnection) -> User:
    """The user of a request or WebSocket."""
    return connection.scope.get(SCOPE_KEY, LOCAL)


#: Of a route: the user who asks.
Who = Annotated[User, Depends(user_of)]
