"""The words and options of `fooocus-lite models`; nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from fooocus_lite.offers import KINDS

ACTIONS = {
    "list": "list what is here and what can be downloaded, with size and licence (what happens without a word)",
    "download": "download by name; stop with Ctrl+C and go on later",
    "remove": "remove downloaded files",
    "verify": "read downloaded files through, and compare them with what was published",
    "convert": "make a safe .safetensors file of a .ckpt, .pt, .pth or .bin file, beside it",
    "add": "add a model of the hub, or an address, to your own list",
}


def add_models(command: argparse.ArgumentParser, add_shared: Callable[[argparse.ArgumentParser], None]) -> None:
    """The words that follow ``models``; ``add_shared`` gives each the options that every command has."""
    actions = command.add_subparsers(title="what to do", metavar="WORD", dest="action")
    made: dict[str, argparse.ArgumentParser] = {}
    for name, text in ACTIONS.items():
        # What is not given after the word must not undo what was given before it.
        made[name] = actions.add_parser(name, help=text, description=text, argument_default=argparse.SUPPRESS)
        add_shared(made[name])
    made["download"].add_argument("names", metavar="NAME", nargs="+", help="as `models list` shows it")
    made["remove"].add_argument("names", metavar="NAME", nargs="+", help="as `models list` shows it")
    made["remove"].add_argument("--yes", action="store_true", help="do not ask")
    made["verify"].add_argument("names", metavar="NAME", nargs="*", help="all that are here when left out")
    made["verify"].add_argument("--mend", action="store_true", help="download again what is damaged or missing")
    made["convert"].add_argument("files", metavar="FILE", nargs="+", type=Path, help="stays as it is")
    made["add"].add_argument(
        "what", metavar="WHAT", help="owner/name or owner/name/file of the hub, its page, or https://…/file.safetensors"
    )
    made["add"].add_argument("--family", help="when the file does not say it, such as sdxl")
    made["add"].add_argument("--kind", choices=KINDS, help="when the file does not say it")
    made["add"].add_argument("--name", help="its name in the list; else that of the file")
