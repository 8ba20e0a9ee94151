"""Adding, changing and removing users, and taking over those of a Fooocus: what `fooocus-lite users` does.

There is always an admin where there are users: the first one is, and the last one stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from fooocus_lite.errors import BadFile, BadValue, FooocusError, NotFound
from fooocus_lite.passwords import (
    MIN_PASSWORD_CHARS,
    checked_password,
    hash_key,
    hash_of_sha256,
    hash_password,
    new_key,
)
from fooocus_lite.recipe import shown
from fooocus_lite.untrusted import Refused, parse_json
from fooocus_lite.user import Limits
from fooocus_lite.users_file import (
    MAX_KEYS,
    MAX_USERS,
    KeyRow,
    LimitsRow,
    UserRow,
    UsersFile,
    change_users,
    checked_name,
    compared,
    read_users,
)


@dataclass(frozen=True)
class Imported:
    """What came of a list of Fooocus.

    Attributes:
        added: Names of new users.
        left: A sentence for each that was not added, or that one should know of.
    """

    added: tuple[str, ...]
    left: tuple[str, ...]


def add_user(path: Path, name: str, password: str, *, is_admin: bool = False) -> UserRow:
    """Add a user; the first one is an admin.

    Raises:
        BadValue: of the name or the password.
        FooocusError: somebody is called that (``conflict``), or as `change_users`.
    """
    stored = hash_password(checked_password(password))
    row = UserRow(name=checked_name(name), password=stored, is_admin=is_admin, created_at=time.time())
    users = change_users(path, lambda users: _with(users, row))
    return _get(users, name)


def remove_user(path: Path, name: str) -> UserRow:
    """Remove a user; what they drew stays.

    Raises:
        NotFound: there is no such user.
        FooocusError: it is the only admin and others are left (``conflict``), or as `change_users`.
    """
    gone = _get(read_users(path), name)

    def remove(users: UsersFile) -> UsersFile:
        kept = tuple(row for row in users.users if row is not _get(users, name))
        return _checked(users.model_copy(update={"users": kept}), name)

    change_users(path, remove)
    return gone


def set_password(path: Path, name: str, password: str) -> UserRow:
    """Give a user another password.

    Raises:
        NotFound, BadValue, FooocusError: as above.
    """
    _get(read_users(path), name)  # before the work
    return _changed(path, name, {"password": hash_password(checked_password(password))})


def set_admin(path: Path, name: str, *, is_admin: bool) -> UserRow:
    """Make a user an admin, or no longer one.

    Raises:
        NotFound, FooocusError: as above.
    """
    return _changed(path, name, {"is_admin": is_admin})


def add_key(path: Path, name: str, key_name: str) -> str:
    """A new API key of a user; it is nowhere to be read again.

    Raises:
        NotFound: there is no such user.
        FooocusError: they have one of that name, or too many (``conflict``), or as `change_users`.
    """
    key, called = new_key(), checked_name(key_name)
    row = KeyRow(name=called, sha256=hash_key(key), created_at=time.time())

    def add(user: UserRow) -> dict[str, Any]:
        if any(compared(one.name) == compared(called) for one in user.keys):
            problem = f"{user.name} has a key called {shown(called)} already."
            raise FooocusError(problem, "Choose another name, or remove that key first.", code="conflict")
        if len(user.keys) >= MAX_KEYS:
            raise FooocusError(f"{user.name} has {MAX_KEYS} keys.", "Remove one first.", code="conflict")
        return {"keys": (*user.keys, row)}

    _changed(path, name, add)
    return key


def remove_key(path: Path, name: str, key_name: str) -> UserRow:
    """Revoke an API key: whoever has it is out at once.

    Raises:
        NotFound: there is no such user or key.
        FooocusError: as `change_users`.
    """

    def remove(user: UserRow) -> dict[str, Any]:
        kept = tuple(one for one in user.keys if compared(one.name) != compared(key_name))
        if len(kept) == len(user.keys):
            raise NotFound(f"{user.name} has no key called {shown(key_name)}.", "`fooocus-lite users` lists them.")
        return {"keys": kept}

    return _changed(path, name, remove)


def set_limits(path: Path, name: str | None, changes: dict[str, float | None]) -> Limits:
    """Change limits of a user, or of everyone who has none of their own; what holds now.

    Args:
        changes: By field of `Limits`; ``None`` lifts one.

    Raises:
        BadValue: a limit cannot be that.
        NotFound, FooocusError: as above.
    """

    def new(old: LimitsRow) -> LimitsRow:
        try:
            return LimitsRow.model_validate({**old.model_dump(), **changes})
        except ValueError as exc:
            raise BadValue("A limit is 0 or more, up to 1,000,000,000.", "Leave one out to keep it.") from exc

    if name is None:
        users = change_users(path, lambda users: users.model_copy(update={"limits": new(users.limits)}))
        return users.limits.as_limits()
    defaults = read_users(path).limits

    def change(user: UserRow) -> dict[str, Any]:
        inherited = LimitsRow() if user.is_admin else defaults
        return {"limits": new(user.limits or inherited)}

    row = _changed(path, name, change)
    return (row.limits or LimitsRow()).as_limits()


def import_auth(path: Path, source: Path) -> Imported:
    """Take over the users of Fooocus's ``auth.json``; who is there already stays as they are.

    Raises:
        BadFile: it is no such list.
        FooocusError: as `change_users`.
    """
    rows, left = list[UserRow](), list[str]()
    taken = {compared(row.name) for row in read_users(path).users}
    for number, entry in enumerate(_entries(source), start=1):
        try:
            row, note = _imported(entry)
        except BadValue as exc:
            left.append(f"Entry {number} was left out: {exc.problem}")
            continue
        if compared(row.name) in taken:
            left.append(f"{row.name} is a user already, and stays as they are.")
            continue
        taken.add(compared(row.name))
        rows.append(row)
        left += [note] if note else []

    def add(users: UsersFile) -> UsersFile:
        for row in rows:
            users = _with(users, row)
        return users

    change_users(path, add)
    return Imported(tuple(row.name for row in rows), tuple(left))


def user_row(row: UserRow, users: UsersFile) -> dict[str, Any]:
    """A user, JSON-ready, without anything that is kept of passwords and keys."""
    limits = row.limits or (LimitsRow() if row.is_admin else users.limits)
    return {
        "name": row.name,
        "is_admin": row.is_admin,
        "created_at": row.created_at,
        "limits": asdict(limits.as_limits()),
        "has_own_limits": row.limits is not None,
        "keys": [{"name": key.name, "created_at": key.created_at} for key in row.keys],
    }


def _entries(source: Path) -> list[Any]:
    try:
        text = source.read_text(encoding="utf-8-sig")
        entries = parse_json(text)
    except (OSError, UnicodeDecodeError) as exc:
        hint = "Name the file auth.json in your Fooocus folder."
        raise BadFile(f"{source.name} cannot be read: {exc}.", hint) from exc
    except Refused as exc:
        raise BadFile(f"{source.name} {exc}.", "It must be Fooocus's auth.json.") from exc
    if not isinstance(entries, list):
        raise BadFile(f"{source.name} is not a list of users.", "It must be Fooocus's auth.json.")
    return cast("list[Any]", entries)


def _imported(entry: Any) -> tuple[UserRow, str]:
    """The user that an entry stands for, and what one should know of them.

    As Fooocus reads it, a hash is used rather than a password where both are given.
    """
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    name, password, digest = (fields.get(key) for key in ("user", "pass", "hash"))
    if not isinstance(name, str):
        raise BadValue("It has no user.", field="user")
    if isinstance(digest, str):
        stored, note = hash_of_sha256(digest), ""
    elif isinstance(password, str) and password:
        is_short = len(password) < MIN_PASSWORD_CHARS
        note = f"The password of {shown(name)} is short: give them a longer one." if is_short else ""
        stored = hash_password(password)
    else:
        raise BadValue("It has neither a password nor its hash.", field="pass")
    return UserRow(name=checked_name(name), password=stored, created_at=time.time()), note


def _with(users: UsersFile, row: UserRow) -> UsersFile:
    if users.find(row.name):
        hint = "Choose another name, or change that user."
        raise FooocusError(f"There is a user called {shown(row.name)} already.", hint, code="conflict", field="name")
    if len(users.users) >= MAX_USERS:
        raise FooocusError(f"There are {MAX_USERS:,} users.", "Remove one first.", code="conflict")
    row = row.model_copy(update={"is_admin": row.is_admin or not users.users})
    return users.model_copy(update={"users": (*users.users, row)})


def _changed(path: Path, name: str, changes: dict[str, Any] | Callable[[UserRow], dict[str, Any]]) -> UserRow:
    """The user, with some fields changed."""

    def change(users: UsersFile) -> UsersFile:
        old = _get(users, name)
        new = old.model_copy(update=changes(old) if callable(changes) else changes)
        rows = tuple(new if row is old else row for row in users.users)
        return _checked(users.model_copy(update={"users": rows}), name)

    return _get(change_users(path, change), name)


def _checked(users: UsersFile, name: str) -> UsersFile:
    if users.users and not any(row.is_admin for row in users.users):
        problem = f"{shown(name)} is the only admin."
        raise FooocusError(problem, "Make somebody else an admin first: fooocus-lite users admin NAME", code="conflict")
    return users


def _get(users: UsersFile, name: str) -> UserRow:
    row = users.find(name)
    if row is None:
        raise NotFound(f"There is no user called {shown(name)}.", "`fooocus-lite users` lists them.")
    return row
