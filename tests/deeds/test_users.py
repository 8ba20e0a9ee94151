"""The list of users: who gets in, who does not, and that a slip never opens the door."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fooocus_lite import passwords
from fooocus_lite.errors import BadFile, BadValue, FooocusError, NotFound
from fooocus_lite.passwords import (
    NOBODYS,
    TODAY,
    hash_of_sha256,
    hash_password,
    is_dated,
    is_password,
    is_stored_password,
    new_key,
    new_password,
)
from fooocus_lite.settings import Settings, load_settings
from fooocus_lite.user import LOCAL, NO_LIMITS, Limits, User
from fooocus_lite.users import Users
from fooocus_lite.users_edit import (
    add_key,
    add_user,
    import_auth,
    remove_key,
    remove_user,
    set_admin,
    set_limits,
    set_password,
)
from fooocus_lite.users_file import UserRow, change_users, read_users, users_path

WORD, OTHER = "correct horse", "battery staple"


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs of another day: real scrypt, and a test that ends today."""
    monkeypatch.setattr(passwords, "TODAY", replace(TODAY, ln=4, p=1))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"data_dir": str(tmp_path)}, env={}, root=tmp_path)


@pytest.fixture
def path(settings: Settings, cheap: None) -> Path:
    return users_path(settings)


def test_a_password_is_kept_as_owasp_recommends() -> None:
    stored = hash_password(WORD)
    assert stored.startswith("$scrypt$ln=15,r=8,p=3$") and TODAY.memory_bytes == 32 << 20
    assert is_password(WORD, stored) and not is_password(OTHER, stored)
    assert stored != hash_password(WORD) and not is_dated(stored)
    assert is_stored_password(NOBODYS) and not is_password("", NOBODYS)


def test_composed_and_decomposed_letters_are_one_password(cheap: None) -> None:
    assert is_password("cafe\N{COMBINING ACUTE ACCENT} au lait", hash_password("caf\u00e9 au lait"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        NOBODYS.replace("$scrypt$", "$argon2$"),
        NOBODYS.replace("ln=15", "ln=30"),
        NOBODYS.replace("p=3", "p=0"),
        NOBODYS[:-1],
        NOBODYS + "\n",
    ],
)
def test_what_cannot_be_checked_is_no_password(text: str) -> None:
    assert not is_stored_password(text) and not is_password("", text) and not is_password(text, text)


def test_minted_words_are_long_and_never_the_same() -> None:
    assert len({new_password() for _ in range(100)}) == 100 and len(new_password()) == 27
    assert new_key().startswith("fl-") and len(new_key()) == 46 and new_key() != new_key()


def test_nobody_has_to_say_who_they_are_until_there_is_a_user(settings: Settings, path: Path) -> None:
    users = Users(settings)
    assert not users.is_needed
    add_user(path, "Ana", WORD)
    assert users.is_needed
    assert users.find_by_password("ana", WORD) == User("Ana", is_admin=True)  # the first one
    add_user(path, "Ben", OTHER)
    assert users.find_by_password(" BEN", OTHER) == User("Ben", is_admin=False)
    assert users.find_by_password("Ben", WORD) is users.find_by_password("Nobody", WORD) is None
    assert users.find_by_password("", "") is None
    mode = stat.S_IMODE(path.stat().st_mode)
    assert os.name == "nt" or mode == 0o600
    assert WORD not in path.read_text() and sorted(os.listdir(path.parent)) == ["users.json"]


def test_changes_hold_at_once(settings: Settings, path: Path) -> None:
    users = Users(settings)
    add_user(path, "Ana", WORD)
    add_user(path, "Ben", WORD)
    mark, ben = users.mark("Ben"), User("Ben", is_admin=False)
    assert mark and users.mark("Nobody") == ""
    set_password(path, "ben", OTHER)
    assert users.find_by_password("Ben", WORD) is None and users.find_by_password("Ben", OTHER) == ben
    assert users.mark("Ben") != mark
    set_admin(path, "Ben", is_admin=True)
    assert users.find("Ben") == User("Ben", is_admin=True)
    remove_user(path, "Ana")
    assert users.find("Ana") is None and users.find_by_password("Ana", WORD) is None


