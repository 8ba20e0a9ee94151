"""Locks between processes, which the operating system takes back when their owner dies, however it dies."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

_LOCKED_BYTE = 1 << 30  # far behind the text: Windows also keeps others from reading a locked byte
_LOOK_S = 0.2
_TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK, 36)  # 36: EDEADLOCK, which Windows says


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; ``False`` while another process has it.

    On a disk that knows no locks, as some of a network, there is none, and nobody waits for ever.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno not in _TAKEN
    return True


@contextmanager
def held(path: Path, wait: Callable[[float], object]) -> Generator[None]:
    """Hold the lock file ``path``, which is removed afterwards.

    Args:
        wait: Called with seconds while another process holds it; may raise to give up.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = _opened(path)
    try:
        while not (try_lock(descriptor) and _is_still(descriptor, path)):
            os.close(descriptor)
            descriptor = -1
            wait(_LOOK_S)
            descriptor = _opened(path)
        try:
            yield
        finally:
            _unlink_if_free(path)  # while it is held: nobody can hold a lock on what is gone
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        if sys.platform == "win32":
            _unlink_if_free(path)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the locked file is the one that others will find; its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _unlink_if_free(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # on Windows: while it is open
        return
