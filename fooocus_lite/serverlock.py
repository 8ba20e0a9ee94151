"""One server per queue: a lock that the operating system takes back when its owner dies, however it dies."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from fooocus_lite.disk import disk_problem
from fooocus_lite.errors import FooocusError
from fooocus_lite.locks import try_lock


class ServerLock:
    """Held from construction to `close`.

    Raises:
        FooocusError: another process holds it; says which.
        DiskProblem: the folder cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise disk_problem(exc, path.parent, "FOOOCUS_DATA_DIR") from exc
        if not try_lock(self._descriptor):
            holder = _read_holder(self._descriptor)
            os.close(self._descriptor)
            raise _in_use(path, holder)
        self.tell(None)

    def tell(self, address: str | None) -> None:
        """Write down who holds the lock, so that a second server can say where the first one is."""
        text = json.dumps({"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M"), "address": address})
        try:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, text.encode())
        except OSError:  # a full disk: the lock itself holds without its label
            return

    def close(self) -> None:
        """Let the next server in; closing again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _read_holder(descriptor: int) -> dict[str, object]:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = json.loads(os.read(descriptor, 1000))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _in_use(path: Path, holder: dict[str, object]) -> FooocusError:
    who = "Another Fooocus Lite"
    if "pid" in holder:
        who += f" (process {holder['pid']}, since {holder.get('since', 'some time')})"
    address = holder.get("address")
    open_it = f"Open {address} in your browser, or stop" if address else "Stop"
    return FooocusError(
        f"{who} already uses the queue in {path.parent}.",
        f"{open_it} that one, or give this one its own folder with FOOOCUS_DATA_DIR.",
        code="conflict",
    )
