"""Logging in and out: a page of its own, which needs neither Gradio nor a script, and the session's cookie."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from fooocus_lite.errors import FooocusError
from fooocus_lite.sessions import LASTS_S, Sessions
from fooocus_lite.users import Users
from fooocus_lite.web.bodies import read_small
from fooocus_lite.web.credentials import Credentials, NotLoggedIn, address_of
from fooocus_lite.web.origins import is_https
from fooocus_lite.web.throttle import TooManyTries

PATHS = ("/login", "/logout")
#: Where somebody who logs in may have wanted to go.
WANTED = ("/", "/docs")
_PAGE = Path(__file__).parent / "login.html"
_MAX_FORM_BYTES = 10_000
_UNREADABLE = "Nobody can log in now: the list of users cannot be read. The window that Fooocus Lite runs in says why."
_AGAIN = '<!doctype html><meta http-equiv="refresh" content="0"><title>Fooocus Lite</title>'


class Login:
    """The routes ``/login`` and ``/logout``, and the page that stands where somebody is not logged in."""

    def __init__(self, users: Users, sessions: Sessions, credentials: Credentials) -> None:
        self._users = users
        self._sessions = sessions
        self._credentials = credentials
        self._page = _PAGE.read_text("utf-8")
        style = self._page.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )

    async def answer(self, scope: Scope, receive: Receive, *, is_needed: bool) -> Response:
        """What to answer to a request for one of `PATHS`."""
        method = scope.get("method", "GET")
        if scope["path"] == "/logout" and method == "POST":
            return await self._log_out(scope)
        if not is_needed or (scope["path"] == "/logout" and method in ("GET", "HEAD")):
            return RedirectResponse("/", status_code=303)
        if method in ("GET", "HEAD"):
            return self.page(scope, status=200)
        if method != "POST":
            raise FooocusError("Nothing but GET and POST goes here.", "Open the page.", code="not_found")
        return await self._log_in(scope, receive)

    def page(self, scope: Scope, *, status: int = 401, problem: str = "", name: str = "", wanted: str = "") -> Response:
        """The page. Behind a link on another website it first loads itself anew: only then do browsers send the cookie.

        Args:
            problem: What was wrong with the last try.
            name: Of the last try.
            wanted: Where to go then.
        """
        fetch_site = Headers(scope=scope).get("sec-fetch-site", "none")
        if fetch_site not in ("none", "same-origin") and self._credentials.token(scope) == "":
            return self._html(_AGAIN, status)
        wanted = wanted or scope["path"]
        problem = problem or (_UNREADABLE if self._users.problem else "")
        text = (
            self._page.replace("{problem}", f'<p role="alert">{escape(problem)}</p>' if problem else "")
            .replace("{first}", "" if name else " autofocus")
            .replace("{second}", " autofocus" if name else "")
            .replace("{wanted}", wanted if wanted in WANTED else "/")
            .replace("{name}", escape(name))
        )
        return self._html(text, status)

    def _html(self, text: str, status: int) -> Response:
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": self._policy}
        return HTMLResponse(text, status_code=status, headers=headers)

    async def _log_in(self, scope: Scope, receive: Receive) -> Response:
        fields = _fields(await read_small(scope, receive, _MAX_FORM_BYTES))
        name, wanted = fields.get("name", "").strip(), fields.get("wanted", "")
        try:
            user = await self._credentials.find_by_password(name, fields.get("password", ""), address_of(scope))
        except NotLoggedIn as exc:
            return self.page(scope, problem=exc.problem, name=name, wanted=wanted)
        except TooManyTries as exc:
            answer = self.page(scope, status=429, problem=str(exc), name=name, wanted=wanted)
            answer.headers["Retry-After"] = str(exc.wait_s)
            return answer
        answer = RedirectResponse(wanted if wanted in WANTED else "/", status_code=303)
        token = await run_in_threadpool(self._sessions.open, user)  # a write to the disk
        self._set_cookie(scope, answer, token, LASTS_S)
        return answer

    async def _log_out(self, scope: Scope) -> Response:
        if token := self._credentials.token(scope):
            await run_in_threadpool(self._sessions.close, token)
        # What is kept of pictures goes with the session.
        answer = Response(status_code=204, headers={"Clear-Site-Data": '"cache"'})
        self._set_cookie(scope, answer, "", 0)
        return answer

    def _set_cookie(self, scope: Scope, answer: Response, token: str, max_age_s: int) -> None:
        answer.headers["Cache-Control"] = "no-store"
        answer.set_cookie(
            self._credentials.cookie, token, max_age=max_age_s, path="/", httponly=True, samesite="strict",
            secure=is_https(scope),
        )  # fmt: skip


def _fields(body: bytes) -> dict[str, str]:
    try:
        found = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=10)
    except ValueError:  # UnicodeDecodeError is one, too
        return {}
    return {name: values[-1] for name, values in found.items()}
