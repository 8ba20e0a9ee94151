"""What only admins may do: what changes the program, or anything of everybody's.

One table, read by the guard before a route is: so a new route has its line here or in ``FOR_ALL``, and a test says
which one has neither. Whose tasks and pictures somebody sees is up to the routes.
"""

from __future__ import annotations

import re

from fooocus_lite.errors import FooocusError
from fooocus_lite.user import User

#: Methods, path → what it is, as an end of "Only an admin may …".
ADMINS = {
    (r"POST", r"/v1/pictures/[^/]+/open-folder"): "open folders on this computer",
    (r"POST", r"/v1/downloads(/.*)?"): "fetch models, or pause and cancel that",
    (r"POST|PUT|PATCH|DELETE", r"/v1/models(/.*)?"): "change models",
    (r"POST|PUT|DELETE", r"/v1/(styles|presets)(/.*)?"): "change styles and presets, which everybody uses",
    (r"PUT", r"/v1/(favourites|default-preset|a1111-text)"): "change settings that hold for everybody",
    (r"POST", r"/v1/queue/(pause|resume)"): "pause everybody's queue",
}
#: Methods, path: changes that each may make; the routes see to it that they only concern their own.
FOR_ALL = (
    (r"POST", r"/v1/(plan|expand|read|skip|stop|clear)"),
    (r"POST|PATCH|DELETE", r"/v1/tasks(/.*)?"),
    (r"DELETE", r"/v1/pictures/[^/]+"),
    (r"POST|DELETE", r"/v1/sheets(/.*)?"),
    (r"POST|PUT|PATCH|DELETE", r"/v1/(queue/(move|import|cancel)|repeats(/.*)?|history(/.*)?)"),
    (r"POST", r"/v1/images/.*"),
    (r"POST", r"/sdapi/v1/.*"),
)


def check_rights(user: User, method: str, path: str) -> None:
    """Let a request pass that this user may make.

    Raises:
        FooocusError: only admins may.
    """
    if user.is_admin:
        return
    for (methods, places), what in ADMINS.items():
        if re.fullmatch(methods, method) and re.fullmatch(places, path, re.DOTALL):
            raise FooocusError(f"Only an admin may {what}.", "Ask whoever runs this computer.", code="forbidden")


def is_known(method: str, path: str) -> bool:
    """Whether one of the tables has the route."""
    lines = (*ADMINS, *FOR_ALL)
    return any(re.fullmatch(methods, method) and re.fullmatch(places, path) for methods, places in lines)