def test_a_key_is_shown_once_and_can_be_revoked(settings: Settings, path: Path) -> None:
    users = Users(settings)
    add_user(path, "Ana", WORD)
    key = add_key(path, "Ana", "laptop")
    assert key not in path.read_text() and hashlib.sha256(key.encode()).hexdigest() in path.read_text()
    assert users.find_by_key(key) == User("Ana", is_admin=True)
    assert users.find_by_key(key[:-1]) is users.find_by_key("") is None
    with pytest.raises(FooocusError, match="already"):
        add_key(path, "Ana", "LAPTOP")
    with pytest.raises(NotFound, match="no key"):
        remove_key(path, "Ana", "phone")
    remove_key(path, "Ana", "Laptop")
    assert users.find_by_key(key) is None


@pytest.mark.parametrize("name", ["", "  ", "a:b", "a\nb", "a\u202eb", "x" * 61, "\ud800"])
def test_nobody_can_be_called_that(path: Path, name: str) -> None:
    with pytest.raises(BadValue):
        add_user(path, name, WORD)
    assert not path.exists()


@pytest.mark.parametrize("other", ["ana", "ANA ", "Ａna"])
def test_names_are_unlike_each_other(path: Path, other: str) -> None:
    add_user(path, "Ana", WORD)
    with pytest.raises(FooocusError, match="already") as error:
        add_user(path, other, WORD)
    assert error.value.code == "conflict"


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1001])
def test_a_password_has_a_length(path: Path, password: str) -> None:
    with pytest.raises(BadValue):
        add_user(path, "Ana", password)


def test_there_is_always_an_admin(path: Path) -> None:
    add_user(path, "Ana", WORD)
    add_user(path, "Ben", WORD)
    for change in (lambda: remove_user(path, "Ana"), lambda: set_admin(path, "Ana", is_admin=False)):
        with pytest.raises(FooocusError, match="only admin"):
            change()
    remove_user(path, "Ben")
    remove_user(path, "Ana")
    assert read_users(path).users == ()
    with pytest.raises(NotFound):
        remove_user(path, "Ana")


