"""`open_stream`: the bytes of an address, over a connection that another thread can end at once.

Why httpx and not `huggingface_hub.hf_hub_download`: that keeps what has arrived under a name of its own in its own
cache, reads it again over a network that lacks If-Range, cannot be paused in the middle of a read, and takes files of
the hub only. Its own client waits without limit, and is httpx on some Pythons and httpx2 on others. httpx is on all of
them, since the page needs it.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from fooocus_lite.errors import DownloadFailed
from fooocus_lite.untrusted import printable

MAX_REDIRECTS = 10
MAX_ANSWER_BYTES = 32_000_000
_AGAIN = {408, 421, 425, 429, 500, 502, 503, 504}  # statuses that pass by themselves


@dataclass(frozen=True)
class Patience:
    """How long a download waits for a source, and how often it asks again.

    Attributes:
        stall_s: A connection over which nothing came for so long is given up.
        tries: So many in a row without a byte between them, and the download fails.
        first_wait_s: Before the second try; each further wait is twice as long …
        longest_wait_s: … up to this one.
        longest_order_s: A source that asks for a longer pause than this is not waited for.
    """

    stall_s: float = 20.0
    tries: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    longest_order_s: float = 900.0


class Halted(Exception):
    """Another thread wants the download to stop."""


class Broken(Exception):
    """A connection that broke, or a source that is busy: worth another try.

    Attributes:
        wait_s: So long the source wants to be left alone; ``None`` where it did not say.
    """

    def __init__(self, problem: str, wait_s: float | None = None) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


class Halt:
    """What another thread stops a download with, also in the middle of a read that waits."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def set(self) -> None:
        """Stop: whoever reads from one of the connections wakes up."""
        self._event.set()
        with self._lock:
            for connection in self._sockets:
                _shut(connection)

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._event.is_set()

    def check(self) -> None:
        """Raises `Halted` after `set`."""
        if self._event.is_set():
            raise Halted

    def wait(self, seconds: float) -> None:
        """Sleep; raises `Halted` as soon as `set` was called."""
        if self._event.wait(seconds):
            raise Halted

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's trace: keeps hold of every connection that is made."""
        stream = info.get("return_value")
        if not event.endswith(("connect_tcp.complete", "start_tls.complete")) or stream is None:
            return
        connection = stream.get_extra_info("socket")
        with self._lock:
            self._sockets.append(connection)
            if self._event.is_set():
                _shut(connection)

    def forget(self) -> None:
        """The connections are closed."""
        with self._lock:
            self._sockets.clear()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not SSLSocket's own, which would disturb the reader


@contextmanager
def open_stream(
    request: httpx.Request, halt: Halt, patience: Patience, *, allowed: tuple[int, ...] = ()
) -> Generator[httpx.Response]:
    """The answer to ``request``, of status 200, 206 or one of ``allowed``, its body not yet read.

    Redirects are followed; httpx takes the token out of what goes to another host. Proxies and the certificates of
    the system (``SSL_CERT_FILE``) come from the environment.

    Raises:
        Broken: worth another try.
        DownloadFailed: not worth another try.
        Halted: stopped by another thread.
    """
    try:
        with _client(patience) as client:
            request.extensions |= {"trace": halt.watch, "timeout": client.timeout.as_dict()}
            response = _send(client, request, halt)
            try:
                if response.status_code not in (200, 206, *allowed):
                    raise refused(response)
                yield response
            finally:
                response.close()
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        halt.check()
        raise _translated(exc, _asked_host(exc) or request.url.host, patience) from exc
    finally:
        halt.forget()


def _client(patience: Patience) -> httpx.Client:
    try:
        return httpx.Client(timeout=httpx.Timeout(patience.stall_s), follow_redirects=False)
    except (ImportError, ValueError, OSError) as exc:  # a kind of proxy that httpx cannot speak to; no certificates
        hint = "Look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE in the environment."
        raise DownloadFailed(f"The settings of the network cannot be used: {printable(str(exc))[:200]}.", hint) from exc


def _send(client: httpx.Client, request: httpx.Request, halt: Halt) -> httpx.Response:
    for _ in range(MAX_REDIRECTS):
        halt.check()
        response = client.send(request, stream=True)
        following = response.next_request
        if following is None:
            return response
        response.close()
        if following.url.scheme not in ("http", "https") or (request.url.scheme, following.url.scheme) == (
            "https",
            "http",
        ):
            raise DownloadFailed(
                f"{request.url.host} sends us on to an address that is not safe ({following.url.scheme}://…).",
                "Try again later, or fetch the file from another place.",
            )
        request = following
    raise DownloadFailed(f"{request.url.host} sends us from one address to the next.", "Try again later.")


def refused(response: httpx.Response) -> Exception:
    """What a status that is no success means."""
    status, host = response.status_code, response.url.host
    words = f"{status} {_phrase(status)}".strip()
    if status in _AGAIN:
        return Broken(f"{host} is busy ({words}).", retry_after_s(response.headers.get("Retry-After", "")))
    if status in (401, 403):
        hint = "If it asks for an account, fetch the file with your browser and put it into the models folder."
        return DownloadFailed(f"{host} does not hand the file out ({words}).", hint)
    if status in (404, 410):
        hint = "It may have been moved or withdrawn: look at its page, or choose another model."
        return DownloadFailed(f"{host} does not have the file ({words}).", hint)
    return DownloadFailed(f"{host} refuses the download ({words}).", "Try again later.")


def _phrase(status: int) -> str:
    with suppress(ValueError):
        return HTTPStatus(status).phrase
    return ""


def retry_after_s(text: str) -> float | None:
    """Seconds of a Retry-After header, which says a number or a date; ``None`` if it says neither."""
    if text.strip().isdecimal():
        return float(text)
    with suppress(ValueError, TypeError, IndexError):
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    return None


def _translated(exc: Exception, host: str, patience: Patience) -> Exception:
    """What went wrong with a connection, in words; never with the address, which may hold a signature."""
    causes = _causes(exc)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        hint = "Check this computer's clock; behind a company's proxy, set SSL_CERT_FILE to its certificate."
        return DownloadFailed(f"{host} cannot prove that it is {host}: its certificate is not valid here.", hint)
    if isinstance(exc, (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
        return DownloadFailed("The address of the file is not valid.", "It must begin with https://.")
    if isinstance(exc, httpx.ConnectTimeout):
        return Broken(f"{host} does not answer.")
    if isinstance(exc, httpx.TimeoutException):
        return Broken(f"{host} has sent nothing for {patience.stall_s:g} seconds.")
    if isinstance(exc, httpx.ProxyError):
        return Broken(f"The proxy does not let us reach {host} ({printable(str(exc))[:100]}).")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Broken(f"{host} cannot be found; this computer may be offline.")
    if isinstance(exc, httpx.ConnectError):
        return Broken(f"{host} cannot be reached.")
    return Broken(f"The connection to {host} broke.")


def _asked_host(exc: Exception) -> str:
    """The host that the error is about: after a redirect, not the first one."""
    try:
        return exc.request.url.host if isinstance(exc, httpx.RequestError) else ""
    except RuntimeError:  # it does not know
        return ""


def _causes(exc: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while exc is not None and exc not in found:
        found.append(exc)
        exc = exc.__cause__ or exc.__context__
    return found


def read_answer(response: httpx.Response) -> bytes:
    """The body of a short answer.

    Raises:
        DownloadFailed: it does not end.
    """
    data = b""
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise DownloadFailed(f"{response.url.host} gives an answer without end.", "Try again later.")
    return data
