"""HTTP connections that nobody can hold by saying nothing, or by hearing nothing, and only so many of them.

uvicorn waits for ever for the head of a request, for the rest of a body that nobody reads any more, and for a client to
read its answer; and it takes as many as come.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from fooocus_lite.crowd import MAX_CONNECTIONS, RETRY_S, TOLD, as_bytes, excess

logger = logging.getLogger(__name__)
#: The head of a request may take this long to come, from the first byte of the connection or of the request.
HEAD_TIMEOUT_S = 20.0
#: An answer, or a stream of events, may stand still this long because its reader does not read.
READ_TIMEOUT_S = 60.0
#: One that is too many has this long to say something, which it is then told to.
REFUSAL_TIMEOUT_S = 2.0


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, which hangs up on clients that stall between two requests or inside a head.

    While a request is being answered, the time is the application's (`fooocus_lite.web.bodies`); but one that does not
    take its answer is let go. Until then it costs 64 KB and what the system holds for it: nothing more is made for it.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    read_timeout_s = READ_TIMEOUT_S
    max_connections = MAX_CONNECTIONS
    _refusal: bytes | None = None
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._count()
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._refusal is None:
            super().data_received(data)
        elif not self.transport.is_closing():  # only now: an answer that comes before its question gets lost
            self.transport.write(self._refusal)
            self.transport.close()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._was_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.read_timeout_s, self._let_go)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._was_read()

    def _count(self) -> None:
        """Refuse the client if it is one too many. WebSockets stay in uvicorn's set of connections, and so count."""
        connected = cast("set[H11Protocol]", self.connections)
        too_many, why = excess(_address(self), map(_address, connected), self.max_connections)
        if too_many > TOLD:
            self.transport.abort()
        elif too_many:
            self._refusal, self.head_timeout_s = as_bytes(why, Retry_After=str(RETRY_S)), REFUSAL_TIMEOUT_S

    def _was_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _let_go(self) -> None:
        self._unread = None
        logger.info("a client was let go: it has not read its answer for %.0f s", self.read_timeout_s)
        self.transport.abort()  # to close it would wait until the rest is read

    def _watch(self) -> None:
        """The clock runs from the first byte until the head is there; more bytes do not set it back."""
        cycle = cast("object | None", self.cycle)
        is_answering = cycle is not None and not self.cycle.response_complete
        is_handed_on = self.transport.get_protocol() is not self  # to what speaks WebSocket
        if is_answering or is_handed_on or self.transport.is_closing():
            self._unwatch()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout_s, self._hang_up)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self) -> None:
        # Nothing is said: browsers open connections ahead of time, and would take words for the answer to the next.
        self._timer = None
        self.transport.close()


def _address(connection: H11Protocol) -> str:
    return connection.client[0] if connection.client else ""
