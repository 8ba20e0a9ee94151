"""What the server and the process that speaks to Ray for it say to each other: bytes, and whom they are for.

The bytes are JSON, or a frame of `fooocus_lite.wire` that is passed on as it is between the server and a worker.
"""

from __future__ import annotations

import json
import struct
import threading
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, BinaryIO

_HEADER = struct.Struct(">BII")  # kind, number of the worker's process, bytes that follow


class Kind(IntEnum):
    """Of a message. A process is a worker's, on whichever machine; the server numbers them."""

    OPEN = 1  # to a seat: start a process. JSON: the seat's key
    DATA = 2  # a frame to the process, or from it
    CLOSE = 3  # no more will be sent to the process
    KILL = 4  # end it now
    OFFERS = 5  # to every seat: what can be downloaded. JSON: a list of offers
    SEATS = 6  # to the server: every `Seat` there is now. JSON: a list
    LOG = 7  # a line that the process wrote for people
    ENDED = 8  # the process has. JSON: {"code"}; where nobody knows it {"problem", "hint", "is_away"}
    TROUBLE = 9  # to the server: why there is no cluster; {} when there is one again. JSON: {"problem", "hint"}
    HELLO = 10  # from a seat to the bridge: it is ready. JSON: {} or {"problem", "hint"}


@dataclass(frozen=True)
class Seat:
    """A place in the cluster where one worker can be: a GPU, or a machine's processor.

    Attributes:
        key: Names it for as long as its machine stays in the cluster.
        machine, address: Of the machine, for people.
        problem, hint: Why nobody can draw there; empty where somebody can.
    """

    key: str
    machine: str
    address: str
    problem: str = ""
    hint: str = ""


class Channel:
    """One end of the pipes between the two processes; sending is safe from every thread."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._lock = threading.Lock()

    def send(self, kind: Kind, number: int, data: bytes = b"") -> None:
        """Pass it on.

        Raises:
            OSError: the other process is gone.
        """
        with self._lock:
            self._outgoing.write(_HEADER.pack(kind, number, len(data)) + data)
            self._outgoing.flush()

    def send_json(self, kind: Kind, number: int, value: Any) -> None:
        """The same for what JSON can say."""
        self.send(kind, number, json.dumps(value).encode("ascii"))

    def read(self) -> tuple[Kind, int, bytes] | None:
        """The next message, or None at the end.

        Raises:
            ValueError: these bytes are no message.
        """
        header = self._incoming.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        kind, number, size = _HEADER.unpack(header)
        data = self._incoming.read(size)
        return (Kind(kind), number, data) if len(data) == size else None
