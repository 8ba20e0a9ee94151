"""Which names the server answers to, and whose pages may talk to it.

Every website that a person visits runs in the same browser as our page. What it sends carries its own ``Origin``; and
when it has its own name point at this machine (DNS rebinding), the name it came under in ``Host``.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Scope

from fooocus_lite.errors import FooocusError
from fooocus_lite.settings import Settings

#: Browsers never ask anybody for these (RFC 6761, WHATWG URL), so no website can have them.
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
ALL_ADDRESSES = frozenset({"0.0.0.0", "::", ""})
#: What a container calls the machine it runs on. Outside of Docker it is a name like any other: whoever answers the
#: DNS questions of a network can have it. So it is answered to where that is of no use, or where the owner says so.
DOCKER_HOST = "host.docker.internal"
#: Pages that a link on another website may lead to: nothing happens by that, and nobody else can read them.
PAGES = frozenset({"/", "/docs", "/login"})
#: What a form of any website can send without asking first; programs send JSON.
FORMS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
#: Where programs send files, in such a form or under any type.
TAKE_FORMS = ("/v1/read", "/v1/images/")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", re.ASCII)


class Origins:
    """Tells our own pages and programs from those of others.

    Args:
        is_closed: Whether nobody gets in without a password. Then a name that points here by fraud wins nothing: the
            browser keeps passwords and cookies per name.
    """

    def __init__(self, settings: Settings, is_closed: Callable[[], bool]) -> None:
        self._settings = settings
        self._is_closed = is_closed
        self._host = settings.host.casefold()
        own = socket.gethostname().casefold()
        self._with_password = {DOCKER_HOST, own, f"{own}.local"}
        self._allowed = [name.strip().casefold() for name in settings.allowed_hosts.split(",") if name.strip()]

    def check(self, scope: Scope) -> None:
        """Let a request pass that is ours.

        Raises:
            FooocusError: another website sent it, or one came to us under a name that is not ours.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "").casefold()
        if not self._is_ours(_name_in(host)):
            shown = _printable(host)
            hint = "Open it as http://127.0.0.1 with its port"
            hint += f", or name it at the start: --allowed-hosts {_name_in(host)}." if _name_in(host) else "."
            raise FooocusError(f"This program does not answer to the name '{shown}'.", hint, code="forbidden")
        if _is_foreign(headers, host) and not _is_visit(scope, headers):
            raise FooocusError("Another website may not use this program.", "Open its own page.", code="forbidden")
        if "origin" not in headers and _is_form(scope, headers):
            problem = "A form of another website may not be sent here."
            raise FooocusError(problem, "Programs send `Content-Type: application/json`.", code="forbidden")

    def _is_ours(self, name: str) -> bool:
        if name in ALL_ADDRESSES:
            return False
        if name in LOCAL_NAMES or name == self._host or any(_matches(name, one) for one in self._allowed):
            return True
        if self._host in ALL_ADDRESSES and _is_address(name):
            return True  # a number is no name, so nobody can have it point elsewhere
        return self._is_closed() and (self._settings.share or name in self._with_password)


def is_https(scope: Scope) -> bool:
    """Whether the browser came by https: a proxy on this machine says so, or the browser itself in its Origin."""
    return scope.get("scheme") in ("https", "wss") or Headers(scope=scope).get("origin", "").startswith("https://")


def is_trustworthy(scope: Scope) -> bool:
    """Whether browsers take the page for one that nobody can have changed on its way (W3C Secure Contexts)."""
    return is_https(scope) or _name_in(Headers(scope=scope).get("host", "").casefold()) in LOCAL_NAMES


def _name_in(host: str) -> str:
    """The name in a Host header, without port; empty when it is no host."""
    found = _HOST.fullmatch(host)
    return (found.group(1) or found.group(2)) if found else ""


def _matches(name: str, allowed: str) -> bool:
    return name.endswith(allowed[1:]) if allowed.startswith("*.") else name == allowed


def _is_address(name: str) -> bool:
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def _is_foreign(headers: Headers, host: str) -> bool:
    """Whether a browser says that a page of another origin sends this. A port of the same machine is another."""
    origin = headers.get("origin")
    if origin is not None and origin.casefold() not in (f"http://{host}", f"https://{host}"):
        return True
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """A person followed a link to a page of ours, in a window of its own."""
    is_page = scope["path"] in PAGES and scope.get("method") == "GET" and "origin" not in headers
    is_window = headers.get("sec-fetch-dest", "document") == "document"
    return is_page and is_window and headers.get("sec-fetch-mode") == "navigate"


def _is_form(scope: Scope, headers: Headers) -> bool:
    """What browsers that say no Origin could be made to send."""
    is_change = scope.get("method", "GET") not in SAFE_METHODS
    return (
        is_change
        and headers.get("content-type", "").casefold().startswith(FORMS)
        and not scope["path"].startswith(TAKE_FORMS)
    )


def _printable(host: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in host[:80])
