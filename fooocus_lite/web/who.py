"""Who sent a request. `fooocus_lite.web.guard` finds out before any route sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fooocus_lite.errors import FooocusError
from fooocus_lite.user import LOCAL, User

#: Where the guard puts the user of a connection into its ASGI scope.
SCOPE_KEY = "fooocus_lite.user"
#: Where it puts what tells whether they would still be let in by the same, as the same.
STILL_KEY = "fooocus_lite.is_still"
#: Asked as often as somebody wants to know.
IsStill = Callable[[], bool]


def user_of(connection: HTTPConnection) -> User:
    """The user of a request or WebSocket."""
    return connection.scope.get(SCOPE_KEY, LOCAL)


def still_of(connection: HTTPConnection) -> IsStill:
    """Whether the user of a connection would still be let in: for what stays open longer than a session may last."""
    return connection.scope.get(STILL_KEY, lambda: True)


def admin_of(connection: HTTPConnection) -> User:
    """The user of a request, who must be an admin.

    Raises:
        FooocusError: they are not (``forbidden``).
    """
    user = user_of(connection)
    if not user.is_admin:
        hint = "Ask whoever looks after this server."
        raise FooocusError("Only an admin may change what everybody uses.", hint, code="forbidden")
    return user


#: Of a route: the user who asks.
Who = Annotated[User, Depends(user_of)]
#: Of a route that follows: whether its user may follow on.
Still = Annotated[IsStill, Depends(still_of)]
#: Of a route that changes what is everybody's: nobody but an admin gets in.
ADMINS_ONLY = [Depends(admin_of)]
