"""The words and options of `fooocus-lite users`; nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

ACTIONS = {
    "list": "list the users, what they may ask for and their API keys (what happens without a word)",
    "add": "add a user; the first one is an admin, and from then on everybody has to say who they are",
    "remove": "remove a user; their pictures stay",
    "password": "give a user another password",
    "admin": "make a user an admin, who sees everything, or no longer one",
    "key": "add or remove a user's API keys, for programs",
    "limits": "say how much a user may ask for, or everyone who has no limits of their own",
    "import": "take over the users of Fooocus's auth.json",
}
LIMITS = {
    "pictures_a_day": "pictures a day",
    "megapixels_a_day": "megapixels a day; a picture of 1024×1024 has 1.05",
    "picture_megapixels": "megapixels of one picture",
    "waiting": "pictures that wait at once",
}
NO_LIMIT = "none"


def add_users(command: argparse.ArgumentParser, add_shared: Callable[[argparse.ArgumentParser], None]) -> None:
    """The words that follow ``users``; ``add_shared`` gives each the options that every command has."""
    actions = command.add_subparsers(title="what to do", metavar="WORD", dest="action")
    made: dict[str, argparse.ArgumentParser] = {}
    for name, text in ACTIONS.items():
        # What is not given after the word must not undo what was given before it.
        made[name] = actions.add_parser(name, help=text, description=text, argument_default=argparse.SUPPRESS)
        add_shared(made[name])
    for name in ("add", "remove", "password", "admin"):
        made[name].add_argument("name", metavar="NAME")
    for name in ("add", "password"):
        made[name].epilog = "The password is asked for, or read from a pipe: echo … | fooocus-lite users " + name
    made["add"].add_argument("--admin", action="store_true", help="an admin, who sees everything")
    made["remove"].add_argument("--yes", action="store_true", help="do not ask")
    made["admin"].add_argument("--off", action="store_true", help="no longer one")
    made["key"].add_argument("what", choices=("add", "remove"))
    made["key"].add_argument("name", metavar="NAME", help="the user")
    made["key"].add_argument("key", metavar="KEY", help="what the key is called, such as laptop")
    text = "when left out: everyone who has no limits of their own"
    made["limits"].add_argument("name", metavar="NAME", nargs="?", default=None, help=text)
    for field, text in LIMITS.items():
        option = f"--{field.replace('_', '-')}"
        made["limits"].add_argument(option, dest=field, metavar="N", help=f"{text}; or {NO_LIMIT}")
    made["import"].add_argument("path", metavar="PATH", type=Path, help="the file, or the folder that holds Fooocus")
