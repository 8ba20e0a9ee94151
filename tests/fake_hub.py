"""`FakeHub`: a real HTTP server in the shape of the model hub, which can misbehave in every way that was ever seen.

It answers what the hub's library and we ask: model information, tree, paths-info, resolve with ETag, X-Linked-Etag,
X-Linked-Size and X-Repo-Commit, Range and If-Range. Large (LFS) files are sent on, as there, to another host, by the
name ``localhost`` instead of ``127.0.0.1``. Plain addresses lie under ``/files/``. Use its `address` as ``HF_ENDPOINT``
or as the setting ``hub_endpoint``::

    with FakeHub() as hub:
        hub.put("owner/name", "model.safetensors", data)
        hub.next("model.safetensors", Cut(1000), Status(503, {"Retry-After": "1"}))

`next` says how the next requests for a file's bytes are answered, one after the other; then all is well again.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import ssl
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_this-is-a-test"
_BLOCK = 1 << 16


# How a request for a file's bytes can be answered.


@dataclass(frozen=True)
class Status:
    """This status, and nothing of the file."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes."""

    after: int


@dataclass(frozen=True)
class Stall:
    """Nothing more comes after so many bytes; -1: not even an answer."""

    after: int


@dataclass(frozen=True)
class Slow:
    """So many bytes a second."""

    bytes_per_s: float


@dataclass(frozen=True)
class Length:
    """Another length is promised than comes; None: none."""

    size: int | None


@dataclass(frozen=True)
class Other:
    """Other bytes than were published."""

    data: bytes


@dataclass(frozen=True)
class Redirect:
    """Look elsewhere."""

    to: str


@dataclass(frozen=True)
class NoRange:
    """Range is not understood: everything, from its beginning."""


