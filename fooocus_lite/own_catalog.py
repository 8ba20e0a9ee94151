"""`add_entry`: a model of the hub, or an address, as an entry of the person's own catalog."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from fooocus_lite.catalog_files import WEIGHT_SUFFIXES, OfferRow, make_offer
from fooocus_lite.disk import disk_problem, write_atomic
from fooocus_lite.download_file import Tries
from fooocus_lite.download_state import size_text
from fooocus_lite.errors import BadFile, BadValue, DownloadFailed
from fooocus_lite.families import FAMILIES
from fooocus_lite.http_streams import Broken, Halt, Patience
from fooocus_lite.hub import (
    HUB,
    HubFile,
    Source,
    ask_about,
    check_address,
    check_online,
    check_repo_path,
    endpoint,
    list_files,
    read_head,
    source_of_repo,
)
from fooocus_lite.library import Library
from fooocus_lite.library_json import sentence
from fooocus_lite.model_headers import ARCHITECTURES, FileFacts, identify
from fooocus_lite.offers import KINDS
from fooocus_lite.settings import Settings
from fooocus_lite.weight_header import MAX_HEADER_BYTES

#: Folder of the models folder, by kind.
FOLDERS = {
    "checkpoint": "checkpoints", "lora": "loras", "vae": "vae", "controlnet": "controlnet", "embedding": "embeddings",
    "upscaler": "upscale_models", "text_encoder": "text_encoders", "preview_decoder": "vae_approx",
}  # fmt: skip
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_PAGES = ("blob", "resolve", "tree", "raw")
_GGUF_HEAD_BYTES = 8_000_000
_MOST_BYTES = 2**43  # as long as a file can be on every disk; what claims more is cut short
#: What diffusers reads of a folder, apart from weights.
_SMALL = re.compile(r"(.+/)?[\w.-]+\.(json|txt|model|jinja)")
_PARTS = re.compile(r"(unet|transformer|vae|text_encoder(_\d)?|tokenizer(_\d)?|scheduler)/[^/]+")


@dataclass(frozen=True)
class _Wish:
    """What a person named: a repository, with or without a file, or an address."""

    repo: str = ""
    revision: str = "main"
    path: str = ""
    url: str = ""


def add_entry(
    what: str, settings: Settings, library: Library, *, family: str | None, kind: str | None, name: str | None
) -> dict[str, Any]:
    """Write an entry for ``what`` into the person's own catalog; the entry.

    What it is, is read from the first bytes of the file, or from ``model_index.json`` of a repository.

    Raises:
        BadValue: ``what`` is nothing of the kind, or nothing that can be told apart or drawn with.
        DownloadFailed: the hub does not have it.
        BadFile: the catalog cannot be read.
        DiskProblem: it cannot be written.
    """
    check_online(settings)
    wish = parse_wish(what, settings)
    tries = Tries(Halt(), Patience(tries=3), lambda _: None)
    row = _of_url(wish, settings, tries) if wish.url else _of_repo(wish, settings, tries)
    facts: FileFacts = row.pop("facts")
    row |= _decided(facts, family, kind, row["path"])
    row["name"] = _free_name(name or row["name"], library)
    _check_row(row, settings)
    _append({"name": row["name"]} | row, settings.data_dir / "catalog.json")
    return row


def parse_wish(what: str, settings: Settings) -> _Wish:
    """What ``what`` names.

    Raises:
        BadValue: nothing.
    """
    what = what.strip()
    if "://" in what:
        parts = urlsplit(check_address(what))
        if parts.hostname not in (*_HUB_HOSTS, urlsplit(endpoint(settings)).hostname) or "/files/" in parts.path:
            return _Wish(url=what)
        steps = [unquote(step) for step in parts.path.strip("/").split("/")]
    else:
        steps = what.strip("/").split("/")
    repo, rest, revision = "/".join(steps[:2]), steps[2:], "main"
    if len(rest) > 1 and rest[0] in _PAGES:
        revision, rest = rest[1], rest[2:]
    check_repo_path(repo, "/".join(rest) or "file")
    return _Wish(repo, revision, "/".join(rest))


def _of_url(wish: _Wish, settings: Settings, tries: Tries) -> dict[str, Any]:
    file = unquote(urlsplit(wish.url).path.rpartition("/")[2])
    _check_weights(file)
    size, facts = _facts(Source(wish.url), file, tries)
    named: dict[str, Any] = {"url": wish.url} | ({} if size is None else {"size": size})
    return {"name": Path(file).stem, "path": file, "files": [named], "licence": "", "licence_url": "", "facts": facts}


def _of_repo(wish: _Wish, settings: Settings, tries: Tries) -> dict[str, Any]:
    while True:
        try:
            about = ask_about(wish.repo, settings, tries.halt, tries.patience)
            listed = list_files(wish.repo, wish.revision, settings, tries.halt, tries.patience)
            break
        except Broken as exc:
            tries.wait(exc, 0, None)
    files = {row.path: row for row in listed}
    shared = {"licence": about.licence, "licence_url": about.licence_url, "gated": about.is_gated}
    if not wish.path and "model_index.json" in files:
        chosen = choose_files(files)
        facts = _folder_facts(wish, settings, tries)
        name = wish.repo.partition("/")[2]
        rows = [_file_row(wish, files[path]) for path in chosen]
        return {"name": name, "path": name, "files": rows, "facts": facts} | shared
    path = wish.path or _only_weights(wish.repo, files)
    if path not in files:
        raise BadValue(f"{wish.repo} has no file {path}.", f"Look at {HUB}/{wish.repo}.", field="what")
    _check_weights(path)
    source = source_of_repo(wish.repo, wish.revision, path, settings)
    _, facts = _facts(source, path, tries)
    stem = Path(path).stem
    row = _file_row(wish, files[path])
    return {"name": stem, "path": Path(path).name, "files": [row], "facts": facts} | shared


def _file_row(wish: _Wish, file: HubFile) -> dict[str, Any]:
    row: dict[str, Any] = {"repo": wish.repo, "revision": wish.revision, "path": file.path, "size": file.size_bytes}
    return row | ({"sha256": file.sha256} if file.sha256 else {})


def choose_files(files: Mapping[str, HubFile]) -> list[str]:
    """What diffusers reads of a repository in its layout: each part's weights once, in 16 bits where there are both."""
    parts = [path for path in files if _PARTS.fullmatch(path)]
    small = [path for path in (*(path for path in parts), "model_index.json") if _SMALL.fullmatch(path)]
    weights = [path for path in parts if path.endswith(".safetensors")]
    chosen: list[str] = []
    for folder in dict.fromkeys(path.partition("/")[0] for path in weights):
        here = [path for path in weights if path.startswith(f"{folder}/")]
        half = [path for path in here if ".fp16" in path.rpartition("/")[2]]
        plain = [path for path in here if re.fullmatch(r"[\w]+(-\d+-of-\d+)?\.safetensors", path.rpartition("/")[2])]
        chosen += half or plain or here
    is_half = any(".fp16" in path for path in chosen)
    small = [path for path in small if not path.endswith(".index.json") and (".fp16." in path) <= is_half] + [
        path for path in small if path.endswith(".index.json") and (".fp16" in path) == is_half
    ]
    return [*sorted(small), *sorted(chosen)]


