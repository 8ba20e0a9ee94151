"""Options that many commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fooocus_lite.settings import SETTINGS

#: Settings that only a server has; the picture's own preset is an option of `generate`.
SERVER_ONLY = (
    *("host", "listen", "share", "allowed_hosts", "port", "open_browser", "preview_fps", "preset", "language"),
    *("engine", "ray_address"),
)


def add_shared(command: argparse.ArgumentParser) -> None:
    """What a word after a command takes as well as the command."""
    add_debug(command)
    add_json(command)
    add_settings(command, SERVER_ONLY)


def add_json(command: argparse.ArgumentParser) -> None:
    """``--json``."""
    command.add_argument("--json", action="store_true", help="print JSON for programs")


def add_debug(command: argparse.ArgumentParser) -> None:
    """``--debug``."""
    command.add_argument("--debug", action="store_true", help="show the traceback when something goes wrong")


def add_settings(command: argparse.ArgumentParser, left_out: Sequence[str]) -> None:
    """One option for every setting but those ``left_out``."""
    group = command.add_argument_group("settings", "also in fooocus.toml, or as FOOOCUS_… in the environment")
    for row in SETTINGS.values():
        if row.name in left_out:
            continue
        text = row.help.replace("%", "%%")
        if row.flag.startswith("--no-"):
            group.add_argument(row.flag, dest=row.name, action="store_const", const=False, help=f"not: {text}")
        elif row.kind == "yes or no":
            group.add_argument(row.flag, dest=row.name, action="store_const", const=True, help=text)
        else:
            text = f"{row.help} {row.allowed}; default {row.default or 'none'}".replace("%", "%%")
            group.add_argument(row.flag, dest=row.name, metavar=row.name.upper(), help=text)
