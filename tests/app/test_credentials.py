"""Who asks, found in what a request carries: beside cookies of others, and while passwords change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.types import Scope

from fooocus_lite.sessions import Sessions
from fooocus_lite.settings import load_settings
from fooocus_lite.users import Users
from fooocus_lite.users_edit import add_user
from fooocus_lite.users_file import users_path
from fooocus_lite.web.credentials import Credentials

WORD, OTHER = "plain words", "other words"


@dataclass
class Door:
    path: Path
    users: Users
    sessions: Sessions
    credentials: Credentials

    def name(self, **headers: str) -> str:
        """Who sends a request with these headers."""
        return asyncio.run(self.credentials.find(scope(**headers))).name


def scope(**headers: str) -> Scope:
    return {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}


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
