"""Files that a page or program sends: taken in piece by piece, to disk, and never more than allowed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import Request
from starlette.requests import ClientDisconnect

from fooocus_lite.errors import FooocusError
from fooocus_lite.untrusted import printable
from fooocus_lite.web.bodies import MAX_DRAINED_BYTES

_IN_MEMORY_BYTES = 1_000_000


@asynccontextmanager
async def taken_in(request: Request, max_bytes: int, name: str, hint: str) -> AsyncGenerator[BinaryIO]:
    """The body as a file that is gone afterwards; up to a megabyte of it stays in memory.

    Args:
        name: What the errors call the file.
        hint: What to do where it is longer than that.

    Raises:
        FooocusError: it is longer than ``max_bytes``, or the sender hung up.
    """
    declared = request.headers.get("content-length", "0")
    too_large = FooocusError(f"{printable(name)} has more than {max_bytes // 1_000_000} MB.", hint, code="too_large")
    if not declared.isdecimal() or int(declared) > max_bytes + MAX_DRAINED_BYTES:
        raise too_large
    with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        size = 0
        try:
            async for piece in request.stream():
                size += len(piece)
                if size <= max_bytes:
                    file.write(piece)
                elif size > max_bytes + MAX_DRAINED_BYTES:
                    break
        except ClientDisconnect as exc:
            raise FooocusError("The upload was broken off.", "Send it again.", code="bad_value") from exc
        if size > max_bytes:
            raise too_large
        file.seek(0)
        yield cast(BinaryIO, file)
