"""What is turned away before any route sees it: other websites, strangers, and requests without end.

Pure ASGI and before everything, Gradio, event streams and WebSockets included, so that streams stay streams. In order:
has its sender too much open here, is it a request at all, is it sent by a page or program of ours, who asks, and how
long is it. What only admins may is said by the routes (`fooocus_lite.web.who`).
"""

from __future__ import annotations

from contextlib import ExitStack

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fooocus_lite.crowd import Crowd, Crowded
from fooocus_lite.errors import FooocusError
from fooocus_lite.sessions import Sessions
from fooocus_lite.settings import Settings
from fooocus_lite.user import LOCAL
from fooocus_lite.users import Users
from fooocus_lite.web.bodies import bounded, check_head
from fooocus_lite.web.border import send_answer
from fooocus_lite.web.credentials import Credentials, NotLoggedIn, address_of
from fooocus_lite.web.login import PATHS, WANTED, Login
from fooocus_lite.web.origins import SAFE_METHODS, Origins
from fooocus_lite.web.shapes import problem_at
from fooocus_lite.web.throttle import TooManyTries
from fooocus_lite.web.who import SCOPE_KEY, STILL_KEY

#: What a client may claim and the page would believe; a proxy's word on its own name is not needed for anything.
_CLAIMS = (b"x-forwarded-host", b"forwarded")


class Guard:
    """Lets in who may come in, and puts the `User` into the scope: see `fooocus_lite.web.who`."""

    def __init__(self, app: ASGIApp, *, settings: Settings, users: Users) -> None:
        self._app = app
        self._settings = settings
        self._users = users
        sessions = Sessions(settings.data_dir, users)
        self._origins = Origins(settings, lambda: self._is_closed)
        self._credentials = Credentials(users, sessions, settings.data_dir)
        self._login = Login(users, sessions, self._credentials)
        self._crowd = Crowd()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope["headers"] = [header for header in scope["headers"] if header[0] not in _CLAIMS]
        with ExitStack() as places:
            try:
                places.enter_context(self._crowd.from_address(address_of(scope)))
                answer = await self._meet(scope, receive)
                if answer is None and SCOPE_KEY in scope:  # else it is a stranger's /healthz, whose body nobody reads
                    places.enter_context(self._crowd.of_user(scope[SCOPE_KEY], address_of(scope)))
                    keep = places.enter_context(self._crowd.bodies(address_of(scope)))
                    receive = await bounded(scope, receive, keep)
            except FooocusError as exc:
                answer = self._refusal(scope, exc)
            if answer is None:
                await self._app(scope, receive, send)
            else:
                if scope["type"] == "websocket":
                    await receive()  # its wish to connect
                await send_answer(answer, scope, receive, send)

    @property
    def _is_closed(self) -> bool:
        """Whether nobody gets in without saying who they are."""
        return self._settings.is_for_others or self._users.is_needed

    async def _meet(self, scope: Scope, receive: Receive) -> Response | None:
        """Who asks, put into the scope; or what to answer at once."""
        check_head(scope)
        try:
            self._origins.check(scope)
            if scope["path"] in PATHS:
                return await self._login.answer(scope, receive, is_needed=self._is_closed)
            if self._is_closed:
                scope[SCOPE_KEY], scope[STILL_KEY] = await self._credentials.find(scope)
            else:
                scope[SCOPE_KEY], scope[STILL_KEY] = LOCAL, lambda: not self._is_closed
        except FooocusError:
            if scope["path"] == "/healthz" and scope.get("method") in SAFE_METHODS:
                return None  # everybody may know that something answers here; the route tells strangers no more
            raise
        return None

    def _refusal(self, scope: Scope, error: FooocusError) -> Response:
        is_page = scope["path"] in WANTED and scope.get("method") in ("GET", "HEAD")
        if isinstance(error, NotLoggedIn) and is_page:
            return self._login.page(scope)
        answer = problem_at(scope["path"])(error)
        if isinstance(error, NotLoggedIn):
            # Asked for Basic, a browser opens a window of its own, which our page has no use for.
            scheme = "Basic" if scope["path"].startswith("/sdapi/") else "Bearer"
            answer.headers["WWW-Authenticate"] = f'{scheme} realm="Fooocus Lite"'
        if isinstance(error, TooManyTries | Crowded):
            answer.headers["Retry-After"] = str(error.wait_s)
        if isinstance(error, Crowded) and "x-should-retry" in answer.headers:
            answer.headers["x-should-retry"] = "true"
        if error.code in ("too_slow", "bad_request"):  # where the next request begins is not sure
            answer.headers["Connection"] = "close"
        answer.headers["Cache-Control"] = "no-store"
        return answer
