"""What a server says of itself when it starts."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from fooocus_lite.commands.access import own_addresses, welcome
from fooocus_lite.settings import load_settings
from fooocus_lite.users import Users
from fooocus_lite.users_file import UserRow, UsersFile, change_users, users_path

AT = "http://127.0.0.1:7865"


def said(folder: Path, *, has_users: bool = False, **given: object) -> tuple[str, Users]:
    settings = load_settings({"data_dir": str(folder)} | given, env={}, root=folder)
    if has_users:
        row = UserRow(name="ana", password=f"$scrypt$ln=1,r=1,p=1${'A' * 22}${'A' * 43}", created_at=0.0)
        change_users(users_path(settings), lambda old: UsersFile(users=(row,)))
    users = Users(settings)
    return "\n".join(welcome(AT, settings, users)), users


def test_alone_it_says_where_it_is(tmp_path: Path) -> None:
    text, users = said(tmp_path)
    assert text == f"Fooocus Lite is at {AT}  (Ctrl+C ends it)" and not users.is_needed


@pytest.mark.parametrize(
    "given", [{"listen": True}, {"share": True}, {"host": "0.0.0.0"}, {"host": "192.168.1.20"}], ids=str
)
def test_others_come_in_with_a_password_only(tmp_path: Path, given: dict[str, object]) -> None:
    text, users = said(tmp_path, **given)
    password = text.partition("with the password  ")[2].partition("\n")[0]
    assert users.is_needed
    assert (found := users.find_by_password("admin", password)) and found.is_admin
    assert password not in said(tmp_path, **given)[0], "another at every start"


def test_where_there_are_users_no_password_is_made_up(tmp_path: Path) -> None:
    for given in ({}, {"listen": True}, {"share": True}):
        text, users = said(tmp_path, has_users=True, **given)
        assert "Everybody logs in" in text and "password" not in text
        assert users.find("admin") is None


def test_another_port_is_said_first(tmp_path: Path) -> None:
    assert said(tmp_path, port=7000)[0].startswith("Port 7000 is taken; using 7865.\nFooocus Lite is at ")


def test_its_addresses_are_those_that_others_reach() -> None:
    for own in own_addresses():
        number = ipaddress.ip_address(own)
        assert not number.is_loopback and not number.is_link_local