def _only_weights(repo: str, files: Mapping[str, HubFile]) -> str:
    """The one file of weights at the top of a repository.

    Raises:
        BadValue: there are more, or none.
    """
    found = [path for path in files if path.lower().endswith(WEIGHT_SUFFIXES) and "/" not in path]
    if len(found) == 1:
        return found[0]
    if not found:
        problem = f"{repo} has no .safetensors or .gguf file, and is not in the layout of diffusers."
        raise BadValue(problem, f"Look at {HUB}/{repo}.", field="what")
    listed = ", ".join(f"{repo}/{path} ({size_text(files[path].size_bytes)})" for path in sorted(found)[:8])
    raise BadValue(f"{repo} has {len(found)} files of weights.", f"Name one of them: {listed}.", field="what")


def _check_weights(file: str) -> None:
    if file.lower().endswith(WEIGHT_SUFFIXES):
        return
    if file.lower().endswith((".ckpt", ".pt", ".pth", ".bin")):
        problem = f"{file[:80]} is a pickle, and opening a pickle can run a stranger's code."
        raise BadValue(problem, "Look for a .safetensors file of it.", field="what")
    raise BadValue(f"{file[:80]!r} is no file of weights.", "It must end in .safetensors or .gguf.", field="what")


def _facts(source: Source, file: str, tries: Tries) -> tuple[int | None, FileFacts]:
    """(length, what it is) of a file elsewhere, by its first bytes."""
    is_gguf = file.lower().endswith(".gguf")
    while True:
        try:
            head, size = read_head(source, _GGUF_HEAD_BYTES if is_gguf else 8, tries.halt, tries.patience)
            if not is_gguf:
                length = 8 + int.from_bytes(head[:8], "little")
                if length > MAX_HEADER_BYTES:
                    return size, FileFacts("other", problem="it is no safetensors file")
                head, size = read_head(source, length, tries.halt, tries.patience)
            break
        except Broken as exc:
            tries.wait(exc, 0, None)
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder) / Path(file).name
        stand_in.write_bytes(head)
        if size is not None and size < _MOST_BYTES:
            os.truncate(stand_in, size)  # as long as the file, without taking its room: readers check the length
        return size, identify(str(stand_in))


