"""`Idempotency-Key`: a request whose answer was lost may be sent again, and asks for its pictures once."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Depends, Header, Request

from fooocus_lite.user import User
from fooocus_lite.web.who import Who

#: The header, of a route that takes its body in by itself.
IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="Any text of yours: the same request under it is answered once.")
]


def id_of_key(key: str, user: User, path: str, body: bytes) -> str:
    """What a user's ``Idempotency-Key`` stands for; another body is another request."""
    whose = (user.name,) if user.name else ()  # without users as it was before there could be any
    return f"key-{hashed(path, key, body, *whose)}"


def hashed(*parts: str | bytes) -> str:
    """32 hex digits; other parts have others, however they are cut."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big"))
        whole.update(data)
    return whole.hexdigest()[:32]


async def _once(request: Request, who: Who, idempotency_key: IdempotencyKey = None) -> str | None:
    return id_of_key(idempotency_key, who, request.url.path, await request.body()) if idempotency_key else None


#: Of a route that asks for pictures: what `fooocus_lite.taskqueue.TaskQueue.asked` knows them by.
Once = Annotated[str | None, Depends(_once)]
