"""Which addresses may be told that a picture is done, and how a message proves where it comes from.

Messages follow https://www.standardwebhooks.com; addresses are compared part by part, never as text: what begins with
``http://10.0.0.5:90`` would otherwise also begin ``http://10.0.0.5:9000`` and ``http://10.0.0.5:90@elsewhere``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.settings import SETTINGS

MAX_ADDRESS_CHARS = 2000
SECRET_PREFIX = "whsec_"
#: Key lengths that the specification asks for.
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
PORTS = {"http": 80, "https": 443}
#: IPv4 addresses inside IPv6 ones, for networks without IPv4: RFC 6052.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Address:
    """A web address, taken apart.

    Attributes:
        host: Lower case, an IPv6 address without its brackets.
        rest: Path and query, as they are sent.
    """

    scheme: str
    host: str
    port: int
    rest: str

    @property
    def target(self) -> str:
        """Who is meant, without the path, which may hold somebody's password."""
        return f"{self.scheme}://{bracketed(self.host)}:{self.port}"

    @property
    def host_header(self) -> str:
        """As a client that was given the whole address would name the host."""
        shown = bracketed(self.host)
        return shown if self.port == PORTS[self.scheme] else f"{shown}:{self.port}"

    def at(self, ip: str) -> str:
        """The whole address, its host written as a number."""
        return f"{self.scheme}://{bracketed(ip)}:{self.port}{self.rest}"


def bracketed(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def parse_address(text: str, field: str = "Webhook-Url") -> Address:
    """The parts of an address.

    Raises:
        BadValue: it is none, or could be read in more than one way.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    sound = len(text) <= MAX_ADDRESS_CHARS and re.fullmatch(r"[!-~]+", text) and not set(text) & set("\\@#")
    if not sound or parts.scheme not in PORTS or not parts.hostname or _climbs(parts.path):
        problem = "The address for the webhook cannot be used."
        raise BadValue(problem, "Write it as https://example.org/path, without a name or password.", field=field)
    rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.scheme, parts.hostname.lower(), port or PORTS[parts.scheme], rest)


def _climbs(path: str) -> bool:
    steps = [unquote(step) for step in path.split("/")]
    return any(step in (".", "..") or "/" in step or "\\" in step for step in steps)


def parse_allowed(setting: str) -> tuple[Address, ...]:
    """The beginnings that the setting `webhooks` lists.

    Raises:
        BadValue: one of them is no address, or more than a beginning.
    """
    return tuple(_parse_beginning(text.strip()) for text in setting.split(",") if text.strip())


def _parse_beginning(text: str) -> Address:
    address = parse_address(text, "webhooks")
    if "?" in text:  # what comes after it belongs to one message
        problem = f"The setting webhooks has an address with a question mark, at {address.target}."
        raise BadValue(problem, "Write only how it begins, as https://example.org/path.", field="webhooks")
    return address


def ensure_allowed(address: Address, allowed: Sequence[Address]) -> None:
    """Raise unless one of ``allowed`` is how ``address`` begins.

    Raises:
        FooocusError: none is.
    """
    if any(_begins(address, beginning) for beginning in allowed):
        return
    row = SETTINGS["webhooks"]
    problem = "This server may not send anything to that address."
    hint = f"Whoever runs it can allow it: {row.flag} with how the address begins."
    raise FooocusError(problem, hint, code="forbidden", field="Webhook-Url")


def _begins(address: Address, beginning: Address) -> bool:
    path, base = address.rest.partition("?")[0], beginning.rest.rstrip("/")
    is_below = path == base or path.startswith(f"{base}/")
    return address.target == beginning.target and is_below


def may_lead_to(host: str, ip: str) -> bool:
    """Whether the allowed ``host`` may be found at ``ip``.

    A number stands for itself, ``localhost`` for this computer; any other name must be found on the internet, so that
    whoever owns the name cannot point it at a machine of this network.
    """
    found = ipaddress.ip_address(ip.partition("%")[0])
    try:
        return found == ipaddress.ip_address(host)
    except ValueError:
        pass
    if host == "localhost":
        return found.is_loopback
    inner = _ipv4_within(found)
    return all(one.is_global and not one.is_multicast for one in (found, inner) if one is not None)


def _ipv4_within(ip: IPAddress) -> IPAddress | None:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def parse_secret(text: str, source: str) -> bytes:
    """The key in a secret such as ``whsec_…``; the error does not repeat it.

    Raises:
        BadValue: it is none.
    """
    try:
        key = base64.b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not text.strip().startswith(SECRET_PREFIX) or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        problem = f"The secret for webhooks in {source} cannot be used."
        hint = f"Write {SECRET_PREFIX} and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes in base64."
        raise BadValue(problem, hint, field="webhooks")
    return key


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature`` of a message."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")
