"""Locks between processes, on disks that know them and on disks that do not."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from fooocus_lite import locks


def never(_seconds: float) -> None:
    raise AssertionError("nobody else has it")


def test_who_comes_second_waits_until_the_first_lets_go(tmp_path: Path) -> None:
    path, waited = tmp_path / "a.lock", list[float]()
    first = os.open(path, os.O_RDWR | os.O_CREAT)
    assert locks.try_lock(first)

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            os.close(first)

    with locks.held(path, wait):
        assert len(waited) == 3 and path.exists()
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="such disks are found elsewhere")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    import fcntl

    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locks.held(tmp_path / "a.lock", never):
        pass
