"""Which names are answered to, by how the server was started; and how often a password may be tried."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fooocus_lite.addresses import network_of
from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.settings import load_settings
from fooocus_lite.web.origins import Origins
from fooocus_lite.web.throttle import Throttle

ALWAYS = ("127.0.0.1", "localhost", "[::1]", "LocalHost")
NEVER = ("", "0.0.0.0", "[::]", "127.0.0.1.evil.example", "evil@127.0.0.1", "2130706433", "localhost.", "x y", "[::1")
OWN = socket.gethostname()


def answered(folder: Path, *names: str, is_closed: bool = False, **given: object) -> list[str]:
    origins = Origins(load_settings(given, env={}, root=folder), lambda: is_closed)
    found: list[str] = []
    for name in names:
        headers = [(b"host", f"{name}:7865".encode())] if name else []
        try:
            origins.check({"type": "http", "method": "GET", "path": "/v1/menu", "headers": headers})
        except FooocusError as exc:
            assert exc.code == "forbidden"
        else:
            found.append(name)
    return found


FOREIGN = ("192.168.1.20", "host.docker.internal", OWN, f"{OWN}.local", "pictures.example.org", "evil.example")


@pytest.mark.parametrize(
    ("given", "welcome"),
    [
        ({}, ()),
        ({"allowed_hosts": "pictures.example.org, host.docker.internal"}, (FOREIGN[1], FOREIGN[4])),
        ({"allowed_hosts": "*.example.org"}, (FOREIGN[4],)),
        ({"host": "192.168.1.20"}, FOREIGN[:1]),
        ({"host": "0.0.0.0"}, FOREIGN[:1]),
        ({"is_closed": True}, FOREIGN[1:4]),
        ({"listen": True, "is_closed": True}, FOREIGN[:4]),
    ],
    ids=str,
)
def test_names(tmp_path: Path, given: dict[str, object], welcome: tuple[str, ...]) -> None:
    assert answered(tmp_path, *ALWAYS, *NEVER, *FOREIGN, **given) == [*ALWAYS, *welcome]  # type: ignore[arg-type]


def test_who_shares_answers_to_any_name_as_all_log_in(tmp_path: Path) -> None:
    found = answered(tmp_path, *ALWAYS, *NEVER, *FOREIGN, share=True, is_closed=True)
    assert {*ALWAYS, *FOREIGN} <= set(found)
    assert not {"", "0.0.0.0", "[::]", "evil@127.0.0.1", "x y", "[::1"} & set(found)


def test_a_pattern_is_not_its_own_end(tmp_path: Path) -> None:
    names = ("a.example.org", "b.a.example.org", "example.org", "evilexample.org", "a.example.org.evil.example")
    assert answered(tmp_path, *names, allowed_hosts="*.example.org") == ["a.example.org", "b.a.example.org"]


@pytest.mark.parametrize("wrong", ["*", "*.", "http://x", "a b", "x:7865", "a,,b", "a/b", "*x.org"])
def test_what_is_no_name_is_not_allowed(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(BadValue):
        load_settings({"allowed_hosts": wrong}, env={}, root=tmp_path)


def test_listening_is_for_all_addresses_unless_one_is_named(tmp_path: Path) -> None:
    settings = load_settings({"listen": True}, env={}, root=tmp_path)
    assert (settings.host, settings.sources["host"], settings.is_for_others) == ("0.0.0.0", "--listen", True)
    settings = load_settings({"listen": True, "host": "192.168.1.20"}, env={}, root=tmp_path)
    assert (settings.host, settings.is_for_others) == ("192.168.1.20", True)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert not load_settings({"host": host}, env={}, root=tmp_path).is_for_others
    assert load_settings({"share": True}, env={}, root=tmp_path).is_for_others


def test_tries_run_out_and_come_back() -> None:
    now = [0.0]
    throttle = Throttle(3, 10.0, now=lambda: now[0])
    assert [throttle.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]
    assert throttle.take("b") == 0.0, "others have their own"
    now[0] = 4.0
    assert throttle.take("a") == 6.0, "it says honestly how long"
    now[0] = 10.0
    assert [throttle.take("a"), throttle.take("a")] == [0.0, 10.0]
    throttle.give_back("a")
    assert throttle.take("a") == 0.0
    now[0] = 1000.0
    assert [throttle.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 10.0], "never more than a bucket full"


def test_a_throttle_keeps_only_so_many() -> None:
    now = [0.0]
    throttle = Throttle(1, 1000.0, now=lambda: now[0])
    for number in range(10_050):
        now[0] += 0.001
        throttle.take(f"address {number}")
    assert throttle.take("address 10049") > 0.0
    assert len(vars(throttle)["_full_at"]) <= 10_000


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "somewhere", False),
    ],
)
def test_what_one_person_has_of_addresses(one: str, other: str, are_one: bool) -> None:
    assert (network_of(one) == network_of(other)) == are_one
