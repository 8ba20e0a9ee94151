"""Who asks: by a session's cookie, a name and password (HTTP Basic), or an API key."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from fooocus_lite.addresses import is_this_computer, network_of
from fooocus_lite.errors import FooocusError
from fooocus_lite.passwords import MAX_PASSWORD_CHARS
from fooocus_lite.sessions import Sessions
from fooocus_lite.user import User
from fooocus_lite.users import Users
from fooocus_lite.users_file import MAX_NAME_CHARS, compared
from fooocus_lite.web.throttle import Throttle, TooManyTries
from fooocus_lite.web.who import IsStill

#: So many wrong passwords at once, then one more after each of these seconds: from one address, and for one name.
TRIES_PER_ADDRESS, TRIES_PER_NAME, REFILL_S = 10, 30, 30.0
#: Passwords that are looked at at once; the others wait where waiting costs nothing.
_AT_ONCE = 2
#: A name and password that came lately are known without another look: programs send them with every request.
_REMEMBERED_S, _MAX_REMEMBERED = 60.0, 1000


class NotLoggedIn(FooocusError):
    """Nobody, or somebody whose password or key is wrong."""

    code = "not_logged_in"

    def __init__(self, problem: str = "You are not logged in.") -> None:
        super().__init__(problem, "Log in on the page, or send an API key or a name and password.")


class Credentials:
    """Finds the `User` of a request.

    Attributes:
        cookie: The session's. Its name is this program's alone: browsers share cookies among the ports of a machine.
    """

    def __init__(self, users: Users, sessions: Sessions, folder: Path) -> None:
        self._users = users
        self._sessions = sessions
        self._by_address = Throttle(TRIES_PER_ADDRESS, REFILL_S)
        self._by_name = Throttle(TRIES_PER_NAME, REFILL_S)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._secret = secrets.token_bytes(32)
        #: Keyed hash of name and password → (the user's mark then, was it right, until when that is remembered).
        self._remembered: dict[bytes, tuple[str, bool, float]] = {}
        self.cookie = f"fooocus_lite_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"

    async def find(self, scope: Scope) -> tuple[User, IsStill]:
        """Who sends this request, and whether they would still get in by the same when that is asked later.

        A cookie counts first: a proxy may have a password of its own in the header.

        Raises:
            NotLoggedIn: nobody that is known.
            TooManyTries: too many wrong passwords came from there.
        """
        token = self.token(scope)
        if token and (user := self._sessions.find(token)) is not None:
            return user, lambda: self._sessions.find(token) == user
        headers = Headers(scope=scope)
        scheme, _, said = headers.get("authorization", "").strip().partition(" ")
        said = said.strip()
        key = headers.get("x-api-key", "").strip() or (said if scheme.casefold() == "bearer" else "")
        if key:  # an empty header says nothing: some clients always send one
            user = self._users.find_by_key(key)
            if user is None:
                raise NotLoggedIn("The API key is not known here.")
            return user, lambda: self._users.find_by_key(key) == user
        if scheme.casefold() == "basic" and (pair := _basic(said)) is not None:
            user = await self.find_by_password(*pair, address_of(scope))
            marks = self._marks(*pair)
            return user, lambda: self._users.find(user.name) == user and self._marks(*pair) == marks
        raise NotLoggedIn

    def _marks(self, name: str, password: str) -> tuple[object, ...]:
        """Others once the password is another, or no API key any more if it was one."""
        return self._users.mark(name), self._users.find_by_key(password)

    def token(self, scope: Scope) -> str:
        """The session's token in a request; empty when there is none."""
        # Not by http.cookies: one cookie of another program on this machine that it dislikes hides all the others.
        return HTTPConnection(scope).cookies.get(self.cookie, "")

    async def find_by_password(self, name: str, password: str, address: str) -> User:
        """Whoever has that name and password, which came from ``address``.

        Raises:
            NotLoggedIn: nobody has; the same whether there is such a name or not.
            TooManyTries: not looked at, as too many wrong ones came before.
        """
        if len(name) > MAX_NAME_CHARS or len(password) > MAX_PASSWORD_CHARS:
            raise _wrong()
        user = self._users.find_by_key(password)
        if user is not None and compared(user.name) == compared(name):
            return user  # clients that only know passwords may have a key as theirs
        pair = hashlib.blake2b(f"{len(name)} {name} {password}".encode("utf-8", "replace"), key=self._secret).digest()
        is_right = self._recall(pair, name)
        if is_right is None:
            user = await self._look(name, password, address)
            self._keep(pair, name, is_right=user is not None)
        else:
            user = self._users.find(name) if is_right else None
        if user is None:
            raise _wrong()
        return user

    async def _look(self, name: str, password: str, address: str) -> User | None:
        network, called = network_of(address), compared(name)
        if wait_s := self._by_address.take(network):
            raise TooManyTries(wait_s)
        # Strangers who try a name from many addresses do not lock out whoever sits at this computer.
        if not is_this_computer(address) and (wait_s := self._by_name.take(called)):
            self._by_address.give_back(network)
            raise TooManyTries(wait_s)
        user, mark = None, None
        async with self._turns:
            while mark != self._users.mark(name):  # it was changed while it was looked at: once more, at the new one
                mark = self._users.mark(name)
                user = await run_in_threadpool(self._users.find_by_password, name, password)
        if user is not None:
            self._by_address.give_back(network)
            if not is_this_computer(address):
                self._by_name.give_back(called)
        return user

    def _recall(self, pair: bytes, name: str) -> bool | None:
        mark, is_right, until = self._remembered.get(pair, ("", False, 0.0))
        return is_right if until > time.monotonic() and mark == self._users.mark(name) else None

    def _keep(self, pair: bytes, name: str, *, is_right: bool) -> None:
        now = time.monotonic()
        if len(self._remembered) >= _MAX_REMEMBERED:
            alive = [one for one in self._remembered.items() if one[1][2] > now]
            self._remembered = dict(alive[-_MAX_REMEMBERED // 2 :])
        self._remembered[pair] = (self._users.mark(name), is_right, now + _REMEMBERED_S)


def address_of(scope: Scope) -> str:
    """Where a request comes from; uvicorn has put there what a proxy on this machine says of it."""
    client = scope.get("client")
    return client[0] if client else ""


def _basic(said: str) -> tuple[str, str] | None:
    try:
        data = base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    name, colon, password = text.partition(":")
    return (name, password) if colon and (name or password) else None


def _wrong() -> NotLoggedIn:
    return NotLoggedIn("That name and password do not go together.")
