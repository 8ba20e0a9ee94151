"""One table from what can go wrong inside torch to what a person reads."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from fooocus_lite.engine.device import is_out_of_memory
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Failed

_DEVICE_WORDS = ("cuda error", "hip error", "device-side assert", "cudnn", "cublas", "mps backend", "level_zero")


def _is_device_fault(exc: BaseException) -> bool:
    words = str(exc).lower()
    return isinstance(exc, RuntimeError) and any(word in words for word in _DEVICE_WORDS)


def _is_disk_fault(exc: BaseException) -> bool:
    return isinstance(exc, OSError)


_TABLE: tuple[tuple[Callable[[BaseException], bool], str, str, str], ...] = (
    (
        is_out_of_memory,
        "out_of_memory",
        "There was not enough memory for this picture.",
        "Choose a smaller size, or close other programs that use the graphics card, and try again.",
    ),
    (
        _is_device_fault,
        "device_error",
        "The graphics device reported a fault.",
        "Try again; if it comes back, restart the program, update the driver, or start with --device cpu.",
    ),
    (
        _is_disk_fault,
        "internal",
        "A file could not be read while drawing.",
        "Check that the disk is connected and try again; the details say which file.",
    ),
)


def failed(exc: BaseException) -> Failed:
    """The event for an exception; the traceback goes into the details and nowhere else."""
    details = "".join(traceback.format_exception(exc))
    if isinstance(exc, FooocusError):
        return Failed(code=exc.code, problem=exc.problem, hint=exc.hint, field_name=exc.field, details=details)
    for matches, code, problem, hint in _TABLE:
        if matches(exc):
            return Failed(code=code, problem=problem, hint=hint, details=details)
    return Failed(
        code="internal",
        problem="Something went wrong inside the program while drawing.",
        hint="Try again; if it comes back, please report it with the details.",
        details=details,
    )
