"""`fooocus-lite models`: what there is to fetch, fetching it, checking it, removing it, and adding to the list."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fooocus_lite.commands.convert import convert_command
from fooocus_lite.commands.library import table
from fooocus_lite.disk import free_bytes
from fooocus_lite.download_file import is_below_models
from fooocus_lite.download_offer import arrived_bytes, fetch_offer
from fooocus_lite.download_state import Download, size_text
from fooocus_lite.downloads import find_offer
from fooocus_lite.errors import BadValue, FooocusError
from fooocus_lite.http_streams import Halt
from fooocus_lite.library import Library, load_library
from fooocus_lite.model_care import FileCheck, check_offer, plan_removal, remove, set_aside
from fooocus_lite.model_scan import scan_models
from fooocus_lite.offers import Offer
from fooocus_lite.own_catalog import add_entry
from fooocus_lite.settings import Settings
from fooocus_lite.teller import DownloadTeller
from fooocus_lite.untrusted import printable

LINE, INDENT = 79, "     "


def run(options: argparse.Namespace, settings: Settings) -> tuple[int, str]:
    """(exit code, what to print) of one of `fooocus_lite.commands.model_options.ACTIONS`."""
    actions: dict[str, Callable[[argparse.Namespace, Settings], tuple[int, str]]] = {
        "list": _list,
        "download": _download,
        "remove": _remove,
        "verify": _verify,
        "convert": _convert,
        "add": _add,
    }
    scan_models(settings)  # what came since the last time need not be fetched
    return actions[options.action or "list"](options, settings)


def _list(options: argparse.Namespace, settings: Settings) -> tuple[int, str]:
    rows = model_rows(load_library(settings))
    if options.json:
        return 0, _json(rows)
    marks = {"here": "✓", "partly": "…", "missing": " "}
    heads = table([
        (
            marks[row["state"]],
            row["name"],
            "" if row["size_bytes"] is None else size_text(row["size_bytes"]),
            row["family"] or row["kind"].replace("_", " "),
        )
        for row in rows
    ]).splitlines()  # fmt: skip
    told = "\n".join("\n".join((head, *_about(row))) for head, row in zip(heads, rows, strict=True))
    return 0, f"{told}\n\n✓ is here, … is here in part. Download with: fooocus-lite models download NAME"


def _about(row: dict[str, Any]) -> list[str]:
    """What it is and its licence, in lines as wide as people read."""
    account = "; asks for an account" if row["is_gated"] else ""
    licence = f"Licence: {row['licence']}{account}." if row["licence"] else ""
    words = printable(" ".join(filter(None, (row["description"] or row["label"], licence))))
    return textwrap.wrap(words, LINE, initial_indent=INDENT, subsequent_indent=INDENT)


def model_rows(library: Library) -> list[dict[str, Any]]:
    """Everything that is here or can be downloaded, JSON-ready."""
    rows = [_row(offer, library) for offer in library.downloadable.values()]
    own = [entry for entry in library.models.values() if entry.name not in library.downloadable and entry.available]
    return [
        {"name": entry.name, "label": entry.label, "kind": "checkpoint", "family": entry.family}
        | {"description": entry.description, "licence": entry.licence, "licence_url": entry.licence_url}
        | {"is_gated": False, "size_bytes": None, "done_bytes": None, "state": "here"}
        for entry in own
    ] + rows


def _row(offer: Offer, library: Library) -> dict[str, Any]:
    entry, missing = library.models.get(offer.name), offer.missing
    done = arrived_bytes(offer.files)
    return {
        "name": offer.name,
        "label": offer.label,
        "kind": offer.kind,
        "family": entry.family if entry else "",
        "description": offer.description,
        "licence": offer.licence,
        "licence_url": offer.licence_url,
        "is_gated": offer.is_gated,
        "size_bytes": offer.size_bytes,
        "done_bytes": done,
        "state": "here" if not missing or (entry and entry.available) else "partly" if done else "missing",
    }


def _download(options: argparse.Namespace, settings: Settings) -> tuple[int, str]:
    library = load_library(settings)
    offers = [find_offer(library, name) for name in options.names]
    teller = DownloadTeller(as_json=options.json)
    failed: list[Offer] = []
    for offer in offers:
        entry = library.models.get(offer.name)
        if offer.missing and entry is not None and entry.available:
            teller.note(f"✓ {offer.name} is used where another program has it: {entry.path}")
        elif not fetch(offer, settings, teller):
            failed.append(offer)
    return (1 if failed else 0), ""


def fetch(offer: Offer, settings: Settings, teller: DownloadTeller) -> bool:
    """Fetch one offer and say so; whether it is here now.

    Raises:
        KeyboardInterrupt: after the sentence that says how to go on.
    """
    teller.begin(announcement(offer, settings))
    last = Download(offer.name, offer.label, "running", arrived_bytes(offer.files), offer.size_bytes)

    def observe(download: Download) -> None:
        nonlocal last
        last = download
        teller.at(download)

    try:
        ended = fetch_offer(offer, settings, Halt(), observe)
    except FooocusError as exc:
        teller.done(last.failed(exc), f"✗ {offer.name}: {exc}")
        return False
    except KeyboardInterrupt:
        teller.note(f"What has arrived is kept. Go on with: fooocus-lite models download {offer.name}")
        raise
    teller.done(ended, f"✓ {offer.name} is here ({size_text(ended.done_bytes)}).")
    return True


def announcement(offer: Offer, settings: Settings) -> str:
    """What a person should know before the first byte."""
    size = "size not published" if offer.size_bytes is None else size_text(offer.size_bytes)
    licence = f"licence: {offer.licence or 'not known'}" + (f" ({offer.licence_url})" if offer.licence_url else "")
    room = free_bytes(settings.models_dir)
    free = "" if room is None else f"; {size_text(room)} free in {settings.models_dir}"
    gated = "; its makers ask for an account" if offer.is_gated else ""
    return f"{offer.label}: {size}, {licence}{gated}{free}"


def _remove(options: argparse.Namespace, settings: Settings) -> tuple[int, str]:
    library = load_library(settings)
    offers = [find_offer(library, name) for name in options.names]
    said: list[dict[str, Any]] = []
    for offer in offers:
        plan = plan_removal(offer, library.downloadable.values(), settings)
        if plan.paths and not getattr(options, "yes", False) and not _is_sure(offer, plan.size_bytes, len(plan.paths)):
            return 1, ""
        remove(plan, settings)
        kept = [{"path": str(path), "why": why} for path, why in plan.kept]
        removed = [str(path) for path in plan.paths]
        said.append({"name": offer.name, "removed": removed, "size_bytes": plan.size_bytes, "kept": kept})
    if options.json:
        return 0, _json(said)
    return 0, "\n".join(line for row in said for line in _removed_lines(row))


def _removed_lines(row: dict[str, Any]) -> list[str]:
    freed = f"{size_text(row['size_bytes'])} are free again" if row["removed"] else "nothing of it was here to remove"
    return [f"{row['name']}: {freed}.", *(f"  kept {kept['path']}: {kept['why']}" for kept in row["kept"])]


def _is_sure(offer: Offer, size_bytes: int, files: int) -> bool:
    """Ask.

    Raises:
        BadValue: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise BadValue(f"Nobody is there to say whether {offer.name} may be removed.", "Say it with --yes.")
    return input(f"Remove {offer.label} ({_files(files)}, {size_text(size_bytes)})? [y/N] ").strip().lower() in (
        "y",
        "yes",
    )


