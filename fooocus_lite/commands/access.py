"""What a server says of itself when it starts: where it is, for whom, and the password that it made up."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import psutil

from fooocus_lite.settings import Settings
from fooocus_lite.users import ADMIN, Users

_MOST = 4


def welcome(address: str, settings: Settings, users: Users) -> Iterator[str]:
    """Lines for the terminal; makes up a password where others can come in and there are no users.

    Args:
        address: Where this machine's own browser finds the page.
    """
    port = int(address.rsplit(":", 1)[1])
    if port != settings.port:
        yield f"Port {settings.port} is taken; using {port}."
    yield f"Fooocus Lite is at {address}  (Ctrl+C ends it)"
    if users.problem:
        yield str(users.problem)
    if not settings.is_for_others:
        if users.is_needed:
            yield "Everybody logs in, as there are users."
        return
    if settings.host in ("0.0.0.0", "::"):
        for own in own_addresses():
            yield f"  on other devices of your network: http://{own}:{port}"
    if settings.share:
        yield "  nothing goes to the internet by itself. A tunnel program on this machine makes a way there, such as"
        yield f"  `tailscale serve {port}` or `cloudflared tunnel --url {address}`; docs/safety.md says more."
    if users.is_needed:
        yield "Everybody logs in."
    else:
        yield f"Log in as {ADMIN} with the password  {users.mint()}"
        yield "  It holds until this ends. `python3 launch.py users add NAME` makes users that stay."


def own_addresses() -> list[str]:
    """This machine's addresses in networks, the way out first; no packet is sent to find it."""
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_out:
        try:
            way_out.connect(("192.0.2.1", 9))  # an address of nobody (RFC 5737): UDP sends nothing yet
            found.append(way_out.getsockname()[0])
        except OSError:
            pass  # no network, or none that leads out
    for name, addresses in psutil.net_if_addrs().items():
        is_virtual = name.startswith(("docker", "br-", "veth", "virbr", "vEthernet"))
        found += [one.address for one in addresses if one.family == socket.AF_INET and not is_virtual]
    return [one for one in dict.fromkeys(found) if _is_of_a_network(one)][:_MOST]


def _is_of_a_network(address: str) -> bool:
    number = ipaddress.ip_address(address)
    return not (number.is_loopback or number.is_link_local or number.is_unspecified)
