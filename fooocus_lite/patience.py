"""HTTP connections that nobody can hold by saying nothing, or by hearing nothing.

uvicorn waits for ever for the head of a request, for the rest of a body that nobody reads any more, and for a client to
read its answer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)
#: The head of a request may take this long to come, from the first byte of the connection or of the request.
HEAD_TIMEOUT_S = 20.0
#: An answer, or a stream of events, may stand still this long because its reader does not read.
READ_TIMEOUT_S = 60.0


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, which hangs up on clients that stall between two requests or inside a head.

    While a request is being answered, the time is the application's (`fooocus_lite.web.bodies`); but one that does not
    take its answer is let go. Until then it costs 64 KB and what the system holds for it: nothing more is made for it.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    read_timeout_s = READ_TIMEOUT_S
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
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
