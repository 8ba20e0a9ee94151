"""`fooocus-lite users`: who may use this program. A password comes from a prompt or a pipe, never as an argument."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fooocus_lite.commands.library import table
from fooocus_lite.commands.user_options import LIMITS, NO_LIMIT
from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.passwords import MAX_PASSWORD_CHARS
from fooocus_lite.settings import Settings
from fooocus_lite.untrusted import printable
from fooocus_lite.user import Limits
from fooocus_lite.users_edit import (
    add_key,
    add_user,
    import_auth,
    remove_key,
    remove_user,
    set_admin,
    set_limits,
    set_password,
    user_row,
)
from fooocus_lite.users_file import read_users, users_path

AUTH_FILE = "auth.json"


def run(options: argparse.Namespace, settings: Settings) -> str:
    """What to print of one of `fooocus_lite.commands.user_options.ACTIONS`.

    Raises:
        FooocusError: what could not be done, and why.
    """
    actions: dict[str, Callable[[argparse.Namespace, Path], tuple[str, Any]]] = {
        "list": _list,
        "add": _add,
        "remove": _remove,
        "password": _password,
        "admin": _admin,
        "key": _key,
        "limits": _limits,
        "import": _import,
    }
    text, data = actions[options.action or "list"](options, users_path(settings))
    return json.dumps(data, ensure_ascii=False, indent=2) if options.json else printable_lines(text)


def printable_lines(text: str) -> str:
    """As `printable`, which a name of anybody's may need, line by line."""
    return "\n".join(map(printable, text.split("\n")))


def _list(options: argparse.Namespace, path: Path) -> tuple[str, Any]:
    users = read_users(path)
    rows = [user_row(row, users) for row in users.users]
    data = {"users": rows, "limits": asdict(users.limits.as_limits())}
    if not rows:
        return "There are no users: whoever reaches the page may use it. Add one: fooocus-lite users add NAME", data
    lines = [("name", "", "may ask for", "API keys")]
    for row in rows:
        keys = ", ".join(key["name"] for key in row["keys"])
        lines.append((row["name"], "admin" if row["is_admin"] else "", _words(Limits(**row["limits"])), keys))
    return table(lines), data


def _add(options: argparse.Namespace, path: Path) -> tuple[str, Any]:
    row = add_user(path, options.name, _asked_password(), is_admin=options.__dict__.get("admin", False))
    kind = "an admin" if row.is_admin else "a user"
    return f"{row.name} is {kind} now.", user_row(row, read_users(path))


def _remove(options: argparse.Namespace, path: Path) -> tuple[str, Any]:
    if not options.__dict__.get("yes", False):
        _confirm(f"Remove {options.name}? Their pictures stay; a new user of that name would see them.")
    row = remove_user(path, options.name)
    text = f"{row.name} was removed."
    if not read_users(path).users:
        text += "\nThere are no users any more: whoever reaches the page may use it."
    return text, {"removed": row.name}


def _password(options: argparse.Namespace, path: Path) -> tuple[str, Any]:
    row = set_password(path, options.name, _asked_password())
    return f"{row.name} has another password now.", user_row(row, read_users(path))


def _admin(options: argparse.Namespace, path: Path) -> tuple[str, Any]:
    row = set_admin(path, options.name, is_admin=not options.__dict__.get("off", False))
    return f"{row.name} is {'an admin' if row.is_admin else 'no admin any more'}.", user_row(row, read_users(path))


def _key(options: argparse.Namespace, path: Path) -> tuple[str, Any]:
    if options.what == "remove":
        row = remove_key(path, options.name, options.key)
        return f"{row.name}'s key {options.key} is worth nothing now.", user_row(row, read_users(path))
    key = add_key(path, options.name, options.key)
    return f"{key}\nThis is {options.name}'s key {options.key}. It is shown this once: keep it well.", {"key": key}


def _limits(options: argparse.Namespace, path: Path) -> tuple[str, Any]:
    given = {field: options.__dict__[field] for field in LIMITS if field in options.__dict__}
    limits = set_limits(path, options.name, {field: _number(field, text) for field, text in given.items()})
    whose = f"{options.name} may ask for" if options.name else "Everyone who has no limits of their own may ask for"
    return f"{whose} {_words(limits)}.", {"name": options.name, "limits": asdict(limits)}


def _import(options: argparse.Namespace, path: Path) -> tuple[str, Any]:
    source: Path = options.path / AUTH_FILE if options.path.is_dir() else options.path
    found = import_auth(path, source)
    lines = [f"✓ {name}" for name in found.added] or ["Nobody that was not here already."]
    admins = [row.name for row in read_users(path).users if row.is_admin]
    lines += [f"– {sentence}" for sentence in found.left]
    lines += [f"Admins are: {', '.join(admins)}. Change that: fooocus-lite users admin NAME"] if admins else []
    return "\n".join(lines), asdict(found)


def _number(field: str, text: str) -> float | None:
    if text == NO_LIMIT:
        return None
    try:
        return float(text) if "megapixels" in field else int(text)
    except ValueError as exc:
        option = f"--{field.replace('_', '-')}"
        raise BadValue(f"{option} cannot be {text[:40]!r}.", f"Give a number, or {NO_LIMIT}.", field=field) from exc


def _words(limits: Limits) -> str:
    said = [
        f"{limits.pictures_a_day:,} pictures a day" if limits.pictures_a_day is not None else "",
        f"{limits.megapixels_a_day:,g} megapixels a day" if limits.megapixels_a_day is not None else "",
        f"{limits.picture_megapixels:,g} megapixels a picture" if limits.picture_megapixels is not None else "",
        f"{limits.waiting:,} waiting at once" if limits.waiting is not None else "",
    ]
    return ", ".join(filter(None, said)) or "as much as they like"


def _asked_password() -> str:
    """From a person, twice; from a pipe its first line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline(MAX_PASSWORD_CHARS + 2).rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise BadValue("The two are not the same.", "Try again.", field="password")
    return password


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise FooocusError(f"{question} Nobody is there to say.", "Add --yes.", code="conflict")
    if input(f"{question} [y/N] ").strip().casefold() not in ("y", "yes"):
        raise FooocusError("Nothing was changed.", "Answer y to remove.", code="conflict")
