"""How many may be connected at once, so that nobody takes everybody's place.

Each connection is a file of this process and up to 64 KB that uvicorn keeps of it; an event stream or a WebSocket holds
one for hours. Whoever opens thousands would leave nobody else a file to be answered by. The numbers:

- `MAX_CONNECTIONS`: 500 followers of one task are meant to work, four times; at 64 KB each they are 128 MB. A system
  that gives a process fewer files gets fewer (`make_room`).
- Half of them are kept for this computer: the page of whoever sits here opens whatever others do.
- `MAX_PER_ADDRESS`: a browser opens six for one page, a program of httpx's a hundred. Of IPv6, an address is the 2^64
  that one person has.
- `MAX_PER_USER`: what goes on at once for one user, from all of their addresses together: two such programs.
- `MAX_HELD_BYTES`: of bodies in memory, while their requests are answered; each is at most 8 MB, and a Recipe 1 KB.

Connections are counted where they are made (`fooocus_lite.patience`), by whom the wire leads to. Behind a proxy that is
the proxy; so what goes on is counted once more, by the proxy's word and by user (`fooocus_lite.web.guard`).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from http import HTTPStatus

from fooocus_lite.addresses import is_this_computer, network_of
from fooocus_lite.errors import FooocusError
from fooocus_lite.user import User

logger = logging.getLogger(__name__)
MAX_CONNECTIONS = 2000
MAX_PER_ADDRESS, MAX_PER_USER = 100, 200
MAX_HELD_BYTES = 256_000_000
#: What this process opens besides: database, workers' pipes, models that are read, one thread's files each.
OWN_FILES = 256
#: So many that are too many still hear why; more are cut off, as to answer them would itself hold a file.
TOLD = 20
#: A client that was refused may come back after this.
RETRY_S = 5
_WARN_EVERY_S = 60.0


class Crowded(FooocusError):
    """One too many.

    Attributes:
        wait_s: After which trying again makes sense.
    """

    code = "too_many_connections"
    wait_s = RETRY_S


def too_many_from(address: str) -> Crowded:
    """One address has as much open as it may."""
    return Crowded(f"{address} has too many connections open here.", f"Close some, or come back in {RETRY_S} seconds.")


def too_many_in_all() -> Crowded:
    """The server has as much open as it may."""
    return Crowded("Too many are connected to this server.", f"Come back in {RETRY_S} seconds.", code="too_many_in_all")


def excess(address: str, connected: Iterable[str], most: int) -> tuple[int, Crowded]:
    """By how many there are too many now that a client of ``address`` has come, and what to tell it; 0 if it may stay.

    Args:
        connected: The addresses of all clients, this one included.
        most: As many as there may be.
    """
    addresses = list(connected)
    if is_this_computer(address):
        return max(0, len(addresses) - most), too_many_in_all()
    network = network_of(address)
    others = Counter(network_of(one) for one in addresses if not is_this_computer(one))
    if others[network] > MAX_PER_ADDRESS:
        return others[network] - MAX_PER_ADDRESS, too_many_from(address)
    return max(0, others.total() - most // 2), too_many_in_all()


class Crowd:
    """Counts what goes on, of one event loop: requests that are answered, streams and WebSockets that are open."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._held_bytes = 0
        #: Code of a refusal → when it may be warned of again.
        self._quiet_until: dict[str, float] = {}

    @contextmanager
    def from_address(self, address: str) -> Generator[None]:
        """While the body runs, somebody from there is being answered. This computer is not counted.

        Raises:
            Crowded: they may not be.
        """
        if is_this_computer(address):
            yield
            return
        in_all = self._counted(("all", ""), MAX_CONNECTIONS // 2, too_many_in_all())
        with self._counted(("address", network_of(address)), MAX_PER_ADDRESS, too_many_from(address)), in_all:
            yield

    @contextmanager
    def of_user(self, user: User, address: str) -> Generator[None]:
        """While the body runs, a user is being answered. An admin at this computer is not counted, nor who has no name.

        Raises:
            Crowded: they may not be.
        """
        if not user.name or (user.is_admin and is_this_computer(address)):
            yield
            return
        hint = f"Close some pages or programs, or come back in {RETRY_S} seconds."
        problem = f"The user '{user.name}' has too many connections open here."
        with self._counted(("user", user.name), MAX_PER_USER, Crowded(problem, hint)):
            yield

    @contextmanager
    def bodies(self, address: str) -> Generator[Callable[[int], None]]:
        """What is to be told of every piece of a body from there; all of it is kept until this ends.

        It raises `Crowded` where others than this computer would fill the memory.
        """
        kept = 0

        def keep(size: int) -> None:
            nonlocal kept
            if self._held_bytes + size > MAX_HELD_BYTES and not is_this_computer(address):
                raise self._refused(too_many_in_all())
            self._held_bytes += size
            kept += size

        try:
            yield keep
        finally:
            self._held_bytes -= kept

    @contextmanager
    def _counted(self, key: tuple[str, str], most: int, refusal: Crowded) -> Generator[None]:
        if self._counts[key] >= most:
            raise self._refused(refusal)
        self._counts[key] += 1
        try:
            yield
        finally:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def _refused(self, refusal: Crowded) -> Crowded:
        if (now := time.monotonic()) >= self._quiet_until.get(refusal.code, 0.0):
            self._quiet_until[refusal.code] = now + _WARN_EVERY_S
            logger.warning("refused: %s", refusal.problem)
        return refusal


def make_room(wanted: int = MAX_CONNECTIONS) -> int:
    """Let this process open files for that many connections; how many it may have then.

    The system's usual 1024 files, and 256 on macOS, are for programs that use ``select``; nothing here does.
    """
    if sys.platform == "win32":  # counts no files
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    goal = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with suppress(ValueError, OSError):  # a system with a lower limit that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
        soft = goal
    room = max(soft - OWN_FILES, soft // 4)
    if room < wanted:
        logger.warning("the system lets this program have %d open files, so %d connections at once", soft, room)
    return min(room, wanted)


def as_bytes(error: FooocusError, **headers: str) -> bytes:
    """A whole answer in HTTP/1.1, for where there is no request yet that it could be the answer to."""
    status = HTTPStatus(error.http_status)
    body = json.dumps(error.to_dict()).encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        "Connection: close",
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
