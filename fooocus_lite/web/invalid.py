"""What FastAPI refuses by itself, in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from fastapi.exceptions import RequestValidationError

from fooocus_lite.errors import BadFile, BadValue, FooocusError, UnknownName
from fooocus_lite.library import Library
from fooocus_lite.plan import parse_wish

#: Routes whose body is a Recipe.
RECIPE_BODIES = ("/v1/tasks", "/v1/plan", "/v1/expand")


def _recipes_in(body: Any, place: Sequence[Any], path: str) -> Iterator[Any]:
    """What in a refused body was meant to be a Recipe."""
    if tuple(place[:2]) == ("body", "recipe") and isinstance(body, dict) and "recipe" in body:
        yield cast("dict[str, Any]", body)["recipe"]
    elif place and place[0] == "body" and path in RECIPE_BODIES:
        yield body


def as_our_error(exc: RequestValidationError, path: str, library: Callable[[], Library]) -> FooocusError:
    """FastAPI's complaint in our words; a Recipe's through `parse_wish`, which knows the ranges."""
    first = exc.errors()[0]
    place = first["loc"]
    if first["type"] == "json_invalid":
        where = f" at character {place[-1]}" if isinstance(place[-1], int) else ""
        why = first.get("ctx", {}).get("error", "")
        return BadFile(f"The body is not JSON{where}.", f"{why}.".lstrip(".") or "Send a JSON object.")
    for recipe in _recipes_in(exc.body, place, path):
        try:
            parse_wish(recipe, library())
        except FooocusError as ours:
            return ours
    names = [part for part in place if isinstance(part, str)]  # of a list's entry, the list
    field = names[-1][:60].encode("utf-8", "replace").decode() if names else "value"
    if first["type"] == "extra_forbidden":
        return UnknownName(f"There is no field {field!r}.", "See /openapi.json for those there are.", field=field)
    if first["type"] == "missing" and field != "body":
        return BadValue(f"{field} is missing.", "See /openapi.json for what is needed.", field=field)
    return BadValue(f"{field} cannot be {str(first.get('input'))[:40]!r}.", f"{first['msg']}.", field=field)
