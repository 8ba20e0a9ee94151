"""Which addresses a webhook may go to, and its signature, by the specification's own example."""

from __future__ import annotations

import base64

import pytest

from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.webhook_rules import ensure_allowed, may_lead_to, parse_address, parse_allowed, parse_secret, sign

ALLOWED = parse_allowed("https://hooks.example.org/fooocus, http://10.0.0.5:90, http://[::1]:9000/a/")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/fooocus",
        "https://hooks.example.org:443/fooocus/done?key=1",
        "HTTPS://Hooks.Example.ORG/fooocus/",
        "http://10.0.0.5:90",
        "http://10.0.0.5:90/any/where",
        "http://[::1]:9000/a/b",
    ],
)
def test_what_begins_as_the_setting_says_is_allowed(url: str) -> None:
    ensure_allowed(parse_address(url), ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/fooocus",
        "https://hooks.example.org/fooocus-and-more",
        "https://hooks.example.org/",
        "https://hooks.example.org.evil.example/fooocus",
        "https://hooks.example.org:444/fooocus",
        "http://10.0.0.5:9000/",
        "http://10.0.0.50:90/",
        "http://[::1]:9000/ab",
        "http://0x0a000005:90/",
        "http://localhost:9000/a/",
    ],
)
def test_everything_else_is_forbidden(url: str) -> None:
    with pytest.raises(FooocusError) as caught:
        ensure_allowed(parse_address(url), ALLOWED)
    assert caught.value.code == "forbidden" and url not in str(caught.value)
    with pytest.raises(FooocusError):
        ensure_allowed(parse_address(url), parse_allowed(""))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.org/fooocus",
        "ftp://hooks.example.org/fooocus",
        "file:///etc/passwd",
        "https:///fooocus",
        "https://hooks.example.org/fooocus/../admin",
        "https://hooks.example.org/fooocus/%2e%2E/admin",
        "https://hooks.example.org/fooocus/..%2fadmin",
        "https://hooks.example.org/fooocus/..%5cadmin",
        "https://hooks.example.org\\@evil.example/fooocus",
        "https://hooks.example.org@evil.example/fooocus",
        "https://somebody:secret@hooks.example.org/fooocus",
        "https://hooks.example.org/fooocus#here",
        "https://hooks.example.org/foo ocus",
        "https://hooks.example.org/fooocus\r\nX-Evil: 1",
        "https://hooks.exämple.org/fooocus",
        "https://hooks.example.org:99999/fooocus",
        "https://[::1/fooocus",
        "https://hooks.example.org/" + "x" * 2000,
    ],
)
def test_what_could_be_read_in_two_ways_is_no_address(url: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_address(url)
    assert caught.value.field == "Webhook-Url"


@pytest.mark.parametrize(
    ("host", "ip", "may"),
    [
        ("hooks.example.org", "93.184.215.14", True),
        ("hooks.example.org", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("hooks.example.org", "127.0.0.1", False),
        ("hooks.example.org", "10.0.0.5", False),
        ("hooks.example.org", "169.254.169.254", False),
        ("hooks.example.org", "100.64.0.1", False),
        ("hooks.example.org", "0.0.0.0", False),
        ("hooks.example.org", "224.0.0.1", False),
        ("hooks.example.org", "::1", False),
        ("hooks.example.org", "fe80::1%eth0", False),
        ("hooks.example.org", "fd00::1", False),
        ("hooks.example.org", "::ffff:127.0.0.1", False),
        ("hooks.example.org", "2002:7f00:1::", False),
        ("hooks.example.org", "64:ff9b::10.0.0.5", False),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("localhost", "127.0.0.1", True),
        ("localhost", "::1", True),
        ("localhost", "10.0.0.5", False),
        ("localhost.example.org", "127.0.0.1", False),
    ],
)
def test_a_name_of_the_internet_leads_into_the_internet(host: str, ip: str, may: bool) -> None:
    assert may_lead_to(host, ip) is may


def test_the_signature_of_the_specification_s_example() -> None:
    key = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "a file")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "secret",
    [
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_kurz",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_a_secret_that_is_none_is_not_repeated(secret: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_secret(secret, "FOOOCUS_WEBHOOK_SECRET")
    assert "FOOOCUS_WEBHOOK_SECRET" in str(caught.value)
    assert secret.removeprefix("whsec_")[:6] not in str(caught.value) or secret == "whsec_"


@pytest.mark.parametrize(
    "setting",
    [
        "https://hooks.example.org/fooocus?key=1",
        "https://hooks.example.org/?",
        "http://10.0.0.5:90, https://hooks.example.org?key=1",
        "https://ana:secret@hooks.example.org/fooocus",
        "https://ana@hooks.example.org",
    ],
)
def test_a_setting_that_could_never_match_is_refused(setting: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_allowed(setting)
    assert caught.value.field == "webhooks" and caught.value.hint
    assert "key=1" not in str(caught.value) and "secret" not in str(caught.value)
