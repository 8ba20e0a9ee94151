"""The model hub: where it is, what it says of a file, and who may have it.

huggingface_hub knows where a person's token lies; the rest is one address per file and one question about files, asked
through our own connection, which can be stopped and does not wait for ever.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import quote, urlsplit

import httpx

from fooocus_lite import __version__
from fooocus_lite.errors import BadValue, DownloadFailed
from fooocus_lite.http_streams import Broken, Halt, Patience, open_stream, read_answer, refused
from fooocus_lite.model_files import ModelFile
from fooocus_lite.settings import HUB_OFFLINE, Settings

HUB = "https://huggingface.co"
LOGIN = "run `hf auth login`, or put it into the environment as HF_TOKEN"
_REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,18}")
_REFUSALS = (401, 403, 404)


@dataclass(frozen=True)
class Source:
    """Where a file is read from, and what is published of it.

    Attributes:
        address: Its address; the bytes may come from another one that this one leads to.
        repo: Its repository on the hub; empty for a plain address.
        headers: What is sent along, which may be a token: nothing to show anybody.
        size_bytes: ``None`` where nobody has published it.
        sha256: In hexadecimal; empty where nobody has published it.
        git_sha1: What git calls the file's content, for small files of the hub; else empty.
    """

    address: str
    repo: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    size_bytes: int | None = None
    sha256: str = ""
    git_sha1: str = ""

    @property
    def host(self) -> str:
        """For sentences."""
        return urlsplit(self.address).hostname or self.address


@dataclass(frozen=True)
class HubFile:
    """What the hub says of a file: its path in the repository, its length, and its hash, which is one of two."""

    path: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""


#: (repository, revision, path) → what the hub said of it.
Known = Mapping[tuple[str, str, str], HubFile]


def check_online(settings: Settings) -> None:
    """Raises `DownloadFailed` where the network may not be used."""
    if settings.offline:
        why = HUB_OFFLINE if settings.sources.get("offline") == HUB_OFFLINE else "the setting offline"
        problem = f"Nothing is downloaded, because {why} is on."
        raise DownloadFailed(problem, "Turn it off, or put the files into the models folder yourself.", code="offline")


def endpoint(settings: Settings) -> str:
    """The address of the hub or its mirror, without a slash at its end."""
    return (settings.hub_endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def why_unreachable(settings: Settings) -> str:
    """Why the hub cannot be asked anything now, in a sentence; empty if it can."""
    request = httpx.Request("HEAD", endpoint(settings), headers=_manners())
    try:
        with open_stream(request, Halt(), Patience(stall_s=5), allowed=tuple(range(300, 600))):
            return ""
    except (Broken, DownloadFailed) as exc:
        return str(exc)


def find_source(
    file: ModelFile, settings: Settings, halt: Halt, patience: Patience, known: Known | None = None
) -> Source:
    """Where ``file`` is had from; the hub is asked for its length and hash if the catalog does not say both.

    Args:
        known: What the hub has already said.

    Raises:
        Broken: worth another try.
        DownloadFailed: the hub does not have it, or not for us.
        BadValue: an address that nobody should follow.
    """
    if file.url:
        return Source(check_address(file.url), headers=_manners(), size_bytes=file.size_bytes, sha256=file.sha256)
    source = source_of_repo(file.repo, file.revision, file.path_in_repo, settings)
    if file.size_bytes is not None and file.sha256:
        return replace(source, size_bytes=file.size_bytes, sha256=file.sha256)
    row = (known or {}).get((file.repo, file.revision, file.path_in_repo))
    if row is None:
        said = ask_paths(file.repo, file.revision, [file.path_in_repo], settings, halt, patience)
        row = said.get(file.path_in_repo)
    if row is None:
        hint = "It may have been moved or withdrawn: look at its page, or choose another model."
        raise DownloadFailed(f"{file.repo} has no file {file.path_in_repo} (revision {file.revision}).", hint)
    sha256 = file.sha256 or row.sha256
    size = row.size_bytes if file.size_bytes is None else file.size_bytes
    return replace(source, size_bytes=size, sha256=sha256, git_sha1="" if sha256 else row.git_sha1)


def source_of_repo(repo: str, revision: str, path: str, settings: Settings) -> Source:
    """Where a file of a repository is read from.

    Raises:
        BadValue: there cannot be such a file.
    """
    check_repo_path(repo, path)
    address = f"{endpoint(settings)}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"
    return Source(address, repo, _manners() | token_header(settings))


def read_head(source: Source, size_bytes: int, halt: Halt, patience: Patience) -> tuple[bytes, int | None]:
    """(the first ``size_bytes`` bytes of a file, or all if it is shorter; its length where the source says it).

    Raises: as `find_source`.
    """
    headers = (source.headers or _manners()) | {"Range": f"bytes=0-{size_bytes - 1}"}
    with open_stream(
        httpx.Request("GET", source.address, headers=headers), halt, patience, allowed=_REFUSALS
    ) as answer:
        check_allowed(answer, source.repo)
        said = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get("Content-Length", "")
        head = b""
        for chunk in answer.iter_raw():
            head += chunk
            if len(head) >= size_bytes:
                break
    return head[:size_bytes], int(said) if _LENGTH.fullmatch(said) else None


@dataclass(frozen=True)
class HubRepo:
    """What the hub says of a repository."""

    licence: str = ""
    licence_url: str = ""
    is_gated: bool = False


def ask_about(repo: str, settings: Settings, halt: Halt, patience: Patience) -> HubRepo:
    """Licence and doors of a repository, as its makers filled them in.

    Raises: as `find_source`.
    """
    check_repo_path(repo, "file")
    request = httpx.Request(
        "GET", f"{endpoint(settings)}/api/models/{repo}", headers=_manners() | token_header(settings)
    )
    said = _ask(request, repo, halt, patience)
    if not isinstance(said, dict):
        raise _no_hub(request.url.host)
    about = cast("dict[str, Any]", said)
    card = cast("dict[str, Any]", about.get("cardData")) if isinstance(about.get("cardData"), dict) else {}
    licence = str(card.get("license_name") or card.get("license") or "")
    return HubRepo(licence, f"{HUB}/{repo}" if licence else "", bool(about.get("gated")))


def ask_paths(
    repo: str, revision: str, paths: Sequence[str], settings: Settings, halt: Halt, patience: Patience
) -> dict[str, HubFile]:
    """What the hub says of the files ``paths`` of a repository; those that it does not have are left out.

    Raises: as `find_source`.
    """
    address = f"{endpoint(settings)}/api/models/{repo}/paths-info/{quote(revision, safe='')}"
    form: dict[str, Any] = {"paths": list(paths), "expand": False}
    request = httpx.Request("POST", address, data=form, headers=_manners() | token_header(settings))
    return {row.path: row for row in _rows(_ask(request, repo, halt, patience), urlsplit(address).hostname or "")}


def list_files(repo: str, revision: str, settings: Settings, halt: Halt, patience: Patience) -> list[HubFile]:
    """Every file of a repository.

    Raises: as `find_source`.
    """
    check_repo_path(repo, "file")
    address = f"{endpoint(settings)}/api/models/{repo}/tree/{quote(revision, safe='')}?recursive=true"
    found: list[HubFile] = []
    while address:
        request = httpx.Request("GET", address, headers=_manners() | token_header(settings))
        check_online(settings)
        with open_stream(request, halt, patience, allowed=_REFUSALS) as response:
            check_allowed(response, repo)
            found += _rows(_parsed(read_answer(response), response.url.host), response.url.host)
            following = response.links.get("next", {}).get("url", "")
        same_hub = following.startswith(f"{endpoint(settings)}/")
        address = following if same_hub else ""
    return found


def _ask(request: httpx.Request, repo: str, halt: Halt, patience: Patience) -> Any:
    with open_stream(request, halt, patience, allowed=_REFUSALS) as response:
        check_allowed(response, repo)
        return _parsed(read_answer(response), response.url.host)


def _parsed(data: bytes, host: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise _no_hub(host) from exc


def _no_hub(host: str) -> DownloadFailed:
    return DownloadFailed(f"{host} does not answer as a model hub does.", "Look at the setting hub_endpoint.")


def _rows(said: Any, host: str) -> list[HubFile]:
    try:
        return [
            HubFile(
                path=str(row["path"]),
                size_bytes=int(row["size"]),
                sha256=str(row["lfs"]["oid"]).lower() if row.get("lfs") else "",
                git_sha1="" if row.get("lfs") else str(row["oid"]).lower(),
            )
            for row in said
            if row["type"] == "file"
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:  # Overflow: 1e999
        raise _no_hub(host) from exc


def check_allowed(response: httpx.Response, repo: str) -> None:
    """Raises `DownloadFailed` for a repository that is gated, private or not there, with what to do."""
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    if status not in _REFUSALS:
        return
    if not repo:
        raise refused(response)
    page = f"{HUB}/{repo}"
    if code in ("EntryNotFound", "RevisionNotFound") or (status == 404 and code != "RepoNotFound"):
        problem = f"{repo} does not have this file any more."
        raise DownloadFailed(problem, f"Look at {page}, or choose another model.")
    if "Authorization" not in response.request.headers:
        if code == "GatedRepo":
            problem = f"The makers of {repo} want to know who uses it."
            hint = f"Accept their licence at {page}, make a token at {HUB}/settings/tokens, {LOGIN}; then try again."
        else:
            problem = f"{repo} is not there, or not for everybody."
            hint = f"Look at {page}; if it asks for an account, make a token at {HUB}/settings/tokens and {LOGIN}."
        raise DownloadFailed(problem, hint, code="needs_licence")
    problem = f"Your token does not open {repo} ({status})."
    hint = f"Accept the licence at {page} with the account of the token, and let the token read gated repositories."
    raise DownloadFailed(problem, hint, code="needs_licence")


def check_address(url: str) -> str:
    """``url`` if it is a plain http or https address.

    Raises:
        BadValue: it is not.
    """
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        is_plain = False
    if not is_plain:
        raise BadValue(
            f"{url[:100]!r} is not an address to download from.", "It must begin with https://.", field="url"
        )
    return url


def check_repo_path(repo: str, path: str) -> None:
    """Raises `BadValue` for a repository or a path in it that the hub cannot have."""
    if not _REPO.fullmatch(repo) or ".." in repo:
        raise BadValue(f"{repo[:100]!r} is not a repository of the hub.", "Write it as owner/name.", field="repo")
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise BadValue(f"{path[:100]!r} is not a file of a repository.", "Write it as on the hub.", field="path")


def token_header(settings: Settings) -> dict[str, str]:
    """The person's token for the hub, if there is one, as a header; nothing over a line that others can read."""
    parts = urlsplit(endpoint(settings))
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return {}
    from huggingface_hub import get_token

    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _manners() -> dict[str, str]:
    """What every request says: who asks, and that the bytes shall come as they are."""
    return {"User-Agent": f"fooocus-lite/{__version__}", "Accept-Encoding": "identity"}