def _folder_facts(wish: _Wish, settings: Settings, tries: Tries) -> FileFacts:
    with tempfile.TemporaryDirectory() as folder:
        for path in ("model_index.json", "unet/config.json"):
            source = source_of_repo(wish.repo, wish.revision, path, settings)
            place = Path(folder) / path
            place.parent.mkdir(exist_ok=True)
            try:
                place.write_bytes(read_head(source, 1_000_000, tries.halt, tries.patience)[0])
            except (Broken, DownloadFailed):  # many have no UNet
                continue
        return identify(folder)


def _decided(facts: FileFacts, family: str | None, kind: str | None, path: str) -> dict[str, Any]:
    """Kind, family and place of the entry.

    Raises:
        BadValue: nobody says what it is, or it is something that cannot be drawn with.
    """
    if facts.problem and not family:
        raise BadValue(f"{path} cannot be used: {facts.problem}.", "Choose another file.", field="what")
    found = kind or ("checkpoint" if facts.kind == "network" else facts.kind)
    if found == "other":
        hint = f"Say it with --kind: {', '.join(KINDS)}."
        raise BadValue(f"What {path} is, does not show in its first bytes.", hint, field="kind")
    row: dict[str, Any] = {"kind": found, "path": path}
    if path.lower().endswith(WEIGHT_SUFFIXES):
        row["path"] = f"{FOLDERS[found]}/{path}"
    if found != "checkpoint":
        return row
    known = family or facts.family
    if known not in FAMILIES:
        what = ARCHITECTURES.get(known, known or "of a family that does not show in its first bytes")
        hint = f"Families are: {', '.join(FAMILIES)}; if it is one of them, say so with --family."
        raise BadValue(f"{path} is {what}, which cannot be drawn with yet.", hint, field="family")
    row |= {"family": known, "native_size": FAMILIES[known].defaults["width"]}
    row |= {"prediction": facts.prediction} if facts.prediction else {}
    return row | ({"zero_snr": True} if facts.has_zero_snr else {})


def _free_name(name: str, library: Library) -> str:
    if name in library.models or name in library.downloadable:
        raise BadValue(
            f"There is already a model called {name[:80]!r}.", "Give it another name with --name.", field="name"
        )
    return name


def _check_row(row: Mapping[str, Any], settings: Settings) -> None:
    """Raises `BadValue` for an entry that would not be read again, such as one with a file that lies elsewhere."""
    try:
        make_offer(OfferRow.model_validate({key: row[key] for key in row if key in OfferRow.model_fields}), settings)
    except ValidationError as exc:
        raise BadValue(f"It cannot be added: {sentence(exc)}.", "Choose another name or file.", field="what") from exc


def _append(row: Mapping[str, Any], path: Path) -> None:
    rows: Sequence[Any] = []
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as exc:
        raise BadFile(f"{path} cannot be read: {exc}.", "Mend it or remove it, then try again.") from exc
    if not isinstance(rows, list):
        raise BadFile(f"{path} is not a list of models.", "Mend it or remove it, then try again.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps([*rows, row], ensure_ascii=False, indent=2).encode() + b"\n", replace=True)
    except OSError as exc:
        raise disk_problem(exc, path.parent, "FOOOCUS_DATA_DIR") from exc
