"""HTTP connections that nobody can hold by saying nothing.

uvicorn waits for ever for the head of a request, and for the rest of a body that nobody reads any more.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

#: The head of a request may take this long to come, from the first byte of the connection or of the request.
HEAD_TIMEOUT_S = 20.0


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, which hangs up on clients that stall between two requests or inside a head.

    While a request is being answered, the time is the application's (`fooocus_lite.web.bodies`).
    """

    head_timeout_s = HEAD_TIMEOUT_S
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

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
