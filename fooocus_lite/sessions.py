"""`Sessions`: who has logged in, until when. Kept over a restart, in a file that nobody could log in with.

A session is a random token that only the browser has; the file holds its SHA-256. It ends by itself after
`LASTS_S`, with the user's password, and with the user.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fooocus_lite.disk import write_atomic
from fooocus_lite.user import User
from fooocus_lite.users import Users

logger = logging.getLogger(__name__)
FILE_NAME = "sessions.json"
LASTS_S = 30 * 86_400
#: Of one user no more than that are kept, browsers of a whole household with one name; then their own oldest goes.
MAX_PER_USER = 50
#: Nor of all users together; then the oldest goes of whoever has the most: nobody logs others out by logging in.
MAX_SESSIONS = 1000
_MAX_BYTES = 1_000_000


class _Session(BaseModel):
    """One browser that logged in.

    Attributes:
        mark: What `Users.mark` said then; another one means another password.
        until: Unix time.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    mark: str
    until: float


class _SessionsFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    fooocus_lite_sessions: int = 1
    sessions: dict[str, _Session] = {}


class Sessions:
    """The sessions of ``users``; every method may be called from any thread."""

    def __init__(self, folder: Path, users: Users, *, now: Callable[[], float] = time.time) -> None:
        self._path = folder / FILE_NAME
        self._users = users
        self._now = now
        self._lock = threading.Lock()
        self._sessions = _read(self._path)

    def open(self, user: User) -> str:
        """A new session; the token that the browser keeps."""
        token = secrets.token_urlsafe(32)
        session = _Session(name=user.name, mark=self._users.mark(user.name), until=self._now() + LASTS_S)
        with self._lock:
            alive = [one for one in self._sessions.items() if self._user(one[1]) is not None]
            self._sessions = _within_bounds(dict([*alive, (_hash(token), session)]), user.name)
            self._save()
        return token

    def find(self, token: str) -> User | None:
        """Whose session that is, if it is one and still holds."""
        session = self._sessions.get(_hash(token))
        return self._user(session) if session else None

    def close(self, token: str) -> None:
        """End a session."""
        with self._lock:
            if self._sessions.pop(_hash(token), None) is not None:
                self._save()

    def _user(self, session: _Session) -> User | None:
        is_valid = session.until > self._now() and session.mark == self._users.mark(session.name)
        return self._users.find(session.name) if is_valid else None

    def _save(self) -> None:
        text = _SessionsFile(sessions=self._sessions).model_dump_json(indent=1)
        try:
            write_atomic(self._path, text.encode(), replace=True, is_secret=True)
        except OSError as exc:  # they hold until the server ends
            logger.warning("who is logged in could not be saved: %s", exc)


def _within_bounds(sessions: dict[str, _Session], newest: str) -> dict[str, _Session]:
    """Oldest first, as they are; without those that are too many now that ``newest`` has logged in."""
    held = Counter(session.name for session in sessions.values())
    surplus = Counter({newest: max(0, held[newest] - MAX_PER_USER)})
    while held.total() - surplus.total() > MAX_SESSIONS:
        surplus[max(held, key=lambda name: held[name] - surplus[name])] += 1
    kept: dict[str, _Session] = {}
    for digest, session in sessions.items():
        if surplus[session.name] > 0:
            surplus[session.name] -= 1
        else:
            kept[digest] = session
    return kept


def _read(path: Path) -> dict[str, _Session]:
    """What the file says; nothing where it is missing or damaged: people log in again."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        return dict(_SessionsFile.model_validate(json.loads(data)).sessions)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, ValidationError, RecursionError):
        logger.warning("%s cannot be read; everybody logs in again", path.name)
        return {}


def _hash(token: str) -> str:
    # Looked up by its hash: what the time of a look-up could tell is of no use, as nobody chooses a SHA-256.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