HTML = Status(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html><title>Please log in</title>")
Answer = Status | Cut | Stall | Slow | Length | Other | Redirect | NoRange


@dataclass
class Seen:
    """A request as it came; ``sent`` counts the bytes of the file that left."""

    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0


@dataclass
class Stored:
    """A file; ``etag`` is what the place of its bytes says."""

    data: bytes
    is_lfs: bool = True
    etag: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def git_sha1(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    def row(self, path: str) -> dict[str, Any]:
        """As the hub's tree lists it."""
        row: dict[str, Any] = {"type": "file", "path": path, "size": len(self.data), "oid": self.git_sha1}
        return row | ({"lfs": {"oid": self.sha256, "size": len(self.data), "pointerSize": 134}} if self.is_lfs else {})


class FakeHub:
    """Running while the ``with`` lasts, on a free port of this machine; with ``certificate`` (file, key) by https."""

    def __init__(self, port: int = 0, *, certificate: tuple[str, str] | None = None) -> None:
        self.files: dict[str, dict[str, Stored]] = defaultdict(dict)  # repository → path → file; "" = plain addresses
        self.gated: set[str] = set()
        self.seen: list[Seen] = []
        self.always: Answer | None = None
        self._next: dict[str, deque[Answer]] = defaultdict(deque)
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.hub = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        scheme = "https" if certificate else "http"
        self.address = f"{scheme}://127.0.0.1:{self.port}"
        self.other_host = f"{scheme}://localhost:{self.port}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def put(self, repo: str, path: str, data: bytes, *, is_lfs: bool = True, etag: str = "") -> Stored:
        """A file of a repository. It replaces the one that was there."""
        stored = Stored(data, is_lfs)
        stored.etag = etag or f'"{stored.sha256 if is_lfs else stored.git_sha1}"'
        self.files[repo][path] = stored
        return stored

    def put_url(self, name: str, data: bytes, *, etag: str = "") -> str:
        """A file at a plain address, which is returned."""
        self.put("", name, data, etag=etag)
        return f"{self.address}/files/{name}"

    def next(self, path: str, *answers: Answer) -> None:
        """How the next requests for the bytes of files called ``path`` are answered."""
        with self._lock:
            self._next[path].extend(answers)

    def take(self, path: str) -> Answer | None:
        with self._lock:
            waiting = self._next[path]
            return waiting.popleft() if waiting else self.always

    def gets(self, path: str) -> list[Seen]:
        """The requests for the bytes of a file that did not send us on."""
        return [
            seen for seen in self.seen if seen.method == "GET" and re.search(rf"/(cdn|files|raw)/.*{path}", seen.path)
        ]

    def asked(self, part: str) -> list[Seen]:
        """The requests with ``part`` in their path."""
        return [seen for seen in self.seen if part in seen.path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    hub: FakeHub

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        self.seen = Seen(self.command, self.path, {key.lower(): value for key, value in self.headers.items()})
        hub.seen.append(self.seen)
        path = unquote(urlsplit(self.path).path)
        for pattern, answer in (
            (r"/api/models/([^/]+/[^/]+)/(paths-info|tree)/([^/]+)", self._listing),
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._information),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
            (r"/(?:cdn|raw)/([^/]+/[^/]+)/(.+)", self._bytes),
            (r"/files/()(.+)", self._bytes),
        ):
            if found := re.fullmatch(pattern, path):
                answer(*found.groups())
                return
        self._say(404)

    def _say(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _say_json(self, value: object) -> None:
        self._say(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _is_refused(self, repo: str, path: str = "") -> bool:
        """Gated, or not there."""
        hub = self.server.hub
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo not in hub.files:
            self._say(401 if not token else 404, {"X-Error-Code": "RepoNotFound"})
        elif repo in hub.gated and token != TOKEN:
            self._say(403 if token else 401, {"X-Error-Code": "GatedRepo"})
        elif path and path not in hub.files[repo]:
            self._say(404, {"X-Error-Code": "EntryNotFound"})
        else:
            return False
        return True

    def _listing(self, repo: str, kind: str, _revision: str) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        answer = self.server.hub.take(f"{repo} {kind}")
        if isinstance(answer, Status):
            self._say(answer.status, answer.headers, answer.body)
        elif not self._is_refused(repo):
            files = self.server.hub.files[repo]
            paths = [path for path in files if kind == "tree" or path in form.get("paths", [])]
            self._say_json([files[path].row(path) for path in paths])

    def _information(self, repo: str, _revision: str | None) -> None:
        if not self._is_refused(repo):
            siblings = [{"rfilename": path} for path in self.server.hub.files[repo]]
            about = {"gated": "auto" if repo in self.server.hub.gated else False, "cardData": {"license": "mit"}}
            self._say_json({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "tags": []} | about)

    def _resolve(self, repo: str, _revision: str, path: str) -> None:
        if self._is_refused(repo, path):
            return
        stored = self.server.hub.files[repo][path]
        about = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if not stored.is_lfs:
            about |= {"ETag": f'"{stored.git_sha1}"'}
            self._say(307, about | {"Location": f"/raw/{repo}/{path}"})
            return
        about |= {"X-Linked-Etag": f'"{stored.sha256}"', "X-Linked-Size": str(len(stored.data))}
        self._say(
            302, about | {"Location": f"{self.server.hub.other_host}/cdn/{repo}/{path}?signature={time.time_ns()}"}
        )

    def _bytes(self, repo: str, path: str) -> None:
        hub = self.server.hub
        stored, answer = hub.files[repo].get(path), hub.take(path)
        if isinstance(answer, Stall) and answer.after < 0:
            self._wait()
        elif isinstance(answer, Status):
            self._say(answer.status, answer.headers, answer.body)
        elif isinstance(answer, Redirect):
            self._say(302, {"Location": answer.to})
        elif stored is None:
            self._say(404)
        else:
            self._send_file(stored, answer)

    def _send_file(self, stored: Stored, answer: Answer | None) -> None:
        data = answer.data if isinstance(answer, Other) else stored.data
        first = 0
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found and not isinstance(answer, NoRange) and self.headers.get("If-Range", stored.etag) == stored.etag:
            first = int(found[1])
        if first >= len(data) and first:
            self._say(416, {"Content-Range": f"bytes */{len(data)}"})
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", stored.etag)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        length = answer.size if isinstance(answer, Length) else len(data) - first
        if length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "GET":
            self._send_body(memoryview(data)[first:], answer)

    def _send_body(self, body: memoryview, answer: Answer | None) -> None:
        end = answer.after if isinstance(answer, (Cut, Stall)) else len(body)
        speed = answer.bytes_per_s if isinstance(answer, Slow) else 0.0
        block = max(int(speed / 50), 1) if speed else _BLOCK
        for start in range(0, min(end, len(body)), block):
            piece = body[start : min(start + block, end)]
            self.wfile.write(piece)
            self.seen.sent += len(piece)
            if speed and self.server.hub.ended.wait(len(piece) / speed):
                return
        if isinstance(answer, Stall):
            self._wait()
        elif isinstance(answer, (Cut, Length)):
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _wait(self) -> None:
        """Until the test is over, or the client has gone."""
        self.connection.settimeout(0.05)
        while not self.server.hub.ended.is_set():
            try:
                if not self.connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.close_connection = True


def random_bytes(size: int, seed: int = 0) -> bytes:
    """``size`` bytes that no two seeds share."""
    return random.Random(seed).randbytes(size)
