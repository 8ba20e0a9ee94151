"""Who is logged in: over restarts, until the time, the password or the user is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fooocus_lite.sessions import LASTS_S, MAX_PER_USER, MAX_SESSIONS, Sessions
from fooocus_lite.settings import load_settings
from fooocus_lite.users import Users
from fooocus_lite.users_file import UserRow, UsersFile, change_users, users_path

#: Two passwords' hashes of the stored form; what they are of does not matter here.
ONE, OTHER = (f"$scrypt$ln=1,r=1,p=1${'A' * 22}${letter * 42}A" for letter in "AB")


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class People:
    folder: Path
    users: Users = field(init=False)

    def __post_init__(self) -> None:
        self.settings = load_settings({"data_dir": str(self.folder)}, env={}, root=self.folder)
        self.users = Users(self.settings)

    def are(self, *rows: UserRow) -> None:
        change_users(users_path(self.settings), lambda old: UsersFile(users=rows))


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    made = People(tmp_path)
    made.are(UserRow(name="ana", password=ONE, created_at=0.0), UserRow(name="ben", password=ONE, created_at=0.0))
    yield made


def opened(people: People, sessions: Sessions, name: str = "ana") -> str:
    user = people.users.find(name)
    assert user
    return sessions.open(user)


def test_a_session_is_whose_it_is_also_after_a_restart(people: People) -> None:
    sessions = Sessions(people.folder, people.users)
    ana, ben = opened(people, sessions), opened(people, sessions, "ben")
    for known in (sessions, Sessions(people.folder, people.users)):
        found = [known.find(token) for token in (ana, ben, "", "made up", ana + "x", "\ud800")]
        assert [user and user.name for user in found] == ["ana", "ben", None, None, None, None]


def test_it_ends_when_it_is_closed(people: People) -> None:
    sessions = Sessions(people.folder, people.users)
    token = opened(people, sessions)
    sessions.close(token)
    sessions.close(token)
    assert sessions.find(token) is None and Sessions(people.folder, people.users).find(token) is None


def test_it_ends_with_its_time(people: People) -> None:
    clock = Clock()
    sessions = Sessions(people.folder, people.users, now=clock)
    token = opened(people, sessions)
    clock.now += LASTS_S - 1
    assert sessions.find(token)
    clock.now += 1
    assert sessions.find(token) is None


def test_it_ends_with_the_password_and_with_the_user(people: People) -> None:
    sessions = Sessions(people.folder, people.users)
    ana, ben = opened(people, sessions), opened(people, sessions, "ben")
    people.are(UserRow(name="ana", password=OTHER, created_at=0.0))
    assert sessions.find(ana) is None and sessions.find(ben) is None


def test_an_admin_who_is_none_any_more_is_none_at_once(people: People) -> None:
    people.are(UserRow(name="ana", password=ONE, created_at=0.0, is_admin=True))
    sessions = Sessions(people.folder, people.users)
    token = opened(people, sessions)
    assert (found := sessions.find(token)) and found.is_admin
    people.are(UserRow(name="ana", password=ONE, created_at=0.0))
    assert (found := sessions.find(token)) and not found.is_admin


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sessions": {"x": 1}}', "\xff", '{"sessions": ' + "[" * 50_000])
def test_a_damaged_file_lets_nobody_in_and_stops_nothing(people: People, text: str) -> None:
    sessions = Sessions(people.folder, people.users)
    token = opened(people, sessions)
    (people.folder / "sessions.json").write_bytes(text.encode("latin-1"))
    again = Sessions(people.folder, people.users)
    assert again.find(token) is None
    assert again.find(opened(people, again))


def test_there_are_never_more_than_so_many(people: People) -> None:
    names = [f"user{number}" for number in range(MAX_SESSIONS // MAX_PER_USER * 2)]
    people.are(*(UserRow(name=name, password=ONE, created_at=0.0) for name in ("ana", *names)))
    sessions = Sessions(people.folder, people.users)
    first = opened(people, sessions)
    one = json.loads((people.folder / "sessions.json").read_text())["sessions"].popitem()[1]
    many = {
        f"{number:064x}": one | {"name": name, "mark": people.users.mark(name)}
        for number, name in enumerate(names * (MAX_SESSIONS // len(names)))
    }
    assert len(many) == MAX_SESSIONS
    (people.folder / "sessions.json").write_text(json.dumps({"sessions": many}))
    full = Sessions(people.folder, people.users)
    newest = opened(people, full)
    assert full.find(newest) and full.find(first) is None
    assert len(json.loads((people.folder / "sessions.json").read_text())["sessions"]) == MAX_SESSIONS


def test_who_logs_in_often_logs_out_nobody_but_themselves(people: People) -> None:
    sessions = Sessions(people.folder, people.users)
    ben = opened(people, sessions, "ben")
    anas = [opened(people, sessions) for _ in range(MAX_PER_USER + 3)]
    assert sessions.find(ben)
    assert [bool(sessions.find(token)) for token in anas] == [False] * 3 + [True] * MAX_PER_USER


def test_where_all_are_too_many_whoever_has_the_most_loses_one(people: People) -> None:
    names = [f"user{number}" for number in range(MAX_SESSIONS // MAX_PER_USER)]
    people.are(*(UserRow(name=name, password=ONE, created_at=0.0) for name in ("ana", "ben", *names)))
    sessions = Sessions(people.folder, people.users)
    ben = opened(people, sessions, "ben")  # the oldest of all
    one = json.loads((people.folder / "sessions.json").read_text())["sessions"]
    (row,) = one.values()
    many = one | {
        f"{number:064x}": row | {"name": name, "mark": people.users.mark(name)}
        for number, name in enumerate(names * MAX_PER_USER)
    }
    (people.folder / "sessions.json").write_text(json.dumps({"sessions": dict(list(many.items())[:MAX_SESSIONS])}))
    full = Sessions(people.folder, people.users)
    ana = opened(people, full)
    assert full.find(ben) and full.find(ana)
    kept = json.loads((people.folder / "sessions.json").read_text())["sessions"]
    assert len(kept) == MAX_SESSIONS
    assert f"{0:064x}" not in kept and f"{1:064x}" in kept, "the oldest of one who has many"
