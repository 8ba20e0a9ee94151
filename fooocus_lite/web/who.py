"""Who sent a request. `fooocus_lite.web.guard` finds out before any route sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fooocus_lite.errors import FooocusError
from fooocus_lite.user import User

logger = logging.getLogger(__name__)
#: Where the guard puts the user of a connection into its ASGI scope.
SCOPE_KEY = "fooocus_lite.user"
#: Where it puts what tells whether they would still be let in by the same, as the same.
STILL_KEY = "fooocus_lite.is_still"
#: Asked as often as somebody wants to know.
IsStill = Callable[[], bool]


def user_of(connection: HTTPConnection) -> User:
    """The user of a request or WebSocket.

    Raises:
        FooocusError: nobody looked who asks; so nobody gets in (``internal``).
    """
    user = connection.scope.get(SCOPE_KEY)
    if not isinstance(user, User):
        raise _unguarded()
    return user


def still_of(connection: HTTPConnection) -> IsStill:
    """Whether the user of a connection would still be let in: for what stays open longer than a session may last.

    Raises:
        FooocusError: as `user_of`.
    """
    is_still = connection.scope.get(STILL_KEY)
    if is_still is None:
        raise _unguarded()
    return is_still


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


def _unguarded() -> FooocusError:
    logger.error("a route was asked that no guard stands before")
    return FooocusError("Nobody looked who asks, so nothing is told.", "The log has the details; please report them.")


#: Of a route: the user who asks.
Who = Annotated[User, Depends(user_of)]
#: Of a route that follows: whether its user may follow on.
Still = Annotated[IsStill, Depends(still_of)]
#: Of a route that changes what is everybody's: nobody but an admin gets in.
ADMINS_ONLY = [Depends(admin_of)]