def _verify(options: argparse.Namespace, settings: Settings) -> tuple[int, str]:
    library = load_library(settings)
    names: Sequence[str] = getattr(options, "names", ())
    offers = [find_offer(library, name) for name in names] or [
        offer for offer in library.downloadable.values() if any(Path(file.path).exists() for file in offer.files)
    ]
    teller, mend = DownloadTeller(as_json=options.json), getattr(options, "mend", False)
    rows: list[dict[str, Any]] = []
    for offer in offers:
        if not options.json:
            teller.note(f"Reading {offer.label} …")
        checks = check_offer(offer, settings)
        wrong = [check for check in checks if check.state in ("damaged", "missing")]
        is_mended = bool(wrong) and mend and _mend(offer, wrong, settings, teller)
        said = [{"path": check.file.path, "state": check.state, "why": check.why} for check in checks]
        rows.append({"name": offer.name, "whole": not wrong or is_mended, "files": said})
    code = 0 if all(row["whole"] for row in rows) else 1
    if options.json:
        return code, _json(rows)
    return code, "\n".join(line for row in rows for line in _verified_lines(row)) or "Nothing was downloaded yet."


def _mend(offer: Offer, wrong: Sequence[FileCheck], settings: Settings, teller: DownloadTeller) -> bool:
    if others := [check.file.path for check in wrong if not is_below_models(Path(check.file.path), settings)]:
        teller.note(f"{others[0]} belongs to another program, and was left alone: download it again with that one.")
        return False
    aside = [set_aside(check.file) for check in wrong if check.state == "damaged"]
    is_mended = fetch(offer, settings, teller)
    for path in aside if is_mended else ():
        path.unlink(missing_ok=True)
    return is_mended


def _verified_lines(row: dict[str, Any]) -> list[str]:
    noted = [file for file in row["files"] if file["state"] != "whole"]
    if row["whole"]:
        lines = [f"✓ {row['name']}: {_files(len(row['files']))}, whole"]
        return lines + [f"    {file['path']} {file['why']}" for file in noted if file["state"] == "unknown"]
    lines = [f"✗ {row['name']}:", *(f"    {file['path']} {file['why']}" for file in noted)]
    return [*lines, f"  → fooocus-lite models verify --mend {row['name']}"]


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _convert(options: argparse.Namespace, settings: Settings) -> tuple[int, str]:
    return 0, convert_command(options.files, as_json=options.json)


def _add(options: argparse.Namespace, settings: Settings) -> tuple[int, str]:
    wanted = {key: getattr(options, key, None) for key in ("family", "kind", "name")}
    row = add_entry(options.what, settings, load_library(settings), **wanted)
    if options.json:
        return 0, _json(row)
    sizes = [file.get("size") for file in row["files"]]
    size = "" if None in sizes else f", {size_text(sum(sizes))}"
    kind = f"{row['kind']}, {row['family']}" if "family" in row else row["kind"]
    licence = f"licence: {row['licence'] or 'not known; look at its page'}"
    return 0, (
        f"{row['name']} is in your list ({kind}{size}, {licence}).\n"
        f"Download it with: fooocus-lite models download {row['name']}"
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
