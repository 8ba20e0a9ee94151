"""Errors that can reach a person: what went wrong, and what to do next.

Every error class has a ``code`` that programs can rely on; `HTTP_STATUS` is the one place
where a code becomes an HTTP status.
"""

HTTP_STATUS: dict[str, int] = {
    "bad_value": 422,
    "unknown_name": 422,
    "bad_json": 400,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "bad_request": 400,
    "not_logged_in": 401,
    "forbidden": 403,
    "too_slow": 408,
    "too_many_tries": 429,
    "corrupt_model": 409,
    "missing_model": 409,
    "unreadable_picture": 422,
    "download_failed": 502,
    "needs_licence": 403,
    "offline": 409,
    "out_of_memory": 507,
    "disk_full": 507,
    "not_writable": 507,
    "worker_died": 500,
    "device_error": 500,
    "internal": 500,
    "unsupported": 501,
    "not_working": 503,
    "unreachable": 503,
    "limit_reached": 429,
    "too_many_waiting": 429,
    "too_many_connections": 429,
    "too_many_in_all": 503,
}


class FooocusError(Exception):
    """A problem a person can act on.

    Attributes:
        problem: One sentence: what is wrong, naming the field or file.
        hint: One sentence: what to do next.
        code: A key of `HTTP_STATUS`; stable for programs.
        field: The Recipe field or setting that is wrong, or ``None``.
    """

    code = "internal"

    def __init__(self, problem: str, hint: str = "", *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.code = code or type(self).code
        self.field = field

    def __str__(self) -> str:
        return f"{self.problem} {self.hint}".strip()

    def __reduce__(self):  # keyword-only arguments: the default would lose them between processes
        return _rebuild, (type(self), self.problem, self.hint, self.code, self.field)

    @property
    def http_status(self) -> int:
        """The HTTP status that tells a program the same."""
        return HTTP_STATUS.get(self.code, 500)

    def to_dict(self) -> dict[str, str | None]:
        """The body of an HTTP error and of a `Failed` event."""
        return {"code": self.code, "problem": self.problem, "hint": self.hint, "field": self.field}


def _rebuild(kind: type[FooocusError], problem: str, hint: str, code: str, field: str | None) -> FooocusError:
    error = kind.__new__(kind)
    FooocusError.__init__(error, problem, hint, code=code, field=field)
    return error


class QueueTrouble(FooocusError):
    """The queue file cannot be used just now; nothing is wrong with what was asked, and the same may work later."""


class BadValue(FooocusError):
    """A field is outside its allowed range."""

    code = "bad_value"


class UnknownName(FooocusError):
    """A style, preset, sampler, model or field that nobody has heard of."""

    code = "unknown_name"


class BadFile(FooocusError):
    """A preset, style or settings file that cannot be read; names file and line."""

    code = "bad_json"


class Unsupported(FooocusError):
    """Something that other programs of this field can do, and this one cannot."""

    code = "unsupported"


class CorruptModel(FooocusError):
    """Weights that are damaged."""

    code = "corrupt_model"


class MissingModel(FooocusError):
    """Weights that are not there."""

    code = "missing_model"


class DownloadFailed(FooocusError):
    """A file that cannot be had from its source, or not whole."""

    code = "download_failed"


class DiskProblem(FooocusError):
    """The disk is full or read-only."""

    code = "disk_full"


class WorkerDied(FooocusError):
    """The process that draws ended without a word."""

    code = "worker_died"


class WorkerAway(WorkerDied):
    """The machine that was to draw is not there: nothing was begun."""


class NotFound(FooocusError):
    """A task or picture that is not there."""

    code = "not_found"
