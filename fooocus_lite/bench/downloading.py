"""A verified download from this machine to itself, against `curl` piped through `sha256sum`, in turns."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fooocus_lite.bench.report import Row
from fooocus_lite.download_file import Tries, fetch_file
from fooocus_lite.http_streams import Halt, Patience
from fooocus_lite.model_files import ModelFile
from fooocus_lite.settings import Settings

SIZE_BYTES = 256_000_000
TOOLS = ("curl", "sha256sum", "sh")
_SERVER = """
import pathlib, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
path = pathlib.Path(sys.argv[1])
while True:
    connection, _ = listening.accept()
    with connection, path.open("rb") as file:
        connection.recv(65536)
        size = path.stat().st_size
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % size)
        try:
            connection.sendfile(file)
        except OSError:
            pass
"""


def download_seconds(settings: Settings, folder: Path, rounds: int) -> Iterator[tuple[float, float]]:
    """(ours, theirs) in seconds, a pair a round. Ours also writes the file, flushes it and puts it into its place."""
    source = folder / "source.bin"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(random.Random(0).randbytes(SIZE_BYTES))
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    own = replace(settings, models_dir=folder / "models", offline=False)
    with _server(source) as url:
        file = ModelFile(str(own.models_dir / "copy.bin"), url=url, size_bytes=SIZE_BYTES, sha256=sha256)
        for _ in range(rounds):
            Path(file.path).unlink(missing_ok=True)
            started = time.perf_counter()
            fetch_file(file, own, Tries(Halt(), Patience(), lambda _: None))
            between = time.perf_counter()
            done = subprocess.run(["sh", "-c", 'curl -sS "$1" | sha256sum', "sh", url], capture_output=True, text=True)
            assert done.stdout.startswith(sha256), done.stderr
            yield between - started, time.perf_counter() - between


@contextmanager
def _server(path: Path) -> Generator[str]:
    process = subprocess.Popen([sys.executable, "-c", _SERVER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/source.bin"
    finally:
        process.kill()
        process.wait()


def missing_tools() -> Row | None:
    """A row that says what is not here to compare with."""
    absent = [name for name in TOOLS if shutil.which(name) is None]
    return Row("verified download", None, 1.25, f"{', '.join(absent)} not found here") if absent else None