BROKEN = [
    "",
    "{",
    "[]",
    '{"users": {}}',
    '{"users": [{"name": "Ana"}]}',
    '{"users": [], "surprise": 1}',
    '{"fooocus_lite_users": 2}',
    '{"users": [{"name": "a:b", "password": "' + NOBODYS + '", "created_at": 1}]}',
    '{"users": [{"name": "Ana", "password": "plain words", "created_at": 1}]}',
    json.dumps({"users": [{"name": name, "password": NOBODYS, "created_at": 1} for name in ("Ana", "ana")]}),
    "\udcff",
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_list_lets_nobody_in(settings: Settings, path: Path, text: str) -> None:
    add_user(path, "Ana", WORD)
    key = add_key(path, "Ana", "laptop")
    users = Users(settings)
    whole = path.read_bytes()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert users.is_needed and Users(settings).is_needed
    assert users.find_by_password("Ana", WORD) is users.find_by_key(key) is users.find("Ana") is None
    said = str(users.problem)
    assert said.startswith("The list of users, users.json, cannot be used, so nobody gets in: ")
    assert "plain words" not in said
    assert users.find_by_password("admin", users.mint()) is None
    with pytest.raises(BadFile):
        add_user(path, "Ben", WORD)
    path.write_bytes(whole)
    assert users.problem is None and users.find_by_key(key) == User("Ana", is_admin=True)


def test_a_list_that_is_gone_lets_nobody_in_until_the_next_start(settings: Settings, path: Path) -> None:
    add_user(path, "Ana", WORD)
    users = Users(settings)
    path.unlink()
    assert users.is_needed and users.problem and "is gone" in str(users.problem)
    assert not Users(settings).is_needed


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_list_that_may_not_be_read_lets_nobody_in(settings: Settings, path: Path) -> None:
    add_user(path, "Ana", WORD)
    path.chmod(0)
    assert Users(settings).is_needed and Users(settings).find_by_password("Ana", WORD) is None


def test_a_minted_admin_is_there_while_there_are_no_users(settings: Settings, path: Path) -> None:
    users = Users(settings)
    password = users.mint()
    admin = User("admin", is_admin=True)
    assert users.is_needed and users.find_by_password("Admin", password) == users.find("admin") == admin
    assert users.find_by_password("admin", WORD) is None and users.mark("admin")
    assert not path.exists()
    add_user(path, "Ana", WORD)
    assert users.find_by_password("admin", password) is users.find("admin") is None


def test_a_password_is_kept_anew_when_the_costs_rise(
    settings: Settings, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_user(path, "Ana", WORD)
    (old,) = read_users(path).users
    monkeypatch.setattr(passwords, "TODAY", replace(TODAY, ln=5, p=1))
    users = Users(settings)
    assert users.find_by_password("Ana", OTHER) is None and read_users(path).users == (old,)
    assert users.find_by_password("Ana", WORD)
    (new,) = read_users(path).users
    assert new.password.startswith("$scrypt$ln=5,") and users.find_by_password("Ana", WORD)


def test_limits_are_ones_own_or_everybodys(settings: Settings, path: Path) -> None:
    users = Users(settings)
    for name in ("Ana", "Ben", "Cleo"):
        add_user(path, name, WORD)
    set_limits(path, None, {"pictures_a_day": 50})
    assert users.limits(User("Ben", is_admin=False)) == Limits(pictures_a_day=50)
    assert users.limits_of("Ana") == users.limits_of("Nobody") == users.limits(LOCAL) == NO_LIMITS  # Ana is an admin
    assert set_limits(path, "Cleo", {"waiting": 5}) == Limits(pictures_a_day=50, waiting=5)
    assert set_limits(path, "Cleo", {"pictures_a_day": None}) == Limits(waiting=5) == users.limits_of("cleo")
    with pytest.raises(BadValue):
        set_limits(path, "Cleo", {"waiting": -1})
    with pytest.raises(NotFound):
        set_limits(path, "Nobody", {"waiting": 1})


def test_the_list_of_a_fooocus_is_taken_over(settings: Settings, path: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(OTHER.encode()).hexdigest()
    source = tmp_path / "auth.json"
    source.write_text(
        json.dumps([
            {"user": "Ana", "pass": WORD},
            {"user": "Ben", "hash": digest.upper(), "pass": "not this one"},
            {"user": "short", "pass": "123"},
            {"user": "Ana", "pass": "again and again"},
            {"user": "nobody"},
            {"user": "bad", "hash": "abc"},
            {"pass": WORD},
            "what",
        ])
    )  # fmt: skip
    found = import_auth(path, source)
    assert found.added == ("Ana", "Ben", "short") and len(found.left) == 6
    assert digest not in path.read_text().lower() and WORD not in path.read_text()
    users = Users(settings)
    assert users.find_by_password("Ana", WORD) == User("Ana", is_admin=True)
    assert users.find_by_password("Ben", "not this one") is None
    assert read_users(path).users[1].password.startswith("$scrypt-sha256$")
    assert users.find_by_password("Ben", OTHER) == User("Ben", is_admin=False)
    assert read_users(path).users[1].password.startswith("$scrypt$")  # kept anew at the first login
    assert users.find_by_password("Ben", OTHER) and users.find_by_password("short", "123")
    assert import_auth(path, source).added == ()


@pytest.mark.parametrize("text", ["", "{}", "[[[", "null", "[" * 100_000])
def test_what_is_no_list_of_a_fooocus_is_refused(path: Path, tmp_path: Path, text: str) -> None:
    source = tmp_path / "auth.json"
    source.write_text(text)
    with pytest.raises(BadFile, match=r"auth\.json"):
        import_auth(path, source)
    with pytest.raises(BadFile):
        import_auth(path, tmp_path / "missing.json")
    assert not path.exists()


def test_many_changes_at_once_are_all_kept(path: Path) -> None:
    def add(name: str) -> None:
        row = UserRow(name=name, password=NOBODYS, created_at=0.0)
        change_users(path, lambda users: users.model_copy(update={"users": (*users.users, row)}))

    threads = [threading.Thread(target=add, args=(f"user {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_users(path).users) == 8


def test_a_hash_of_fooocus_is_64_digits() -> None:
    with pytest.raises(BadValue):
        hash_of_sha256("5e88")
