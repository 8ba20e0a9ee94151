"""Who asks, found in what a request carries: beside cookies of others, and while passwords change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.types import Scope

from fooocus_lite.sessions import Sessions
from fooocus_lite.settings import load_settings
from fooocus_lite.user import User
from fooocus_lite.users import Users
from fooocus_lite.users_edit import add_key, add_user, remove_key, remove_user, set_admin, set_password
from fooocus_lite.users_file import users_path
from fooocus_lite.web.credentials import TRIES_PER_NAME, Credentials, NotLoggedIn
from fooocus_lite.web.throttle import TooManyTries
from fooocus_lite.web.who import IsStill
from tests.app.closed import basic

WORD, OTHER = "plain words", "other words"


@dataclass
class Door:
    path: Path
    users: Users
    sessions: Sessions
    credentials: Credentials

    def name(self, **headers: str) -> str:
        """Who sends a request with these headers."""
        return self.found(**headers)[0].name

    def found(self, **headers: str) -> tuple[User, IsStill]:
        """Who that is, and whether they still are."""
        return asyncio.run(self.credentials.find(scope(**headers)))


def scope(**headers: str) -> Scope:
    sent = [(name.lower().replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": sent, "client": ("192.0.2.7", 1)}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    settings = load_settings({"data_dir": str(tmp_path)}, env={}, root=tmp_path)
    add_user(users_path(settings), "Ana", WORD)
    users = Users(settings)
    sessions = Sessions(tmp_path, users)
    yield Door(users_path(settings), users, sessions, Credentials(users, sessions, tmp_path))


@pytest.mark.parametrize(
    "other", ['theme={"dark":true}', "list[0]=1", "mail=ana@home", "flag", "a@b=1", 'half="quoted', "é=1", "a=1; "]
)
def test_cookies_of_other_programs_log_nobody_out(door: Door, other: str) -> None:
    ana = door.users.find("Ana")
    assert ana
    ours = f"{door.credentials.cookie}={door.sessions.open(ana)}"
    assert door.name(cookie=f"{other}; {ours}") == door.name(cookie=f"{ours}; {other}") == "Ana"


def test_what_stays_open_ends_with_what_it_was_opened_by(door: Door) -> None:
    add_user(door.path, "Ben", WORD)
    ben, key = door.users.find("Ben"), add_key(door.path, "Ben", "laptop")
    assert ben
    tokens = [door.sessions.open(ben) for _ in range(2)]
    by_session, by_other = (door.found(cookie=f"{door.credentials.cookie}={token}")[1] for token in tokens)
    by_key, by_key_as_password = door.found(x_api_key=key)[1], door.found(**basic("Ben", key))[1]
    by_password = door.found(**basic("Ben", WORD))[1]
    ways = [by_session, by_other, by_key, by_key_as_password, by_password]
    assert [is_still() for is_still in ways] == [True] * 5
    door.sessions.close(tokens[0])
    assert [is_still() for is_still in ways] == [False, True, True, True, True]
    remove_key(door.path, "Ben", "laptop")
    assert [is_still() for is_still in ways] == [False, True, False, False, True]
    set_password(door.path, "Ben", OTHER)
    assert [is_still() for is_still in ways] == [False] * 5
    anew = door.found(**basic("Ben", OTHER))[1]
    set_admin(door.path, "Ben", is_admin=True)
    assert not anew() and door.found(**basic("Ben", OTHER))[1]()
    remove_user(door.path, "Ana")
    assert door.name(**basic("Ben", OTHER)) == "Ben"


def test_a_password_that_is_changed_while_it_is_looked_at_is_no_password_any_more(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = door.users.find_by_password

    def look_and_change(name: str, password: str) -> User | None:
        found = look(name, password)
        if password == WORD and look(name, OTHER) is None:
            set_password(door.path, "Ana", OTHER)  # by somebody else, just now
        return found

    monkeypatch.setattr(door.users, "find_by_password", look_and_change)
    for _ in range(2):  # the second time it is remembered
        with pytest.raises(NotLoggedIn):
            door.name(**basic("Ana", WORD))
    assert door.name(**basic("Ana", OTHER)) == "Ana"


def test_strangers_who_try_a_name_lock_out_each_other_and_not_who_sits_here(door: Door) -> None:
    with pytest.raises(TooManyTries):
        for number in range(10 * TRIES_PER_NAME):  # while it goes on, a try may come back
            with suppress(NotLoggedIn):
                asyncio.run(door.credentials.find_by_password("Ana", f"wrong {number}", f"198.51.{number}.1"))
    assert asyncio.run(door.credentials.find_by_password("Ana", WORD, "127.0.0.1")).name == "Ana"
