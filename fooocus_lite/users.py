"""`Users`: who gets in with a password or an API key, and how much they may ask for.

The file is looked at again whenever it has changed, so that a user who is removed is out at once. While it cannot be
read nobody gets in; nor once it is gone, until the server is started anew: a slip must not open the door.
"""

from __future__ import annotations

import hmac
import logging
import os
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fooocus_lite.errors import BadFile, FooocusError
from fooocus_lite.passwords import NOBODYS, hash_key, hash_password, is_dated, is_password, new_password
from fooocus_lite.settings import Settings
from fooocus_lite.user import NO_LIMITS, Limits, User
from fooocus_lite.users_file import UserRow, UsersFile, change_users, compared, read_users, users_path

logger = logging.getLogger(__name__)
ADMIN = "admin"
_Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class _Known:
    """What the file said when its stamp was this."""

    stamp: _Stamp = None
    default_limits: Limits = NO_LIMITS
    by_name: dict[str, UserRow] = field(default_factory=dict[str, UserRow])
    by_key: dict[str, UserRow] = field(default_factory=dict[str, UserRow])
    problem: BadFile | None = None


class Users:
    """Everybody who may use this program; every method may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._path = users_path(settings)
        self._reading = threading.Lock()
        self._minted: str | None = None
        self._known = _read(self._path, _stamp(self._path))
        if self._known.problem is not None:
            logger.error("%s", self._known.problem)

    @property
    def is_needed(self) -> bool:
        """Whether people must say who they are: there are users, or nobody can tell whether there are."""
        known = self._now()
        return bool(known.by_name or known.problem or self._minted)

    @property
    def problem(self) -> BadFile | None:
        """Why nobody gets in at all; ``None`` when all is well."""
        return self._now().problem

    def mint(self) -> str:
        """A password for an admin called "admin", who is there until the program ends or the file has users."""
        password = new_password()
        self._minted = hash_password(password)
        return password

    def find_by_password(self, name: str, password: str) -> User | None:
        """Whoever has that name and password. Takes 32 MiB and a noticeable while, also for a name that
        nobody has: call it in a thread, and not too often at once."""
        row = self._now().by_name.get(compared(name))
        stored = row.password if row else self._minted_for(name) or NOBODYS
        if not is_password(password, stored):
            return None
        if row is None:
            return User(ADMIN, is_admin=True)
        if is_dated(stored):
            self._keep_anew(row, password)
        return _user(row)

    def find_by_key(self, api_key: str) -> User | None:
        """Whoever has that API key."""
        # Where a hash is looked for can tell time, but not what would have it: nobody chooses a SHA-256.
        row = self._now().by_key.get(hash_key(api_key))
        return _user(row) if row else None

    def find(self, name: str) -> User | None:
        """The user of that name as they stand now: for those who have said before who they are."""
        row = self._now().by_name.get(compared(name))
        if row is None and self._minted_for(name):
            return User(ADMIN, is_admin=True)
        return _user(row) if row else None

    def may_go_on(self, name: str) -> bool:
        """Whether what goes on by itself under that name still may: not once a user was removed and others are left."""
        known = self._now()
        return not name or not known.by_name or compared(name) in known.by_name

    def mark(self, name: str) -> str:
        """A text that becomes another with the user's password, and tells nothing of it; empty for a stranger."""
        row = self._now().by_name.get(compared(name))
        stored = row.password if row else self._minted_for(name)
        return hash_key(f"mark {stored}") if stored else ""

    def limits(self, user: User) -> Limits:
        """How much a user may ask for: their own limits, else those of everybody, which do not hold for admins."""
        return self.limits_of(user.name)

    def limits_of(self, name: str) -> Limits:
        """As `limits`, by name; a name that nobody has has none."""
        known = self._now()
        row = known.by_name.get(compared(name))
        if row is None:
            return NO_LIMITS
        if row.limits is not None:
            return row.limits.as_limits()
        return NO_LIMITS if row.is_admin else known.default_limits

    def _minted_for(self, name: str) -> str | None:
        known = self._now()
        is_open = not known.by_name and known.problem is None
        return self._minted if is_open and hmac.compare_digest(compared(name).encode(), ADMIN.encode()) else None

    def _now(self) -> _Known:
        stamp = _stamp(self._path)
        if stamp != self._known.stamp:
            with self._reading:
                self._reread(stamp)
        return self._known

    def _reread(self, stamp: _Stamp) -> None:
        known = self._known
        if stamp == known.stamp:  # another thread was faster
            return
        if stamp is None and (known.by_name or known.problem):
            hint = "Bring it back, or start Fooocus Lite again to let everybody in."
            problem = BadFile(f"The list of users, {self._path.name}, is gone, so nobody gets in.", hint)
            self._known = _Known(problem=problem)
        else:
            self._known = _read(self._path, stamp)
        if self._known.problem is not None:
            logger.error("%s", self._known.problem)

    def _keep_anew(self, row: UserRow, password: str) -> None:
        """Keep a password as passwords are kept today, unless it was changed meanwhile."""
        stored = hash_password(password)
        try:
            change_users(self._path, partial(_with_password, old=row, stored=stored))
        except FooocusError as exc:  # a full disk, say: they get in all the same, and the next time is as good
            logger.warning("a password could not be kept anew: %s", exc)


def _with_password(users: UsersFile, *, old: UserRow, stored: str) -> UsersFile:
    return users.model_copy(
        update={
            "users": tuple(
                row.model_copy(update={"password": stored}) if row.password == old.password else row
                for row in users.users
            )
        }
    )


def _read(path: Path, stamp: _Stamp) -> _Known:
    """What the file says, which had that stamp before it was read: one that changes meanwhile is read again."""
    try:
        users = read_users(path)
    except BadFile as exc:
        return _Known(stamp, problem=exc)
    by_name = {compared(row.name): row for row in users.users}
    by_key = {key.sha256: row for row in users.users for key in row.keys}
    return _Known(stamp, users.limits.as_limits(), by_name, by_key)


def _stamp(path: Path) -> _Stamp:
    """Changes with the file; ``None`` while there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError:  # it cannot be looked at: read it, and hear why
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _user(row: UserRow) -> User:
    return User(row.name, is_admin=row.is_admin)
