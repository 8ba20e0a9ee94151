"""The process in which an engine draws: what it shows of itself, and how one of this machine is started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from fooocus_lite.errors import WorkerDied

#: Looks at a flag, some 20 ns each, before a computing thread goes to sleep: enough to reach the next loop awake.
SPIN_COUNT = 5000


class Process(Protocol):
    """What a worker's process shows of itself: what `subprocess.Popen` does, wherever it runs."""

    @property
    def pid(self) -> int: ...

    @property
    def stdin(self) -> Any: ...

    @property
    def stdout(self) -> Any: ...

    @property
    def stderr(self) -> Any: ...

    @property
    def reason(self) -> WorkerDied | None:
        """Why it ended, where that is known better than by a code."""
        ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


def patient_threads(environment: Mapping[str, str]) -> dict[str, str]:
    """What keeps torch's threads from burning a busy machine; nothing where a person has decided that already.

    Between two parallel loops libgomp's threads spin for milliseconds by default. Beside other programs they spin
    away the very time that the one they wait for needs, and a picture takes ten times as long.
    """
    if "OMP_WAIT_POLICY" in environment or "GOMP_SPINCOUNT" in environment:
        return {}
    return {"GOMP_SPINCOUNT": str(SPIN_COUNT)}


class _LocalProcess(subprocess.Popen[bytes]):
    reason: WorkerDied | None = None


def start_process() -> Process:
    """A new worker process of this machine, which waits for the name of its engine."""
    own = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUTF8": "1"}
    environment = os.environ | patient_threads(os.environ) | own
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    return _LocalProcess(
        [sys.executable, "-m", "fooocus_lite.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        start_new_session=True, creationflags=flags,  # Ctrl-C in the terminal must not reach the child
    )  # fmt: skip
