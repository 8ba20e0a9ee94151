"""The file ``users.json`` in the data folder: who may use this program, and how much each may ask for.

It holds no password and no API key, only what tells a right one from a wrong one (`fooocus_lite.passwords`).
It is written whole or not at all, for its owner's eyes only, by one process at a time.
"""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from fooocus_lite.disk import disk_problem, write_atomic
from fooocus_lite.errors import BadFile, BadValue, FooocusError
from fooocus_lite.library_json import sentence
from fooocus_lite.locks import held
from fooocus_lite.passwords import is_stored_password
from fooocus_lite.recipe import shown
from fooocus_lite.settings import Settings
from fooocus_lite.user import Limits

FILE_NAME = "users.json"
MAX_NAME_CHARS, MAX_USERS, MAX_KEYS = 60, 1000, 50
_MAX_BYTES = 8_000_000
_LOCK_WAIT_S = 10.0
_MOST = 1_000_000_000


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class LimitsRow(_Row):
    """`Limits` as the file has them."""

    pictures_a_day: int | None = Field(default=None, ge=0, le=_MOST)
    megapixels_a_day: float | None = Field(default=None, ge=0, le=_MOST)
    picture_megapixels: float | None = Field(default=None, ge=0, le=_MOST)
    waiting: int | None = Field(default=None, ge=0, le=_MOST)

    def as_limits(self) -> Limits:
        """The value that the program uses."""
        return Limits(**self.model_dump())


class KeyRow(_Row):
    """An API key: its name, and what is kept of it."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: float


class UserRow(_Row):
    """A user.

    Attributes:
        password: See `fooocus_lite.passwords`.
        limits: Their own; without them they have those of the file.
    """

    name: str
    password: str
    is_admin: bool = False
    created_at: float
    limits: LimitsRow | None = None
    keys: tuple[KeyRow, ...] = Field(default=(), max_length=MAX_KEYS, strict=False)

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str) -> str:
        try:
            is_sound = name == checked_name(name)
        except BadValue:
            is_sound = False
        if not is_sound:
            raise PydanticCustomError("name", "nobody can be called that")
        return name

    @field_validator("password")
    @classmethod
    def _is_stored(cls, password: str) -> str:
        if not is_stored_password(password):
            raise PydanticCustomError("password", "it is not one that this version can check")
        return password


class UsersFile(_Row):
    """The whole file.

    Attributes:
        limits: Of everyone who has none of their own; admins have none unless they are their own.
    """

    fooocus_lite_users: int = Field(default=1, ge=1, le=1)
    limits: LimitsRow = LimitsRow()
    users: tuple[UserRow, ...] = Field(default=(), max_length=MAX_USERS, strict=False)

    def find(self, name: str) -> UserRow | None:
        """The user of that name, however it is written."""
        wanted = compared(name)
        return next((row for row in self.users if compared(row.name) == wanted), None)


def users_path(settings: Settings) -> Path:
    """Where the users are kept."""
    return settings.data_dir / FILE_NAME


def checked_name(name: str) -> str:
    """The name in its normal form.

    Raises:
        BadValue: nobody can be called that.
    """
    clean = unicodedata.normalize("NFC", name).strip()
    bad = next((sign for sign in clean if unicodedata.category(sign)[0] == "C"), "")
    if bad or ":" in clean:  # where name and password are sent as one text, a colon stands between them
        problem = f"A user cannot be called {shown(name)}."
        raise BadValue(problem, "Leave out colons and invisible signs.", field="name")
    if not 1 <= len(clean) <= MAX_NAME_CHARS:
        problem = f"A user's name cannot have {len(clean):,} characters."
        raise BadValue(problem, f"Allowed is 1 to {MAX_NAME_CHARS}.", field="name")
    return clean


def compared(name: str) -> str:
    """The form in which names are compared: Ana, ana and ａｎａ are one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def read_users(path: Path) -> UsersFile:
    """The users, none where there is no file.

    Raises:
        BadFile: it cannot be read; says why, and quotes nothing of it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return UsersFile()
    except OSError as exc:
        raise _broken(path, exc.strerror or str(exc)) from exc
    if len(data) > _MAX_BYTES:
        raise _broken(path, "it is too large")
    try:
        found = UsersFile.model_validate(json.loads(data.decode("utf-8-sig")))
    except ValidationError as exc:
        raise _broken(path, sentence(exc)) from None  # pydantic's own words would hold what is kept of passwords
    except json.JSONDecodeError as exc:
        raise _broken(path, f"{exc.msg} (line {exc.lineno}, column {exc.colno})") from None
    except (ValueError, RecursionError):
        raise _broken(path, "it is no JSON in UTF-8") from None
    names = [compared(row.name) for row in found.users]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _broken(path, f"it has {shown(twice)} twice")
    return found


def change_users(path: Path, change: Callable[[UsersFile], UsersFile]) -> UsersFile:
    """Put what ``change`` makes of the users in their place; what is there now.

    Raises:
        BadFile: as `read_users`; then nothing is changed.
        DiskProblem: the folder cannot be written to.
        FooocusError: another process keeps the file locked (``conflict``), or whatever ``change`` raises.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with held(path.with_name(path.name + ".lock"), _Patience(path)):
            old = read_users(path)
            new = change(old)
            if new != old or not path.exists():
                text = json.dumps(new.model_dump(mode="json", exclude_none=True), ensure_ascii=False, indent=2) + "\n"
                write_atomic(path, text.encode("utf-8"), replace=True, is_secret=True)
            return new
    except OSError as exc:
        raise disk_problem(exc, path.parent, "FOOOCUS_DATA_DIR") from exc


class _Patience:
    """Waits for another process to be done with the file, but not for ever."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._until = time.monotonic() + _LOCK_WAIT_S

    def __call__(self, seconds: float) -> None:
        if time.monotonic() > self._until:
            problem = f"Another program keeps {self._path.name} locked."
            raise FooocusError(problem, "Try again in a moment.", code="conflict")
        time.sleep(seconds)


def _broken(path: Path, why: str) -> BadFile:
    hint = f"Mend {path}, or bring back a copy of it."
    return BadFile(f"The list of users, {path.name}, cannot be used, so nobody gets in: {why}.", hint)
