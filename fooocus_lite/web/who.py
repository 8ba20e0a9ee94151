"""Who sent a request. `fooocus_lite.web.guard` finds out before any route sees it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fooocus_lite.errors import FooocusError
from fooocus_lite.user import LOCAL, User

#: Where the guard puts the user of a connection into its ASGI scope.
SCOPE_KEY = "fooocus_lite.user"


def user_of(connection: HTTPConnection) -> User:
    """The user of a request or WebSocket."""
    return connection.scope.get(SCOPE_KEY, LOCAL)


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
#: Of a route that changes what is everybody's: nobody but an admin gets in.
ADMINS_ONLY = [Depends(admin_of)]
